"""Predictions: nothing leaks between clips or from the truth, and a checkpoint answers as the model that was saved."""

import dataclasses
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import formsim
from efa.baselines.inputs import TrainingInputs
from efa.data.loader import load_frames
from efa.data.manifest import StepText
from efa.predict import EFA, PROTOCOLS, predict
from efa.train import fit
from efa.utils.errors import InputError
from efa_book.predictions import COLUMNS, read_predictions

KEYS = {"video", "action", "protocol", "top5", "quality", "quality_probability", "explanation", "steps", "warnings"}
KEYS |= {"action_probability", "abstained", "faults", "repetitions", "explained", "validated", "model"}


@pytest.fixture(scope="module")
def trained(inputs, tmp_path_factory):
    """(model, inputs, config) of one tiny run."""
    config = tiny.config()
    return fit(config, inputs, tmp_path_factory.mktemp("run")), inputs, config


@pytest.fixture(scope="module")
def raw(trained) -> TrainingInputs:
    """The inputs with frames in the place of their features."""
    _, inputs, config = trained
    return dataclasses.replace(inputs, video=load_frames(inputs.dataset, config.data))


@pytest.fixture(scope="module")
def saved(trained, tmp_path_factory) -> Path:
    model, inputs, config = trained
    folder = tmp_path_factory.mktemp("checkpoint")
    EFA.from_material(model, config, inputs).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def efa(saved) -> EFA:
    return EFA.from_pretrained(saved)


# --- predictions over a split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_prediction_does_not_depend_on_its_batch(trained, protocol, batch):
    model, inputs, config = trained
    together = predict(model, inputs, config, "train", protocol)
    apart = predict(model, inputs, config.with_({"prediction.batch": batch}), "train", protocol)
    pd.testing.assert_frame_equal(together, apart, rtol=0, atol=1e-5)
    assert together["explanation"].str.len().min() > 0


def test_frames_give_what_their_features_give_in_any_batch(trained, raw):
    model, inputs, config = trained
    pixels, features = (predict(model, given, config)["quality_prob"] for given in (raw, inputs))
    alone = predict(model, raw, config.with_({"prediction.batch": 1}))["quality_prob"]
    assert np.allclose(pixels, alone, atol=1e-5)
    assert np.allclose(pixels, features, atol=5e-3)  # features are kept in float16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_truth_does_not_leak(trained, protocol):
    model, inputs, config = trained
    other = tiny.with_columns(inputs, quality=1 - inputs.dataset.table["quality"], explanation="zebra", fault="")
    honest, blind = (predict(model, given, config, "test", protocol) for given in (inputs, other))
    columns = ["predicted_action", "top5", "quality_prob", "explanation"]
    pd.testing.assert_frame_equal(honest[columns], blind[columns], check_exact=True)


@pytest.mark.parametrize("protocol", ["predicted", "none", "oracle"])
def test_without_the_oracle_the_true_class_changes_nothing(trained, protocol):
    model, inputs, config = trained
    names = inputs.dataset.actions
    following = dict(zip(names, [*names[1:], names[0]], strict=True))
    other = tiny.with_columns(inputs, action=inputs.dataset.table["action"].map(following))
    assert other.dataset.actions == names
    a, b = (predict(model, given, config, "test", protocol) for given in (inputs, other))
    assert (list(a["quality_prob"]) == list(b["quality_prob"])) == (protocol != "oracle")
    assert protocol == "oracle" or list(a["explanation"]) == list(b["explanation"])


def test_protocols_differ_by_the_text_they_give(trained, monkeypatch):
    model, inputs, config = trained
    forward, keys, guesses = model.forward, list(inputs.dataset.steps), {}

    def spy(features, steps, instruction, mask=None, tokens=None):
        nearest = [int((inputs.steps - vector).abs().sum((1, 2)).argmin()) for vector in steps]
        guesses[protocol] = [keys[i] for i in nearest] if mask.any() else None
        return forward(features, steps, instruction, mask, tokens)

    monkeypatch.setattr(model, "forward", spy)
    for protocol in PROTOCOLS:
        table = predict(model, inputs, config, "test", protocol, generate=False)
        assert set(table["explanation"]) == {""}
        if protocol == "predicted":
            assert guesses[protocol] == list(table["predicted_action"])
    assert guesses["none"] is None
    assert guesses["oracle"] == list(table["action"])
    assert all(wrong != right for wrong, right in zip(guesses["wrong"], table["action"], strict=True))
    with pytest.raises(InputError, match="unknown protocol 'orakel'"):
        predict(model, inputs, config, protocol="orakel")


def test_predictions_are_what_scoring_reads(trained, tmp_path):
    table = predict(*trained)
    assert set(COLUMNS) <= set(table.columns)
    table.to_parquet(tmp_path / "predictions.parquet", index=False)
    again = read_predictions(tmp_path / "predictions.parquet")
    assert list(again["quality_prob"]) == list(table["quality_prob"])
    assert [names[0] for names in table["top5"]] == list(table["predicted_action"])
    assert set(table["split"]) == {"test"}


# --- one video -----------------------------------------------------------------------------------------------------


