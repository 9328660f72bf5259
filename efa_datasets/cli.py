"""`efa data ...` and `efa leave-one-subject-out`: commands for any data set, registered in pyproject.toml.

A data set of its own adds a command of `efa data` by the entry point group `efa.datasets`.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from efa.cli import options
from efa.cli.console import err, out
from efa.utils.errors import InputError

data_app = typer.Typer(no_args_is_help=True, help="Make, convert and check data sets.")
options.register_commands("efa.datasets", data_app)


def leave_one_subject_out(
    folder: Annotated[Path, typer.Argument(help="a data set whose clips name their subjects")],
    rows: Annotated[list[str] | None, typer.Option("--row", help="default: all whose trunk is frozen")] = None,
    preset: options.Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "0",
    settings: options.Settings = None,
    markers: Annotated[Path | None, typer.Option(help="UI-PRMD's own files: judge from them, too")] = None,
    zero_shot: Annotated[bool, typer.Option("--zero-shot", help="judge by EFA trained on FormSim alone, too")] = False,
    jobs: options.Jobs = 0,
    retries: options.Retries = 1,
    executor: options.Executor = "local",
    ray_address: options.RayAddress = None,
    cpus_per_run: options.Cpus = None,
    gpus_per_run: options.Gpus = None,
    to: Annotated[Path | None, typer.Option(help="results' folder; default: results/<data set>-<preset>")] = None,
) -> None:
    """Leave-one-subject-out cross-validation.   Example: efa leave-one-subject-out my-data --seeds 0,1,2

    Trains without each subject in turn and predicts that one. A training that fails does not stop the others; its row
    is not written, the other rows are. Rerun the same command to resume.
    Exit status: 0 done, 2 mistakes of yours only, 1 anything else, 130 interrupted.
    """
    from efa.cli.grid import report_failures, run_all, select_cluster
    from efa.experiments import select
    from efa.utils import paths
    from efa_book.people import load_results, publish, scores_table
    from efa_datasets import loso

    cluster = select_cluster(executor, jobs, ray_address, cpus_per_run, gpus_per_run)
    judged = loso.judge_markers(markers) if markers is not None else {}  # first: cheap, unlike hours of work
    folds = loso.folds(folder, rows or [], preset, options.seeds_of(seeds), options.settings_of(settings))
    runs = select("6/EFA", preset, options.seeds_of(seeds)) if zero_shot else []
    failures = run_all([*folds, *runs], jobs, cluster, retries)
    judged |= loso.collect(folds)
    if runs and all(run.finished for run in runs):
        judged |= loso.judge_zero_shot(runs, folder, preset)
    if judged:
        to = to or paths.results() / f"{folder.resolve().name}-{preset}"
        publish(judged, to)
        out.print(f"{scores_table(load_results(to))!r}\nwritten to {to}")
    for row in dict.fromkeys(fold.row for fold in folds if fold.row not in judged):
        err.print(f"'{row}' is not written: not all of its trainings are finished")
    report_failures(failures)


@data_app.command()
def statistics(
    folder: Annotated[Path, typer.Argument(help="a data set; its videos need not be there")],
    to: Annotated[Path | None, typer.Option(help="write the tables there, as .csv with provenance")] = None,
    source: Annotated[Path | None, typer.Option(help="the release of FOLDER: its hashes go to the provenance")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Count clips, actions, words and sentences, each by its definitions.   Example: efa data statistics my-data"""
    from rich.table import Table

    from efa.data.manifest import load_dataset
    from efa_book.dataset_sources import word_piece_counter, write_tables
    from efa_datasets.statistics import measure, read_extras

    if source and not to:
        raise InputError("--source goes into the provenance, which --to writes", hint="give --to DIR, too")
    dataset = load_dataset(folder, videos=False)
    tables = measure(dataset, read_extras(folder), word_piece_counter())
    if to:
        write_tables(tables, dataset, to, source)
    if as_json:
        document = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
        return
    counts = Table("about", "number", "counted by", "value")
    for about, quantity, definition, value in tables["statistics"].itertuples(index=False, name=None):
        counts.add_row(about, quantity, definition, f"{value:,.6g}")
    out.print(counts)
    if to:
        out.print(f"written: {to}")


@data_app.command()
def check(folder: Path, probe: Annotated[bool, typer.Option(help="open every video, too")] = False) -> None:
    """Every problem in a data set, each with its row and what was done about it.   Example: efa data check my-data"""
    from efa.data.manifest import ANNOTATIONS_ONLY, check_dataset

    problems = check_dataset(folder, probe)
    if (folder / ANNOTATIONS_ONLY).is_file():  # one line in place of thousands
        kept = [one for one in problems if one.column != "path" or "no such file" not in one.message]
        reason = (folder / ANNOTATIONS_ONLY).read_text(encoding="utf-8", errors="replace").strip()
        out.print(f"{len(problems) - len(kept)} clips have no video: {reason}")
        problems = kept
    for problem in problems:
        out.print(str(problem))
    errors = sum(problem.severity == "error" for problem in problems)
    out.print(f"{errors} errors, {len(problems) - errors} warnings")
    if errors:
        raise typer.Exit(2)


@data_app.command()
def preview(
    actions: Annotated[list[str] | None, typer.Argument(help="names; all by default")] = None,
    to: Annotated[Path, typer.Option(help="PNG file")] = Path("preview.png"),
    size: Annotated[int, typer.Option(help="pixels of a frame's side, 16 to 4096")] = 128,
) -> None:
    """A contact sheet: each action's standard beside each of its faults.   Example: efa data preview Squat"""
    from formsim.preview import sheet

    if not 16 <= size <= 4096:
        raise InputError(f"--size cannot be {size}", hint="16 to 4096 pixels")
    if to.suffix.lower() != ".png":
        raise InputError("a contact sheet is a PNG picture", file=to, hint="call it something.png")
    sheet(actions or [], to, size)
    out.print(f"written: {to}")
