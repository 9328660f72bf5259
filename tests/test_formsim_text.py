"""FormSim's words and its action files: every sentence means what it should, every bad file is refused by name."""

import contextlib
import copy
import functools
import itertools
import operator
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.metrics import FaultParser, step_in_text, verdict_in_text
from efa.utils.errors import InputError
from formsim import dataset
from formsim.dataset import _SENTENCES as TEXTS
from formsim.faults import sentences
from formsim.schema import FOLDER, Action, load_actions, parse_action, read_action

PHRASES = [phrase for _, phrase, _ in dataset.STANDARDS.values()]
ACTIONS = list(load_actions())


@pytest.fixture(scope="module")
def parser() -> FaultParser:
    return FaultParser(formsim.fault_phrases())


def good_clauses(name: str) -> list[str]:
    clauses = load_actions()[name].good
    return [clause.format(range=phrase) for clause in clauses for phrase in PHRASES[: 3 if "{range}" in clause else 1]]


def sentences_of(name: str) -> list[tuple[str, str, int | None]]:
    """Every sentence about an action: (sentence, id of the fault it states or '', step it blames)."""
    found: list[tuple[str, str, int | None]] = [(line, "", None) for line in TEXTS["closing"]]
    for template, clause in itertools.product((*TEXTS["right"], *TEXTS["rest"]), good_clauses(name)):
        found.append((template.format(step="one", good=clause), "", None))
    for fault in dataset.all_faults(load_actions()[name]).values():
        step = dataset._ORDINALS[fault.step - 1]
        for template, seen in itertools.product(TEXTS["wrong"], fault.seen):
            found.append((template.format(step=step, seen=seen), f"{name}/{fault.name}", fault.step))
        found += [(t.format(leads_to=w), "", None) for t in TEXTS["effect"] for w in fault.leads_to]
        found += [(t.format(correct=w), "", None) for t in TEXTS["correction"] for w in fault.correct]
    return found


@pytest.mark.parametrize("name", ACTIONS)
def test_every_sentence_states_its_fault_and_no_other(name, parser):
    faults, wrong = dataset.all_faults(load_actions()[name]).values(), []
    corrected = {
        t.format(correct=w): {f"{name}/{f.name}"} for f in faults for t in TEXTS["correction"] for w in f.correct
    }
    for sentence, fault, step in sentences_of(name):
        named = parser.faults(sentence, name)
        if named != ({fault} if fault else set()) and not named <= corrected.get(sentence, set()):
            wrong.append((sentence, named))
        if fault and step_in_text(sentence) != step:
            wrong.append((sentence, step_in_text(sentence)))
        assert "{" not in sentence
        assert not re.search(r"\b(left|right)\b", sentence, re.I), sentence  # a mirrored clip keeps its text
    assert not wrong


@pytest.mark.parametrize("name", ACTIONS)
def test_every_verdict_is_read_as_it_is_meant(name):
    for quality, templates in ((0, TEXTS["good"]), (1, TEXTS["bad"])):
        for template in templates:
            opening = template.format(name=name.lower())
            for clause in good_clauses(name)[:3]:  # the parser looks at two sentences
                assert verdict_in_text(f"{opening} In step one, {clause}.") == quality, opening


@pytest.mark.parametrize("name", ACTIONS)
def test_every_wording_of_an_explanation_has_60_to_110_words(name):
    def span(lines) -> np.ndarray:
        """Least and most words, [2]."""
        counts = [len(line.split()) for line in lines]
        return np.array([min(counts), max(counts)])

    def fill(templates, slot: str, words) -> np.ndarray:
        return span(t.format(**{"step": "one", "name": name, slot: word}) for t in templates for word in words)

    good = [[clause.format(range=phrase) for phrase in PHRASES] for clause in load_actions()[name].good]
    rights, rests = (
        [fill(templates, "good", clause) for clause in good] for templates in (TEXTS["right"], TEXTS["rest"])
    )
    lows, highs = (sorted(side) for side in zip(*rights, strict=True))
    three, closing = (sum(lows[:3]), sum(highs[-3:])), span(TEXTS["closing"])  # three steps, no step twice
    right, rest = (lows[0], highs[-1]), (min(low for low, _ in rests), max(high for _, high in rests))
    spans = [(fill(TEXTS["good"], "name", [name]) + three + closing, closing)]
    for fault in dataset.all_faults(load_actions()[name]).values():
        parts = fill(TEXTS["bad"], "name", [name]) + right + fill(TEXTS["wrong"], "seen", fault.seen)
        parts += fill(TEXTS["effect"], "leads_to", fault.leads_to) + fill(TEXTS["correction"], "correct", fault.correct)
        spans.append((parts, rest))
    for (low, high), (least, most) in spans:  # the second is the sentence that a short text gets
        assert low + least >= 60
        assert max(high, 59 + most) <= 110


