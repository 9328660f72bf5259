"""Every number of the paper's tables stands in results/ and in the book's tables, and every claim has its sentence."""

import hashlib
import re
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from reported import made

from efa.experiments import PAPER, TABLES
from efa_book import claims, dataset_sources, dataset_tables, html, paper, tables
from efa_book.dataset_sources import Source, Sources
from efa_book.table_specs import KNOWN, NOT_PRINTED, TABLE_SPECS

RESULTS = Path(__file__).resolve().parents[1] / "results"
FILES = {  # a copy of ours -> the file that was compared with the paper digit by digit, where that is at hand; sha256
    "paper.csv": ("tables_4_to_7.csv", "d1c1dc77212d93ba7e1682154b7110cf8f92f4cd36032abbb7fce85316b04151"),
    "cot-afa/paper.csv": ("tables_1_to_3.csv", "b229f8423eeab457fdf7c00649557e912257bcd0f9a20d29d58070c09649c553"),
    "claims.csv": ("claims.csv", "809e259edb3d52467ce0c1d1d25c3de43efff57a43c1e790ddc103d6911c216e"),
}
ROWS = {"4": 6, "5": 7, "6": 9, "7": 5}
COLUMNS = {
    "4": ["BLEU", "METEOR", "CIDEr", "ROUGE-L"],
    "5": ["TOP1", "TOP5", "Acc"],
    "6": ["BLEU", "METEOR", "CIDEr", "ROUGE-L", "TOP1", "Acc"],
    "7": ["BLEU", "METEOR", "CIDEr", "ROUGE-L", "TOP1", "Acc"],
}
NAMES = {
    "4": ["C3DAVG", "MSCADC", "SWINBERT", "LAVENDER", "RICA²", "EFA (Ours)"],
    "5": ["C3D", "TSM", "I3D", "Timesformer", "Video Swin", "RICA²", "EFA (Ours)"],
    "6": [
        "1) Global/Step-Aware Fusion Module", "w/o Global-Aware Fusion", "w/o Step-Aware Fusion", "Q-text", "Q-video",
        "2) Hierarchical Fusion Layer", "Concatenate", "Add",
        "3) Standard Technical Steps", "w/o text", "Shuffled text", "", "EFA Full Model",
    ],
    "7": ["λ = 1", "λ = 3", "λ = 5", "λ = 10", "λ = 15"],
}  # fmt: skip


def read(file: Path) -> pd.DataFrame:
    return pd.read_csv(file, dtype=str, keep_default_na=False)


def shown_numbers(table: str, known: pd.DataFrame) -> dict[tuple[str, str], str]:
    """(row of `efa.experiments`, metric) -> the paper's number, as read from the built table."""
    lines = tables.scores(made({}, table=table, origin=""), known).text.splitlines()
    titles = [column.split(" paper ")[0] for column in re.split(r" \| (?!ours)", lines[1])[1:]]
    metric = {one.printed: one.key for one in TABLE_SPECS[table].metrics if one.printed}
    found = {}
    for row, name in TABLE_SPECS[table].names(TABLES[table].rows).items():
        (line,) = [line for line in lines if line.startswith(f"{name} missing | ")]
        cells = re.split(r" \| (?!–)", line)[1:]  # 'paper | –' is one cell
        found |= {
            (row, metric[title]): cell.split(" | ")[0]
            for title, cell in zip(titles, cells, strict=False)
            if title in metric
        }
    return found


@pytest.mark.parametrize("name", FILES)
def test_the_files_are_the_ones_that_were_compared_with_the_paper(name):
    assert hashlib.sha256((RESULTS / name).read_bytes()).hexdigest() == FILES[name][1]


@pytest.mark.parametrize("name", FILES)
def test_every_number_is_that_of_the_shared_tables(name, shared):
    if not (shared / "paper" / FILES[name][0]).is_file():
        pytest.skip("no tables of the paper beside this checkout")
    theirs, ours = read(shared / "paper" / FILES[name][0]), read(RESULTS / name)
    theirs = theirs.drop(columns="tolerance", errors="ignore")  # ours belong to metrics
    pd.testing.assert_frame_equal(ours[list(theirs.columns)], theirs)


@pytest.mark.parametrize("table", PAPER)
def test_tables_4_to_7_show_every_number(table):
    known = paper.numbers(RESULTS / "paper.csv")
    expected = known[known["table"] == table].set_index(["row", "metric"])["value"].map("{:.1f}".format).to_dict()
    assert len(expected) == len(COLUMNS[table]) * ROWS[table]
    assert shown_numbers(table, known) == expected


def test_one_changed_number_changes_the_table(tmp_path):
    changed = read(RESULTS / "paper.csv")
    changed.loc[57, "value"] = "99.9"
    changed.to_csv(tmp_path / "paper.csv", index=False)
    table, row, metric = changed.loc[57, ["table", "row", "metric"]]
    assert shown_numbers(table, paper.numbers(tmp_path / "paper.csv"))[row, metric] == "99.9"
    kept = paper.numbers(RESULTS / "paper.csv")
    assert shown_numbers(table, kept)[row, metric] != "99.9"


