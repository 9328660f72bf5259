"""A BERT in a folder as text encoder and as the decoder's start, in every form in which folders hold one."""

import shutil
from functools import partial
from pathlib import Path

import pytest
import tiny
import torch
from checkpoints import call, make_bert, paper, said
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from efa.config import TextConfig, build
from efa.data.loader import open_dataset
from efa.model.text import TextEncoder
from efa.train import build_model, prepare

LAYER = {  # BERT's part of a layer -> ours
    "attention.self.query": "attention.query",
    "attention.self.key": "attention.key",
    "attention.self.value": "attention.value",
    "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "mlp_norm",
}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def efa(home, monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


SENTENCES = ["the squat", "lower the hips.", "push, then stand"]


@pytest.mark.parametrize("kind", ["vocab.txt", "tokenizer.json", "pytorch_model.bin"])
def test_a_bert_folder_encodes_as_transformers_does(bert, tmp_path, kind):
    folder = bert_folder(bert, tmp_path / "bert", kind)
    encoder = TextEncoder(TextConfig(model=str(folder), pooling="cls"))
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.no_grad():
        theirs = torch.cat([model(**tokenizer(s, return_tensors="pt")).last_hidden_state[:, 0] for s in SENTENCES])
    torch.testing.assert_close(encoder.encode(SENTENCES), theirs, atol=1e-6, rtol=0)
    assert theirs.std(0).max() > 0.01  # the sentences differ


def bert_folder(bert: Path, folder: Path, kind: str) -> Path:
    """The same BERT as transformers 5 leaves it ('tokenizer.json': no vocab.txt), or as older files are."""
    shutil.copytree(bert, folder)
    if kind == "tokenizer.json":
        (folder / "vocab.txt").unlink()
    elif kind == "pytorch_model.bin":
        torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
        (folder / "model.safetensors").unlink()
    return folder


def decoder_from(folder: str | Path, **changes: object):
    """The decoder of a model that starts from this BERT, and its vocabulary."""
    same = {"decoder__dim": 32, "decoder__depth": 2, "decoder__heads": 2, "decoder__max_tokens": 48}
    config = tiny.config(data__clips=6, text__model=str(folder), decoder__weights="text", **(same | changes))
    inputs = prepare(config)
    return build_model(config, inputs).decoder, inputs.tokenizer


@pytest.mark.parametrize("vocabulary", ["full", "train"])
def test_the_decoder_starts_as_the_bert(home, bert, vocabulary):
    decoder, tokenizer = decoder_from(bert, decoder__vocabulary=vocabulary)
    theirs, ours = load_file(bert / "model.safetensors"), dict(decoder.named_parameters())
    full = (bert / "vocab.txt").read_text().splitlines()
    kept = [full.index(piece) for piece in tokenizer.pieces]
    assert (len(kept) < len(full)) == (vocabulary == "train")
    words = "bert.embeddings.word_embeddings.weight"
    assert torch.equal(ours["word.weight"], theirs[words][kept])
    assert torch.equal(ours["bias"], theirs["cls.predictions.bias"][kept])
    assert torch.equal(ours["transform.weight"], theirs["cls.predictions.transform.dense.weight"])
    segment = theirs["bert.embeddings.token_type_embeddings.weight"][0]
    assert torch.equal(ours["position.weight"], theirs["bert.embeddings.position_embeddings.weight"][:48] + segment)
    for layer in range(2):
        for part, name in LAYER.items():
            for kind in ("weight", "bias"):
                value = theirs[f"bert.encoder.layer.{layer}.{part}.{kind}"]
                assert torch.equal(ours[f"layers.{layer}.{name}.{kind}"], value), part


@pytest.mark.parametrize("kind", ["tokenizer.json", "pytorch_model.bin"])
def test_the_decoder_starts_from_any_folder_that_the_encoder_reads(home, bert, tmp_path, kind):
    decoder, tokenizer = decoder_from(bert_folder(bert, tmp_path / "bert", kind))
    theirs = load_file(bert / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
    full = (bert / "vocab.txt").read_text().splitlines()
    assert torch.equal(decoder.word.weight, theirs[[full.index(piece) for piece in tokenizer.pieces]])


def test_the_decoder_starts_from_a_hub_id(home, bert, tmp_path, monkeypatch):
    """The paper preset's default: 'bert-base-uncased' and decoder.weights 'text'."""
    assert (build("paper").text.model, build("paper").decoder.weights) == ("bert-base-uncased", "text")
    hub = tmp_path / "hub"  # what a download leaves
    place = hub / "models--somebody--bert"
    bert_folder(bert, place / "snapshots" / "0123", "vocab.txt")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123")
    for module in ("huggingface_hub.constants", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.HF_HUB_CACHE", str(hub), raising=False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert TextEncoder(TextConfig(model="somebody/bert")).dim == 32
    decoder, _ = decoder_from("somebody/bert")
    assert decoder.word.weight.std() > 0.05  # the BERT's deviation is 0.1, a new decoder's 0.02


@pytest.mark.parametrize("case", ["no such folder", "no BERT in it", "hub id"])
def test_a_wrong_text_model_is_one_line_and_status_2(efa, bert, tmp_path, monkeypatch, case):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    model = {"hub id": "nobody/nothing", "no such folder": tmp_path / "absent", "no BERT in it": tmp_path}[case]
    status, _, err = efa(*paper(bert, text__model=model))
    assert status == 2, err
    assert str(model) in said(err)
    assert "text.model" in said(err)


def test_the_words_of_every_data_set_are_read_with_the_bert_of_the_folder(home, bert):
    config = tiny.config(data__clips=6, text__model=str(bert))
    inputs = prepare(config)
    text = next(iter(open_dataset(config.data).steps.values()))
    expected = TextEncoder(config.text).encode([*text.steps, text.instruction])
    torch.testing.assert_close(inputs.steps[0], expected[:5], atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.instruction[0], expected[5:], atol=1e-5, rtol=0)
