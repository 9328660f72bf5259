"""What a text says: its verdict, the faults and the step it names, against hand-read texts and against noise."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_faults import FAULTS, PARSER

from efa import metrics
from efa.utils.errors import InputError

VERDICTS = {
    0: [
        "The squat action in this video is good. But the knees are bad.",
        "The swing action in this video is classified as 'good'.", "The squat in this video is standard.",
        "The squat is performed correctly.", "A well executed squat.", "This squat shows good form.",
        "The lunge is done without any visible fault.", "The lunge meets the standard.", "Verdict: standard.",
    ],
    1: [
        "The squat action in this video is bad because form is not good.",
        "The swing action in this video is not good.", "The swing action in this video is bad.The player bends.",
        "The squat is not standard.", "The squat is non-standard.", "the squat is non - standard .",
        "The squat isn't standard.", "the squat isn ' t done well .", "The squat is not performed quite correctly.",
        "The person performs the squat in this video incorrectly.", "This squat is done with poor form.",
        "In this clip the lunge, seen from the side, looks incorrect.", "The lunge is far from good.",
        "The lunge is anything but good.", "The lunge shows a clear fault.", "The lunge does not meet the standard.",
        "The lunge falls short of the standard.", "Something goes wrong here.",
        "The good morning action in this video is bad.", "This is a good morning with poor form.",
        "This is a standard push-up done incorrectly.", "The power clean form is poor.",
    ],
    None: ["The bar is on the right of the rack.", "A man squats. He breathes. This is good.", ""],
}  # fmt: skip


@pytest.mark.parametrize(("text", "verdict"), [(text, verdict) for verdict in VERDICTS for text in VERDICTS[verdict]])
def test_written_verdicts(text: str, verdict: int | None) -> None:
    assert metrics.verdict_in_text(text) == verdict


def test_written_verdicts_of_cot_afa(shared: Path) -> None:
    path = shared / "cot-afa" / "test_caption_coco_format_coco_format.json"
    texts = [entry["caption"] for entry in json.loads(path.read_text(encoding="utf-8"))["annotations"]]
    assert len(texts) == 510
    for text in texts:
        opening = text.split(" in this video ")[1][:40]
        assert metrics.verdict_in_text(text) == int("bad" in opening or "not good" in opening), text


FAULTY = [
    ("In step 3, the knees collapse inward, which harms the ligaments.", {"squat/knees_in"}),
    ("The KNEES -- collapse\tinward!", {"squat/knees_in"}),
    ("The knees are collapsing inward.", {"squat/knees_in"}),
    ("The squat is not correct because the knees collapse inward.", {"squat/knees_in"}),
    ("The lower back rounds and the hips stop far above the knees.", {"squat/round", "squat/shallow"}),
    ("The thighs don't reach parallel.", {"squat/shallow"}),
    ("The front step is too short.", {"lunge/short"}),  # another action's fault is found, too
    *((sound, set()) for sound in (
        "The front step is too long.", "The thighs reach parallel.", "The knees do not collapse inward.",
        "Avoid letting the knees collapse inward.", "The knees should collapse inward.",
        "Push the knees out over the toes.", "The knees and the lower back and the hips.", "",
    )),
]  # fmt: skip


@pytest.mark.parametrize(("text", "named"), FAULTY)
def test_named_faults(text: str, named: set[str]) -> None:
    assert PARSER.faults(text, "squat") == named


def test_every_phrase_names_its_own_fault_and_no_other() -> None:
    """A phrase that two actions share belongs to the one that is asked for, else to the first."""
    phrases = [(action, fault, phrase) for action, own in FAULTS.items() for fault in own for phrase in own[fault]]
    for action, fault, phrase in phrases:
        assert PARSER.faults(f"The form is poor: {phrase}.", action) == {f"{action}/{fault}"}
    assert PARSER.faults("The knees collapse inward.", "rowing") == {"squat/knees_in"}


def test_texts_about_sound_form_name_no_fault(shared: Path) -> None:
    folder = shared / "cot-afa" / "comment"
    texts = [path.read_text(encoding="utf-8", errors="replace") for path in sorted(folder.glob("*.txt"))]
    good = [text for text in texts if metrics.verdict_in_text(text) == 0]
    hits = [text for text in good if PARSER.faults(text, "squat")]
    assert len(good) > 500
    assert len(hits) <= 0.01 * len(good), hits


def test_ambiguous_and_empty_phrases_are_refused() -> None:
    with pytest.raises(InputError, match="squat/b"):
        metrics.FaultParser({"squat": {"a": ("the back rounds",), "b": ("The back  rounds.",)}})
    with pytest.raises(InputError, match="no word"):
        metrics.FaultParser({"squat": {"a": ("...",)}})


STEPS = [
    ("It fails in step 3.", 3), ("In the third step the hips rise. Step 4 is fine.", 3),
    ("Step number five, then", 5), ("the 2nd step of five", 2), ("Steps 1 and 2 are fine; step 4 is not", 4),
    ("step 12", None), ("step 6", None), ("Step one foot back.", None), ("Take a step. Three times.", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "step"), STEPS)
def test_named_steps(text: str, step: int | None) -> None:
    assert metrics.step_in_text(text) == step


WORDS = [
    "the", "knees", "collapse", "inward", "not", "step", "3", "is", "good", "bad", ".", ",", "’", "n't", "ﬁ", "\x00",
]  # fmt: skip
SPACE = st.sampled_from([" ", "  ", "\t", "\r\n", "\u2028", "\u00a0", "\x1c", "\x85"])


@given(st.lists(st.tuples(st.one_of(st.sampled_from(WORDS), st.text(max_size=8)), SPACE), max_size=30))
@settings(deadline=None)
def test_parsers_take_any_text_and_white_space(parts: list[tuple[str, str]]) -> None:
    def read(text: str) -> object:
        return metrics.verdict_in_text(text), PARSER.faults(text, "squat"), metrics.step_in_text(text)

    text = "".join(word + space for word, space in parts)
    verdict, faults, step = read(text)
    assert verdict in (0, 1, None)
    assert faults <= {f"{action}/{fault}" for action, of_action in FAULTS.items() for fault in of_action}
    assert step in (1, 2, 3, 4, 5, None)
    assert read(" ".join(text.split())) == (verdict, faults, step)


def test_parsers_are_quick_on_a_degenerate_text() -> None:
    for text in ("and the knees, " * 20_000, "a" * 100_000, "is " * 30_000, "." * 100_000, "\U0001f600\ud800" * 50_000):
        assert PARSER.faults(text, "squat") == set()
        assert metrics.verdict_in_text(text) is None
