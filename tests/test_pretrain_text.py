"""Pre-training on texts: every writer learns them; its weights load by word piece and can be frozen."""

import json
from pathlib import Path

import numpy as np
import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from stand_ins import make_system
from torch import nn

from efa.baselines.base import System, language_weights, load_text, text_file
from efa.baselines.registry import systems
from efa.config import DecoderConfig, build
from efa.data.tokenizer import SPECIAL, Tokenizer
from efa.utils.errors import InputError
from formsim import pretrain as words

CONFIG = tiny.config()
KNOWN = [*SPECIAL, "hips", "knees", "back", "stay", "drop", "straight"]
WANTED = [*SPECIAL, "straight", "elbows", "knees", "hips", "stay", "##s", "level"]  # three of them are not known
SHARED = [(i, KNOWN.index(piece)) for i, piece in enumerate(WANTED) if piece in KNOWN]
HERE, THERE = (torch.tensor(side) for side in zip(*SHARED, strict=True))
UNKNOWN = [i for i, piece in enumerate(WANTED) if piece not in KNOWN]
ROWS = {  # one row a word piece
    "C3DAVG": {"word.weight", "out.weight", "out.bias"}, "MSCADC": {"word.weight", "out.weight", "out.bias"},
    "SwinBERT": {"word.weight", "bias"}, "LAVENDER": {"word.weight", "output.weight", "bias"},
    "RICA2": {"word.weight", "bias"},
}  # fmt: skip
A, E, MASK = 3, 16, SPECIAL.index("[MASK]")
FEATURES = {"C3DAVG": (2, 576), "MSCADC": (72, 64), "SwinBERT": (24, 192), "LAVENDER": (24, 192), "RICA2": (5, 256)}
SMALL = {name: system.SMALL for name, system in systems().items()}
part = pytest.mark.parametrize("part", words.PARTS)
each = pytest.mark.parametrize("name", FEATURES)


def captioner(name: str, vocabulary: int, seed: int = 0, actions: int = A, **changes) -> System:
    """A small system that writes; RICA2's decoder is narrower than what it attends to."""
    changes = {"decoder": DecoderConfig(dim=32, depth=2, heads=2, dropout=0.0, max_tokens=16)} | changes
    return make_system(name, False, actions, changes, seed, vocabulary_size=vocabulary, text_dim=E, mask_id=MASK)


def saved(writer: nn.Module, folder: Path, pieces: list[str] = KNOWN, without: str = "") -> Path:
    """What pre-training leaves of a writer, one tensor excepted."""
    file = folder / "words.safetensors"
    kept = {name: value.half().contiguous() for name, value in language_weights(writer).items() if name != without}
    save_file(kept, file)
    file.with_suffix(".txt").write_text("\n".join(pieces) + "\n")
    return file


