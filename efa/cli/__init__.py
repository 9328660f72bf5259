"""The command line. A user's mistake ends in one line and exit status 2, never in a traceback."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from efa.cli.console import err, out, printable
from efa.cli.data import data_app
from efa.cli.options import (
    AsJson,
    Cpus,
    Executor,
    Gpus,
    Jobs,
    Preset,
    RayAddress,
    Retries,
    Settings,
    register_commands,
    seeds_of,
    settings_of,
)
from efa.cli.steps import read_steps_file
from efa.utils import distributed
from efa.utils.errors import Diverged, InputError, PeerLostError

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
app.add_typer(data_app, name="data")
register_commands("efa.commands", app)
PATHS = "check the path, its permissions and the disk space"


def main() -> None:
    """The entry point `efa`."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a file's name need not be UTF-8; in JSON, too, this is an escape
            stream.reconfigure(errors="backslashreplace")
    try:
        _alone_or_run()
        app()
    except InputError as error:
        _tell(error)
        sys.exit(2)
    except OSError as error:
        if error.filename is None:  # not about a file of the user's
            raise
        _tell(InputError(f"{error.strerror}", file=os.fsdecode(error.filename), hint=PATHS))
        sys.exit(2)
    except (Diverged, PeerLostError) as error:
        _tell(error)
        sys.exit(1)
    except KeyboardInterrupt:
        err.print("efa: interrupted; the same command goes on where it stopped")
        sys.exit(130)


def _alone_or_run() -> None:
    """Of several processes of `accelerate launch` the main one alone prints, and only a training is shared."""
    if distributed.count() > 1:
        err.quiet = out.quiet = not distributed.main()
        if sys.argv[1:2] != ["run"]:
            raise InputError("several processes can share a training only", hint="accelerate launch ... -m efa run ROW")


def _tell(error: Exception) -> None:
    """One line. Another process than the main one speaks only where it may be the only one that failed."""
    place = f"efa, process {distributed.rank()}" if distributed.connected() and not distributed.main() else "efa"
    if distributed.connected() and not isinstance(error, Diverged):  # which all processes find out at once
        err.quiet = False
    err.print(f"{place}: {error}", markup=False, highlight=False, soft_wrap=True)


@app.command()
def run(
    what: Annotated[str, typer.Argument(help="all, paper (tables 4 to 7), a table (6) or one row (6/Q-text)")],
    preset: Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="comma-separated")] = "0",
    settings: Settings = None,
    jobs: Jobs = 0,
    retries: Retries = 1,
    executor: Executor = "local",
    ray_address: RayAddress = None,
    cpus_per_run: Cpus = None,
    gpus_per_run: Gpus = None,
) -> None:
    """Train, predict and score what is missing.   Example: efa run 6/EFA --preset laptop --seeds 0,1,2

    A run that fails does not stop the others; each is listed at the end.
    Exit status: 0 done, 2 mistakes of yours only, 1 anything else, 130 interrupted.
    The same command goes on where it stopped.
    """
    from efa.cli.grid import report_failures, run_all, select_cluster
    from efa.experiments import select

    chosen = select(what, preset, seeds_of(seeds), settings_of(settings))
    cluster = select_cluster(executor, jobs, ray_address, cpus_per_run, gpus_per_run)
    failures = run_all(chosen, jobs, cluster, retries)
    _print_status(chosen)
    report_failures(failures)


@app.command()
def status(
    what: Annotated[str, typer.Argument()] = "all",
    preset: Preset = "laptop",
    seeds: str = "0",
    settings: Settings = None,
) -> None:
    """What is done, interrupted, stale or missing.   Example: efa status 6 --seeds 0,1,2"""
    from efa.experiments import select

    _print_status(select(what, preset, seeds_of(seeds), settings_of(settings)))


