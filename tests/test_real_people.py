"""Verdicts on real people's poses: folds, references, rules, the network's harness, coaches, and the page."""

import dataclasses
import json
import sys
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from people_poses import blazepose, squat, squatters, write_folder
from torch import nn

from efa.data.landmarks import INDEX as BLAZEPOSE
from efa.data.landmarks import Landmarks
from efa.metrics import auc
from efa_book.real_people import __main__ as program
from efa_book.real_people import coaches, evaluate, network, page, references
from efa_book.real_people.evaluate import GROUPED, RANDOM, choose, folds, predict, score, summarize
from efa_book.real_people.features import angles, back_angle, percentiles, plank_form, push_up_form, squat_depth
from efa_datasets.real_people import OPENPOSE, Record


def measured(records, condition=None, split=GROUPED):
    """AUC of a condition, by default the random forest."""
    condition = condition or references.conditions(records)[references.FOREST]
    table = predict(records, condition, "x", split)
    return auc(table["label"] == "1", table["score"])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(references, "TREES", 20)
    monkeypatch.setattr(evaluate, "DRAWS", 50)
    monkeypatch.setattr(coaches, "caption_scores", captions)


def captions(wanted, given):
    """In place of Java's: the share of texts that are the same."""
    return dict.fromkeys(
        ("bleu4", "rouge_l"), 100 * float(np.mean([a == b for a, b in zip(wanted, given, strict=True)]))
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(0, 30), min_size=24, max_size=80), st.booleans())
def test_a_group_is_never_on_both_sides_and_every_clip_is_tested_once(numbers, inner):
    numbers = [*numbers, *range(6)]
    records = [Record("x", str(i), f"g{group}", "x", "", i % 2) for i, group in enumerate(numbers)]
    seen = []
    for train, test in folds(records, inner=inner):
        assert not {records[i].group for i in train} & {records[i].group for i in test}
        seen += test.tolist()
    assert sorted(seen) == list(range(len(records)))


def test_a_random_split_shares_groups():
    records = squatters()
    assert any({records[i].group for i in a} & {records[i].group for i in b} for a, b in folds(records, RANDOM))


@pytest.mark.parametrize("name", [references.FOREST, references.REGRESSION, references.DIRECTIONS, references.RULE])
def test_every_reference_sees_who_squats_deep_enough(name):
    records = squatters()
    assert measured(records, references.conditions(records)[name]) > 0.9


@pytest.mark.parametrize("name", [references.FOREST, references.REGRESSION])
def test_with_shuffled_labels_there_is_nothing_to_find(name):
    values = []
    for seed in range(2):
        records = squatters(5, 16, seed=seed, shuffled=True)
        values.append(measured(records, references.conditions(records)[name]))
    assert 0.3 < np.mean(values) < 0.7


def test_only_a_random_split_rewards_knowing_the_person():
    """Everybody has one label and squats in a way of his own: a new person cannot be told, a known one can."""
    random, records = np.random.RandomState(0), []
    for group in range(12):
        own = random.normal(0, 0.1, (20, 3))
        for i in range(6):
            joints = own + squat(0.3, random=random)
            records.append(Record("front_squat", f"{group}-{i}", f"g{group}", "x", "", group % 2, joints=joints))
    assert measured(records, split=RANDOM) > 0.85
    assert measured(records) < 0.7


def oracle(train, test, good=True, shift=0.0):
    """Knows the label of each clip (or nothing), and says it on a scale of its own."""
    p = np.array([record.label if good else 0.5 for record in test], float) + shift
    return np.stack([1 - p, p], 1)


def test_candidates_and_thresholds_are_chosen_among_the_training_clips():
    records = squatters()
    bad, good = partial(oracle, good=False), partial(oracle, shift=7.0)
    best, threshold = choose(records, [bad, good], GROUPED)
    assert best is good
    assert 7 < threshold < 8
    table = predict(records, [bad, good], "x")
    assert score(*(table[c].to_numpy() for c in ("label", "score", "predicted"))) == {"auc": 100, "balanced": 100}


def test_a_fold_never_asks_about_its_test_clips():
    records = squatters()
    seen = []

    def spy(train, test):
        seen.append(({r.clip for r in train}, {r.clip for r in test}))
        return oracle(train, test)

    table = predict(records, spy, "x")
    for _, part in table.groupby("fold"):
        tested = set(part["clip"])
        others = {record.clip for record in records} - tested
        assert seen.count((others, tested)) == 1
        inner = [pair for pair in seen if pair[0] | pair[1] == others]
        assert len(inner) == 3
        assert set().union(*(pair[1] for pair in inner)) == others


