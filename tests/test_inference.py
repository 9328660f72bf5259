"""Predictions: nothing leaks between clips or from the truth, and a checkpoint answers as the model that was saved."""

import dataclasses
import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch

import formsim
from efa.baselines.inputs import prepare
from efa.data.loader import load_frames
from efa.data.manifest import StepText
from efa.metrics import COLUMNS, read_predictions
from efa.predict import EFA, PROTOCOLS, predict
from efa.train import fit
from efa.utils.errors import InputError

KEYS = {"video", "action", "protocol", "top5", "quality", "quality_probability", "explanation", "steps", "warnings"}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """(model, inputs, config, frames) of one tiny run."""
    folder = tmp_path_factory.mktemp("home")
    with tiny.home(folder):
        config = tiny.config()
        inputs = prepare(config)
        (folder / "run").mkdir()
        model = fit(config, inputs, folder / "run")
        yield model, inputs, config, load_frames(inputs.dataset, config.data)


@pytest.fixture(scope="module")
def saved(world, tmp_path_factory) -> Path:
    model, inputs, config, _ = world
    folder = tmp_path_factory.mktemp("checkpoint")
    EFA.from_material(model, config, inputs).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def efa(saved) -> EFA:
    return EFA.from_pretrained(saved)


def scramble(inputs):
    """The same inputs with another truth in every column that a model must not see."""
    table = inputs.dataset.table.copy()
    table["quality"] = 1 - table["quality"]
    table["explanation"] = "zebra"
    table["fault"] = ""
    return dataclasses.replace(inputs, dataset=dataclasses.replace(inputs.dataset, table=table))


# --- predictions over a split --------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_prediction_alone_equals_the_prediction_in_any_batch(world, protocol, batch):
    model, inputs, config, _ = world
    together = predict(model, inputs, config, "train", protocol)
    apart = predict(model, inputs, config.with_({"prediction.batch": batch}), "train", protocol)
    assert np.allclose(together["quality_prob"], apart["quality_prob"], atol=1e-5)
    same = [name for name in together if name != "quality_prob"]
    pd.testing.assert_frame_equal(together[same], apart[same])
    assert together["explanation"].str.len().min() > 0


def test_frames_give_what_their_features_give_in_any_batch(world):
    model, inputs, config, frames = world
    raw = dataclasses.replace(inputs, video=frames)
    features = predict(model, inputs, config)
    pixels = predict(model, raw, config)
    alone = predict(model, raw, config.with_({"prediction.batch": 1}))
    assert np.allclose(pixels["quality_prob"], alone["quality_prob"], atol=1e-5)
    assert np.allclose(pixels["quality_prob"], features["quality_prob"], atol=5e-3)  # features are kept in float16


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_truth_does_not_leak(world, protocol):
    model, inputs, config, _ = world
    honest, blind = (predict(model, m, config, "test", protocol) for m in (inputs, scramble(inputs)))
    for column in ("predicted_action", "top5", "quality_prob", "explanation"):
        assert list(honest[column]) == list(blind[column]), column


def test_without_the_oracle_the_true_class_changes_nothing(world):
    model, inputs, config, _ = world
    table = inputs.dataset.table.copy()
    names = inputs.dataset.actions
    table["action"] = table["action"].map(lambda name: names[(names.index(name) + 1) % len(names)])
    dataset = dataclasses.replace(inputs.dataset, table=table)
    assert dataset.actions == names
    other = dataclasses.replace(inputs, dataset=dataset)
    for protocol in ("predicted", "none"):
        a, b = (predict(model, m, config, "test", protocol) for m in (inputs, other))
        assert list(a["quality_prob"]) == list(b["quality_prob"])
        assert list(a["explanation"]) == list(b["explanation"])
    a, b = (predict(model, m, config, "test", "oracle") for m in (inputs, other))
    assert list(a["quality_prob"]) != list(b["quality_prob"])


def test_protocols_differ_by_the_text_they_give(world, monkeypatch):
    model, inputs, config, _ = world
    seen = []
    forward = model.forward

    def spy(features, steps, instruction, mask=None, tokens=None):
        seen.append((steps.clone(), mask.clone()))
        return forward(features, steps, instruction, mask, tokens)

    monkeypatch.setattr(model, "forward", spy)
    keys = list(inputs.dataset.steps)
    guesses = {}
    for protocol in PROTOCOLS:
        seen.clear()
        table = predict(model, inputs, config, "test", protocol, generate=False)
        assert set(table["explanation"]) == {""}
        ((steps, mask),) = seen
        guesses[protocol] = None if not mask.any() else [
            keys[int((inputs.steps - vector).abs().sum((1, 2)).argmin())] for vector in steps
        ]  # fmt: skip
    assert guesses["none"] is None
    assert guesses["oracle"] == list(table["action"])
    assert guesses["predicted"] == list(table["predicted_action"])
    assert all(wrong != right for wrong, right in zip(guesses["wrong"], table["action"], strict=True))
    with pytest.raises(InputError, match="unknown protocol 'orakel'"):
        predict(model, inputs, config, protocol="orakel")


def test_predictions_are_what_scoring_reads(world, tmp_path):
    model, inputs, config, _ = world
    table = predict(model, inputs, config)
    assert set(COLUMNS) <= set(table.columns)
    table.to_parquet(tmp_path / "predictions.parquet", index=False)
    again = read_predictions(tmp_path / "predictions.parquet")
    assert list(again["quality_prob"]) == list(table["quality_prob"])
    assert all(row.top5[0] == row.predicted_action for row in table.itertuples())
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