@pytest.mark.parametrize("benchmark", ["main", "standards", "unseen"])
def test_whole_explanations_parse_to_their_own_record(benchmark, parser):
    seen, openings = set(), set()
    for clip in formsim.clips(benchmark, 1000, 5):
        row = formsim.record(clip)
        line = str(row["explanation"])
        assert 60 <= len(line.split()) <= 110
        assert 4 <= len(sentences(line)) <= 6
        assert "{" not in line
        opening = sentences(line)[0]
        assert clip.action.lower() in opening
        assert verdict_in_text(line) == verdict_in_text(opening) == row["quality"]
        assert parser.faults(line, clip.action) == ({row["fault"]} if row["fault"] else set()), line
        if row["fault"]:
            assert step_in_text(line) == row["fault_step"], line
        seen.add(line)
        openings.add((opening.replace(clip.action.lower(), "..."), row["quality"]))
    assert len(seen) > 980  # worded anew for each clip
    assert len(openings) == len(TEXTS["good"]) + len(TEXTS["bad"])


@pytest.mark.parametrize("name", ACTIONS)
def test_one_fault_is_put_in_many_words(name):
    action = load_actions()[name]
    for fault in (None, *action.faults.values()):
        lines = [dataset.explain(action, fault, PHRASES[2], np.random.RandomState(seed)) for seed in range(60)]
        assert len(set(lines)) > 54
        assert {len(sentences(line)) for line in lines} <= {5, 6}
        third = {sentences(line)[2] for line in lines}
        if fault:  # what goes wrong is said in the third sentence, whatever follows; that step is never praised
            assert not any(action.good[fault.step - 1].split(" {")[0] in line for line in lines)
            assert all(any(seen.lower() in line for seen in fault.seen) for line in third)
            assert len(third) == len(TEXTS["wrong"]) * len(fault.seen)


def test_steps_state_the_standard():
    for action in load_actions().values():
        for phrase in PHRASES:
            steps, instruction = dataset.step_texts(action, phrase)
            assert len(steps) == 5
            assert not any("{" in line for line in (*steps, instruction))
            assert phrase in steps[action.range_step - 1], action.name
        assert len({dataset.step_texts(action, phrase) for phrase in PHRASES}) == 3
        plain, _ = dataset.step_texts(action, PHRASES[0], "Stop early.")
        own, _ = dataset.step_texts(action, PHRASES[0])
        assert [i for i in range(5) if plain[i] != own[i]] == [action.range_step - 1]
        assert plain[action.range_step - 1] == "Stop early."


def squat() -> dict:
    return yaml.safe_load((FOLDER / "squat.yaml").read_text(encoding="utf-8"))


# the types of CoT-AFA that FormSim draws: 21 of 28. Smith machine, broadsword, southern broadsword, nunchaku,
# nine-section whip, meteor hammer and tumbling fist are not among them
OF_COT_AFA = {
    "barbell", "dumbbell", "cable", "horizontal bar", "parallel bars", "rowing machine", "push-up", "aerobics",
    "stretch", "pilates", "warm-up", "yoga", "long fist", "shaolin fist", "southern fist", "tai chi", "staff",
    "southern staff", "spear", "sword", "tai chi sword",
}  # fmt: skip


def test_there_are_fifty_actions_of_varied_types():
    actions = load_actions().values()
    assert len({name.lower() for name in ACTIONS}) == len(ACTIONS) == 50
    assert sorted(ACTIONS) == ACTIONS
    assert {action.mode for action in actions} == {"manual", "apparatus"}
    assert len(OF_COT_AFA) == 21
    assert {action.type for action in actions} >= OF_COT_AFA


@pytest.mark.parametrize("name", ACTIONS)
def test_every_action_has_five_steps_and_its_own_faults(name):
    action = load_actions()[name]
    assert len(set(action.steps)) == len(set(action.good)) == 5
    assert action.instruction
    assert len(action.faults) >= 3
    phrases = [phrase for fault in dataset.all_faults(action).values() for phrase in fault.seen]
    assert len(set(phrases)) == len(phrases) >= 2 * len(action.faults)
    assert all(len(words) >= 2 for f in action.faults.values() for words in (f.seen, f.leads_to, f.correct))


