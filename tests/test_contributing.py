"""CONTRIBUTING.md: its line numbers point where they say, its line counts are true, and the parts keep their limits."""

import re
from pathlib import Path

import pytest
from test_mutations import MUTATIONS

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
PARTS = ("efa", "formsim", "efa_datasets", "efa_cluster", "efa_book", "book", "benchmarks", "tests")
LIMITS = {
    ("efa",): 8_000,
    PARTS[:-1]: 26_330,
    ("tests",): 19_990,
}
POINTED_AT = {
    "efa/model/fusion.py": "eq-8)",
    "efa/train.py": ".backward()",
    "efa/experiments.py": "ABLATION",
    "efa/baselines/tsm.py": "@register",
    "pyproject.toml": "efa.datasets",
}


def count_lines(part: str) -> int:
    return sum(len(file.read_text(encoding="utf-8").splitlines()) for file in (ROOT / part).rglob("*.py"))


@pytest.mark.parametrize("path", POINTED_AT)
def test_line_numbers_point_where_they_say(path):
    (number,) = re.findall(rf"`{re.escape(path)}:(\d+)`", TEXT)
    assert POINTED_AT[path] in (ROOT / path).read_text(encoding="utf-8").splitlines()[int(number) - 1]


@pytest.mark.parametrize("parts", LIMITS, ids=["efa", "all but tests", "tests"])
def test_parts_keep_their_limits(parts):
    assert sum(map(count_lines, parts)) <= LIMITS[parts]


@pytest.mark.parametrize("part", PARTS)
def test_line_counts_are_true(part):
    (said,) = re.findall(rf"\| `{part}/`.*\| about ([\d,]+) \|", TEXT)
    assert int(said.replace(",", "")) == pytest.approx(count_lines(part), rel=0.05)


def test_no_file_is_longer_than_a_stranger_reads():
    lengths = {
        file: len(file.read_text("utf-8").splitlines()) for part in PARTS for file in (ROOT / part).rglob("*.py")
    }
    assert {str(file): length for file, length in lengths.items() if length > 410} == {}


def test_mutations_are_listed_and_find_their_code():
    for name, (file, code, _, test) in MUTATIONS.items():
        assert (ROOT / file).read_text("utf-8").count(code) == 1
        assert f"| {name} | `{test}` |" in TEXT