def test_an_array_is_assessed_as_the_same_clip_in_a_split(world, efa):
    model, inputs, config, frames = world
    raw = dataclasses.replace(inputs, video=frames)
    table = predict(model, raw, config, "test", "oracle")
    rows = inputs.rows("test")
    for row, wanted in zip(rows, table.itertuples(), strict=True):
        answer = efa.assess(np.array(frames[row]), action=wanted.action)
        check_answer(answer, efa.actions)
        assert answer["video"] is None
        assert answer["protocol"] == "oracle"
        assert answer["quality_probability"] == pytest.approx(wanted.quality_prob, abs=1e-5)
        assert answer["explanation"] == wanted.explanation
    free = efa.assess(np.array(frames[rows[0]]))
    assert free["protocol"] == "predicted"
    assert free["action"] == free["top5"][0]["action"]


def test_a_video_file_is_assessed(efa, tmp_path):
    pytest.importorskip("av")
    from efa.data.video import write_mp4

    clip = formsim.clips("main", 32, 0)[4]
    write_mp4(tmp_path / "clip.mp4", formsim.render_clip(clip, 64, 12), 6)
    answer = efa.assess(tmp_path / "clip.mp4")
    check_answer(answer, efa.actions)
    assert answer["video"] == str(tmp_path / "clip.mp4")
    assert efa.assess(str(tmp_path / "clip.mp4")) == answer


def test_a_real_video_is_assessed(efa, shared):
    pytest.importorskip("av")
    check_answer(efa.assess(shared / "real-clips" / "squat_7.mp4"), efa.actions)


def test_a_new_action_can_be_described_and_an_unknown_one_is_refused(world, efa):
    frames = np.array(world[3][0])
    steps = StepText(tuple(f"Do part {i}." for i in range(5)), "Breathe.")
    answer = efa.assess(frames, action="Juggling", steps=steps)
    check_answer(answer, efa.actions)
    assert answer["action"] == "Juggling"
    assert [step["text"] for step in answer["steps"]] == list(steps.steps)
    with pytest.raises(InputError, match="did you mean 'Crunch'"):
        efa.assess(frames, action="Crunsh")
    with pytest.raises(InputError):
        efa.assess("no/such/file.mp4")


def test_a_model_without_text_answers_too(world, tmp_path):
    _, inputs, _, frames = world
    config = tiny.config(fusion__text="none", training__epochs=1)
    answer = EFA.from_material(fit(config, inputs, tmp_path), config, inputs).assess(np.array(frames[0]))
    assert set(answer) == KEYS


# --- checkpoints ---------------------------------------------------------------------------------------------------


def test_a_checkpoint_gives_the_answers_of_the_model_that_was_saved(world, efa):
    model, inputs, config, _ = world
    pd.testing.assert_frame_equal(predict(model, inputs, config), predict(efa.model, inputs, efa.config))
    assert efa.config == config
    assert efa.actions == inputs.dataset.actions
    assert efa.steps == inputs.dataset.steps
    assert not efa.model.training


def test_a_checkpoint_is_three_files_that_run_no_code(saved, efa, tmp_path):
    assert sorted(p.name for p in saved.iterdir()) == ["config.json", "model.safetensors", "vocab.txt"]
    efa.save_pretrained(tmp_path)
    for file in saved.iterdir():
        assert file.read_bytes() == (tmp_path / file.name).read_bytes()


def edit(file: Path, change) -> None:
    meta = json.loads(file.read_text())
    change(meta)
    file.write_text(json.dumps(meta))


def shorten(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


DAMAGE = {
    "model cut": lambda f: shorten(f / "model.safetensors"),
    "model empty": lambda f: (f / "model.safetensors").write_bytes(b""),
    "model gone": lambda f: (f / "model.safetensors").unlink(),
    "model pickled": lambda f: (f / "model.safetensors").write_bytes(pickle.dumps({"a": 1})),
    "model from torch": lambda f: torch.save({"a": torch.ones(2)}, f / "model.safetensors"),
    "vocabulary gone": lambda f: (f / "vocab.txt").unlink(),
    "vocabulary cut": lambda f: shorten(f / "vocab.txt"),
    "vocabulary binary": lambda f: (f / "vocab.txt").write_bytes(b"\xff\xfe\x00"),
    "config gone": lambda f: (f / "config.json").unlink(),
    "config cut": lambda f: shorten(f / "config.json"),
    "config a list": lambda f: (f / "config.json").write_text("[]"),
    "config empty": lambda f: (f / "config.json").write_text("{}"),
    "unknown key": lambda f: edit(f / "config.json", lambda m: m["config"]["fusion"].update(colour=1)),
    "other width": lambda f: edit(f / "config.json", lambda m: m["config"]["fusion"].update(dim=64)),
    "wrong type": lambda f: edit(f / "config.json", lambda m: m["config"]["decoder"].update(depth="two")),
    "no settings": lambda f: edit(f / "config.json", lambda m: m.update(config=[])),
    "an action less": lambda f: edit(f / "config.json", lambda m: m["actions"].pop()),
    "steps of another shape": lambda f: edit(f / "config.json", lambda m: m.update(steps=["x"])),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_checkpoint_is_one_line(saved, tmp_path, what):
    folder = tmp_path / "damaged"
    shutil.copytree(saved, folder)
    DAMAGE[what](folder)
    with pytest.raises(InputError) as caught:
        EFA.from_pretrained(folder)
    assert "\n" not in str(caught.value)


def test_no_checkpoint_at_all_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="absent"):
        EFA.from_pretrained(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"lacks config\.json"):
        EFA.from_pretrained(tmp_path / "empty")
