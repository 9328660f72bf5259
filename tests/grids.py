"""Real `efa run` processes on a small grid, for tests that end them in the middle."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest
import tiny

ROOT = Path(__file__).resolve().parents[1]
SMALL = tiny.SETTINGS | {"data.clips": 96, "training.epochs": 6}


def options(**changes: object) -> list[str]:
    """--set for every setting of the small grid; 'training__epochs' stands for 'training.epochs'."""
    settings = SMALL | {name.replace("__", "."): value for name, value in changes.items()}
    text = {k: ",".join(map(str, v)) if isinstance(v, tuple) else str(v).lower() for k, v in settings.items()}
    return [part for name, value in text.items() for part in ("--set", f"{name}={value}")]


class Grid:
    """One `efa run` in a process group of its own, so that what a terminal sends to all can be sent to all.

    Args:
        home: where its runs and caches go.
        limit: bytes that a file may have, as `ulimit -f` sets it.
    """

    def __init__(self, home: Path, *arguments: str, limit: int = 0, python: str = sys.executable, **changes: object):
        home.mkdir(parents=True, exist_ok=True)
        self.home = home
        self.log = home.parent / f"{home.name}.log"
        command = [python, "-m", "efa", "run", *arguments, "--preset", "smoke", *options(**changes)]
        if limit:
            command = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "bash", *command]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        quiet = {"EFA_HOME": str(home), "PYTHONPATH": path, "CI": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | quiet,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, seconds: float = 900) -> tuple[int, str]:
        """Exit status and all that was said."""
        try:
            status = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"still running after {seconds:.0f} s:\n{self.said()}")
        return status, self.said()

    def said(self) -> str:
        return self.log.read_text()

    def signal(self, number: int) -> None:
        """To the whole group, as Ctrl-C is."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def until(self, there: Callable[[], object], seconds: float = 900, pause: float = 0.01) -> bool:
        """Waits until `there()`; False where the process ended before."""
        end = time.monotonic() + seconds
        while not there():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                self.kill()
                pytest.fail(f"waited {seconds:.0f} s:\n{self.said()}")
            time.sleep(pause)
        return True

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.home.glob(f"runs/*/{pattern}"))

    def alive(self) -> bool:
        """Whether any process of the group is left."""
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


def complete(home: Path, *arguments: str, **changes: object) -> str:
    """Runs a grid to its end; what it said."""
    status, said = Grid(home, *arguments, **changes).wait()  # type: ignore[arg-type]
    assert status == 0, said
    return said


def results(home: Path) -> dict[str, tuple[pd.DataFrame, object]]:
    """Label -> predictions and scores."""
    found = {}
    for file in home.glob("runs/*/provenance.json"):
        (label,) = json.loads(file.read_text())["labels"]
        scores = json.loads((file.parent / "scores.json").read_text())
        found[label] = pd.read_parquet(file.parent / "predictions.parquet"), scores
    return found


def assert_same(home: Path, reference: Path) -> None:
    """Every prediction and every score is the same to the last bit."""
    ours, theirs = results(home), results(reference)
    assert ours.keys() == theirs.keys()
    for label, (table, scores) in theirs.items():
        pd.testing.assert_frame_equal(ours[label][0], table, check_exact=True)
        assert ours[label][1] == scores, label


def leftovers(home: Path) -> list[str]:
    """Files that are not whole, of runs and caches."""
    half = [*home.glob("runs/*/.*.[0-9]*"), *home.glob(".cache/*/*.partly"), *home.glob("runs/.[!g]*")]
    return [str(path.relative_to(home)) for path in half]


def processes(parent: int) -> Iterator[tuple[int, str]]:
    """Descendants of a process: number and command line."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    queue = list(children.get(parent, []))
    while queue:
        child = queue.pop()
        queue += children.get(child, [])
        with contextlib.suppress(OSError):
            yield child, Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
