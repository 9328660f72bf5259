"""Bad input of `efa data cot-afa` is refused on one line."""

import shutil
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from checkpoints import call, said
from cot_afa_release import HEADER, release, sheet_rows, videos, write_json
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.utils.errors import InputError
from efa_datasets.cot_afa import convert, download_videos, read_release
from efa_datasets.cot_afa_files import COLUMNS, NAMES, REFERENCES, SHEET, STEP_FILE

Refused = Callable[..., str]


@pytest.fixture
def refused(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Refused:
    """Runs the command, which must fail; -> its one line."""

    def run(*words: str | Path) -> str:
        status, _, err = call(monkeypatch, capfd, "data", "cot-afa", *map(str, words))
        assert status == 2
        assert err.strip() == said(err)
        assert err.strip().endswith(")"), "says what to do"
        return said(err)

    return run


def test_the_command_prints_a_summary(tmp_path: Path, capfd, monkeypatch) -> None:
    places = ("--annotations", str(release(tmp_path / "notes")), "--videos", str(videos(tmp_path / "videos")))
    status, out, _ = call(monkeypatch, capfd, "data", "cot-afa", str(tmp_path), str(tmp_path / "out"), *places)
    assert status == 0
    counts = "4 actions, 4 types, 40 standard / 40 non-standard, 80 with text"
    assert all(part in out for part in ("80 clips (56 train, 12 val, 12 test)", counts, "spelling"))
    assert (tmp_path / "out" / "oddities.csv").exists()


BROKEN = (b"", b"PK\x03\x04 no zip", b"cos\nsystem\n(S'false'\ntR.", b"[1, 2", b"[]", b'{"a": 1}', b"[" * 100_000)


@pytest.mark.parametrize("file", [SHEET, STEP_FILE, NAMES, REFERENCES])
@pytest.mark.parametrize("content", [None, *BROKEN])
def test_broken_files(tmp_path: Path, refused: Refused, file: str, content: bytes | None) -> None:
    release(tmp_path)
    (tmp_path / file).unlink()
    if content is not None:
        (tmp_path / file).write_bytes(content)
    assert file in refused(tmp_path, tmp_path / "out", "--no-videos")


BAD_CELLS = [
    ("label", 3, "unknown label"), ("label", None, "None is an unknown label"), ("label", "good", "unknown label"),
    ("label", True, "unknown label"), ("label", 0.5, "unknown label"), ("clip_id", None, "no clip's name"),
    ("clip_id", "0_1", "no clip's name"), ("clip_id", "00/../00_01", "no clip's name"),
    ("clip_id", "04_00", "there is no class 4"),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value", "message"), BAD_CELLS)
def test_bad_rows(tmp_path: Path, refused: Refused, column: str, value: Any, message: str) -> None:
    rows = sheet_rows()
    rows[5][list(COLUMNS).index(column)] = value
    line = refused(release(tmp_path, rows), tmp_path / "out", "--no-videos")
    assert message in line
    assert f"{SHEET}, row 7:" in line


def test_bad_steps(tmp_path: Path, refused: Refused) -> None:
    release(tmp_path)
    for steps in ({"Hop": "text"}, {"Hop": [1]}, {"Hop": ["x"] * 7}, {" ": ["x"]}, {"Hop": ["x"], "Hop ": ["x"]}):
        write_json(tmp_path / STEP_FILE, steps)
        assert f"{STEP_FILE}, row" in refused(tmp_path, tmp_path / "out", "--no-videos")
    (tmp_path / STEP_FILE).write_text('{"Hop": [], "Hop": []}')
    assert "row Hop: the key is there 2 times" in refused(tmp_path, tmp_path / "out", "--no-videos")


def test_bad_folders(tmp_path: Path, refused: Refused) -> None:
    root, out, none, empty = (tmp_path / name for name in ("root", "out", "none", "empty"))
    release(root)
    empty.mkdir()
    assert "no such folder" in refused(none, out)
    assert "no such file or folder" in refused(none, out, "--no-videos")
    assert "or --no-videos" in refused(root, out, "--videos", empty)
    assert "is a file" in refused(root, root / SHEET, "--no-videos")
    assert "exclude each other" in refused(root, out, "--no-videos", "--download")
    assert "name too long" in refused(root, tmp_path / ("x" * 300), "--no-videos")
    shutil.rmtree(root / "comment")
    assert "comment: no such file or folder" in refused(root, out, "--no-videos")
    assert not out.exists()


def test_huge_sheets_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("efa_datasets.cot_afa_files.UNPACKED", 100)
    with pytest.raises(InputError, match="when unpacked"):
        read_release(release(tmp_path))


def test_download(tmp_path: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(handle: str) -> str:
        raise ConnectionError(f"no network\nfor {handle}")

    def download(function: Callable[[str], str] | None) -> Path:
        module = function and types.SimpleNamespace(dataset_download=function)
        monkeypatch.setitem(sys.modules, "kagglehub", module)
        return download_videos("owner/name")

    root = release(tmp_path / "root")
    assert "does not state the data set's Kaggle id" in refused(root, tmp_path / "out", "--download")
    with pytest.raises(InputError, match="pip install kagglehub"):
        download(None)
    with pytest.raises(InputError, match=r"owner/name cannot be downloaded: ConnectionError.*--videos DIR"):
        download(offline)
    assert download(lambda handle: str(tmp_path / handle)) == tmp_path / "owner" / "name"


def test_no_link_can_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "symlink_to", mock.Mock(side_effect=OSError("not permitted")))
    with pytest.raises(InputError, match="no link can be made here: not permitted"):
        convert(videos(release(tmp_path / "root")), tmp_path / "out")


def reads_or_refuses(folder: Path) -> bool:
    """The release is read, or refused with one line."""
    try:
        return len(read_release(folder).dataset.table) > 0
    except InputError as error:
        return "\n" not in str(error)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


PLACES = st.floats(0, 1, exclude_max=True)  # in parts of the file, whose length varies with the time inside it


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=8), st.floats(0, 2))
def test_damaged_sheets(place: Path, damage: list[tuple[float, int]], cut: float) -> None:
    content = bytearray((release(place, sheet_rows()[:25]) / SHEET).read_bytes())
    for where, byte in damage:
        content[int(where * len(content))] = byte
    (place / SHEET).write_bytes(content[: int(cut * len(content))])
    assert reads_or_refuses(place)


CELLS = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5) | st.just("00_01")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(CELLS, min_size=9, max_size=9), max_size=3))
def test_any_cells(place: Path, extra: list[list[Any]]) -> None:
    release(place)
    rows = [(i, list(row)) for i, row in enumerate([HEADER, *sheet_rows()[:3], *extra], 1)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efa_datasets.cot_afa_files._read_cells", lambda file: rows)
        assert reads_or_refuses(place)
