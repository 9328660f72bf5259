"""Runs over a Ray cluster, or over a local one. Ray is the optional extra `cluster`.

Every machine reads and writes the same project folder, runs the same code and has the same data at the same path; each
run checks that before it writes anything. A Ray task starts the same subprocess as a grid on one machine.
"""

import contextlib
import logging
import math
import os
import secrets
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from efa.launch.child import HEARTBEAT, Message, children
from efa.launch.grid import GridStoppedError, Launch, one_line
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.signals import GRACE

MISSING = "in the project's folder: .venv/bin/python -m pip install -c constraints.txt -e '.[cluster]'"
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",  # sends no usage report, and does not ask
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # else a warning about what a later version will do
}
OBJECT_STORE = 100 * 2**20  # bytes; only descriptions of runs and their messages go through it


@contextlib.contextmanager
def ray_cluster(
    jobs: int = 0, address: str | None = None, cpus: float = 1.0, gpus: float | None = None
) -> Iterator[Launch]:
    """Connects to a Ray cluster and yields the function that runs a job on it.

    Args:
        jobs: runs that a local cluster is made to hold at a time.
        address: of a running cluster, or 'auto'; without one $RAY_ADDRESS, and without that a local cluster is started.
        cpus: cores a run; its number of threads follows. gpus: a run, a fraction to share one; default one if any.

    Raises InputError: Ray missing, no cluster at the address, no machine that could hold a run; GridStoppedError: no
    local cluster came up.
    """
    os.environ.update(QUIET)
    try:
        import ray
    except ImportError as error:
        raise InputError("Ray is not installed", hint=MISSING) from error
    _connect(ray, address or os.environ.get("RAY_ADDRESS"), max(1, math.ceil(max(1, jobs) * cpus)))
    marker = paths.runs().resolve() / f".grid-{secrets.token_hex(8)}"
    try:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        if gpus is None:
            gpus = float(any(machine.get("GPU") for machine in machines))
        if not any(machine.get("CPU", 0) >= cpus and machine.get("GPU", 0) >= gpus for machine in machines):
            wanted = f"{cpus:g} cores" + (f" and {gpus:g} GPU" if gpus else "")
            raise InputError(f"no machine of this Ray cluster has {wanted}", hint="ask for less")
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
        # No retries by Ray: the grid starts a run again itself, and reports it.
        options = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0, "num_returns": "streaming"}
        task = ray.remote(run_on_machine).options(**options)

        def launch(description: dict[str, Any]) -> Iterator[Message]:
            messages: Any = task.remote(description | {"threads": max(1, int(cpus))}, os.getcwd(), str(marker))
            try:
                while True:
                    ready, _ = ray.wait([messages], timeout=HEARTBEAT)
                    yield ray.get(next(messages)) if ready else None
            except ray.exceptions.RayTaskError as error:  # before the run: mostly, efa is not installed there
                last = one_line(str(error).strip().split("\n")[-1])
                yield {"message": f"a machine of the cluster cannot run efa: {last}", "kind": "mistake"}
            except (ray.exceptions.RayError, StopIteration) as error:
                why = "memory ran out" if isinstance(error, ray.exceptions.OutOfMemoryError) else type(error).__name__
                yield {"message": f"its process on the cluster died ({why})", "kind": "died"}
            finally:
                with contextlib.suppress(Exception):  # a cluster that is gone has nothing to cancel
                    ray.cancel(messages)  # an interrupt in the task, which then ends its subprocess
                    ray.wait([messages.completed()], timeout=GRACE)

        yield launch
    finally:
        with contextlib.suppress(OSError):
            marker.unlink(missing_ok=True)
        ray.shutdown()


def _connect(ray: Any, address: str | None, cores: int) -> None:
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not address:
        options |= {"num_cpus": cores, "include_dashboard": False, "object_store_memory": OBJECT_STORE}
    host, _, port = (address or "").rpartition(":")
    try:
        if host and port.isdigit() and "://" not in host:  # Ray itself would print warnings for half a minute
            socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
        with warnings.catch_warnings(action="ignore"):
            ray.init(address or "local", **options)
    except Exception as error:  # Ray raises the bare class where its own processes are late
        reason = one_line((getattr(error, "strerror", None) or str(error)).strip().split("\n")[0])
        if address:
            raise InputError(f"no Ray cluster at '{address}': {reason}", hint="ray start --head starts one") from error
        raise GridStoppedError(f"Ray did not start: {reason}") from error


def run_on_machine(description: dict[str, Any], cwd: str, marker: str) -> Iterator[Message]:
    """A Ray task: the messages of a subprocess on its machine, which must see the driver's project folder."""
    if Path(marker).is_file():
        with children(cwd if Path(cwd).is_dir() else None) as launch:
            yield from launch(description)
    else:
        message = f"machine {socket.gethostname()} does not see {description['home']}, and wrote nothing"
        yield {"message": f"{message} (all machines must share that folder)", "kind": "mistake"}