MISTAKES = [
    ("name", 3, "name"), ("name", "", "name"), ("mode", "machine", "mode"),
    ("equipment", ["trampoline"], "equipment"), ("equipment", "mat", "equipment"),
    ("anchor", "float", "anchor"), ("arms", "hips", "arms"), ("views", ["above"], "views"), ("views", [], "views"),
    ("seconds", 0, "seconds"), ("seconds", 10**400, "seconds"), ("seconds", True, "seconds"),
    ("base", {"tail": 3}, "base"), ("base", {"thigh": "wide"}, "base.thigh"),
    ("keys", {0: {}}, "keys"), ("keys", {0: "hold", 1: {}}, "keys.0"),
    ("keys", {0: {}, 0.5: {"thigh": 3}, 0.4: {}, 1: {}}, "keys.0.4"), ("keys", {0: {}, 2: {}}, "keys"),
    ("range", {"step": 9}, "range.step"), ("range", {"steps": 3}, "range"),
    ("range", {"angles": ["tail"]}, "range.angles"), ("steps", [], "steps"),
    ("steps", [{"do": "x", "good": "y"}] * 4 + [{"do": "x"}], "steps[4].good"),
    ("steps", [{"do": "x {rnage}", "good": "y"}] * 5, "steps[0].do"),
    ("steps", [{"do": "x", "good": "y {"}] * 5, "steps[0].good"),
    ("instruction", None, "instruction"), ("faults", {}, "faults"), ("colour", "red", "colour"),
    ("step", 6, "faults.shallow.step"), ("step", None, "faults.shallow.step"), ("change", {}, "faults.shallow.change"),
    ("change", {"thigh": "/ 3"}, "faults.shallow.change.thigh"),
    ("change", {"thigh": "* big"}, "faults.shallow.change.thigh"), ("change", {"tail": "* 2"}, "faults.shallow.change"),
    ("change", {"thigh": "* 2", "thigh_l": "+ 3"}, "faults.shallow.change.thigh_l"),
    ("seen", [], "faults.shallow.seen"), ("seen", "the knees cave in", "faults.shallow.seen"),
    ("leads_to", [3], "faults.shallow.leads_to"), ("correct", None, "faults.shallow.correct"),
    ("why", "x", "faults.shallow' has unknown keys: why"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "value", "named"), MISTAKES)
def test_a_mistake_in_an_action_names_file_and_key(key, value, named):
    raw = squat()
    inside = raw["faults"]["shallow"] if named.startswith("faults.") else raw
    inside[key] = value
    with pytest.raises(InputError) as caught:
        parse_action(raw, "folder/mine.yaml")
    assert named in str(caught.value)
    assert "folder/mine.yaml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"name: [", b"\xff\xfe\x00", b"", b"- 1", b"a: b: c", b"x: &a [*a]"])
def test_a_file_that_is_no_action_is_refused(content, tmp_path):
    file = tmp_path / "broken.yaml"
    file.write_bytes(content)
    with pytest.raises(InputError, match=re.escape(str(file))):
        read_action(file)
    with pytest.raises(InputError, match="absent"):
        read_action(tmp_path / "absent.yaml")


WORDS = st.text(max_size=12) | st.sampled_from(["hold", "thigh", "{"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
ANYTHING = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(SCALARS | st.just("thigh"), inner, max_size=4),
    max_leaves=12,
)


def places(value: object, path: tuple = ()) -> list[tuple]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, item in items for place in places(item, (*path, key)))]


PLACES = places(squat())


@given(st.lists(st.tuples(st.sampled_from(PLACES), ANYTHING), min_size=1, max_size=3))
@settings(deadline=None, max_examples=150)
def test_a_changed_file_works_or_is_an_input_error(changes):
    raw = {"": squat()}
    for path, value in changes:
        *outer, last = ("", *path)
        with contextlib.suppress(KeyError, IndexError, TypeError):  # an earlier change took this place away
            functools.reduce(operator.getitem, outer, raw)[last] = copy.deepcopy(value)
    try:
        action = parse_action(raw[""], "fuzz.yaml")
    except InputError:
        return
    assert isinstance(action, Action)
    assert len(action.steps) == len(action.good) == 5
    assert action.views
    dataset.step_texts(action, PHRASES[0])
    dataset.explain(action, None, PHRASES[0], np.random.RandomState(0))


@given(ANYTHING)
@settings(deadline=None)
def test_any_object_is_an_action_or_an_input_error(raw):
    with pytest.raises(InputError):
        parse_action(raw, "fuzz.yaml")


def test_one_file_in_a_folder_is_one_more_action(tmp_path: Path):
    def load(folder: Path) -> list[str]:
        load_actions.cache_clear()
        return list(load_actions(folder))

    mine = (FOLDER / "squat.yaml").read_text(encoding="utf-8")
    (tmp_path / "empty").mkdir()
    try:
        for file, name, names in (("squat", "Squat", ["Squat"]), ("bow", "Bow", ["Bow", "Squat"])):
            (tmp_path / f"{file}.yaml").write_text(mine.replace("name: Squat", f"name: {name}"), encoding="utf-8")
            assert load(tmp_path) == names
        (tmp_path / "twin.yaml").write_text(mine, encoding="utf-8")
        with pytest.raises(InputError, match=r"twin\.yaml.*second"):
            load(tmp_path)
        with pytest.raises(InputError, match="no action"):
            load(tmp_path / "empty")
    finally:
        load_actions.cache_clear()
