"""Published weights of Video Swin and BERT without the files: every name they go by, and files that do not fit.

`checkpoints` writes the official names down once more, from the official code's structure, so that a slip in
`torchvision_names` cannot hide; shapes are Swin-B's, or its depths at an eighth of its width.
"""

import math
import os
import pickle
import shutil
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from checkpoints import SMALL, call, make_bert, official_shapes, official_state, paper, said, saved
from conftest import module_home
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from efa import runs
from efa.baselines.inputs import build_model, prepare
from efa.config import EncoderConfig, TextConfig, build
from efa.data.loader import open_dataset
from efa.model.swin import VideoSwin, load_encoder, relative_position_index, torchvision_names
from efa.model.text import TextEncoder
from efa.utils.errors import InputError

STATE = official_state()

# Video Swin -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("window", [(8, 7, 7), (16, 7, 7)], ids=["Kinetics", "SSv2"])
def test_every_name_and_shape_of_swin_b_finds_its_place(window):
    shapes = official_shapes(128, (4, 8, 16, 32), window, 600)
    assert len(shapes) == 353
    named = torchvision_names({name: torch.empty(shape, device="meta") for name, shape in shapes.items()})
    with torch.device("meta"):
        own = VideoSwin(EncoderConfig(window=window)).state_dict()
    assert {name: tuple(value.shape) for name, value in named.items()} == {n: tuple(v.shape) for n, v in own.items()}


def test_the_official_checkpoint_fills_the_right_parameters(tmp_path):
    model = VideoSwin(SMALL)
    load_encoder(model, saved(tmp_path / "swin.pth", STATE))
    block = model.features[4][17]
    pairs = {
        "patch_embed.proj.weight": model.patch_embed.proj.weight, "norm.weight": model.norm.weight,
        "layers.0.blocks.1.mlp.fc1.weight": model.features[0][1].mlp[0].weight,
        "layers.0.downsample.reduction.weight": model.features[1].reduction.weight,
        "layers.2.blocks.17.attn.qkv.weight": block.attn.qkv.weight,
        "layers.2.blocks.17.attn.relative_position_bias_table": block.attn.relative_position_bias_table,
        "layers.2.blocks.17.mlp.fc2.bias": block.mlp[3].bias, "layers.2.blocks.17.norm2.bias": block.norm2.bias,
        "layers.2.downsample.norm.weight": model.features[5].norm.weight,
        "layers.3.blocks.0.attn.proj.bias": model.features[6][0].attn.proj.bias,
    }  # fmt: skip
    for name, value in pairs.items():
        assert torch.equal(value, STATE[f"backbone.{name}"]), name


def torchvision_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same weights as `torchvision.models.video.swin3d_b` names them: one list of stages and mergings."""
    named = {"head.weight": state["cls_head.fc_cls.weight"], "head.bias": state["cls_head.fc_cls.bias"]}
    for name, value in state.items():
        part = name.split(".")[1:]
        if part[0] == "layers":
            merging = part[2] == "downsample"
            part = ["features", str(2 * int(part[1]) + merging), *part[3:]]
            part = [{"fc1": "0", "fc2": "3"}.get(word, word) for word in part]
        if part[0] != "fc_cls":
            named[".".join(part)] = value
    return named


FORMS: dict[str, Callable[[dict[str, torch.Tensor], Path], object]] = {
    "official": lambda state, path: saved(path, state),
    "wrapped twice": lambda state, path: saved(path, {f"module.{n}": v for n, v in state.items()}),  # several GPUs
    "torchvision": lambda state, path: torch.save(torchvision_state(state), path),
    "bare official": lambda state, path: torch.save({n[9:]: v for n, v in state.items() if n[:9] == "backbone."}, path),
    "half": lambda state, path: saved(path, {n: v.half() if v.is_floating_point() else v for n, v in state.items()}),
    "before 2020": lambda state, path: torch.save({"state_dict": state}, path, _use_new_zipfile_serialization=False),
    "own.safetensors": lambda state, path: save_file(own_state(state), path),
    "efa.safetensors": lambda state, path: save_file(
        {f"encoder.{n}": v for n, v in own_state(state).items()} | {"decoder.bias": torch.zeros(3)}, path
    ),
}


def own_state(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value for name, value in torchvision_state(state).items() if not name.startswith("head.")}


@pytest.mark.parametrize("form", FORMS)
def test_weights_load_under_any_name(tmp_path, form):
    state, path = official_state(classes=400), tmp_path / (form if form.endswith("safetensors") else "swin.pth")
    assert len(torchvision_state(state)) == 353
    source, target = VideoSwin(SMALL).eval(), VideoSwin(SMALL).eval()
    source.load_state_dict(own_state(state))
    FORMS[form](state, path)
    load_encoder(target, path)
    assert {p.dtype for p in target.parameters()} == {torch.float32}
    frames = torch.randn(1, 6, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(target(frames), source(frames), atol=0.01 if form == "half" else 0.0, rtol=0)


def test_a_checkpoint_of_another_window_needs_the_setting(tmp_path):
    something = SMALL.model_copy(update={"window": (16, 7, 7)})  # as trained on Something-Something v2
    path = saved(tmp_path / "ssv2.pth", official_state(something, 174))
    with pytest.raises(InputError, match=r"has another size of .*relative_position_bias_table.*set encoder"):
        load_encoder(VideoSwin(SMALL), path)
    model = VideoSwin(something).eval()
    load_encoder(model, path)
    assert model(torch.randn(1, 6, 3, 32, 32)).isfinite().all()


# window rules -----------------------------------------------------------------------------------------------------


def true_offsets(window: tuple[int, int, int], size: tuple[int, int, int]) -> torch.Tensor:
    """[N, N]: the row of the bias table for each pair of positions of `size`, by their true offset."""
    places = list(product(*map(range, size)))
    offsets = torch.tensor(places)[:, None] - torch.tensor(places) + torch.tensor(window) - 1
    return offsets @ torch.tensor([(2 * window[1] - 1) * (2 * window[2] - 1), 2 * window[2] - 1, 1])


@pytest.mark.parametrize(("size", "true"), [((6, 7, 7), True), ((6, 4, 4), False)])
def test_offsets_in_a_window_larger_than_the_clip(size, true):
    """Six frames keep their true offsets; a smaller picture reads the table's first rows, as in the official code."""
    index = relative_position_index((8, 7, 7))[: math.prod(size), : math.prod(size)]
    assert torch.equal(index, true_offsets((8, 7, 7), size)) == true


