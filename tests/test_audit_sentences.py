"""The audit's table of the paper's sentences is built from data, presets and code."""

import dataclasses
import re
from importlib import util
from pathlib import Path

import pytest
import yaml

from efa import config
from efa_book import audit_tables, html
from efa_book.audit import sentences
from efa_book.audit.sentences import SENTENCES

ROOT = Path(__file__).resolve().parents[1]
ENTRIES = yaml.safe_load((ROOT / "efa_book" / "audit" / "sentences.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def table() -> html.Html:
    return audit_tables.sentences()


def row_of(sentence: sentences.Sentence, table: html.Html) -> list[str]:
    """A sentence's cells in plain text."""
    lines = table.text.splitlines()
    (line,) = [line for line in lines if line.startswith(f"{sentence.says} {sentence.where} | ")]
    return line.split(" | ")


def about(setting: str) -> sentences.Sentence:
    return next(one for one in SENTENCES if one.settings == (setting,))


def test_every_part_of_the_two_sections_is_there():
    assert len(SENTENCES) == len({one.says for one in SENTENCES}) >= 35
    places = " ".join(one.where for one in SENTENCES)
    parts = ("IV, Problem", "IV, Overview", "IV-A, paragraph 1", "IV-A, paragraph 2", "IV-B, 1", "IV-B, 2", "IV-B, 3")
    parts += ("end of IV-B", "IV-C, paragraph 1", "IV-C, paragraph 2", "IV-C, paragraph 3", "Evaluation Metrics")
    assert [part for part in (*parts, "Implementation Details") if part not in places] == []
    linked = " ".join(one.code for one in SENTENCES)
    assert [n for n in range(1, 12) if not re.search(rf"eq-{n}\b", linked)] == []


@pytest.mark.parametrize("one", SENTENCES, ids=lambda one: one.says[:40])
def test_a_row_holds_each_presets_values_and_the_line_of_code(one, table):
    file, line = one.place()
    *_, smoke, laptop, gpu, paper, code = row_of(one, table)
    assert [smoke, laptop, gpu, paper] == [one.values(preset) for preset in ("smoke", "laptop", "gpu", "paper")]
    assert code == f"{file}, line {line}"
    assert bool(one.settings) or one.here, "a sentence without a setting says why"


def test_lines_are_those_that_the_pages_of_code_have(table):
    spec = util.spec_from_file_location("source", ROOT / "book" / "_ext" / "source.py")
    library = util.module_from_spec(spec)
    spec.loader.exec_module(library)
    pages = library.Library(ROOT, [f"{name}/**/*.py" for name in library.PACKAGES])
    for one in SENTENCES:
        file, line = one.place()
        assert pages.find(one.code) == (library.page_of(file), f"L{line}", line), one.code
        assert f'href="../{library.page_of(file)}.html#L{line}"' in table.source


def test_values_come_from_the_presets_and_none_is_typed(monkeypatch):
    fields = {field.name for field in dataclasses.fields(sentences.Sentence)}
    assert [entry for entry in ENTRIES if not entry.keys() <= fields] == []
    assert all(re.fullmatch(r"[a-z]+\.\w+", setting) for entry in ENTRIES for setting in entry.get("settings", []))
    monkeypatch.setitem(config.PRESETS, "laptop", config.LAPTOP | {"data.frames": 7, "fusion.merge": "add"})
    table = audit_tables.sentences()
    assert row_of(about("data.frames"), table)[2:6] == ["6", "7", "6", "6"]
    assert row_of(about("fusion.merge"), table)[2:6] == ["gate", "add", "gate", "gate"]


def test_a_renamed_setting_fails():
    with pytest.raises(AttributeError, match="frame_count"):
        dataclasses.replace(SENTENCES[0], settings=("data.frame_count",)).values("laptop")


@pytest.mark.parametrize("code", ["efa/train.py@alg-1-16", "efa/train.py#fitted", "efa/model/fusion.py#Branch.gone"])
def test_code_that_is_gone_fails(code):
    with pytest.raises(LookupError, match=re.escape(code)):
        dataclasses.replace(SENTENCES[0], code=code).place()


def test_the_page_shows_the_table():
    page = (ROOT / "book" / "audit.md").read_text(encoding="utf-8")
    assert page.count("audit_tables.sentences()") == 1
