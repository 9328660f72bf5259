"""What commands that train share: where runs work, what is printed about them, and the exit status."""

import signal
from collections.abc import Sequence
from contextlib import AbstractContextManager
from functools import partial
from importlib.metadata import entry_points

import typer

from efa.cli.console import bar, err, out
from efa.launch import grid
from efa.runs import Run
from efa.utils import distributed
from efa.utils.errors import InputError

Cluster = AbstractContextManager[grid.Launch]
_print_line = partial(err.print, soft_wrap=True)


def select_cluster(
    executor: str, jobs: int, address: str | None, cpus: float | None, gpus: float | None
) -> Cluster | None:
    """The Ray cluster of the options, or None for this machine; InputError where they contradict each other."""
    given = {"--ray-address": address, "--cpus-per-run": cpus, "--gpus-per-run": gpus}
    for name, value in given.items():
        if executor == "local" and value is not None:
            raise InputError(f"{name} is for a Ray cluster only", hint="add --executor ray")
        if isinstance(value, float) and value > 1 and value % 1:  # Ray's own rule
            raise InputError(f"{name} cannot be {value:g}", hint="a fraction below one, or a whole number")
    if executor == "local":
        return None
    entry = next(iter(entry_points(group="efa.executors", name=executor)), None)
    if entry is None:
        raise InputError(f"executor cannot be '{executor}'", hint="local or ray")
    if distributed.count() > 1:
        raise InputError("processes that share a run cannot use a Ray cluster", hint="leave --executor ray out")
    return entry.load()(jobs, address, 1.0 if cpus is None else cpus, gpus)


def run_all(runs: Sequence[Run], jobs: int, cluster: Cluster | None, retries: int) -> list[grid.Failure]:
    """Executes the runs with a progress bar, and returns the failures. `typer.Exit` where the whole grid has ended."""
    out.print(f"{len(runs)} runs, {sum(run.finished for run in runs)} finished before")
    if distributed.count() > 1:
        jobs = 1
    elif not jobs:  # a cluster holds back what does not fit
        jobs = len(runs) if cluster else grid.default_jobs(runs)
    # Slurm and Kubernetes send SIGTERM before they kill: it is taken like Ctrl-C.
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with bar("") as progress:
            outcomes = grid.execute_all(runs, jobs, progress, _print_line, cluster, retries)
    except grid.GridStoppedError as error:
        _print_line(f"efa: {error}; fix this, then rerun the same command to resume")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        _print_line("efa: interrupted; rerun the same command to resume")
        raise typer.Exit(130) from None
    finally:
        signal.signal(signal.SIGTERM, before)
    return [outcome for outcome in outcomes if isinstance(outcome, grid.Failure)]


def report_failures(failures: Sequence[grid.Failure]) -> None:
    """Prints each on one line; where there are any, `typer.Exit`: 2 if all are mistakes of the user's, otherwise 1."""
    for failure in failures:
        _print_line(f"efa: {failure}")
    if failures:
        raise typer.Exit(2 if all(failure.kind == "mistake" for failure in failures) else 1)
