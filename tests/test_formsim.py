"""FormSim's movements and clips: geometry that holds for any body and any fault, splits and standards as stated."""

import hashlib
import math
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.utils.errors import InputError
from formsim import dataset, motion
from formsim.body import Subject
from formsim.preview import specimen
from formsim.schema import load_actions

ROOT = Path(__file__).resolve().parents[1]
PHASE = np.linspace(0, 1, 9)
DIGEST = """
import hashlib
import formsim
chosen = [formsim.clips("main", 200, 0)[i] for i in (0, 77)] + [formsim.clips("standards", 200, 0)[5]]
digest = hashlib.sha256()
for clip in chosen:
    digest.update(formsim.render_clip(clip, 48, 6).tobytes())
print(digest.hexdigest())
"""
# SHA-256 of three clips; changes with movements, bodies and rooms and with the list of actions, not with words
PINNED = "a1b9b23ab2a275688b9af758b6747d816d001ef21d5e3b886695e5eed06e7e7c"


def people(count: int) -> list[Subject]:
    return [Subject.sample(np.random.RandomState(seed)) for seed in range(count)]


def moved(action, who: Subject, faults=(), scale: float = 1.0):
    pose = motion.angles(action, PHASE, faults, scale)
    return motion.joints(pose, who, motion.ANCHORS[action.anchor], action.arms), pose