def test_a_fault_is_named_among_several():
    records = []
    for i, record in enumerate(squatters(4, 9)):
        fault = ("", "shallow", "deep")[i % 3]
        joints = squat((0.25, 0.05, 0.45)[i % 3], random=np.random.RandomState(i))
        records.append(dataclasses.replace(record, set="deadlift", fault=fault, label=int(bool(fault)), joints=joints))
    conditions = references.conditions(records)
    found = [predict(records, conditions[n], n) for n in (references.FOREST, references.COMMONEST)]
    table = summarize(pd.concat(found))
    reached = table[table["metric"] == "accuracy"].set_index("condition")["value"]
    assert reached[references.FOREST] > 90
    assert reached[references.COMMONEST] < 45


def test_intervals_are_over_groups_and_not_over_clips():
    """Two groups of a hundred clips, one all right, one all wrong: the interval spans nearly everything."""
    rows = [
        ("s", f"{g}{i}", g, "c", GROUPED, 0, str(i % 2), 0.5, str((i + (g == "b")) % 2))
        for g in "ab"
        for i in range(100)
    ]
    table = summarize(
        pd.DataFrame(
            rows, columns=["set", "clip", "group", "condition", "split", "fold", "label", "score", "predicted"]
        )
    )
    one = table[table["metric"] == "balanced"].iloc[0]
    assert (one["value"], one["low"], one["high"], one["n"], one["groups"]) == (50, 0, 100, 200, 2)


def seen(joints, world=False):
    image = (100 * blazepose(joints, visibility=False)).astype(np.float32)
    metres = blazepose(joints, visibility=False).astype(np.float32) if world else None
    found = Landmarks(image, np.ones(image.shape[:2], np.float32), np.arange(len(image)) / 12.5, (640, 480), metres)
    return Record("x", "c", "g", "x", "", 0, landmarks=found)


def test_squat_depth_is_zero_where_hip_and_knee_are_level():
    depths = [squat_depth(seen(squat(depth, 41))) for depth in (0.2, 0.4, 0.5)]
    assert depths == pytest.approx([0.5, 0.0, -0.25], abs=0.03)


def test_angles_are_the_same_from_everywhere_where_there_are_metres():
    joints = squat(0.35)
    turned = joints @ np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1.0]])
    assert angles(seen(joints, world=True)) == pytest.approx(angles(seen(turned, world=True)), abs=1e-3)
    assert np.abs(angles(seen(joints)) - angles(seen(turned))).max() > 5
    standing = angles(seen(squat(0.0), world=True))
    assert standing[:, 3] == pytest.approx(175, abs=5)  # knee


def plank(hip: float, turn: float = 0.0, mirror: bool = False) -> Record:
    """Somebody seen from the side, elbows below; the hip `hip` above the line, the picture turned by degrees."""
    points = {
        "shoulder": (0, 0),
        "hip": (50, hip),
        "knee": (75, 0),
        "ankle": (100, 0),
        "elbow": (0, -25),
        "wrist": (-20, -25),
    }
    c, s = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    keypoints = np.full((1, 18, 2), np.nan, np.float32)
    for i, name in enumerate(OPENPOSE):
        if (part := name.rpartition("_")[0]) in points:
            x, up = points[part]
            x = -x if mirror else x
            keypoints[0, i] = c * x - s * up, -(s * x + c * up)
    return Record("plank", "c", "g", "plank", "Plank", 0, keypoints=keypoints)


@pytest.mark.parametrize("turn", [0, 90, 200])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_back_angle_knows_up_from_down_in_a_turned_picture(turn, mirror):
    high, straight, low = (float(back_angle(plank(hip, turn, mirror))[0]) for hip in (10, 0, -10))
    assert straight == pytest.approx(180, abs=0.1)
    assert high == pytest.approx(360 - low, abs=0.1) == pytest.approx(202.6, abs=0.1)
    assert plank_form(plank(10, turn, mirror)) == pytest.approx(22.6, abs=0.1)


def test_push_up_form_adds_missing_depth_and_a_bent_hip():
    deep, shallow = (seen(squat(0.0), world=True) for _ in range(2))
    for record, elbow in ((deep, (0.3, 0.0)), (shallow, (0.0, -0.3))):
        for side in "lr":
            i, j = (record.landmarks.world[:, BLAZEPOSE.__getitem__(f"{part}_{side}")] for part in ("elbow", "wrist"))
            j[:] = i + np.array([elbow[0], -elbow[1], 0])
    bent = seen(squat(0.3, 2), world=True)
    assert push_up_form(deep) < 15 < 80 < push_up_form(shallow)
    assert push_up_form(bent) != push_up_form(deep)


