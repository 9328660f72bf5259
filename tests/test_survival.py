"""What files, locks and a run's folder survive: a full disk, a killed writer, a truncated file."""

import errno
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from test_grid import make_run

from efa.data.loader import cached_array
from efa.launch.grid import describe_failure
from efa.utils.files import locked, remove_partial_files, write_safely
from efa.utils.recovery import is_broken, recover

BIG = torch.arange(200_000.0)
WRITERS: dict[str, Callable[[Path], object]] = {
    "resume.pt": partial(torch.save, {"big": BIG}),
    "model.safetensors": partial(save_file, {"big": BIG}),
    "predictions.parquet": lambda path: pd.DataFrame({"big": BIG.numpy()}).to_parquet(path),
    "scores.json": lambda path: path.write_text("big" * 300_000),
}


@pytest.fixture
def full() -> Iterator[None]:
    """The system refuses files of this process above 100 kB, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", WRITERS)
def test_a_full_disk_names_the_file_and_keeps_the_old_one(name, tmp_path, full):
    (tmp_path / name).write_text("old")
    with pytest.raises(OSError, match=r".+") as caught:
        write_safely(tmp_path / name, WRITERS[name])
    assert caught.value.errno in (errno.EFBIG, errno.ENOSPC)
    assert caught.value.filename == str(tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "old"
    assert describe_failure(make_run("EFA"), caught.value).kind == "disk"


def test_a_full_disk_stops_a_cache_before_it_is_filled(tmp_path, full):
    with pytest.raises(OSError, match=r"a\.npy") as caught:
        cached_array(tmp_path / "a.npy", (1000, 1000), np.float32, [np.ones((1000, 1000))])
    assert describe_failure(make_run("EFA"), caught.value).kind == "disk"
    assert [path.name for path in tmp_path.iterdir()] == ["a.lock"]


def test_an_error_of_the_writer_itself_is_unchanged(tmp_path):
    def fail(path: Path) -> None:
        path.write_text("half")
        raise ValueError("not the disk")

    with pytest.raises(ValueError, match="not the disk"):
        write_safely(tmp_path / "a", fail)
    with pytest.raises(FileNotFoundError) as caught:
        write_safely(tmp_path / "a", lambda path: path.write_text((tmp_path / "absent").read_text()))
    assert caught.value.filename == str(tmp_path / "absent")
    assert not list(tmp_path.iterdir())


def test_a_file_is_flushed_before_it_has_its_name(tmp_path, monkeypatch):
    synced, real = [], os.fsync
    monkeypatch.setattr(os, "fsync", lambda number: synced.append((tmp_path / "a").exists()) or real(number))
    write_safely(tmp_path / "a", lambda path: path.write_text("whole"))
    assert synced == [False]
    assert (tmp_path / "a").read_text() == "whole"


def test_only_partial_files_are_removed(tmp_path):
    for name in (".resume.pt.4711", ".scores.json.1", ".lock", ".hidden", "a.1", "history.csv"):
        (tmp_path / name).touch()
    remove_partial_files(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", ".hidden", "a.1", "history.csv"}
    stale = tmp_path / "a.4711.partly"
    stale.touch()
    cached_array(tmp_path / "a.npy", (2,), np.float32, [np.ones(2)])
    assert not stale.exists()


HOLD = """
import sys, time
from pathlib import Path
from efa.utils.files import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_makes_others_wait_until_its_holder_is_killed(tmp_path):
    lock = tmp_path / ".lock"
    path = os.pathsep.join([str(Path(__file__).resolve().parents[1]), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": path}
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"held\n"
        busy: list[float] = []
        with locked(lock, lambda: busy.append(time.monotonic()) or holder.send_signal(signal.SIGKILL)):
            assert len(busy) == 1
            assert time.monotonic() - busy[0] < 30
    assert lock.exists()  # a stale one
    with locked(lock, lambda: pytest.fail("nobody holds it")):
        pass


MODEL = {"config.json", "history.csv", "model.safetensors", "vocab.txt", "provenance.json"}
DONE = MODEL | {"predictions.parquet", "scores.json"}
STATE = {"resume.pt", "best.safetensors", "history.csv"}


FILLERS: dict[str, Callable[[Path], object]] = {
    ".json": lambda path: path.write_text('{"labels": []}\n'),
    ".csv": lambda path: path.write_text("epoch\n1\n"),
    ".txt": lambda path: path.write_text("[PAD]\n"),
    ".safetensors": partial(save_file, {"a": torch.ones(100)}),
    ".pt": partial(torch.save, {"a": torch.ones(100)}),
    ".parquet": lambda path: pd.DataFrame({"a": [1.0] * 100}).to_parquet(path),
}


def fill(folder: Path, names: set[str]) -> None:
    for name in names:
        FILLERS[Path(name).suffix](folder / name)


@pytest.mark.parametrize(
    ("has", "cut", "kept", "message"),
    [
        (DONE, "provenance.json", DONE - {"provenance.json", "predictions.parquet", "scores.json"}, "trained again"),
        (DONE, "model.safetensors", MODEL - {"provenance.json"}, "trained again"),
        (DONE, "history.csv", MODEL - {"provenance.json"}, "trained again"),
        (DONE, "predictions.parquet", MODEL, "predicted again"),
        (DONE, "scores.json", DONE - {"scores.json"}, "scored again"),
        (STATE, "resume.pt", {"history.csv"}, "starts over"),
        (STATE, "best.safetensors", {"history.csv"}, "starts over"),
        (DONE | STATE, None, DONE, None),  # killed just before the state was removed
        (STATE, None, STATE, None),
        (DONE, None, DONE, None),
    ],
)
@pytest.mark.parametrize("bytes_left", [0, 0.6])
def test_recover_removes_what_is_broken_and_no_more(tmp_path, has, cut, kept, message, bytes_left):
    fill(tmp_path, has)
    assert not any(is_broken(tmp_path / name) for name in has)
    if cut:
        whole = (tmp_path / cut).read_bytes()
        (tmp_path / cut).write_bytes(whole[: int(bytes_left * len(whole))])
        assert is_broken(tmp_path / cut)
    (tmp_path / ".predictions.parquet.1").touch()
    lines: list[str] = []
    recover(tmp_path, lines.append)
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert [line for line in lines if cut and line.startswith(cut)] == lines
    assert len(lines) == (message is not None)
    assert all(str(message) in line for line in lines)


def test_a_file_without_permission_is_not_broken(tmp_path, monkeypatch):
    fill(tmp_path, DONE)

    monkeypatch.setattr(Path, "read_text", Mock(side_effect=PermissionError(errno.EACCES, "Permission denied")))
    with pytest.raises(PermissionError):
        recover(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == DONE