def lengths(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Distance between the two ends of every rigid segment, [T] each."""
    ends = [("pelvis", "chest"), ("chest", "neck"), ("neck", "head")]
    for side in "lr":
        for a, b in (("shoulder", "elbow"), ("elbow", "wrist"), ("wrist", "hand"), ("hip", "knee"), ("knee", "ankle")):
            ends.append((f"{a}_{side}", f"{b}_{side}"))
        ends += [("pelvis", f"hip_{side}"), (f"ankle_{side}", f"toe_{side}")]
    at = motion.INDEX
    return {f"{a}-{b}": np.linalg.norm(joints[:, at[a]] - joints[:, at[b]], axis=-1) for a, b in ends}


def expected(who: Subject) -> dict[str, float]:
    own = {"pelvis-chest": who.lower_trunk, "chest-neck": who.upper_trunk, "neck-head": who.neck + who.head}
    for side in "lr":
        own |= {
            f"shoulder_{side}-elbow_{side}": who.upper_arm,
            f"elbow_{side}-wrist_{side}": who.forearm,
            f"wrist_{side}-hand_{side}": who.hand,
            f"hip_{side}-knee_{side}": who.thigh,
            f"knee_{side}-ankle_{side}": who.shank,
            f"pelvis-hip_{side}": who.hip_half_width,
            f"ankle_{side}-toe_{side}": math.hypot(who.foot, 0.06),
        }
    return own


def any_pose(draw_from: tuple[float, float] = (-180, 180)) -> st.SearchStrategy[dict[str, np.ndarray]]:
    angle = st.lists(st.floats(*draw_from), min_size=2, max_size=2).map(np.array)
    return st.fixed_dictionaries(dict.fromkeys(motion.ANGLES, angle))


# --- determinism ---------------------------------------------------------------------------------------------------


def test_a_clip_has_the_same_bytes_twice():
    clip = formsim.clips("main", 50, 0)[7]
    first = formsim.render_clip(clip, 32)
    assert first.shape == (6, 32, 32, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(first, formsim.render_clip(clip, 32))
    assert not np.array_equal(first, formsim.render_clip(replace(clip, seed=clip.seed + 1), 32))


def test_the_bytes_are_those_of_every_machine_and_process():
    out = subprocess.run([sys.executable, "-c", DIGEST], cwd=ROOT, capture_output=True, text=True, check=True)
    here = hashlib.sha256()
    for clip in (*(formsim.clips("main", 200, 0)[i] for i in (0, 77)), formsim.clips("standards", 200, 0)[5]):
        here.update(formsim.render_clip(clip, 48, 6).tobytes())
    assert out.stdout.strip() == here.hexdigest()
    assert here.hexdigest() == PINNED


def test_clips_and_records_depend_on_the_seed_alone():
    again = formsim.clips.__wrapped__("main", 60, 3)
    assert again == formsim.clips("main", 60, 3)
    assert again != formsim.clips("main", 60, 4)
    assert [formsim.record(c) for c in again] == [formsim.record(c) for c in again]


# --- geometry ------------------------------------------------------------------------------------------------------


@given(any_pose(), st.integers(0, 50), st.sampled_from(sorted(motion.ANCHORS)), st.sampled_from(["world", "trunk"]))
@settings(deadline=None, max_examples=60)
def test_segments_keep_their_lengths_whatever_the_angles(pose, seed, anchor, arms):
    who = Subject.sample(np.random.RandomState(seed))
    joints = motion.joints(pose, who, motion.ANCHORS[anchor], arms)
    assert joints.shape == (2, 20, 3)
    assert joints.dtype == np.float64
    assert np.isfinite(joints).all()
    found, own = lengths(joints), expected(who)
    for name, values in found.items():
        assert np.allclose(values, own[name], atol=1e-5), name


_SIDEWAYS = ("yaw", "pelvis.roll", "pelvis.twist", "trunk.side", "trunk.side_upper", "trunk.twist", "neck.side")
_EVEN = [name for name, anchor in motion.ANCHORS.items() if not anchor.roll and name.split("_")[-1] not in
         ("right", "foot", "kneel", "knee")]  # fmt: skip


def swapped(name: str) -> str:
    head, dot, tail = name.partition(".")
    side = {"_l": "_r", "_r": "_l"}.get(head[-2:], "")
    return (head[:-2] + side if side else head) + dot + tail


@given(any_pose((-80, 80)), st.sampled_from([*_EVEN, "kneel"]), st.sampled_from(["world", "trunk"]))
@settings(deadline=None, max_examples=40)
def test_a_mirrored_pose_gives_the_mirrored_body(pose, anchor, arms):
    who = people(1)[0]
    mirror = {name: pose[swapped(name)] * (-1 if name in _SIDEWAYS else 1) for name in motion.ANGLES}
    a, b = (motion.joints(p, who, motion.ANCHORS[anchor], arms) for p in (pose, mirror))
    order = [motion.INDEX[swapped(name)] for name in motion.JOINTS]
    assert np.allclose(a, b[:, order] * np.array([1, -1, 1]), atol=1e-4)


@pytest.mark.parametrize("name", list(load_actions()))
def test_nobody_sinks_into_the_floor(name):
    action = load_actions()[name]
    for who in people(3):
        for fault in (None, *action.faults.values()):
            for magnitude in (0.4, 1.0, 1.4) if fault else (0.0,):
                joints, _ = moved(action, who, ((fault, magnitude, 0.0),) if fault else ())
                assert np.isfinite(joints).all()
                low = joints[..., 2].min()
                at = motion.JOINTS[int(joints[..., 2].min(axis=0).argmin())]
                assert low > -0.03, f"{at} at {100 * low:.1f} cm with {fault.name if fault else 'standard'} {magnitude}"


@pytest.mark.slow
@pytest.mark.parametrize("name", list(load_actions()))
def test_no_clip_of_the_data_set_sinks_into_the_floor(name):
    chosen = [c for b in ("main", "standards") for c in formsim.clips(b, 3392, 0) if c.action == name]
    for clip in chosen[:150]:
        joints, _, _ = dataset.performance(clip, dataset.sample_phases(6))
        assert joints[..., 2].min() > -0.05, clip  # style and sway add a little


@pytest.mark.parametrize(
    "name", [a.name for a in load_actions().values() if motion.ANCHORS[a.anchor].low == motion._FEET]
)
def test_standing_people_touch_the_floor(name):
    action = load_actions()[name]
    for who in people(3):
        for fault in (None, *action.faults.values()):
            joints, pose = moved(action, who, ((fault, 1.4, 0.0),) if fault else ())
            points = []
            for side in "lr":
                pitch = np.deg2rad(pose[f"foot_{side}"])
                points.append(joints[:, motion.INDEX[f"ankle_{side}"], 2] - 0.08 * np.cos(pitch))
                points.append(joints[:, motion.INDEX[f"toe_{side}"], 2] - 0.02)
            assert np.allclose(np.min(points, axis=0), pose["lift"] / 100, atol=0.01)


def test_a_movement_returns_and_goes_as_far_as_it_is_scaled():
    squat = load_actions()["Squat"]
    depth = {}
    for scale in (0.5, 1.0):
        joints, _ = moved(squat, people(1)[0], scale=scale)
        pelvis = joints[:, 0, 2]
        assert np.isclose(pelvis[0], pelvis[-1], atol=1e-6)
        depth[scale] = pelvis.max() - pelvis.min()
    assert depth[0.5] < 0.6 * depth[1.0]


def test_a_fault_sets_in_at_its_onset():
    squat = load_actions()["Squat"]
    fault = squat.faults["knees_in"]
    plain, late = (motion.angles(squat, PHASE, f) for f in ((), ((fault, 1.0, 0.3),)))
    before, after = PHASE <= 0.3, (PHASE > 0.38) & (PHASE < 0.9)
    change = np.abs(plain["thigh_l.out"] - late["thigh_l.out"])
    assert change[before].max() == 0
    assert change[after].min() > 1


@pytest.mark.parametrize("name", list(load_actions()))
def test_every_fault_changes_the_picture(name):
    action = load_actions()[name]
    assert len(action.faults) >= 3
    for fault in action.faults:
        for view in action.views:
            a, b = (formsim.render_clip(specimen(name, f, view), 32, 3).astype(int) for f in ("", fault))
            changed = int((np.abs(a - b).sum(axis=-1) > 60).sum(axis=(1, 2)).max())
            if changed >= 8:  # of 1024 pixels; one view may hide it
                break
        else:
            pytest.fail(f"nobody can see {fault}")


# --- the benchmarks ------------------------------------------------------------------------------------------------


def shares(benchmark: str) -> dict[str, list[dataset.Clip]]:
    """The clips of each split, at the size of CoT-AFA."""
    chosen = formsim.clips(benchmark, 3392, 0)
    return {split: [clip for clip in chosen if clip.split == split] for split in dataset.SPLITS}


@pytest.mark.parametrize("benchmark", ["main", "standards", "unseen"])
def test_splits_are_70_15_15_and_share_nobody(benchmark):
    chosen = formsim.clips(benchmark, 3392, 0)
    assert len({clip.clip_id for clip in chosen}) == len({clip.seed for clip in chosen}) == len(chosen) == 3392
    splits = shares(benchmark)
    assert {split: len(part) for split, part in splits.items()} == {"train": 3392 - 2 * 509, "val": 509, "test": 509}
    who = {split: {clip.subject for clip in part} for split, part in splits.items()}
    assert {split: len(people) for split, people in who.items()} == dataset.SUBJECTS
    assert not who["train"] & who["val"] | who["train"] & who["test"] | who["val"] & who["test"]
    for part in splits.values():
        actions = Counter(clip.action for clip in part)
        assert max(actions.values()) - min(actions.values()) <= 1
        assert {clip.view for clip in part} == {"front", "side", "back"}
        standard = np.mean([clip.quality == 0 for clip in part])
        share = dataset.STANDARD_SHARE[benchmark]
        assert abs(standard - share) < 4 * math.sqrt(share * (1 - share) / len(part))


@pytest.mark.parametrize("benchmark", ["main", "standards"])
def test_every_split_shows_every_action_right_and_wrong(benchmark):
    for split, part in shares(benchmark).items():
        assert {clip.action for clip in part} == set(load_actions())
        if split == "train":
            assert {(clip.action, clip.quality) for clip in part} == {(a, q) for a in load_actions() for q in (0, 1)}


def test_the_share_of_standard_clips_is_that_of_the_paper_s_data():
    standard = Counter(clip.quality for clip in formsim.clips("main", 3392, 0))
    assert standard[0] / standard[1] == pytest.approx(2242 / 1150, rel=0.06)  # CoT-AFA: 2,242 of its 3,392 clips


# --- actions that training never shows -----------------------------------------------------------------------------

UNSEEN = {
    "Barbell Back Squat", "Standing Barbell Curl", "Plank", "Barbell Glute Bridge", "Horse Stance Punch",
    "Seated Cable Row", "Staff Chop", "Leg Swings",
}  # fmt: skip


@pytest.mark.parametrize("seed", [0, 5])
def test_the_test_split_of_unseen_shows_eight_actions_that_no_other_split_shows(seed):
    shown: dict[str, set[str]] = {split: set() for split in dataset.SPLITS}
    for clip in formsim.clips("unseen", 3392, seed):
        shown[clip.split].add(clip.action)
    assert shown["test"] == UNSEEN
    assert shown["train"] == shown["val"] == set(load_actions()) - UNSEEN


def test_unseen_actions_are_of_varied_types_whatever_order_they_are_given_in():
    actions = list(load_actions().values())
    new = dataset.unseen_actions(actions)
    assert {action.name for action in new} == UNSEEN
    assert len({action.type for action in new}) >= 6
    assert {action.mode for action in new} == {"manual", "apparatus"}
    assert dataset.unseen_actions(actions[::-1]) == new
    said = {phrase for a in actions if a not in new for fault in a.faults.values() for phrase in fault.seen}
    faults = [fault for action in new for fault in action.faults.values()]
    assert (len(faults), sum(not said.isdisjoint(fault.seen) for fault in faults)) == (32, 23)  # as the book says


@given(st.integers(4, 50), st.integers(1, 60), st.integers(0, 3))
@settings(deadline=None, max_examples=30)
def test_no_choice_of_actions_leaks_into_the_other_splits(among, count, seed):
    chosen = formsim.clips("unseen", 3 + count, seed, tuple(load_actions())[:among])
    shown = {split: {clip.action for clip in chosen if clip.split == split} for split in dataset.SPLITS}
    assert all(shown.values())
    assert not shown["test"] & (shown["train"] | shown["val"])


def test_too_few_actions_to_hold_one_out_are_refused():
    with pytest.raises(InputError, match="four"):
        formsim.clips("unseen", 12, 0, ("Squat", "Plank", "Push-Up"))


def test_the_benchmarks_share_no_performance():
    seeds = [{clip.seed for clip in formsim.clips(b, 600, 0)} for b in ("main", "standards", "unseen")]
    assert len(set.union(*seeds)) == 1800


# --- what a clip is ------------------------------------------------------------------------------------------------


def test_few_clips_still_fill_every_split():
    assert Counter(clip.split for clip in formsim.clips("main", 3, 0)) == {"train": 1, "val": 1, "test": 1}


@pytest.mark.parametrize("benchmark", ["main", "standards", "unseen"])
def test_standard_form_is_a_matter_of_degree(benchmark):
    chosen = formsim.clips(benchmark, 3392, 0)
    good, bad = ([clip for clip in chosen if clip.quality == q] for q in (0, 1))
    assert all(0 <= m <= dataset.TOLERATED for clip in good for _, m in clip.extra)
    assert 0.4 < np.mean([bool(clip.extra) for clip in good]) < 0.6
    assert all(not clip.fault and clip.severity == clip.onset == 0 for clip in good)
    own = [clip for clip in bad if not clip.fault.startswith("range_")]
    low, high = dataset.SEVERITY
    assert all(low <= clip.severity <= high and clip.fault in load_actions()[clip.action].faults for clip in own)
    assert all(not clip.extra for clip in bad)


def test_in_the_standards_benchmark_nothing_but_the_text_tells_the_range():
    chosen = formsim.clips("standards", 3392, 0)
    levels = {name: factor for name, (factor, *_) in dataset.STANDARDS.items()}
    table = np.zeros((len(levels), 2))
    met = Counter()
    for clip in chosen:
        done = min(levels, key=lambda name: abs(levels[name] - clip.executed))
        assert abs(levels[done] - clip.executed) <= 0.051 * levels[done]
        table[list(levels).index(done), clip.quality] += 1
        met[done, clip.standard, clip.quality] += 1
        if clip.fault.startswith("range_"):
            short = levels[done] < levels[clip.standard]
            assert clip.fault == ("range_short" if short else "range_long")
        else:
            assert clip.standard == done
    for done in levels:
        assert met[done, done, 0] > 100
        assert all(met[done, other, 1] > 50 and not met[done, other, 0] for other in levels if other != done)
    wanted = table.sum(1, keepdims=True) * table.sum(0, keepdims=True) / table.sum()
    assert ((table - wanted) ** 2 / wanted).sum() < 18.4  # chi-square, two degrees of freedom, p = 1e-4
    assert set(formsim.step_table(chosen)) == {f"{a} [{s}]" for a in load_actions() for s in levels}


def test_a_wrong_range_is_no_second_fault_in_the_picture():
    clip = next(c for c in formsim.clips("standards", 400, 0) if c.fault.startswith("range_"))
    same = replace(clip, fault="", severity=0.0)
    assert np.array_equal(formsim.render_clip(clip, 24, 2), formsim.render_clip(same, 24, 2))


def test_the_stream_shares_no_clip_with_the_benchmarks_and_nobody_with_val_and_test():
    stream = [formsim.stream_clip(i, 1_000_003) for i in range(300)]
    others = [clip for b in ("main", "standards", "unseen") for clip in formsim.clips(b, 600, 0)]
    assert not {c.seed for c in stream} & {c.seed for c in others}
    assert not {c.subject for c in stream} & {c.subject for c in others}
    assert len({c.subject for c in stream}) == 300


def test_the_deviation_is_what_a_fault_adds():
    right = specimen("Squat", view="front")
    wrong = replace(right, fault="knees_in", severity=1.0)
    added = np.rad2deg(formsim.pose_target(wrong, 6)[3] - formsim.pose_target(right, 6)[3])
    operator, amount = load_actions()["Squat"].faults["knees_in"].change["thigh_l.out"]
    column = added[:, motion.ANGLES.index("thigh_l.out")]
    assert operator == "+"
    assert np.abs(column).max() == pytest.approx(abs(amount), rel=0.15)
    assert np.abs(added[:, motion.ANGLES.index("forearm_l")]).max() < 1e-3


def test_pose_targets_say_where_the_body_is():
    clip = formsim.clips("main", 60, 0)[11]
    joints, angles, places, deviation = formsim.pose_target(clip, 6)
    assert joints.shape == (6, 20, 3)
    assert angles.shape == (6, 35, 2)
    assert places.shape == (6, 20, 2)
    assert deviation.shape == (6, 35)
    assert np.allclose(joints[:, 0], 0)
    assert np.allclose((angles**2).sum(-1), 1, atol=1e-5)
    assert places.min() > -0.05
    assert places.max() < 1.05
    assert np.allclose(np.linalg.norm(joints[:, motion.INDEX["hip_l"]], axis=-1), np.linalg.norm(
        joints[:1, motion.INDEX["hip_l"]], axis=-1), atol=1e-3)  # fmt: skip