def test_a_joint_that_is_never_seen_leaves_a_gap_and_no_warning(recwarn):
    record = plank(0)
    record.keypoints[:, [OPENPOSE.index(f"knee_{side}") for side in "lr"]] = np.nan
    assert np.isnan(percentiles([record])).sum() == 4  # both hips' and both knees' angles
    assert not recwarn.list


class StandIn(nn.Module):
    """An encoder that gives heights of the joints in every frame as tokens."""

    out_dim = 20

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, joints):
        return (self.scale * joints[..., 2])[:, :, None, None]


def stand_in(classes: int, seed: int) -> network.Verdict:
    torch.manual_seed(seed)
    return network.Verdict(StandIn(), classes)


def test_a_network_learns_on_other_groups_and_says_so_of_new_ones():
    records = squatters(3, 8)
    poses = network.skeletons(records)
    quick = network.Recipe(rate=0.05, epochs=12, seeds=1)
    assert measured(records, partial(network.learn, start=stand_in, poses=poses, recipe=quick)) > 0.9
    again = [network.learn(records[:16], records[16:], stand_in, poses, quick) for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert again[0].sum(1) == pytest.approx(1, abs=1e-5)


def test_what_formsim_taught_is_asked_first_and_then_learns_on(monkeypatch):
    """Three conditions with a network of FormSim's that has everything wrong."""
    records = squatters(3, 8)
    liar = stand_in(2, 0)
    liar.head = nn.Linear(40, 2)
    with torch.no_grad():
        liar.head.weight.zero_()
        liar.head.weight[0, 0] = 1.0  # a pelvis that stays high: correct
    monkeypatch.setattr(network, "formsim_verdict", lambda action, seed: liar)
    monkeypatch.setattr(network, "RECIPES", dict.fromkeys(network.RECIPES, (network.Recipe(0.05, epochs=20, seeds=1),)))
    found = network.conditions(records)
    assert set(found) == {network.ZERO_SHOT, network.FINE_TUNED, network.ALONE}
    table = predict(records, found[network.ZERO_SHOT], "x", fixed=0.5)
    assert auc(table["label"] == "1", table["score"]) == 0  # unchanged by the training clips
    assert measured(records, found[network.FINE_TUNED]) > 0.9
    assert not any(parameter.grad is not None for parameter in liar.parameters())
    assert network.conditions([dataclasses.replace(record, action="") for record in records]) == {}
    assert network.conditions([plank(0)]) == {}


def test_formsim_alone_shares_incorrect_among_faults_that_it_cannot_name(monkeypatch):
    records = [
        dataclasses.replace(r, set="deadlift", fault=("", "a", "b")[i % 3]) for i, r in enumerate(squatters(1, 6))
    ]
    monkeypatch.setattr(network, "formsim_verdict", lambda action, seed: stand_in(2, 0).eval())
    found = network.zero_shot(records, records, network.skeletons(records), "Squat")
    assert found.sum(1) == pytest.approx(1, abs=1e-5)
    assert found[:, 0] == pytest.approx(found[:, 1])  # the faults a and b; the last is 'correct'


@pytest.mark.slow
def test_a_network_that_knows_formsim_alone_tells_its_squats():
    network.formsim_verdict.cache_clear()
    model = network.formsim_verdict("Squat")
    clips = network.formsim.clips("main", 200, 7, ("Squat",))
    joints = torch.from_numpy(np.stack([network.sample(network.skeleton(clip)) for clip in clips]))
    with torch.inference_mode():
        wrong = model(joints).softmax(-1)[:, 1]
    assert auc([clip.quality for clip in clips], wrong) > 0.8


def test_a_varied_clip_is_the_clip_or_its_mirror_image():
    joints = squat(0.3)
    joints[..., 1] += 1
    clips = np.stack([network.vary(joints, np.random.RandomState(seed)) for seed in range(40)])
    assert clips.shape == (40, 16, 20, 3)
    assert 5 < (clips[:, 0, 0, 1] < 0).sum() < 35  # mirrored: the pelvis lies on the other side
    assert np.abs(network.sample(joints)[[0, -1]] - joints[[0, -1]]).max() < 1e-6


SAID = {
    "Keep your guard up.": {"guard"},
    "Your hips aren't rotating.": {"hip rotation"},
    "You're over-rotating your body.": {"turning too far"},
    "Your arms are too stiff and you’re only using arm strength.": {"stiffness", "arm strength only"},
    "Lift the heel of your back foot.": {"back heel"},
    "Your knees are too straight.": {"knees"},
    "Keep your chin tucked in.": {"head and chin"},
    "Your center of gravity is too high.": {"weight"},
    "The striking point should be in front of your eyes.": {"aim"},
    "Good job.": set(),
}


@pytest.mark.parametrize("text", SAID)
def test_a_sentence_has_its_topics(text):
    assert coaches.topics_of(text) == SAID[text]


def boxers() -> list[Record]:
    """Four boxers; whoever squats was told about the knees, the others about the guard; one topic of everybody."""
    records, random = [], np.random.RandomState(0)
    for group in range(4):
        for i in range(6):
            said = ["Your knees are too straight." if i % 2 else "Keep your guard up.", "Keep your chin tucked in."]
            joints = squat(0.4 if i % 2 else 0.05, random=random)
            extra = {"comments": said}
            records.append(Record("boxing", f"{group}-{i}", f"b{group}", "jab", "", joints=joints, extra=extra))
    return records


def test_coaches_never_answer_from_the_same_boxer_and_joints_tell_what_blind_answers_cannot():
    records, results = boxers(), {}
    for name, coach in coaches.COACHES.items():
        seen = []

        def spy(train, test, coach=coach, seen=seen):
            seen.append({r.group for r in train} & {r.group for r in test})
            return coach(train, test)

        table, texts = coaches.judge(records, spy, name)
        assert seen == [set()] * 4
        results[name] = summarize(table)["value"].item()
        assert [one["metric"] for one in texts] == ["bleu4", "rouge_l"]
    assert results[coaches.NEIGHBOUR] == 100
    assert results[coaches.BLIND] < 90


def test_most_coaches_sentences_have_a_topic(shared):
    from efa_datasets.real_people import read_real_people

    records = [record for record in read_real_people(shared / "real-people", ["boxing"]) if record.group]
    with_topic, every = coaches.coverage(records)
    assert every > 1000
    assert with_topic / every > 0.95


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The command on made-up people, all sets but boxing's texts."""
    place = tmp_path_factory.mktemp("people")
    folder, to = write_folder(place / "data"), place / "results"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(references, "TREES", 5)
        patch.setattr(evaluate, "DRAWS", 50)
        short = dict.fromkeys(network.RECIPES, (network.Recipe(epochs=1, seeds=1), network.Recipe(seeds=1)))
        for name, small in (("CLIPS", 150), ("PASSES", 2), ("RECIPES", short)):
            patch.setattr(network, name, small)
        patch.setattr(coaches, "caption_scores", captions)
        for only in (["front_squat"], ["deadlift", "boxing"]):
            program.command(folder, only=only, to=to)
    return folder, to


def test_the_command_resumes_and_publishes_no_pose(results):
    folder, to = results
    before = {file.name: file.read_bytes() for file in to.iterdir()}
    assert set(before) == {"predictions.parquet", "scores.csv", "topics.csv", "provenance.json"}
    program.command(folder, only=["front_squat"], to=to)
    assert {file.name: file.read_bytes() for file in to.iterdir()} == before
    table = pd.read_parquet(to / "predictions.parquet")
    assert set(table.columns) == {"set", "clip", "group", "condition", "split", "fold", "label", "score", "predicted"}
    facts = json.loads((to / "provenance.json").read_text())
    assert all(one["command"].startswith("python -m efa_book.real_people data") for one in facts.values())


def test_the_command_says_in_one_line_what_is_wrong(tmp_path, monkeypatch, capsys):
    for arguments, said in (([str(tmp_path)], "no such file"), ([str(tmp_path), "--only", "golf"], "no set 'golf'")):
        monkeypatch.setattr(sys, "argv", ["real_people", *arguments, "--to", str(tmp_path / "out")])
        assert program.main() == 2
        printed = capsys.readouterr().err
        assert said in printed
        assert printed.count("\n") == 1


def test_the_page_shows_every_condition_with_its_interval(results):
    found = page.load_results(results[1])
    assert found.sets == ["front_squat", "deadlift", "boxing"]
    text = page.scores_table(found, "front_squat").text
    for condition in (references.FOREST, references.REGRESSION, references.RULE, "by chance"):
        assert condition in text
    assert "12 clips, 3 sessions" in text
    assert "no movement" in text
    assert "Front squats" in page.splits_table(found).text
    assert "person 3" in page.people_table(found).text
    assert "guard" in page.topics_table(found).text
    for name in found.sets:
        assert "image/svg+xml" in page.show_forest(found, name).source
    assert "python -m efa_book.real_people data" in page.stamp(found).text
