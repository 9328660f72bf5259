"""Runs over a Ray cluster, or over a local one. Ray is the optional extra `cluster`.

Every machine reads and writes the same project folder, runs the same code and has the same data at the same path; each
run checks that before it writes anything.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import secrets
import socket
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from efa.launch.jobs import Failure, Job, Outcome, StoppedError, attempt, failure, one_line
from efa.launch.local import News
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.signals import GRACE

MISSING = "in the project's folder: .venv/bin/python -m pip install -c constraints.txt -e '.[cluster]'"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends nothing home, and asks no question about it
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about what a later version will do
}
OBJECT_STORE = 100 * 2**20  # bytes; only runs and their folders' names go through it
EVERY = 0.25  # seconds between two words on a run's progress
LOOK = 5.0  # seconds between two looks at the cluster's machines


class _Mail:
    """An actor beside the driver: runs drop their news here, and never wait for anybody to read them."""

    def __init__(self) -> None:
        self._kept: list[tuple[int, str | float]] = []

    def put(self, i: int, said: str | float) -> None:
        self._kept.append((i, said))

    def take(self) -> list[tuple[int, str | float]]:
        kept, self._kept = self._kept, []
        return kept


class RayPool:
    """A `grid.Pool`: as many runs at a time as the cluster's machines hold, looked up again as machines come and go.

    Args:
        jobs: most runs at a time; 0: whatever fits. A local cluster is made to hold this many.
        address: of a running cluster, or 'auto'; without one $RAY_ADDRESS, and without that a local cluster is started.
        cpus: cores a run; its number of threads follows.
        gpus: GPUs a run, a fraction to share one; by default one where the cluster has any.

    Raises:
        InputError: on entering: Ray missing, no cluster at the address, no machine that could hold a run.
        StoppedError: on entering: no local cluster came up.
    """

    def __init__(self, jobs: int = 0, address: str | None = None, cpus: float = 1.0, gpus: float | None = None):
        self._jobs, self._cpus, self._gpus = jobs, cpus, gpus
        self._address = address or os.environ.get("RAY_ADDRESS")
        self._busy: dict[Any, tuple[int, Job]] = {}
        self._looked, self._slots = -LOOK, 0

    def __enter__(self) -> RayPool:
        os.environ.update(QUIET)
        try:
            import ray
        except ImportError as error:
            raise InputError("Ray is not installed", hint=MISSING) from error
        self._ray = ray
        quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                if self._address:
                    _knock(self._address)
                    ray.init(self._address, **quiet)
                else:
                    ray.init(
                        "local",
                        num_cpus=max(1, math.ceil(max(1, self._jobs) * self._cpus)),
                        include_dashboard=False,
                        object_store_memory=OBJECT_STORE,
                        **quiet,
                    )
            except Exception as error:  # Ray raises the bare class where its own processes are late
                reason = one_line((getattr(error, "strerror", None) or str(error)).strip().split("\n")[0])
                if self._address:
                    message = f"no Ray cluster at '{self._address}': {reason}"
                    raise InputError(message, hint="ray start --head starts one") from error
                raise StoppedError(f"Ray did not start: {reason}") from error
        try:
            self._open()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _open(self) -> None:
        ray = self._ray
        if self._gpus is None:
            self._gpus = 1.0 if any(found.get("GPU") for found in self._machines()) else 0.0
        if not self.size:
            wanted = f"{self._cpus:g} cores" + (f" and {self._gpus:g} GPU" if self._gpus else "")
            raise InputError(f"no machine of this Ray cluster has {wanted}", hint="ask for less")
        self._home = paths.home().resolve()
        self._marker = self._home / "runs" / f".grid-{secrets.token_hex(8)}"
        self._marker.parent.mkdir(parents=True, exist_ok=True)
        self._marker.touch()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        self._mail = ray.remote(_Mail).options(num_cpus=0, scheduling_strategy=here).remote()
        threads = max(1, int(self._cpus))
        # The grid starts a run again itself, and says so; Ray would do it without a word.
        self._work = ray.remote(_work).options(num_cpus=self._cpus, num_gpus=self._gpus, max_retries=0)
        self._shared = ray.put((os.getcwd(), str(self._home), self._marker.name, threads))

    def __exit__(self, *_error: object) -> None:
        ray = self._ray
        try:
            with contextlib.suppress(Exception):  # a cluster that is gone has nothing to cancel
                for ref in self._busy:
                    ray.cancel(ref)  # an interrupt in the run, which removes what it was writing
                if self._busy:
                    ray.wait(list(self._busy), num_returns=len(self._busy), timeout=GRACE)
        finally:
            if hasattr(self, "_marker"):
                with contextlib.suppress(OSError):
                    self._marker.unlink(missing_ok=True)
            ray.shutdown()

    def _machines(self) -> list[dict[str, float]]:
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    @property
    def size(self) -> int:
        """Runs at a time: what the machines hold now."""
        if time.monotonic() - self._looked > LOOK:
            self._looked = time.monotonic()
            self._slots = sum(slots(found, self._cpus, self._gpus or 0.0) for found in self._machines())
        return min(self._slots, self._jobs) if self._jobs else self._slots

    def start(self, i: int, run: Job) -> None:
        """Hands run number `i` to the cluster."""
        self._busy[self._work.remote(i, run, run.key, self._shared, self._mail)] = i, run

    def news(self) -> Iterator[tuple[int, News]]:
        """What the runs have said since; waits half a second for one to end."""
        ray = self._ray
        if not self._busy:  # every machine is gone; perhaps one comes back
            time.sleep(0.5)
            return
        ended, _ = ray.wait(list(self._busy), num_returns=1, timeout=0.5)
        for i, said in ray.get(self._mail.take.remote()):
            yield i, said
        for ref in ended:
            i, run = self._busy.pop(ref)
            yield i, self._outcome(ref, run)

    def _outcome(self, ref: Any, run: Job) -> Outcome:
        raised = self._ray.exceptions
        try:
            return self._ray.get(ref)
        except raised.RayTaskError as error:  # before the run itself: mostly, efa is not installed on that machine
            last = one_line(str(error).strip().split("\n")[-1])
            return Failure(run.label, f"a machine of the cluster cannot run efa: {last}", "mistake")
        except raised.RayError as error:
            why = "memory ran out" if isinstance(error, raised.OutOfMemoryError) else type(error).__name__
            return Failure(run.label, f"its process on the cluster died ({why})", "died")


def _knock(address: str) -> None:
    """Tries 'host:port' first: where nobody answers, Ray itself would warn on the terminal for half a minute."""
    host, _, port = address.rpartition(":")
    if host and port.isdigit() and "://" not in address:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def slots(machine: dict[str, float], cpus: float, gpus: float) -> int:
    """How many runs of so many cores and GPUs a machine holds at a time."""
    found = []
    if cpus:
        found.append(math.floor(machine.get("CPU", 0.0) / cpus + 1e-9))
    if gpus >= 1:
        found.append(math.floor(machine.get("GPU", 0.0) / gpus + 1e-9))
    elif gpus:  # a run never lies on two GPUs, so each GPU holds a whole number of them
        found.append(int(machine.get("GPU", 0.0)) * math.floor(1 / gpus + 1e-9))
    return min(found)


def _work(i: int, run: Job, key: str, shared: tuple[str, str, str, int], mail: Any) -> Outcome:
    """One run on whichever machine, which must see the driver's project folder and come to the same key."""
    cwd, home, marker, threads = shared
    if not (Path(home) / "runs" / marker).is_file():
        why = f"machine {socket.gethostname()} does not see {home}, and wrote nothing"
        return Failure(run.label, f"{why} (let all machines share that folder)", "mistake")
    os.environ["EFA_HOME"] = home
    with contextlib.suppress(OSError):  # where a path among the settings is not a full one
        os.chdir(cwd)
    torch.set_num_threads(threads)
    try:
        found = run.key
    except Exception as error:
        return failure(run, error)
    if found != key:
        why = f"machine {socket.gethostname()} has other code, data or weights (key {found} there, {key} here)"
        return Failure(run.label, f"{why}; it wrote nothing", "mistake")
    told = 0.0

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told >= EVERY:
            told = time.monotonic()
            mail.put.remote(i, done / total)

    return attempt(run, progress, lambda line: mail.put.remote(i, line))
