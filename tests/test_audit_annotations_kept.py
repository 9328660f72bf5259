"""What `efa audit annotations` writes, refuses and publishes, and the tables that the book makes of it."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from audit_clips import clips, save
from reported import NASTY

from efa.cli import app as cli
from efa.utils.errors import InputError
from efa_book import annotations as shown
from efa_book import paper
from efa_book.audit import annotations
from efa_book.audit.annotations import audit, contradictions, shortcuts, words, write
from efa_book.audit.annotations_texts import with_text
from efa_datasets.cot_afa import convert
from efa_datasets.cot_afa_files import SHEET

PUBLISHED = Path(__file__).resolve().parents[1] / "results" / "cot-afa"

# --- the command -----------------------------------------------------------------------------------------------------


def command(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    monkeypatch.setattr(sys, "argv", ["efa", "audit", "annotations", *map(str, words)])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    return int(caught.value.code or 0)


def test_any_manifest_will_do_and_skipped_parts_are_listed(tmp_path):
    table = clips().assign(clip_id=lambda table: "clip-" + table["clip_id"])
    made = audit(save(tmp_path / "data", table, reasons=False), draws=2, meteor=False)
    assert set(made.skipped) == {"clip index and class number", "reasons for bad form"}
    assert set(made.shortcuts["rule"]) == {"majority", "action"}
    assert "the file name" not in set(made.blind["told"])
    bare = audit(save(tmp_path / "bare", table.assign(explanation=""), reasons=False), meteor=False)
    assert "blind explanations" in bare.skipped
    assert bare.blind.empty
    assert not bare.shortcuts.empty


def test_written_files_hold_the_measurements(tmp_path):
    made = audit(save(tmp_path / "data", clips()), draws=2, meteor=False)
    write(made, tmp_path / "out", "efa audit annotations data")
    kept = pd.read_csv(tmp_path / "out" / "blind.csv")
    np.testing.assert_allclose(kept["value"], made.blind["value"], rtol=1e-5)
    facts = json.loads((tmp_path / "out" / "blind_provenance.json").read_text())
    assert facts["command"] == "efa audit annotations data"
    assert set(facts["files"]) == {"manifest.parquet", "steps.json", "released.csv"}
    assert facts["clips"] == {"test": 4, "covered": 3, "training texts": 6, "actions with a training text": 2}
    shuffled = audit(save(tmp_path / "again", clips().sample(frac=1, random_state=0)), draws=2, meteor=False)
    assert shuffled.facts["annotations"] == facts["annotations"]
    pd.testing.assert_frame_equal(shuffled.blind, made.blind)
    other = save(tmp_path / "other", clips().assign(quality=0))
    assert audit(other, draws=1, meteor=False).facts["annotations"] != facts["annotations"]


def test_command_writes_files_and_prints_json(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    plain = annotations.audit
    monkeypatch.setattr(annotations, "audit", lambda *given: plain(*given, meteor=False))
    save(tmp_path / "mine", clips())
    assert command(monkeypatch, tmp_path / "mine", "--seeds", "2", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert set(document) == {"blind", "shortcuts", "contradictions", "words", "reached", "skipped", "facts"}
    assert document["facts"]["draws"] == 2
    assert {file.name for file in (tmp_path / "results" / "mine").iterdir()} == {
        "blind.csv",
        "shortcuts.csv",
        "contradictions.csv",
        "words.csv",
        "blind_provenance.json",
    }
    assert command(monkeypatch, tmp_path / "mine", "--to", tmp_path / "there") == 0
    output = capsys.readouterr().out
    assert all(part in output for part in ("form-central-f1", "without a video", "blind_provenance.json"))


def test_bad_input_is_named_in_one_line(tmp_path, monkeypatch, capsys):
    def error_of(name: str) -> str:
        assert command(monkeypatch, tmp_path / name) == 2
        line = capsys.readouterr().err.strip().splitlines()[-1]
        assert line.startswith("efa: ")
        assert line.endswith(")"), "says what to do"
        return line

    assert "no such folder" in error_of("none")
    (tmp_path / "empty").mkdir()
    assert "neither manifest.parquet nor" in error_of("empty")
    broken = save(tmp_path / "broken", clips())
    (broken / "released.csv").write_text("clip\n1\n")
    assert "released.csv: missing column clip_id" in error_of("broken")
    (broken / "manifest.parquet").write_bytes(b"PAR1")
    assert "manifest.parquet: not a parquet file" in error_of("broken")
    (broken / "manifest.parquet").unlink()
    (broken / "manifest.csv").write_text("clip_id,path,action,quality,split\na,b.mp4,Hop,7,test\n")
    assert "manifest.csv, row 2" in error_of("broken")
    (broken / "steps.json").unlink()
    assert "steps.json: no such file" in error_of("broken")


def test_target_that_is_a_file(tmp_path):
    made = audit(save(tmp_path / "data", clips().assign(explanation="")), meteor=False)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="choose another folder"):
        write(made, tmp_path / "file", "")


# --- the tables of the book ------------------------------------------------------------------------------------------

TABLES = (shown.blind_table, shown.shortcuts_table, shown.contradictions_table)


def test_tables_without_results_name_the_command(home):
    for table in TABLES:
        assert "efa audit annotations" in table().text


def test_tables_show_scores_beside_the_paper(home):
    made = audit(save(home / "data", clips()), draws=2, meteor=False)
    write(made, home / "results" / "cot-afa", "efa audit annotations data --seeds 2")
    lines = "4,EFA,,unstated,bleu1,12.3,here\n5,EFA,,unstated,quality_acc,4.5,there\n"
    (home / "results" / "paper.csv").write_text(f"table,row,seed,protocol,metric,value,source\n{lines}")
    blind, rules, texts = (table() for table in TABLES)
    for one in (blind, rules, texts):
        assert "Again: efa audit annotations data --seeds 2" in one.text
        assert made.facts["annotations"][:12] in one.text
    row = made.blind.set_index(["population", "predictor", "metric"]).loc[("all", "form", "bleu1")]
    assert f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}]" in blind.text
    assert "the paper's EFA given: the video; on all test clips | 12.3" in blind.text
    assert "given: the true action and quality" in blind.text
    assert "For 1 of these clips no training text has the action" in blind.text
    assert "the paper's EFA from the video | 4.5 | – | –" in rules.text
    assert "2 of 4 50.0 %" in texts.text


def test_texts_are_escaped_and_broken_files_named(home):
    folder = home / "results" / "cot-afa"
    made = audit(save(home / "data", clips()), draws=1, meteor=False)
    for table in (made.blind, made.shortcuts, made.contradictions):
        table["title"] = NASTY
    made.facts["date"] = NASTY
    write(made, folder, NASTY)
    for table in TABLES:
        assert NASTY not in table().source
    (folder / "blind.csv").write_text("a,b\n1,2\n")
    (folder / "shortcuts.csv").write_text("")
    for table in (shown.blind_table, shown.shortcuts_table):
        with pytest.raises(InputError, match="writes it again"):
            table()


# --- the true annotations --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def true(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (shared / "cot-afa" / SHEET).exists():
        pytest.skip("no annotations of CoT-AFA beside this checkout")
    out = tmp_path_factory.mktemp("released")
    convert(shared / "cot-afa", out, with_videos=False)
    return out


def kept(name: str) -> pd.DataFrame:
    return pd.read_csv(PUBLISHED / f"{name}.csv")


def test_published_counts_and_shortcuts_can_be_repeated(true: Path):
    found = annotations.read_annotations(true)
    facts = json.loads((PUBLISHED / "blind_provenance.json").read_text())
    assert facts["annotations"] == found.digest()
    counts = contradictions(found.clips, found.reasons, found.names)
    pd.testing.assert_frame_equal(counts, kept("contradictions"))
    training, test = with_text(found.clips, "train", "val"), with_text(found.clips, "test")
    pd.testing.assert_frame_equal(words(training, test), kept("words"))
    pd.testing.assert_frame_equal(shortcuts(found.clips, found.names), kept("shortcuts"), rtol=1e-5)
    by = counts.set_index(["texts", "what"])["count"]
    assert by["test", "contradicts"] == 54
    values = kept("shortcuts").set_index(["rule", "metric"])["value"]
    assert values["index-30", "quality_acc"] == pytest.approx(93.3, abs=0.05)
    assert values["majority", "quality_acc"] == pytest.approx(67.6, abs=0.05)


@pytest.mark.slow
def test_published_scores_can_be_repeated(true: Path):
    """All but METEOR, which takes minutes."""
    draws = json.loads((PUBLISHED / "blind_provenance.json").read_text())["draws"]
    expected = kept("blind")
    expected = expected[expected["metric"] != "meteor"].reset_index(drop=True)
    pd.testing.assert_frame_equal(audit(true, draws, meteor=False).blind, expected, rtol=1e-4, check_dtype=False)


COUNTED = {  # an independent count on the same 184 clips, one draw: BLEU-1, BLEU-4, METEOR, ROUGE-L, CIDEr-D
    "any": (35.3, 9.7, 14.5, 25.8, 4.8),
    "action": (50.4, 23.5, 24.6, 37.8, 28.3),
    "form": (54.5, 27.4, 26.3, 41.6, 47.3),
    "form-central-f1": (58.9, 31.1, 28.8, 45.0, 62.5),
}


def test_published_scores_agree_with_an_independent_count():
    """Within a point, or within what one draw strays from the mean of several (2.5 standard deviations)."""
    found = kept("blind")
    found = found[found["population"] == "covered"].set_index(["predictor", "metric"])
    assert set(found["clips"]) == {184}
    for predictor, values in COUNTED.items():
        for metric, value in zip(("bleu1", "bleu4", "meteor", "rouge_l", "cider_d"), values, strict=True):
            line = found.loc[(predictor, metric)]
            spread = 0.0 if np.isnan(line["draw_sd"]) else 2.5 * line["draw_sd"]
            assert abs(line["value"] - value) <= max(1.0, spread), (predictor, metric, line["value"])


def test_published_tables_are_complete():
    blind = shown.blind_table().text
    assert set(kept("blind")["title"]) <= {line.split(" given: ")[0] for line in blind.splitlines()}
    for row in paper.numbers().query("table == '4'")["row"].unique():
        assert f"the paper's {row} " in blind
    assert "81.8" in shown.shortcuts_table().text
    assert "54 of 510 10.6 %" in shown.contradictions_table().text
