"""What commands that train do behind their options: where runs work, what is said of them, how they end."""

from __future__ import annotations

from collections.abc import Sequence

import typer

from efa.cli.console import bar, err, out
from efa.launch import grid
from efa.utils import distributed
from efa.utils.errors import InputError
from efa.utils.signals import sigterm_interrupts


def pool_of(executor: str, jobs: int, address: str | None, cpus: float | None, gpus: float | None) -> grid.Pool | None:
    """The Ray cluster that was asked for, or None for processes of this machine; InputError where that is not clear."""
    if executor == "ray" and distributed.count() > 1:
        raise InputError("processes that share a run cannot spread runs as well", hint="leave --executor ray out")
    if executor == "ray":
        from efa.launch.ray_cluster import RayPool

        for name, value in {"--cpus-per-run": cpus, "--gpus-per-run": gpus}.items():
            if value is not None and value > 1 and value % 1:  # Ray's own rule
                raise InputError(f"{name} cannot be {value:g}", hint="a part of one, or a whole number")
        return RayPool(jobs, address, 1.0 if cpus is None else cpus, gpus)
    if executor != "local":
        raise InputError(f"executor cannot be '{executor}'", hint="local or ray")
    given = {"--ray-address": address, "--cpus-per-run": cpus, "--gpus-per-run": gpus}
    if useless := [name for name, value in given.items() if value is not None]:
        raise InputError(f"{useless[0]} is for a Ray cluster only", hint="add --executor ray")
    return None


def run_all(chosen: Sequence[grid.Job], jobs: int, pool: grid.Pool | None, retries: int) -> list[grid.Failure]:
    """Executes the runs with a progress bar; those that failed.

    Raises:
        typer.Exit: what ends the whole grid, said on one line: 1 where nothing can be written, 130 on Ctrl-C.
    """
    finished = sum(run.finished for run in chosen)
    out.print(f"{len(chosen)} runs, {finished} finished before")
    number = {id(run): i for i, run in enumerate(chosen, 1)}

    def begun(run: grid.Job) -> None:
        err.print(f"[{number[id(run)]}/{len(chosen)}] {run.label}", markup=False, highlight=False)

    def say(line: str) -> None:
        err.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        with sigterm_interrupts(), bar("") as update:
            jobs = 1 if distributed.count() > 1 else jobs or grid.default_jobs(chosen)
            outcomes = grid.execute_all(chosen, jobs, update, begun, lambda line: say(f"    {line}"), pool, retries)
    except grid.StoppedError as error:
        say(f"efa: {error}; what is finished stays, and the same command goes on once that is mended")
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        say("efa: interrupted; the same command goes on where it stopped")
        raise typer.Exit(130) from None
    return [outcome for outcome in outcomes if isinstance(outcome, grid.Failure)]


def tell(failures: Sequence[grid.Failure]) -> None:
    """Says each on one line.

    Raises:
        typer.Exit: where there are any: 2 if all are mistakes of the user's, otherwise 1.
    """
    for failure in failures:
        err.print(f"efa: {failure}", markup=False, highlight=False, soft_wrap=True)
    if failures:
        raise typer.Exit(2 if all(failure.kind == "mistake" for failure in failures) else 1)