@pytest.mark.parametrize("frames", [5, 7])
def test_an_odd_number_of_frames_gets_one_zero_frame(frames):
    model = VideoSwin(EncoderConfig(temporal_stride=2, dim=8, depths=(2, 2), heads=(1, 2))).eval()
    clip = torch.randn(1, frames, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(clip), model(torch.cat([clip, torch.zeros_like(clip[:, :1])], 1)))


# files that are no weights, through the command line --------------------------------------------------------------


home = module_home


@pytest.fixture(scope="module")
def bert(tmp_path_factory) -> Path:
    return make_bert(tmp_path_factory.mktemp("bert"))


@pytest.fixture
def efa(home, monkeypatch, capfd):
    return partial(call, monkeypatch, capfd)


class Unsafe:
    """Unpickling this would make the folder `trace`."""

    def __reduce__(self):
        return os.mkdir, ("trace",)


class TrainingRecord:
    """Stands for an object of mmcv in a checkpoint's meta entry."""


NORM = "backbone.norm.weight"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:e27bd38d\nsize 605142098\n"
OTHER_THINGS = "holds other things than weights"
BAD_FILES: dict[str, tuple[Callable[[Path], object], str]] = {  # how each is written, and what the error says
    "absent": (lambda path: None, "no such file of encoder weights"),
    "folder": (Path.mkdir, "no such file of encoder weights"),
    "empty": (Path.touch, "broken or cut short"),
    "truncated": (lambda path: halve(saved(path, STATE)), "broken or cut short"),
    "code": (lambda path: path.write_bytes(pickle.dumps({"state_dict": Unsafe()}, protocol=2)), OTHER_THINGS),
    "objects": (lambda path: saved(path, STATE, hooks=TrainingRecord()), OTHER_THINGS),
    "numpy": (lambda path: saved(path, STATE, best=np.float64(84.0)), OTHER_THINGS),
    "pointer": (lambda path: path.write_text(POINTER), "is a pointer of git-lfs"),
    "other.safetensors": (
        lambda path: save_file({"conv1.weight": torch.zeros(3)}, path),
        "lacks patch_embed.proj.weight, and 350 more",
    ),
    "Swin-T": (
        lambda path: saved(path, {name: value for name, value in STATE.items() if ".blocks.6." not in name}),
        "lacks features.4.6.norm1.weight, and 13 more",
    ),
    "wider": (
        lambda path: saved(path, official_state(EncoderConfig(dim=32, heads=(1, 2, 4, 8)))),
        "has another size of patch_embed.proj.weight: [32, 3, 2, 4, 4], not [16, 3, 2, 4, 4], and ",
    ),
    "extra": (
        lambda path: saved(path, STATE | {"backbone.neck.weight": torch.zeros(3)}),
        "has, unlike this encoder, neck.weight, and 0 more",
    ),
}
RARE: dict[str, Callable[[Path], object]] = {
    "sparse": lambda path: saved(path, STATE | {NORM: STATE[NORM].to_sparse()}),
    "numbers for names": lambda path: torch.save({1: torch.zeros(2)}, path),
    "damaged pickle": lambda path: path.write_bytes(b"\x80\x02."),
    "list": lambda path: torch.save([1, 2], path),
    "truncated.safetensors": lambda path: save_file(VideoSwin(SMALL).state_dict(), path) or halve(path),
}


