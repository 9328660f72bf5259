"""The command line. A user's mistake ends in one line and exit status 2, never in a traceback."""

import contextlib
import io
import logging
import os
import sys
import warnings
from importlib.metadata import entry_points
from typing import Annotated, Any

import typer
from rich.table import Table

from efa.cli import options
from efa.cli.console import err, out
from efa.utils import distributed
from efa.utils.errors import Diverged, InputError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
options.register_commands("efa.commands", app)


def main() -> None:
    """The entry point `efa`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be UTF-8; in JSON, too, this is an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        if distributed.count() > 1:  # processes of `accelerate launch`: the main one alone prints
            err.quiet = out.quiet = not distributed.main()
            if sys.argv[1:2] != ["run"]:
                hint = "accelerate launch ... -m efa run ROW"
                raise InputError("several processes can share a training only", hint=hint)
        app()
    except (InputError, Diverged) as error:
        _print_error(error)
        sys.exit(1 if isinstance(error, Diverged) else 2)
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        hint = "check the path, its permissions and the disk space"
        _print_error(InputError(f"{error.strerror}", file=os.fsdecode(error.filename), hint=hint))
        sys.exit(2)
    except KeyboardInterrupt:
        err.print("efa: interrupted; rerun the same command to resume")
        sys.exit(130)


def _print_error(error: Exception) -> None:
    """One line. Another process than the main one speaks only where it may be the only one that failed."""
    place = "efa"
    if distributed.connected():
        place += "" if distributed.main() else f", process {distributed.rank()}"
        err.quiet = err.quiet and isinstance(error, Diverged)  # which all processes find out at once
    err.print(f"{place}: {error}", soft_wrap=True)


@app.command()
def run(
    what: Annotated[list[str], typer.Argument(help="all, paper (tables 4 to 7), a table (6), a row (6/Q-text)")],
    preset: options.Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "0",
    settings: options.Settings = None,
    jobs: options.Jobs = 0,
    retries: options.Retries = 1,
    executor: options.Executor = "local",
    ray_address: options.RayAddress = None,
    cpus_per_run: options.Cpus = None,
    gpus_per_run: options.Gpus = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="print what runs would cost, train nothing")] = False,
) -> None:
    """Train, predict and score what is missing.   Example: efa run 6/EFA --preset laptop --seeds 0,1,2

    A run that fails does not stop the others; each is listed at the end.
    Exit status: 0 done, 2 mistakes of yours only, 1 anything else, 130 interrupted.
    Rerun the same command to resume. A table or row may name its own preset after an @: efa run paper 6/EFA@pose
    """
    from efa.cli.grid import report_failures, run_all, select_cluster
    from efa.experiments import select

    overrides, numbers = options.settings_of(settings), options.seeds_of(seeds)
    chosen = [run for one in what for run in select(one, preset, numbers, overrides)]
    if dry_run:
        return _print_plans(chosen)
    cluster = select_cluster(executor, jobs, ray_address, cpus_per_run, gpus_per_run)
    failures = run_all(chosen, jobs, cluster, retries)
    _print_status(chosen)
    report_failures(failures)


def _print_plans(chosen: list[Any]) -> None:
    """What runs would cost, as whoever registers under `efa.plans` counts it."""
    (describe,) = entry_points(group="efa.plans")
    for one in chosen:
        table = Table(one.label, "arithmetic, not a measurement")
        for line in describe.load()(one.config):
            table.add_row(*line)
        out.print(table)


@app.command()
def status(
    what: Annotated[list[str] | None, typer.Argument(help="as for efa run", show_default="all")] = None,
    preset: options.Preset = "laptop",
    seeds: str = "0",
    settings: options.Settings = None,
) -> None:
    """What is done, interrupted, stale or missing.   Example: efa status 6 --seeds 0,1,2"""
    from efa.experiments import select

    asked = preset, options.seeds_of(seeds), options.settings_of(settings)
    _print_status([run for one in what or ["all"] for run in select(one, *asked)])


def _print_status(chosen: list[Any]) -> None:
    from efa.runs import scores_of, state_of

    table = Table("run", "state", "key", "top-1", "quality balanced", "fault F1", "CIDEr-D")
    table.columns[2].min_width = 16  # the whole key: it names the run's folder
    for one in chosen:
        state, scores = state_of(one), {}
        with contextlib.suppress(OSError, ValueError, KeyError):
            scores = scores_of(one)[one.protocols[0]]
        values = [scores.get(metric) for metric in ("top1", "quality_balanced_acc", "fault_f1", "cider_d")]
        table.add_row(one.label, state, one.key, *("" if value is None else f"{value:.1f}" for value in values))
    out.print(table)


if __name__ == "__main__":
    main()