@pytest.mark.parametrize("table", PAPER)
def test_tables_4_to_7_have_the_papers_rows_names_and_columns(table):
    shown = tables.scores(made({}, table=table, origin=""))
    first = [line.split(" missing | ")[0] for line in shown.text.splitlines()[2 : 2 + len(NAMES[table])]]
    assert first == NAMES[table]
    assert shown.source.count('<span class="minor">missing</span></th><td') == ROWS[table]
    heads = re.findall(r'<th scope="col" class="number">(.*?)<br>|<th scope="col">([^<]*?)<br><span', shown.source)
    assert [a or b for a, b in heads][: len(COLUMNS[table])] == COLUMNS[table]
    groups = re.findall(r'<th scope="colgroup" colspan="(\d)">(.*?)</th>', shown.source)
    assert sum(int(width) for width, _ in groups) == len(TABLE_SPECS[table].metrics) + 2
    assert groups[-2][1] == NOT_PRINTED
    assert shown.text.count("its size fits BLEU-1") == (table != "5")


def test_rows_that_the_paper_lacks_come_last_under_their_own_names():
    lines = TABLE_SPECS["6"].lines([*reversed(TABLES["6"].rows), "our own"])
    assert list(lines)[-1] == NOT_PRINTED
    assert lines[NOT_PRINTED] == ["our own"]
    assert list(TABLE_SPECS["6"].names(TABLES["6"].rows).values()) == [n for n in NAMES["6"] if n and ")" not in n[:2]]


def test_tables_1_to_3_show_every_number():
    known = dataset_sources.read_paper_numbers(RESULTS / "cot-afa" / "paper.csv")
    nothing = Source("none", {"statistics": pd.DataFrame(columns=["about", "quantity", "definition", "value"])}, "", "")
    shown = dataset_tables.datasets(Sources(nothing, (), known))
    part = known[known["table"] == "III"]
    names = list(dict.fromkeys(part["number"].str.partition(": ")[0]))
    assert len(names) == 9
    lines = [line.split(" | ") for line in shown.text.splitlines()[2:11]]
    value = part.set_index("number")["value"]
    for name, line in zip(names, lines, strict=True):
        assert line[0].rpartition(" action ")[0] == name
        assert [float(cell.replace(",", "").removesuffix(" s").strip()) for cell in line[1:4]] == [
            value[f"{name}: {what}"] for what in ("categories", "seconds a clip", "samples")
        ]
        labels = {
            n.split("label ")[1].split(",")[0] for n in value.index if n.startswith(f"{name}: label") and value[n]
        }
        assert set(line[4].strip().split(", ")) == labels
    loaded = dataset_sources.load_sources(preset="smoke")
    first = {"I": dataset_tables.counts(loaded), "II": dataset_tables.texts(loaded)}
    for table, built in first.items():
        cells = {line.split(" | ")[1] for line in built.text.splitlines() if line.count(" | ") > 1}
        for number in known.loc[known["table"] == table, "value"]:
            assert (f"{number:,.0f}" if number >= 1000 or number == round(number) else f"{number:.2f}") in cells


def test_every_claim_belongs_to_a_sentence_of_one_table():
    found = claims.read_claims(RESULTS / "claims.csv")
    assert Counter(one.table for one in found) == {"4": 20, "5": 18, "6": 54, "7": 30}
    sentences = {one.sentence: one.table for one in found}
    assert Counter(sentences.values()) == {"4": 4, "5": 3, "6": 9, "7": 5}
    assert all(sentences[one.sentence] == one.table for one in found)
    branches = [one for one in found if "either branch" in one.sentence]
    assert len(branches) == 12
    assert {one.row for one in branches} == {"w/o global branch", "w/o step branch"}


def test_a_claims_source_gives_the_numbers_of_the_paper():
    known = paper.numbers(RESULTS / "paper.csv")
    for one in claims.read_claims(RESULTS / "claims.csv"):
        of = [paper.printed_number(known, one.table, row, KNOWN[one.metric]) for row in (one.row, one.reference)]
        said = f"Paper: {of[0]:.1f}" + ("; best other" if one.reference == claims.OTHERS else f" against {of[1]:.1f}, ")
        assert said in one.source, one.id


@pytest.mark.parametrize("table", PAPER)
def test_sentences_open_into_their_claims(table):
    values = {row: {s: 30.0 + 0.1 * s for s in range(3)} for row in TABLES[table].rows}
    judged = claims.judge(made(values, table=table))
    shown = tables.verdicts(made(values, table=table))
    assert (
        shown.source.count("<details") == shown.source.count("<summary>") == len(claims.by_sentence(judged)) + 1
    )  # a stamp
    assert "<script" not in shown.source
    assert shown.source.count('scope="row"') == len(judged)
    for sentence, part in claims.by_sentence(judged).items():
        assert f"<summary>{html.escape(sentence)}<br>" in shown.source
        assert f"{sentence}: {claims.summarize([one.outcome for one in part])}" in shown.text


def test_a_claim_shows_the_papers_own_difference():
    lines = tables.verdicts(made({})).text.splitlines()
    (line,) = [line for line in lines if "the gate is better than concatenation by CIDEr" in line]
    assert line.startswith(
        "CIDEr-D EFA minus Concatenate | – | – | +1.9 size no number | inconclusive not trained yet | "
    )
    lines = tables.verdicts(made({}, table="7")).text.splitlines()
    (line,) = [line for line in lines if "lambda = 3 is best or jointly best by accuracy of the verdict" in line]
    assert " | 1.0 | +0.0 size no number | " in line  # 81.8, and so is the best other
