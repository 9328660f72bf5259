"""Repetitions of FormSim's figures, whose number is known, and the counts of real people that are published."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_clips import HOLDS, REPEATED, joined, sequence

from efa.data.landmarks import Landmarks
from efa.data.repetitions import find_repetitions
from efa.utils.errors import InputError
from efa_book import real_people_repetitions as published
from formsim.schema import load_actions

CLEAR = ("Squat", "Jumping Jack", "Barbell Deadlift", "Dumbbell Lateral Raise", "Pull Up", "Standing Barbell Curl")


def count(landmarks: Landmarks) -> int:
    return len(find_repetitions(landmarks).spans)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    action=st.sampled_from(CLEAR),
    tempos=st.lists(st.floats(1.5, 4.0), min_size=2, max_size=9),
    rate=st.sampled_from([10.0, 12.0, 25.0, 30.0]),
    pause=st.sampled_from([0.0, 0.5, 1.5]),
    still=st.sampled_from([0.0, 1.0, 3.0]),
    noise=st.sampled_from([0.0, 0.01, 0.02]),
    view=st.sampled_from([0.0, 35.0]),
    seed=st.integers(0, 5),
)
def test_n_repetitions_are_n(
    action: str, tempos: list[float], rate: float, pause: float, still: float, noise: float, view: float, seed: int
) -> None:
    clip = sequence(action, tempos, rate=rate, pause=pause, still=still, noise=noise, view=view, seed=seed)
    assert abs(count(clip) - len(tempos)) <= (1 if max(tempos) > 1.6 * min(tempos) else 0)


def test_any_action_with_pauses_walking_and_noise() -> None:
    rng, right = np.random.default_rng(0), []
    for i, action in enumerate(REPEATED):
        n = int(rng.integers(2, 9))
        tempos = load_actions()[action].seconds * rng.uniform(0.6, 1.6) * rng.uniform(0.85, 1.15, n)
        more = {"pause": rng.choice([0, 0.5, 2]), "walk": rng.choice([0, 3, 5]), "still": rng.choice([0, 1, 3])}
        right.append(count(sequence(action, list(tempos), noise=0.01, seed=i, **more)) - n)
    assert np.mean(np.array(right) == 0) >= 0.9
    assert np.mean(np.abs(right) <= 1) >= 0.95


@pytest.mark.parametrize("seconds", [0.5, 1.0, 4.0, 8.0])
def test_fast_and_slow(seconds: float) -> None:
    missed = abs(count(sequence("Jumping Jack", [seconds] * 6)) - 6)
    assert missed <= (1 if seconds < 1 else 0)  # six frames each: the first or the last may get lost


def test_times_are_those_of_the_repetitions() -> None:
    found = find_repetitions(sequence("Squat", [2.5] * 4, pause=1.0, walk=4.0, still=1.0)).spans
    begins = 5.0 + 3.5 * np.arange(4)
    assert np.allclose([span.start for span in found], begins, atol=0.6)
    assert np.allclose([span.end for span in found], begins + 2.5, atol=0.6)
    assert all(abs(span.first / 12 - span.start) < 0.1 and abs(span.last / 12 - span.end) < 0.1 for span in found)


def _pictured(clip: Landmarks, x: np.ndarray, y: np.ndarray) -> Landmarks:
    return clip._replace(image=np.stack([x, y, clip.image[..., 2]], -1).astype(np.float32))


def test_camera_and_picture_do_not_matter() -> None:
    clip = sequence("Squat", [2.0, 2.4, 2.2, 2.8, 2.5], pause=0.5, walk=3.0, still=1.0, noise=0.01)
    x, y = clip.image[..., 0], clip.image[..., 1]
    expected = find_repetitions(clip).spans
    assert len(expected) == 5
    pan = 15 * clip.times[:, None]  # pixels: a camera that follows slowly
    changed = {
        "smaller": (0.3 * x, 0.3 * y), "elsewhere": (x + 500, y - 80), "mirrored": (1280 - x, y),
        "sideways": (-y, x), "on its head": (-x, -y), "oblique": (0.8 * x - 0.6 * y, 0.6 * x + 0.8 * y),
        "stretched": (1.5 * x, y), "panning": (x + pan, y),
    }  # fmt: skip
    for name, (across, down) in changed.items():
        found = find_repetitions(_pictured(clip, across, down)).spans
        assert len(found) == 5, name
        assert np.allclose([span.start for span in found], [span.start for span in expected], atol=0.5), name
    turned = [find_repetitions(_pictured(clip, *changed[name])) for name in ("smaller", "elsewhere", "sideways")]
    assert all(np.allclose([span[:2] for span in one.spans], [span[:2] for span in expected]) for one in turned)


def test_missing_frames_do_not_matter() -> None:
    clip = sequence("Squat", [2.5] * 6, rate=25.0, noise=0.01)
    clip.image[np.random.default_rng(0).random(len(clip.times)) < 0.3] = np.nan
    assert count(clip) == 6


def test_landmarks_that_jump_for_a_frame_do_not_matter() -> None:
    clip, rng = sequence("Squat", [2.5] * 6, noise=0.01), np.random.default_rng(0)
    jumps = rng.choice(len(clip.times), len(clip.times) // 12, replace=False)
    clip.image[jumps] += rng.normal(0, 900, (len(jumps), 33, 3)).astype(np.float32)
    assert count(clip) == 6


@pytest.mark.parametrize("other", ["Barbell Deadlift", "Jump Squat", "Side Stretch", "Donkey Kicks", "Pull Up"])
def test_another_movement_is_no_repetition(other: str) -> None:
    squats = sequence("Squat", [2.5] * 5, still=0.5)
    assert count(joined(squats, sequence(other, [2.5], still=0.5))) == 5


@pytest.mark.parametrize("depth", [0.2, 0.35])
def test_a_wobble_is_no_repetition(depth: float) -> None:
    squats, last = sequence("Squat", [2.5] * 5, still=0.5), sequence("Squat", [2.5], still=0.5)
    wobble = last._replace(image=last.image[:1] + np.float32(depth) * (last.image - last.image[:1]))
    assert count(joined(squats, wobble)) == 5


@pytest.mark.parametrize("action", HOLDS)
def test_a_hold_is_no_repetition(action: str) -> None:
    found = find_repetitions(sequence(action, [9.0], still=1.0, noise=0.01))
    assert found.spans == ()
    assert found.hold is not None
    assert 1.0 < found.hold.start < 5.0 < found.hold.end < 11.0


@pytest.mark.parametrize("action", ["Squat", "Pull Up", "Jumping Jack", "Glute Bridge"])
@pytest.mark.parametrize("still", [0.0, 2.0])
def test_one_repetition(action: str, still: float) -> None:
    found = find_repetitions(sequence(action, [2.5], still=still))
    assert len(found.spans) == 1
    assert found.hold is None
    assert abs(found.spans[0].start - still) < 0.8
    assert abs(found.spans[0].end - still - 2.5) < 0.8


def test_nothing_to_find() -> None:
    clip = sequence("Squat", [2.0] * 3)
    nobody = clip._replace(image=np.full_like(clip.image, np.nan))
    one = Landmarks(clip.image[:1], clip.visibility[:1], clip.times[:1], clip.size)
    frozen = clip._replace(image=np.repeat(clip.image[:1], len(clip.times), 0))
    assert find_repetitions(nobody) == find_repetitions(one) == ((), None)
    assert find_repetitions(frozen).spans == ()
    assert find_repetitions(frozen).hold is not None
    assert count(clip._replace(image=np.zeros_like(clip.image))) == 0


def test_published_counts_need_their_files(tmp_path: Path) -> None:
    (tmp_path / "repetitions.csv").write_text("file,action,subject,reps\na,squat,stu1,4\n")
    with pytest.raises(InputError, match="cannot be read"):
        published.count_sequences(tmp_path)
    points = sequence("Squat", [2.0] * 4, rate=30.0).image / 1280
    np.savez(tmp_path / "repetitions.npz", a=points.astype(np.float16))
    table = published.count_sequences(tmp_path)
    assert table.iloc[0].tolist() == ["a", "squat", "stu1", "evaluation", 4, 4]
    assert published.score_counts(table) == {"sequences": 1, "obo": 1.0, "mae": 0.0, "error": 0.0}


def test_scores_as_repcount_defines_them() -> None:
    columns = ["file", "action", "group", "part", "counted", "found"]
    table = pd.DataFrame(
        [["a", "squat", "", "development", 10, 9], ["b", "squat", "", "evaluation", 4, 7]], columns=columns
    )
    assert published.score_counts(table) == {"sequences": 2, "obo": 0.5, "mae": (0.1 + 0.75) / 2, "error": 2.0}


def test_real_people(shared: Path) -> None:
    table = published.count_sequences(shared / "real-people")
    assert len(table) == 63
    scores = published.scores_by_action(table).set_index(["part", "action"])
    assert scores.loc[("all", "all"), "obo"] >= 0.60
    kept = pd.read_csv(Path(__file__).parents[1] / "results" / "real-people" / "repetitions.csv", keep_default_na=False)
    assert kept.drop(columns="found").equals(table.drop(columns="found"))
    assert (kept["found"] != table["found"]).mean() < 0.1  # the last bits of a principal component differ by machine