def values(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def sentences(count: int, seed: int) -> list[str]:
    draw = np.random.RandomState(seed)
    who, does = ["hips", "knees", "shoulders", "elbows"], ["drop", "stay level", "move back", "turn inwards"]
    return [f"The {draw.choice(who)} {draw.choice(does)}, so the {draw.choice(who)} follow." for _ in range(count)]


@part
def test_pretraining_learns_texts_and_saves_weights(part, tmp_path, monkeypatch):
    monkeypatch.setattr(words, "explanations", sentences)
    out = tmp_path / "words.safetensors"
    scores = words.pretrain_decoder(CONFIG, texts=64, passes=10, batch=16, out=out, part=part)
    tokenizer = words.word_pieces(CONFIG.text).pruned(sentences(64, words.STREAM_SEED))
    assert out.with_suffix(".txt").read_text().splitlines() == tokenizer.pieces
    held_out = tokenizer.batch(sentences(512, words.STREAM_SEED + 1), 48)
    torch.manual_seed(1)
    writer = words.build_writer(part, CONFIG, tokenizer).eval()
    with torch.no_grad():
        untrained = words.next_piece_loss(writer, held_out).item()
        load_text(writer, out, tokenizer.pieces)
        loaded = words.next_piece_loss(writer, held_out).item()
    assert scores["loss"] < 0.6 * untrained
    assert loaded == pytest.approx(scores["loss"], abs=0.01)  # half precision
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["held_out"] == scores
    assert facts["parameters"] == sum(value.numel() for value in load_file(out).values())
    assert ("--part" in facts["command"]) == (part != "decoder")
    if part != "s2vt":
        positions = load_file(out)["position.weight"]
        length = tokenizer.batch(sentences(64, words.STREAM_SEED), 48).shape[1]
        assert positions[:length].abs().sum(1).min() > 0
        assert positions[length:].abs().max() == 0  # no text was that long


def test_one_seed_gives_the_same_weights_of_a_known_part(tmp_path, monkeypatch):
    monkeypatch.setattr(words, "explanations", sentences)
    files = [tmp_path / f"{name}.safetensors" for name in "abc"]
    for file, seed in zip(files, (0, 0, 1), strict=True):
        words.pretrain_decoder(CONFIG, texts=16, batch=8, out=file, seed=seed, part="lavender")
    first, again, other = (file.read_bytes() for file in files)
    assert first == again != other
    with pytest.raises(InputError, match="no part to pre-train is called 'bert'"):
        words.pretrain_decoder(CONFIG, texts=16, part="bert")


@each
def test_weights_are_copied_piece_by_piece(name, tmp_path):
    source = captioner(name, len(KNOWN), seed=1, actions=A + 4)  # as many actions as it likes: they are no words
    target = captioner(name, len(WANTED))
    before, rest = values(target.text_decoder), values(target)
    load_text(target.text_decoder, saved(source.text_decoder, tmp_path), WANTED)
    theirs = {key: value.half().float() for key, value in source.text_decoder.state_dict().items()}
    for key, after in target.text_decoder.state_dict().items():
        if key in ROWS[name]:
            assert torch.equal(after[HERE], theirs[key][THERE])
            assert torch.equal(after[UNKNOWN], before[key][UNKNOWN])
        elif key == "language.weight_ih_l0":  # S2VT's second network reads [video state, word]
            assert torch.equal(after[:, 128:], theirs[key][:, 128:])
            assert torch.equal(after[:, :128], before[key][:, :128])
        elif ".cross." in key or key.startswith(("memory_in.", "video.")):
            assert torch.equal(after, before[key])
        else:
            assert torch.equal(after, theirs[key])
    others = {key: value for key, value in target.state_dict().items() if not key.startswith(target.TEXT_DECODER)}
    assert all(torch.equal(value, rest[key]) for key, value in others.items())
    pieces = ("[CLS]", "hips", "stay", "straight")
    here, there = (torch.tensor([[known.index(piece) for piece in pieces]]) for known in (WANTED, KNOWN))
    with torch.no_grad():
        found, wanted = target.eval().text_decoder(here, None), source.eval().text_decoder(there, None)
    torch.testing.assert_close(found[..., HERE], wanted[..., THERE], rtol=0, atol=0.02)  # half precision


@each
def test_frozen_weights_stay_and_the_others_learn(name, tmp_path):
    model = captioner(name, len(WANTED)).train()
    load_text(model.text_decoder, saved(captioner(name, len(KNOWN), seed=1).text_decoder, tmp_path), WANTED)
    model.encoder.requires_grad_(False)
    model.freeze_text()
    before = values(model.text_decoder)
    trained = [p for p in model.parameters() if p.requires_grad]
    tokens = torch.tensor([[2, 8, 7, 10, 3], [2, 5, 6, 3, 0], [2, 9, 5, 3, 0]])
    features, steps = torch.randn(4, *FEATURES[name]), torch.randn(4, 5, E)
    optimizer = torch.optim.AdamW(trained, 1e-2)
    for _ in range(3):
        output = model(features, steps, None, None, tokens)
        loss = output.class_logits.logsumexp(1).mean() + sum(output.extra.values())
        loss = loss if output.text_logits is None else loss + output.text_logits[..., 5].mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    frozen = {key for key, p in model.text_decoder.named_parameters() if not p.requires_grad}
    stayed = {key for key, value in model.text_decoder.state_dict().items() if torch.equal(value, before[key])}
    joint = {"word.weight", "position.weight", "embedding_norm.weight", "embedding_norm.bias"}
    everything = {key for key in before if ".cross." not in key and not key.startswith("memory_in.")}
    assert frozen == {"SwinBERT": joint, "LAVENDER": joint, "RICA2": everything}.get(name, {"word.weight"})
    assert frozen <= stayed
    assert all(key.endswith("key.bias") for key in stayed - frozen)  # a key's bias cancels in the softmax
    assert len(frozen) < len(before)


def test_a_system_without_a_writer_loads_nothing(tmp_path):
    silent = captioner("RICA2", 9, decoder=None)
    silent.freeze_text()
    assert all(p.requires_grad for p in silent.parameters())


@part
def test_weights_that_do_not_fit_are_refused(part, tmp_path):
    mine, same = (words.build_writer(part, CONFIG, Tokenizer(pieces)) for pieces in (WANTED, KNOWN))
    other = words.build_writer("s2vt" if part == "decoder" else "decoder", CONFIG, Tokenizer(KNOWN))
    name = "bias" if part != "s2vt" else "out.bias"
    before = values(mine)

    def refused(message: str, pieces: list[str] = WANTED) -> None:
        with pytest.raises(InputError, match=message) as caught:
            load_text(mine, tmp_path / "words.safetensors", pieces)
        assert all(torch.equal(value, before[key]) for key, value in mine.state_dict().items())
        assert "\n" not in str(caught.value)
        assert "words." in str(caught.value)  # names the file

    refused("no such file")
    saved(other, tmp_path)
    refused("do not fit")
    saved(same, tmp_path)
    refused("share no word piece", [*SPECIAL, "espalda", "recta", "a", "b", "c", "d"])
    saved(same, tmp_path, without=name)
    refused(f"do not fit: {name}")
    saved(same, tmp_path, [*KNOWN, "more"])  # another vocabulary than that of the weights
    refused("do not fit")
    (tmp_path / "words.safetensors").write_bytes(b"no weights")
    refused("cannot be read")
    (tmp_path / "words.txt").unlink()
    refused("no such file")


@pytest.mark.parametrize("change", [{"decoder.dim": 64}, {"decoder.depth": 2}, {"decoder.max_tokens": 32}])
def test_weights_of_another_size_are_refused(change, tmp_path):
    small, large = (words.build_writer("decoder", CONFIG.with_(c), Tokenizer(KNOWN)) for c in ({}, change))
    for one, other in ((small, large), (large, small)):
        with pytest.raises(InputError, match="do not fit"):
            load_text(one, saved(other, tmp_path), KNOWN)


@each
def test_shipped_weights_fit_the_small_systems(name):
    file = text_file(captioner(name, 9).TEXT_WEIGHTS)
    pieces = file.with_suffix(".txt").read_text().splitlines()
    model = captioner(name, len(pieces), decoder=SMALL["RICA2"]["decoder"])
    load_text(model.text_decoder, file, pieces)
    state = load_file(file)
    assert all(torch.equal(value, state[key].float()) for key, value in language_weights(model.text_decoder).items())


def test_small_writers_have_shipped_weights_and_laptop_size():
    assert {captioner(name, 9).TEXT_WEIGHTS for name in FEATURES} == set(words.PARTS)
    assert [text_file(part).stem for part in words.PARTS] == ["formsim_decoder", "s2vt", "swinbert", "lavender"]
    laptop = build("laptop").decoder
    joint, decoder = (SMALL["SwinBERT"]["bert"], SMALL["LAVENDER"]["bert"]), SMALL["RICA2"]["decoder"]
    for bert in (*joint, decoder):
        for size in ("dim", "heads", "dropout", "max_tokens"):
            assert getattr(bert, size) == getattr(laptop, size)
    assert decoder.depth == laptop.depth
    assert [bert.depth for bert in joint] == [2, 2]  # these layers read the video as well
