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
import psutil
import pytest
import tiny

ROOT = Path(__file__).resolve().parents[1]
SMALL = tiny.SETTINGS | {"data.clips": 96, "training.epochs": 6}
INTERRUPTED = "efa: interrupted; rerun the same command to resume"


def options(**changes: object) -> list[str]:
    """--set for every setting of the small grid; 'training__epochs' stands for 'training.epochs'."""
    return tiny.options(SMALL | {name.replace("__", "."): value for name, value in changes.items()})


class Grid:
    """One `efa run` in a process group of its own, to which signals are sent as a terminal does.

    Args:
        home: folder for its runs and caches.
        limit: bytes that a file may have, as `ulimit -f` sets it.
    """

    def __init__(self, home: Path, *arguments: str, limit: int = 0, **changes: object):
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.log = home, home.parent / f"{home.name}.log"
        command = [sys.executable, "-m", "efa", "run", *arguments, "--preset", "smoke", *options(**changes)]
        if limit:
            command = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "bash", *command]
        path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
        env = os.environ | {"EFA_HOME": str(home), "PYTHONPATH": path, "CI": "1", "OMP_NUM_THREADS": "1"}
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                command, cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def wait(self, seconds: float = 900) -> tuple[int, str]:
        """Exit status and all output."""
        try:
            return self.process.wait(seconds), self.output()
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"still running after {seconds:.0f} s:\n{self.output()}")

    def output(self) -> str:
        return self.log.read_text()

    def signal(self, number: int) -> None:
        """Sends a signal to the whole group, as Ctrl-C does."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.process.wait()

    def until(self, condition: Callable[[], object], seconds: float = 900, pause: float = 0.01) -> bool:
        """Waits for a condition; False where the process ended before."""
        end = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None:
                return False
            if time.monotonic() > end:
                self.kill()
                pytest.fail(f"waited {seconds:.0f} s:\n{self.output()}")
            time.sleep(pause)
        return True

    def files(self, pattern: str) -> list[Path]:
        return sorted(self.home.glob(f"runs/*/{pattern}"))

    def ends(self, seconds: float = 15) -> bool:
        """Whether every process of the group ends soon after the first."""
        end = time.monotonic() + seconds
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < end:
                os.killpg(self.process.pid, 0)
                time.sleep(0.05)
            return False
        return True


def complete(home: Path, *arguments: str, **changes: object) -> str:
    """Runs a grid to its end and returns its output."""
    status, output = Grid(home, *arguments, **changes).wait()  # type: ignore[arg-type]
    assert status == 0, output
    return output


def only_error(output: str) -> str:
    """The one line that says why a grid ended."""
    assert "Traceback" not in output, output
    (line,) = [line for line in output.splitlines() if line.startswith("efa: ")]
    return line


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


def partial_files(home: Path) -> list[Path]:
    """Unfinished files of runs and caches."""
    return [*home.glob("runs/*/.*.[0-9]*"), *home.glob(".cache/*/*.partly"), *home.glob("runs/.[!g]*")]


def processes(parent: int) -> Iterator[tuple[int, str]]:
    """Number and command line of each descendant of a process."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(parent).children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                yield child.pid, " ".join(child.cmdline())
