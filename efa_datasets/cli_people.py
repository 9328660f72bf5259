"""`efa leave-one-subject-out`: a data set of people, each of whom is the test split once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from efa.cli.console import err, out
from efa.cli.options import Cpus, Executor, Gpus, Jobs, Preset, RayAddress, Retries, Settings, seeds_of, settings_of


def loso(
    folder: Annotated[Path, typer.Argument(help="a data set whose clips name their subjects")],
    rows: Annotated[list[str] | None, typer.Option("--row", help="default: all whose trunk stays as it is")] = None,
    preset: Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "0",
    settings: Settings = None,
    marker_files: Annotated[
        Path | None, typer.Option("--markers", help="UI-PRMD's own files: judge from them, too")
    ] = None,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="ask EFA as FormSim made it, too")] = False,
    jobs: Jobs = 0,
    retries: Retries = 1,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    cpus_per_run: Cpus = None,
    gpus_per_run: Gpus = None,
    to: Annotated[
        Path | None, typer.Option(help="folder for the results; default: results/<data set>-<preset>")
    ] = None,
) -> None:
    """Train without each subject in turn and judge that one.   Example: efa leave-one-subject-out my-data --seeds 0,1,2

    A training that fails does not stop the others; its row is not written, the other rows are.
    Exit status: 0 done, 2 mistakes of yours only, 1 anything else, 130 interrupted.
    The same command goes on where it stopped.
    """
    from efa.cli.grid import report_failures, run_all, select_cluster
    from efa.experiments import select
    from efa.utils import paths
    from efa_book.people import publish, read, table
    from efa_datasets import loso as people

    cluster = select_cluster(executor, jobs, ray_address, cpus_per_run, gpus_per_run)
    judged = people.markers(marker_files) if marker_files is not None else {}  # first: cheap, unlike hours of work
    folds = people.folds(folder, rows or [], preset, seeds_of(seeds), settings_of(settings))
    runs = select("6/EFA", preset, seeds_of(seeds)) if zero_shot else []
    failures = run_all([*folds, *runs], jobs, cluster, retries)
    judged |= people.collect(folds)
    if runs and all(run.finished for run in runs):
        judged |= people.zero_shot(runs, folder, preset)
    if judged:
        to = to or paths.results() / f"{folder.resolve().name}-{preset}"
        publish(judged, to)
        out.print(repr(table(read(to))), markup=False, highlight=False)
        out.print(f"written to {to}", markup=False, highlight=False)
    for row in dict.fromkeys(fold.run.row for fold in folds if fold.run.row not in judged):
        err.print(f"'{row}' is not written: not all of its trainings are finished", markup=False, highlight=False)
    report_failures(failures)