def check_answer(answer: dict, actions: list[str]) -> None:
    assert set(answer) == KEYS
    json.dumps(answer, allow_nan=False)
    assert answer["quality"] == ("non-standard" if answer["quality_probability"] > 0.5 else "standard")
    assert len(answer["top5"]) == 5
    probabilities = [top["probability"] for top in answer["top5"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(top["action"] in actions for top in answer["top5"])
    assert len(answer["steps"]) == 5
    for step in answer["steps"]:
        assert step["text"]
        assert len(step["frames"]) == 6
        assert sum(step["frames"]) == pytest.approx(1, abs=1e-4)


def test_an_array_is_assessed_as_the_same_clip_in_a_split(trained, raw, efa):
    model, _, config = trained
    table = predict(model, raw, config, "test", "oracle")
    clips = [np.array(raw.video[row]) for row in raw.rows("test")]
    for clip, wanted in zip(clips, table.itertuples(), strict=True):
        answer = efa.assess(clip, action=wanted.action)
        check_answer(answer, efa.actions)
        assert (answer["video"], answer["protocol"]) == (None, "oracle")
        assert answer["quality_probability"] == pytest.approx(wanted.quality_prob, abs=1e-5)
        assert answer["explanation"] == wanted.explanation
    free = efa.assess(clips[0])
    assert free["protocol"] == "predicted"
    assert free["action"] == free["top5"][0]["action"]


def test_a_video_file_is_assessed(efa, tmp_path):
    pytest.importorskip("av")
    from efa_datasets.mp4 import write_mp4

    clip = formsim.clips("main", 32, 0)[4]
    write_mp4(tmp_path / "clip.mp4", formsim.render_clip(clip, 64, 12), 6)
    answer = efa.assess(tmp_path / "clip.mp4")
    check_answer(answer, efa.actions)
    assert answer["video"] == str(tmp_path / "clip.mp4")
    assert efa.assess(str(tmp_path / "clip.mp4")) == answer


def test_a_new_action_can_be_described_not_only_named(raw, efa):
    frames = np.array(raw.video[0])
    steps = StepText(tuple(f"Do part {i}." for i in range(5)), "Breathe.")
    answer = efa.assess(frames, action="Juggling", steps=steps)
    check_answer(answer, efa.actions)
    assert answer["action"] == "Juggling"
    assert [step["text"] for step in answer["steps"]] == list(steps.steps)
    with pytest.raises(InputError, match="did you mean 'Crunch'"):
        efa.assess(frames, action="Crunsh")
    with pytest.raises(InputError):
        efa.assess("no/such/file.mp4")


def test_a_model_without_text_answers_too(raw, inputs, tmp_path):
    config = tiny.config(fusion__text="none", training__epochs=1)
    answer = EFA.from_material(fit(config, inputs, tmp_path), config, inputs).assess(np.array(raw.video[0]))
    assert set(answer) == KEYS


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_answers_as_the_model_that_was_saved(trained, saved, efa, tmp_path):
    _, inputs, config = trained
    pd.testing.assert_frame_equal(predict(*trained), predict(efa.model, inputs, efa.config))
    assert (efa.config, efa.actions, efa.steps) == (config, inputs.dataset.actions, inputs.dataset.steps)
    assert not efa.model.training
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]  # no code
    efa.save_pretrained(tmp_path)
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def edit(change) -> Callable[[Path], None]:
    def write(file: Path) -> None:
        meta = json.loads(file.read_text())
        change(meta)
        file.write_text(json.dumps(meta))

    return write


DAMAGE: dict[str, tuple[str, bytes | Callable[[Path], object]]] = {
    "model cut": ("model.safetensors", shorten), "model empty": ("model.safetensors", b""),
    "model gone": ("model.safetensors", Path.unlink), "model pickled": ("model.safetensors", pickle.dumps({"a": 1})),
    "model from torch": ("model.safetensors", lambda file: torch.save({"a": torch.ones(2)}, file)),
    "vocabulary gone": ("vocab.txt", Path.unlink), "vocabulary cut": ("vocab.txt", shorten),
    "vocabulary binary": ("vocab.txt", b"\xff\xfe\x00"), "config gone": ("config.json", Path.unlink),
    "config cut": ("config.json", shorten), "config a list": ("config.json", b"[]"),
    "config empty": ("config.json", b"{}"),
    "unknown key": ("config.json", edit(lambda meta: meta["config"]["fusion"].update(colour=1))),
    "other width": ("config.json", edit(lambda meta: meta["config"]["fusion"].update(dim=64))),
    "wrong type": ("config.json", edit(lambda meta: meta["config"]["decoder"].update(depth="two"))),
    "no settings": ("config.json", edit(lambda meta: meta.update(config=[]))),
    "an action less": ("config.json", edit(lambda meta: meta["actions"].pop())),
    "steps of another shape": ("config.json", edit(lambda meta: meta.update(steps=["x"]))),
}  # fmt: skip


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_checkpoint_is_one_line(saved, tmp_path, what):
    folder = shutil.copytree(saved, tmp_path / "damaged")
    name, damage = DAMAGE[what]
    (folder / name).write_bytes(damage) if isinstance(damage, bytes) else damage(folder / name)
    with pytest.raises(InputError) as caught:
        EFA.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_no_checkpoint_at_all_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="absent"):
        EFA.from_pretrained(tmp_path / "absent")
    with pytest.raises(InputError, match=r"lacks config\.json"):
        EFA.from_pretrained(tmp_path)
