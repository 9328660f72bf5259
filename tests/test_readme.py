"""README.md: short, and what it says was found is what results/ has."""

from pathlib import Path

from efa_book import readme

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")


def test_the_findings_are_those_of_the_published_results(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))  # nothing that was trained on this machine
    (tmp_path / "results").symlink_to(ROOT / "results")
    (ROOT / ".cache").mkdir(exist_ok=True)  # scores of texts that know no clip: half a minute, kept by what they read
    (tmp_path / ".cache").symlink_to(ROOT / ".cache")
    first, last = readme.MARKS
    found = readme.findings()
    assert TEXT.split(first)[1].split(last)[0] == found
    monkeypatch.setattr(readme, "findings", lambda: found)
    (tmp_path / "README.md").write_text(f"before\n{first}old\n{last}\nafter\n")
    readme.write(tmp_path / "README.md")
    assert (tmp_path / "README.md").read_text("utf-8") == f"before\n{first}{found}{last}\nafter\n"


def test_a_stranger_reads_it_in_a_minute():
    assert len(TEXT.splitlines()) <= 100
    assert TEXT.index("make reproduce") < TEXT.index("efa assess") < TEXT.index("## What came out")
