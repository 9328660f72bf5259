"""What reaches a page: every table with none, one and three seeds, its notes, the paper's numbers, and nothing raw."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from reported import NASTY, RANDOM, full, made, predictions

from efa.experiments import PAPER, TABLES
from efa.metrics import METRICS
from efa.utils.errors import InputError
from efa_book import examples, html, paper, provenance, tables
from efa_book.collect import Results
from efa_book.published import COLUMNS
from efa_book.table_specs import TABLE_SPECS

ROOT = Path(__file__).resolve().parents[1]


def seeded(table: str, seeds: int) -> Results:
    """Every metric of every row, 40 and a bit."""
    of = {row: {seed: 40.0 + i + seed for seed in range(seeds)} for i, row in enumerate(TABLES[table].rows)}
    return full({metric.key: of for metric in TABLE_SPECS[table].metrics}, table, origin="runs" if seeds else "")


# --- tables ---


@pytest.mark.parametrize("seeds", [0, 1, 3])
@pytest.mark.parametrize("table", PAPER)
def test_each_table_of_the_paper_renders(table, seeds):
    shown = tables.scores(seeded(table, seeds))
    assert TABLES[table].title in shown.text
    assert shown.source.count('scope="row"') == len(TABLES[table].rows) + TABLE_SPECS[table].floor
    assert shown.source.count('scope="col"') == len(TABLE_SPECS[table].metrics) + 2
    assert shown.source.count("<caption>") == 1
    assert not re.search(r"<td[^>]*></td>", shown.source)
    assert f"efa run {table} --preset smoke --seeds" in shown.text
    said = {0: "No results yet", 1: "says nothing about another seed", 3: "interval over 3 seeds"}
    assert said[seeds] in shown.text
    row = next(iter(TABLE_SPECS[table].names(TABLES[table].rows).values()))
    assert f"{row} {({0: 'missing', 1: '1 seed, done', 3: '3 seeds, done'})[seeds]}" in shown.text
    assert ("inconclusive" in tables.verdicts(seeded(table, seeds)).text) or seeds == 3


@pytest.mark.parametrize("seeds", [0, 1, 3])
@pytest.mark.parametrize("table", ["standards", "unseen", "readings"])
def test_each_benchmark_renders(table, seeds):
    shown = tables.benchmark(seeded(table, seeds))
    assert ("No results yet" in shown.text) == (seeds == 0)
    assert shown.source.count('scope="row"') == (len(TABLE_SPECS[table].entries) if seeds else 0)
    assert f"efa run {table} " in shown.text


def test_a_benchmark_names_every_text():
    rows = [("standards", "EFA", 0, protocol, "quality_auc", v) for protocol, v in (("oracle", 80.0), ("wrong", 31.0))]
    results = made({}, table="standards", scores=pd.DataFrame(rows, columns=list(COLUMNS)))
    lines = tables.benchmark(results).text.splitlines()
    assert any(line.startswith("the right text ") and "| 80.0" in line for line in lines)
    assert any(line.startswith("the text of another standard ") and "| 31.0" in line for line in lines)


def test_the_text_table_decides_as_claims_are_decided():
    values = {"w/o text": 60.0, "Shuffled text": 80.1}
    main = made({row: {seed: v + seed for seed in range(4)} for row, v in values.items()}, "quality_auc")
    given = {"oracle": 80.0, "wrong": 50.0, "none": 80.5}
    more = [("6", "EFA", seed, name, "quality_auc", v + seed) for name, v in given.items() for seed in range(4)]
    scores = pd.concat([main.scores, pd.DataFrame(more, columns=list(COLUMNS))])
    main = replace(main, scores=scores, states=dict.fromkeys(main.states, "done"))
    stale = replace(main, states=main.states | {("w/o text", seed): "stale" for seed in range(4)})
    line, old = (
        one.split(" | ") for one in tables.text_table({"main": (main,), "old": (stale,)}).text.splitlines()[2:4]
    )
    assert line[0] == "main 4 seeds, done"
    assert line[1].startswith("81.5")
    assert [one.split(" [")[0] for one in line[2:5]] == ["-0.5", "+30.0", "+20.0"]
    assert [one.split("] ")[1] for one in line[2:5]] == ["no effect", "holds", "holds"]
    assert line[5:7] == ["–", "–"]
    assert line[7].endswith("no effect")
    assert old[4] == "–", "other code and other clips: no difference"


def test_seeds_of_two_versions_are_not_averaged():
    results = made({"EFA": {0: 30.0, 1: 60.0, 2: 62.0}})
    results = replace(results, states=results.states | {("EFA", 1): "stale", ("EFA", 2): "stale"})
    assert results.values("EFA", "cider_d") == {0: 30.0}
    shown = tables.scores(results).text
    assert "EFA Full Model 1 of 3 seeds" in shown
    assert "\nOne seed: " in shown
    assert "33.3 | 30.0" in shown


def test_rows_with_one_and_with_several_seeds_are_explained():
    text = tables.scores(made({"EFA": {0: 30.0, 1: 31.0, 2: 32.0}, "Add": {0: 20.0}})).text
    assert "interval over 3 seeds" in text
    assert "Rows with one seed" in text


def test_a_score_that_cannot_be_is_named_with_the_reason():
    values = {"cider_d": {"EFA": {0: 30.0}}, "top1": {"EFA": {0: 90.0}, "RICA2": {0: 50.0}}}
    text = tables.scores(full(values, "4")).text
    (line,) = [line for line in text.splitlines() if line.startswith("RICA² ")]
    assert line.count("no text") == len(TABLE_SPECS["4"].metrics)
    assert "27.3 | no text" in line  # the paper has the number, our row does not
    assert "no text: no explanation is written (RICA2)." in text
    assert line.endswith("| cannot be tested here (4 of 4)")
    assert "cannot be tested here RICA2: no explanation is written" in tables.verdicts(full(values, "4")).text


def test_table_v_says_what_is_reached_without_looking():
    values = {"quality_acc": {"EFA": {0: 75.0}}, "quality_majority": {"EFA": {0: 66.0}}}
    (line,) = [
        line for line in tables.scores(full(values, "5")).text.splitlines() if line.startswith("without looking")
    ]
    assert "– | 66.0" in line
    assert line.count(" 50.0") == 2


def test_verdicts_stand_in_the_line_of_the_row_that_is_compared():
    values = {row: {s: 30.0 + 0.1 * s for s in range(3)} for row in TABLES["6"].rows}
    values["Add"] = {s: 20.0 - 0.1 * s for s in range(3)}
    lines = {line.split(" 3 seeds")[0]: line for line in tables.scores(made(values)).text.splitlines()}
    assert lines["Add"].endswith("| holds 1 of 6, cannot be tested here 5 of 6")  # only CIDEr-D is there
    assert lines["Q-video"].endswith("of 12")  # against EFA and against Q-text
    assert lines["EFA Full Model"].endswith("the reference")
    weights = {row: {s: 30.0 + 0.1 * s for s in range(3)} for row in TABLES["7"].rows}
    lines = {line.split(" 3 seeds")[0]: line for line in tables.scores(made(weights, table="7")).text.splitlines()}
    assert all(
        line.endswith("| no effect 1 of 6, cannot be tested here 5 of 6")
        for name, line in lines.items()
        if name.startswith("λ")
    )


def test_without_a_file_of_claims_none_is_judged(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    (line,) = [line for line in tables.scores(made({"Add": {0: 1.0}})).text.splitlines() if line.startswith("Add ")]
    assert line.endswith("no claim")
    assert "says nothing about this table" in tables.verdicts(made({"Add": {0: 1.0}})).text


def test_given_the_action_there_is_no_accuracy_of_it():
    rows = [("6", "EFA", 0, p, "quality_auc", 80.0) for p in ("predicted", "oracle", "none", "wrong")]
    rows.append(("6", "EFA", 0, "predicted", "top1", 95.0))
    text = tables.protocols(made({}, scores=pd.DataFrame(rows, columns=list(COLUMNS)))).text
    (line,) = [line for line in text.splitlines() if line.startswith("oracle")]
    assert "| given |" in line
    assert "given: the true action is given under this protocol (EFA)." in text


# --- the paper's numbers ---


def test_papers_numbers_are_of_known_rows_and_have_sources():
    table = paper.numbers(ROOT / "results" / "paper.csv")
    assert list(table.columns) == [*COLUMNS, "source"]
    assert set(table["metric"]) <= set(METRICS)
    assert set(table["table"]) <= set(PAPER)
    for key, part in table.groupby("table"):
        assert set(part["row"]) <= set(TABLES[str(key)].rows)
    assert table["value"].between(0, 100).all()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("6,Add,,unstated,meteor,much,somewhere", "no number"),
        ("6,Add,,unstated,meteor,inf,somewhere", "no number"),
        ("6,Add,,unstated,meteors,1.0,somewhere", "unknown metric"),
        ("6,Add,,unstated,meteor,1.0,", "source"),
        ("6,EFA,,unstated,meteor,23.8,again", "already"),
    ],
)
def test_a_bad_line_in_paper_csv_is_named(tmp_path, line, message):
    path = tmp_path / "paper.csv"
    path.write_text(f"{','.join((*COLUMNS, 'source'))}\n6,EFA,,unstated,meteor,23.8,here\n{line}\n")
    with pytest.raises(InputError, match=message) as caught:
        paper.numbers(path)
    assert caught.value.row == 3


@pytest.mark.parametrize(("table", "row", "metric"), [("6", "Q-text", "meteor"), ("7", "lambda = 10", "top1")])
def test_a_line_that_a_reader_adds_appears_with_its_source(tmp_path, table, row, metric):
    path = tmp_path / "paper.csv"
    path.write_text(f"{','.join((*COLUMNS, 'source'))}\n{table},{row},,unstated,{metric},21.5,my own PDF\n")
    text = tables.scores(made({row: {0: 20.0}}, metric, table), paper.numbers(path)).text
    assert "21.5 | 20.0" in text
    assert "– | – | " in text
    assert "A dash left of the bar: the paper does not report this number." in text
    assert "The paper's numbers, from: my own PDF." in text


def test_no_note_on_missing_numbers_if_none_is_missing():
    cells = [(row, metric.key) for row in TABLES["7"].rows for metric in TABLE_SPECS["7"].metrics if metric.printed]
    rows = [("7", row, "", "unstated", metric, 50.0, "all of it") for row, metric in cells]
    text = tables.scores(seeded("7", 1), pd.DataFrame(rows, columns=[*COLUMNS, "source"])).text
    assert "A dash left of the bar" not in text


# --- provenance ---


def test_the_stamp_says_where_numbers_come_from():
    facts = {("EFA", 0): {"device": "a machine", "commit": "abc123", "seconds": {"prepare": 30.0, "train": 90.0}}}
    text = provenance.stamp(made({"EFA": {0: 30.0}}, facts=facts)).text
    for part in ("FormSim", "stand-in", "preset smoke", "seed 0", "a machine", "2.0 minutes", "abc123", "efa run 6"):
        assert part.lower() in text.lower()


def test_the_command_is_one_that_the_command_line_reads():
    overrides = {"encoder.depths": (1, 2), "encoder.weights": "", "data.source": "my clips", "decoder.frozen": False}
    given = provenance.rerun_command(made({}, overrides=overrides))
    assert "--set encoder.depths=1,2 --set encoder.weights= --set 'data.source=my clips'" in given
    assert given.endswith("--set decoder.frozen=False")


def test_how_weights_were_made_is_read_defensively(tmp_path):
    stage = {"command": "efa pretrain encoder --clips 100 --passes 3", "data": NASTY, "parameters": 2_000_000}
    stage |= {"seconds": {"all": 90}, "held_out": {"joint_error": 9.5}}
    (tmp_path / "formsim.json").write_text(json.dumps({"stages": [stage, stage | {"seconds": 30}]}))
    (tmp_path / "tsm.json").write_text("{ broken")
    (tmp_path / "i3d.json").write_text("[1, 2]")
    (tmp_path / "mscadc.json").write_text("{}")
    shown = provenance.weights_table("laptop", folder=tmp_path)
    lines = {line.split(" | ")[0]: line for line in shown.text.splitlines()}
    assert "600 | 2.00 M | 2 | joint error 9.5" in lines["formsim"]
    assert "EFA (video)" in lines["formsim"]
    assert "TSM (video)" in lines["tsm"]
    assert all("no record of it here" in lines[name] for name in ("tsm", "i3d", "c3d"))
    assert "not recorded" in lines["mscadc"]
    assert "Nothing starts pre-trained" in provenance.weights_table("laptop", RANDOM, tmp_path).text
    assert NASTY not in shown.source


# --- nothing raw ---


def test_html_is_escaped_everywhere():
    results = made({"EFA": {0: 30.0}}, facts={("EFA", 0): {"device": NASTY, "commit": NASTY}})
    printed = pd.DataFrame([("6", "EFA", "", "unstated", "cider_d", 33.3, NASTY)], columns=[*COLUMNS, "source"])
    shown = [
        html.table(NASTY, ["", NASTY], [[NASTY, html.Cell(NASTY, NASTY)]], [NASTY]),
        html.note(NASTY),
        html.stamp(NASTY, [NASTY], NASTY),
        html.image(b"x", "image/png", f'"{NASTY}', NASTY),
        tables.scores(results),
        tables.scores(made({"EFA": {0: 30.0}}), printed),
        tables.verdicts(made({"EFA": {0: 30.0}}, overrides={"data.source": NASTY})),
    ]
    for piece in shown:
        assert "<img src=x" not in piece.source
        assert "</script" not in piece.source
        assert "&lt;/script&gt;" in piece.source
    assert 'alt="&quot;' in shown[3].source


def test_claims_are_escaped(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    (tmp_path / "results").mkdir()
    line = f'a,6,"{NASTY}","{NASTY}",Add,EFA,cider_d,lower,"{NASTY}"'
    head = "id,table,sentence,claim,row,reference,metric,direction,source"
    (tmp_path / "results" / "claims.csv").write_text(f"{head}\n{line}\n")
    source = tables.verdicts(made({"EFA": {0: 30.0}})).source
    assert NASTY not in source
    assert source.count("&lt;/script&gt;") == 5  # the sentence, a table's label and caption, the claim, its source


def test_texts_of_clips_are_escaped(tmp_path):
    predictions(explanation=NASTY).assign(reference=NASTY, clip_id=lambda t: t["clip_id"] + NASTY).to_parquet(
        tmp_path / "p.parquet"
    )
    shown = examples.gallery(made({"EFA": {0: 30.0}}, predictions={("EFA", 0): tmp_path / "p.parquet"})).source
    assert NASTY not in shown
    assert shown.count("&lt;/script&gt;") >= 6
