"""The paper against its own tables: computed numbers against those worked out by hand, and text that follows them."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from efa.utils.errors import InputError
from efa_book import audit_tables
from efa_book.audit import Quantity, paper_tables
from efa_book.audit.paper_tables import CHECKS, Numbers

ROOT = Path(__file__).resolve().parents[1]
KNOWN = paper_tables.read()
BY_TITLE = {check.title: check for check in CHECKS}
BY_HAND = {  # what the numbers show, worked out by hand from the paper's text
    "Leads in per cent and in points": [
        "other rows are LAVENDER, SwinBERT, LAVENDER and LAVENDER; the leads over them",
        "are +2.1 points, +0.3 points, +4.6 points and +1.7 points",
        "fit the leads over LAVENDER, SwinBERT, LAVENDER and LAVENDER",
    ],
    "Over which baseline the leads are": [
        "Top-1: the best baseline is Video Swin, and the lead is +2.0 points, about 10 of 510 test clips",
        "is RICA2, and the lead over it is +0.4 points (0.49 %), about 2 clips",
        "the quoted per cent fit the lead over Video Swin",
        "standard error of one verdict accuracy on 510 clips is 1.7 points",
    ],
    "Either branch removed, the same drop": ["are equal in: Acc.", "EFA is -0.1 points, about 0.5 of", "-0.9 and -2.2"],
    "One direction of attention": ["in: Acc (Q-text: 81.8 against 80.2)", "with EFA: Acc (Q-text)", "Above EFA: none"],
    "Simpler ways to merge": ["Level with EFA: CIDEr (Add). Above EFA: none"],
    "No text, and text in another order": [
        "below w/o text (29.9) in CIDEr: Q-text (29.0)",
        "Top-1 (Shuffled text)",
        "BLEU -0.2, METEOR -0.7, CIDEr -3.0, ROUGE-L -0.1, Top-1 0.0 and Acc -0.7",
    ],
    "The best lambda": [
        "Above lambda = 3: Top-1 (lambda = 5: 77.7 against 77.2) and CIDEr (lambda = 15: 34.7 against 33.3)",
        "Level with it: Acc (lambda = 1) and METEOR (lambda = 15)",
        "by -5.5, -2.0 and -6.7 points",
    ],
    "Accuracies that are no share of the test clips": ["25 of 49", "among 510 clips", "expects 24.0", "has 800 clips"],
    "The term that CIDEr is said to reward": ["0 times in the 510", "4 times in the training", "stands 15 times"],
    "Cue words of reasoning": ["1,567 released texts", "0.060 times a text", "Table II has 0.91", "gives 1.31"],
    "What Table IV announces": ["lacks: Top-1 and Acc", "Top-5 stands in: V."],
    "The label that other data sets lack": ["this label: WF."],
    "What is said of every clip, and what is released": ["54 of 510", "3.5 s in", "2.58 s over the 1,265"],
}
CHANGES = [  # a number changed, a title of a check, what its text then says
    (("4", "LAVENDER", "cider_d"), 30.0, "Leads in per cent and in points", "+3.3 points"),
    (("5", "RICA2", "quality_acc"), 80.0, "Over which baseline the leads are", "column is Video Swin"),
    (("6", "w/o step branch", "quality_acc"), 80.0, "Either branch removed, the same drop", "are equal in: none"),
    (("6", "Q-text", "quality_acc"), 80.0, "One direction of attention", "above Q-video in: none"),
    (("6", "Add", "cider_d"), 33.4, "Simpler ways to merge", "Above EFA: CIDEr (Add: 33.4 against 33.3)"),
    (("6", "Q-text", "cider_d"), 30.0, "No text, and text in another order", "in CIDEr: none"),
    (
        ("7", "lambda = 15", "cider_d"),
        33.0,
        "The best lambda",
        "Above lambda = 3: Top-1 (lambda = 5: 77.7 against 77.2).",
    ),
    (("5", "C3D", "top1"), 61.2, "Accuracies that are no share of the test clips", "24 of 49"),
    (("words", "test", "arching"), 16.0, "The term that CIDEr is said to reward", "stands 16 times"),
    (("cues", "reasoning", "as a result"), 1567.0, "Cue words of reasoning", "1.060 times"),
    (("4", "EFA", "top1"), 77.2, "What Table IV announces", "lacks: Acc"),
    (
        ("paper", "III", "MIT Dive: label SC, standardization category"),
        1.0,
        "The label that other data sets lack",
        "MIT",
    ),
    (("contradictions", "test", "contradicts"), 55.0, "What is said of every clip, and what is released", "55 of 510"),
]


def shows(title: str, numbers: Numbers = KNOWN) -> str:
    return BY_TITLE[title].run(numbers)[1]


@pytest.mark.parametrize("title", BY_HAND)
def test_text_holds_the_numbers_worked_out_by_hand(title):
    for part in BY_HAND[title]:
        assert part in shows(title)


def test_every_check_is_worked_out_and_stands_on_the_page():
    assert list(BY_HAND) == list(BY_TITLE)
    page = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
    section = page.split("## The paper against its own tables\n")[1].split("\n## ")[0]
    assert re.findall(r"^- \*(.*)\*: (.*)$", section, re.MULTILINE) == [(one.title, one.where) for one in CHECKS]


@pytest.mark.parametrize(("key", "value", "title", "text"), CHANGES, ids=[change[2] for change in CHANGES])
def test_changed_number_changes_the_text(key, value, title, text):
    field = "printed" if key[0] in paper_tables.ROMAN else "counts"
    changed = replace(KNOWN, **{field: getattr(KNOWN, field) | {key: value}})
    assert text in shows(title, changed)
    assert text not in shows(title)


def test_tables_hold_numbers_worked_out_by_hand():
    found, _ = BY_TITLE["What is said of every clip, and what is released"].run(KNOWN)
    counts = [(found.value(str(row[0]), 1), found.value(str(row[0]), 2)) for row in found.rows]
    assert counts == [(1150, 248), (3392, 1265), (3392, 1265), (3392, 1567), (510, 54)]
    found, _ = BY_TITLE["Leads in per cent and in points"].run(KNOWN)
    assert (
        [str(row[4]) for row in found.rows] == [row[5] for row in found.rows] == ["4.5 %", "1.3 %", "16.0 %", "4.7 %"]
    )
    found, _ = BY_TITLE["Over which baseline the leads are"].run(KNOWN)
    assert [str(row[4]) for row in found.rows] == ["2.7 %", "2.1 %", "0.49 %"]


def test_shares_of_few_clips():
    assert paper_tables.impossible([0, 250, 333, 500, 1000], 2) == (2, 1 - 3 / 1001)
    assert paper_tables.impossible([62, 63, 64, 188, 187], 16)[0] == 1  # 62.5 may be rounded either way, 64 is none
    assert paper_tables.impossible(range(1001), 1000) == (0, 0)


def test_a_small_table():
    printed = {("4", "EFA", "meteor"): 22.0, ("4", "A", "meteor"): 20.0, ("4", "B", "meteor"): 21.0}
    found, facts = paper_tables.leads(Numbers(printed, {("splits", "test"): 50}), "4", {"meteor": 10.0})
    assert [row[0] for row in found.rows] == ["METEOR over A", "METEOR over B"]
    assert (facts["best"], facts["points"], facts["fit"]) == ("B", "+1.0 points", "A")
    assert found.rows[0][4] == Quantity(0.1, "%")


def test_missing_numbers_are_named(home):
    for part in ("leads", "ablations", "digits", "data"):
        section = audit_tables.paper_against_itself(part)
        assert "Not computed: results/ holds no number of" in section.text
    with pytest.raises(InputError, match="4, EFA, bleu1"):
        Numbers({}, {("splits", "test"): 510}).of("4", "EFA", "bleu1")


def test_section_shows_every_check_with_what_it_leaves_open():
    text = "\n".join(audit_tables.paper_against_itself(part).text for part in ("leads", "ablations", "digits", "data"))
    for check in CHECKS:
        assert check.title in text
        assert f"The paper: {check.says} ({check.where})" in text
        assert f"Not shown: {check.leaves}" in text
    assert text.count("[Computed here from printed numbers]") == 4


def test_quotes_are_the_papers(shared):
    if not (shared / "paper" / "efa_paper.txt").is_file():
        pytest.skip("no text of the paper")
    words = " ".join((shared / "paper" / "efa_paper.txt").read_text(encoding="utf-8").lower().split())
    words = re.sub("[“”*]", '"', words)
    for check in CHECKS:
        for quote in re.findall(r'"([^"]+)"', check.says):
            assert quote.lower() in words.replace('"', ""), quote
