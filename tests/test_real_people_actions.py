"""Which exercise real people do: the probability that an answer is right, the threshold, and what is published."""

import dataclasses
import json
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from landmark_clips import project

import formsim
from efa.config import build
from efa.data.landmarks import INDEX
from efa.data.observation import observe_landmarks
from efa.data.skeleton import to_joints
from efa.predict import EFA, Trust, shipped_checkpoint
from efa.utils.errors import InputError
from efa_book.real_people.actions import fit_trust, restored, scores
from formsim.others import OTHER, other_skeleton
from formsim.skeletons import skeleton

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results" / "real-people"


@pytest.fixture(scope="module")
def shipped() -> EFA:
    return EFA.from_pretrained(shipped_checkpoint())


def clip(name: str, seed: int = 3, noise: float = 0.01):
    i = list(formsim.fault_phrases()).index(name)
    joints = skeleton(dataclasses.replace(formsim.stream_clip(i, seed), executed=1.0))
    moved = np.concatenate([joints] * 3) + np.random.default_rng(0).normal(0, noise, (144, 20, 3))
    return project(moved.astype(np.float64), 12.0)


def table(count: int = 400) -> pd.DataFrame:
    """Answers that are right as often as their probability says; groups of five."""
    draw = np.random.default_rng(0)
    probability = draw.uniform(0.05, 0.99, count)
    return pd.DataFrame({
        "set": np.where(np.arange(count) % 4 == 0, "a", "b"), "group": np.arange(count) // 5,
        "part": np.where(np.arange(count) // 5 % 2, "test", "validation"), "action": "Squat",
        "probability": probability, "other": 0.0, "unusable": "", "right": draw.random(count) < probability,
    })  # fmt: skip


def test_the_threshold_keeps_wrong_answers_rare_and_is_chosen_on_validation_alone():
    answers = table()
    weights, least = fit_trust(answers)
    assert weights[1] > 0.5
    trust = Trust(weights, least)
    assert trust.right(0.95) > trust.right(0.5) > trust.right(0.1)
    given = answers[[trust.right(p) >= least for p in answers["probability"]]]
    assert given["right"].mean() > 0.88
    assert len(given) > 10
    spoilt = answers.assign(right=answers["right"].where(answers["part"] == "validation", False))
    assert fit_trust(spoilt) == (weights, least)


def test_scores_count_what_they_say():
    answers = table().assign(action=["Squat", ""] * 200)
    efa = EFA.__new__(EFA)
    efa.trust = Trust((0.0, 1.0), 0.6)
    found = scores(answers, efa).set_index(["part", "metric"])["value"]
    known = answers[answers["action"] == "Squat"]
    assert found["all", "top1"] == pytest.approx(100 * known["right"].mean())
    assert found["all", "answered_known"] == pytest.approx(100 * (known["probability"] >= 0.6).mean())
    assert found["all", "wrong_of_answered_known"] == pytest.approx(
        100 * (1 - known[known["probability"] >= 0.6]["right"].mean())
    )


def test_boxes_normalised_frame_by_frame_get_a_body_back():
    seen = clip("Push-Up")
    low, high = seen.image.min(1, keepdims=True), seen.image.max(1, keepdims=True)
    squeezed = seen._replace(image=(seen.image - low) / (high - low), size=(1, 1))
    length = lambda one: np.linalg.norm(one.image[:, INDEX["elbow_l"]] - one.image[:, INDEX["shoulder_l"]], axis=-1)  # noqa: E731
    spread = [length(one).std() / length(one).mean() for one in (squeezed, restored(squeezed))]
    assert spread[1] < 0.5 * spread[0]


def test_the_shipped_model_names_formsims_exercises_and_abstains_on_others(shipped):
    names = ("Push-Up", "Barbell Deadlift", "Jumping Jack", "Standing Barbell Curl", "Warrior II", "Plank")
    right = [shipped.answer(observe_landmarks(clip(name), 16))["action"] == name for name in names]
    assert sum(right) >= 4
    answers = []
    for i in range(30, 42):
        joints = np.concatenate([other_skeleton(i, 99)] * 3).astype(np.float64)
        answers.append(shipped.answer(observe_landmarks(project(joints, 12.0), 16)))
    assert sum(answer["action"] is None for answer in answers) >= 9
    assert all(answer["abstained"] and answer["quality"] is None for answer in answers if answer["action"] is None)
    assert OTHER not in {top["action"] for answer in answers for top in answer["top5"]}


def test_nobody_and_half_a_body_get_words_not_an_answer(shipped):
    seen = clip("Push-Up")
    nobody = seen._replace(image=np.full_like(seen.image, np.nan), visibility=seen.visibility * 0)
    hidden = seen.visibility.copy()
    hidden[:, [INDEX["hip_l"], INDEX["hip_r"]]] = 0.1
    for landmarks, words in ((nobody, "nobody"), (seen._replace(visibility=hidden), "hips")):
        answer = shipped.answer(observe_landmarks(landmarks, 16))
        assert words in answer["abstained"]
        assert (answer["action"], answer["quality"], answer["explanation"], answer["top5"]) == (None, None, "", [])
    assert np.isnan(to_joints(nobody)).all()


def test_each_repetition_is_judged_and_untested_verdicts_say_so(shipped):
    answer = shipped.answer(observe_landmarks(clip("Push-Up"), 16))
    assert len(answer["repetitions"]) >= 2
    times = [time for one in answer["repetitions"] for time in (one["start"], one["end"])]
    assert times == sorted(times)
    assert any("AUC of" in warning for warning in answer["warnings"])  # push-ups were tried on people
    other = shipped.answer(observe_landmarks(clip("Jumping Jack"), 16), action="Jumping Jack")
    assert any(warning.startswith("untested") for warning in other["warnings"])


def test_own_steps_are_not_explained_by_a_text_about_another_exercise(shipped, monkeypatch):
    seen, steps = observe_landmarks(clip("Push-Up"), 16), shipped.steps["Squat"]
    for told, kept in (("push-up", False), ("movement", True)):
        text = f"This {told} is executed correctly. In step two, the body is as straight as in a plank."
        monkeypatch.setattr(type(shipped.tokenizer), "decode", lambda *_, text=text: text)
        answer = shipped.answer(seen, steps=steps)
        assert answer["action"] == "the exercise described"
        assert (answer["explanation"] == text) == kept
        assert any(warning.startswith("no explanation") for warning in answer["warnings"]) != kept


def test_an_explanation_of_another_exercise_is_noted(shipped, monkeypatch):
    seen, notes = observe_landmarks(clip("Push-Up"), 16), {}
    for told in ("push-up", "barbell back squat", "squat", "movement"):
        text = f"This {told} is executed correctly. In step two, the body is as straight as in a plank."
        monkeypatch.setattr(type(shipped.tokenizer), "decode", lambda *_, text=text: text)
        for action in ("Push-Up", "Squat"):
            warnings = shipped.answer(seen, action=action)["warnings"]
            notes[told, action] = [w.split("'")[1] for w in warnings if "another exercise" in w]
    assert notes == {
        ("push-up", "Push-Up"): [], ("push-up", "Squat"): ["Push-Up"],
        ("barbell back squat", "Push-Up"): ["Barbell Back Squat"],
        ("barbell back squat", "Squat"): ["Barbell Back Squat"],
        ("squat", "Push-Up"): ["Squat"], ("squat", "Squat"): [],
        ("movement", "Push-Up"): [], ("movement", "Squat"): [],
    }  # fmt: skip


def test_the_kept_vectors_are_the_text_encoders(shipped, monkeypatch, tmp_path):
    seen = observe_landmarks(clip("Push-Up"), 16)
    encoded = dataclasses.replace(shipped, vectors={}).answer(seen)
    monkeypatch.setattr("efa.predict.TextEncoder", Mock(side_effect=AssertionError))  # takes seconds to load
    kept = EFA.from_pretrained(shipped_checkpoint())
    answer = kept.answer(seen)
    for one, other in zip(answer.pop("steps"), encoded.pop("steps"), strict=True):  # rounded; processors differ
        assert one["text"] == other["text"]
        assert one["frames"] == pytest.approx(other["frames"], abs=1e-5)
    assert answer == encoded
    dataclasses.replace(kept, vectors={"Squat": torch.zeros(6, 3)}).save_pretrained(tmp_path)
    with pytest.raises(InputError, match="vectors of 'Squat' that do not fit"):
        EFA.from_pretrained(tmp_path)


def test_what_ships_is_small_and_says_where_it_comes_from():
    folder = shipped_checkpoint()
    assert sum(file.stat().st_size for file in folder.iterdir()) < 10e6
    facts = json.loads((folder / "provenance.json").read_text(encoding="utf-8"))
    assert any("efa run 6/EFA --preset pose" in line for line in facts["commands"])
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    kept = json.loads((RESULTS / "actions.json").read_text(encoding="utf-8"))
    assert [list(config["trust"]["weights"]), config["trust"]["least"], config["trust"]["forms"]] == [
        kept["weights"], kept["least"], kept["forms"]
    ]  # fmt: skip
    assert build("pose").encoder.kind == config["config"]["encoder"]["kind"]
