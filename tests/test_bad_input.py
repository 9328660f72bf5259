"""Every bad input that we could think of, through the command line: one line on stderr, exit status 2, no traceback.

`bad_inputs.CASES` says how the input is made, which command gets it, and what the one line must say; in a command over
many files the others are done all the same. `ODD` is unusual and sound: it is taken, and where something was changed or
left out, a warning says so.
"""

import json
from pathlib import Path
from typing import Any

import input_makers as makers
import pytest
import tiny
from bad_inputs import ASSESS, CASES, CHECKPOINTS, DATA, DATA_CHECK, DESCRIBED, KINDS, LOOK, ODD, POSE, VIDEOS
from checkpoints import call, said
from input_makers import Make

from efa.data import blazepose
from efa.utils.errors import InputError

pytest.importorskip("av")


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="module", autouse=True)
def checkpoint(home) -> Path:
    """Without a text encoder, which takes half a second to load."""
    CHECKPOINTS.source = makers.save_tiny(home / "checkpoint", tiny.config(fusion__text="none"))
    return CHECKPOINTS.source


@pytest.fixture(scope="module")
def good(home) -> Path:
    return makers.film("good.mp4", 6)(home)


def refuse_unreadable(monkeypatch) -> None:
    """The superuser may read what nobody may: then Python's own opening of such a file stands in for the refusal."""
    opened = Path.open

    def checked(path: Path, *words: Any, **more: Any) -> Any:
        if path.is_file() and not path.stat().st_mode & 0o444:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *words, **more)

    monkeypatch.setattr(Path, "open", checked)


@pytest.fixture
def ask(monkeypatch, capfd, tmp_path, checkpoint, good):
    """Runs a command on what a maker makes; -> (path, exit status, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CI", "true")  # no progress bar where there is no terminal
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")

    def run(make: Make, command: tuple[str, ...]) -> tuple[Path, int, str, str]:
        path = make(tmp_path)
        refuse_unreadable(monkeypatch)
        names = {"in": path, "good": good, "checkpoint": checkpoint, "out": tmp_path / "out"}
        return path, *call(monkeypatch, capfd, *(word.format(**names) for word in command))

    return run


@pytest.mark.parametrize("name", CASES)
def test_bad(ask, name):
    make, command, hint = CASES[name]
    if command == POSE and "nobody" in hint:
        try:
            blazepose.network_files()
        except InputError as error:
            pytest.skip(str(error))
    path, status, out, err = ask(make, command)
    assert status == 2, (out, err)
    assert len(err.splitlines()) == 1, err
    line = said(err)
    assert line.isprintable()
    assert hint in line
    assert len(line) > len("efa: ") + len(hint)
    if "{in}" in command:
        shown = " ".join(str(path).split())
        assert "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) in line
    assert not Path("harm").exists()
    if command == ASSESS:  # the rest is done, and what was not is listed
        first, second = json.loads(out)
        assert (first["video"], set(first)) == (str(path), {"video", "error"})
        assert second["quality"] in ("standard", "non-standard")
    else:
        assert not out


@pytest.mark.parametrize("name", ODD)
def test_odd(ask, name):
    make, command, hint = ODD[name]
    _, status, out, err = ask(make, command)
    assert (status, err) == (0, ""), (out, err)
    assert all(line.isprintable() for line in out.splitlines())
    warnings = [line for line in out.splitlines() if line.startswith(("warning: ", "  note     "))]
    if command == DATA_CHECK:
        assert ask(lambda folder: folder / "data", DATA)[1] == 0
    elif command in (LOOK, DESCRIBED):
        warnings = [line for line in warnings if "has never seen a person" not in line]
    if hint:
        assert [line for line in warnings if hint in line], out
    else:
        assert not warnings


def test_all_bad_videos_in_one_batch(ask, tmp_path, good):
    """Every one is a line and an entry, and the good one among them is assessed."""
    paths = []
    for i, (_, make, *_) in enumerate(VIDEOS):
        (tmp_path / str(i)).mkdir()
        paths.append(str(make(tmp_path / str(i))))
    half = len(paths) // 2
    paths.insert(half, str(good))
    _, status, out, err = ask(lambda folder: folder, ("assess", *paths, *ASSESS[3:]))
    assert (status, len(err.splitlines())) == (2, len(VIDEOS))
    assert all(line.startswith("efa: ") for line in err.splitlines())
    answers = json.loads(out)
    assert [answer["video"] for answer in answers] == paths
    assert [i for i, answer in enumerate(answers) if "error" not in answer] == [half]


def test_the_corpus():
    """conftest.py says at the end of a session how many of it were answered."""
    assert (len(CASES), len(ODD)) == (181, 32)
    assert len(CASES) == sum(map(len, KINDS.values()))  # no two of a kind have one name