def halve(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def bad_path(case: str, folder: Path) -> Path:
    return folder / (case if case.endswith(".safetensors") else "weights.pth")


@pytest.mark.parametrize("case", BAD_FILES)
def test_a_bad_file_is_one_line_and_status_2(efa, bert, tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    path, (write, message) = bad_path(case, tmp_path), BAD_FILES[case]
    write(path)
    status, _, err = efa(*paper(bert, encoder__weights=path))
    assert status == 2, err
    assert message in said(err)
    assert str(path) in said(err)
    assert {"objects": "state_dict", "pointer": "git lfs pull"}.get(case, "") in said(err)  # what to do
    assert not Path("trace").exists()


@pytest.mark.parametrize("case", RARE)
def test_rare_damage_is_an_input_error_too(tmp_path, case):
    path = bad_path(case, tmp_path)
    RARE[case](path)
    with pytest.raises(InputError) as caught:
        load_encoder(VideoSwin(SMALL), path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_only_the_weights_saved_again_load(tmp_path):
    """What the book advises for a file with objects, on a machine that trusts it."""
    path = saved(tmp_path / "weights.pth", STATE, hooks=TrainingRecord())
    with pytest.raises(InputError):
        load_encoder(VideoSwin(SMALL), path)
    torch.save(torch.load(path, "cpu", weights_only=False)["state_dict"], tmp_path / "weights-only.pth")
    model = VideoSwin(SMALL)
    load_encoder(model, tmp_path / "weights-only.pth")
    assert torch.equal(model.norm.weight, STATE[NORM])


def test_a_run_starts_from_the_official_file(efa, bert, home, tmp_path, monkeypatch):
    silent = np.zeros((1, 6))  # captions need Java, and are not what is tested
    monkeypatch.setattr(runs.metrics, "score_captions", lambda _, texts: ({}, silent.repeat(len(texts), 0)))
    path = saved(tmp_path / "swin_base_patch244_window877_kinetics600_22k.pth", STATE)
    before = {folder.name for folder in (home / "runs").glob("*")}
    words = paper(bert, encoder__weights=path, encoder__frozen="true")
    status, _, err = efa(*words)
    assert status == 0, err
    (made,) = {folder for folder in (home / "runs").glob("*/provenance.json") if folder.parent.name not in before}
    trained = load_file(made.parent / "model.safetensors")
    for theirs, ours in torchvision_names(STATE).items():
        assert torch.equal(trained[f"encoder.{theirs}"], ours), theirs
    assert "done" in efa("status", *words[1:])[1]
    saved(path, STATE, epoch=29)  # another file under the same name is another run
    assert "stale" in efa("status", *words[1:])[1]


# a BERT in a folder, as text encoder and as the decoder's start -----------------------------------------------------

LAYER = {  # BERT's part of a layer -> ours
    "attention.self.query": "attention.query", "attention.self.key": "attention.key",
    "attention.self.value": "attention.value", "attention.output.dense": "attention.output",
    "attention.output.LayerNorm": "attention_norm", "intermediate.dense": "up", "output.dense": "down",
    "output.LayerNorm": "mlp_norm",
}  # fmt: skip
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


@pytest.mark.parametrize(("kind", "vocabulary"), [
    ("vocab.txt", "full"), ("vocab.txt", "train"), ("tokenizer.json", "train"), ("pytorch_model.bin", "train"),
])  # fmt: skip
def test_the_decoder_starts_as_the_bert(home, bert, tmp_path, kind, vocabulary):
    decoder, tokenizer = decoder_from(bert_folder(bert, tmp_path / "bert", kind), decoder__vocabulary=vocabulary)
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
    for layer, (part, name), kind in product(range(2), LAYER.items(), ("weight", "bias")):
        value = theirs[f"bert.encoder.layer.{layer}.{part}.{kind}"]
        assert torch.equal(ours[f"layers.{layer}.{name}.{kind}"], value), part


def test_the_decoder_starts_from_a_hub_id(home, bert, tmp_path, monkeypatch):
    """The paper preset's default: 'bert-base-uncased' and decoder.weights 'text'."""
    assert (build("paper").text.model, build("paper").decoder.weights) == ("bert-base-uncased", "text")
    place = tmp_path / "hub" / "models--somebody--bert"  # what a download leaves
    bert_folder(bert, place / "snapshots" / "0123", "vocab.txt")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("0123")
    for module in ("huggingface_hub.constants", "transformers.utils.hub"):
        monkeypatch.setattr(f"{module}.HF_HUB_CACHE", str(place.parent), raising=False)
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


def test_steps_are_encoded_with_the_bert_of_the_folder(home, bert):
    config = tiny.config(data__clips=6, text__model=str(bert))
    inputs = prepare(config)
    text = next(iter(open_dataset(config.data).steps.values()))
    expected = TextEncoder(config.text).encode([*text.steps, text.instruction])
    torch.testing.assert_close(inputs.steps[0], expected[:5], atol=1e-5, rtol=0)
    torch.testing.assert_close(inputs.instruction[0], expected[5:], atol=1e-5, rtol=0)