def _print_status(chosen: list[Any]) -> None:
    from efa.runs import scores_of, state_of

    table = Table("run", "state", "key", "top-1", "quality balanced", "fault F1", "CIDEr-D")
    table.columns[2].min_width = 16  # the whole key: it names the run's folder
    for one in chosen:
        state = state_of(one)
        values = [""] * 4
        with contextlib.suppress(OSError, ValueError, KeyError):
            scores = scores_of(one)[one.protocols[0]]
            picked = (scores.get(m) for m in ("top1", "quality_balanced_acc", "fault_f1", "cider_d"))
            values = ["" if value is None else f"{value:.1f}" for value in picked]
        table.add_row(one.label, state, one.key, *values)
    out.print(table)


@app.command()
def assess(
    videos: Annotated[list[Path], typer.Argument(help="video files, or folders of frames")],
    action: Annotated[str | None, typer.Option(help="which action it is; by default the model decides")] = None,
    steps: Annotated[
        Path | None, typer.Option(help="JSON file {steps: [5 texts], instruction: text} of a new action")
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="folder or hub id; default: what 'make reproduce' trained")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Action, verdict and explanation of a video.   Example: efa assess squat.mp4 --action Squat --json"""
    from efa.config import FormSimData
    from efa.predict import EFA
    from efa.runs import default_checkpoint

    text, odd = read_steps_file(steps) if steps else (None, [])
    efa = EFA.from_pretrained(checkpoint or default_checkpoint())
    answers, failed = [], False
    for video in videos:
        try:
            answer = efa.assess(video, action, text)
            cautions = [*odd, *_cautions(answer, isinstance(efa.config.data, FormSimData))]
            answers.append(answer | {"warnings": [*answer["warnings"], *cautions]})
        except InputError as error:
            failed = True
            err.print(f"efa: {error}", markup=False, highlight=False, soft_wrap=True)
            answers.append({"video": str(video), "error": str(error)})
            continue
        if not as_json:
            _print_answer(answers[-1])
    if as_json:
        print(json.dumps(answers[0] if len(answers) == 1 else answers, indent=1, ensure_ascii=False, allow_nan=False))
    if failed:
        raise typer.Exit(2)


def _cautions(answer: dict[str, Any], formsim: bool) -> list[str]:
    """What a reader of this answer should know, whatever the video."""
    from efa.metrics import verdict_in_text

    out = []
    if formsim:
        out.append("this model was trained on rendered figures and has never seen a person")
    written = verdict_in_text(answer["explanation"])
    if written is not None and written != (answer["quality"] == "non-standard"):
        out.append("the explanation contradicts the verdict; they come from different parts of the model")
    return out


def _print_answer(answer: dict[str, Any]) -> None:
    best = ", ".join(f"{top['action']} {top['probability']:.0%}" for top in answer["top5"][:3])
    out.print(printable(answer["video"]), style="bold", markup=False, highlight=False)
    out.print(f"  action   {answer['action']}   ({best})", markup=False, highlight=False)
    out.print(
        f"  form     {answer['quality']}   (non-standard with probability {answer['quality_probability']:.2f})",
        highlight=False,
    )
    out.print(f"  why      {answer['explanation']}", markup=False, highlight=False)
    for warning in answer["warnings"]:
        out.print(f"  note     {warning}", markup=False, highlight=False)


@app.command()
def score(predictions: Path, as_json: AsJson = False) -> None:
    """Score a predictions file.   Example: efa score results/formsim-laptop/predictions/EFA-0.parquet"""
    import formsim
    from efa import metrics

    table = metrics.read_predictions(predictions)
    known = metrics.FaultParser(formsim.fault_phrases()) if table["fault"].astype(bool).any() else None
    scores = {str(name): metrics.score(part, known) for name, part in table.groupby("protocol")}
    if as_json:
        print(json.dumps(scores, indent=1, allow_nan=False))
        return
    shown = Table("metric", *scores)
    for metric in next(iter(scores.values())):
        shown.add_row(metric, *("" if s[metric] is None else f"{s[metric]:.2f}" for s in scores.values()))
    out.print(shown)


if __name__ == "__main__":
    main()
