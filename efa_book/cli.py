"""`efa audit`, `explore`, `publish`, `score` and `search`, which pyproject.toml registers as entry points."""

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from efa.cli.console import bar, err, out
from efa.cli.options import AsJson, Preset, Settings, seeds_of, settings_of
from efa.utils.errors import InputError

audit_app = typer.Typer(no_args_is_help=True, help="Hold the paper against its own annotations.")
explore_app = typer.Typer(no_args_is_help=True, help="The explorer of clips and answers, and what it needs.")
Dataset = Annotated[str, typer.Option(help="a folder with a manifest, in place of the preset's data")]
Target = Annotated[Path | None, typer.Option("--to", help="folder; default: results/<data set>-<preset>")]


@audit_app.command("annotations")
def audit_annotations(
    folder: Annotated[Path, typer.Argument(help="a data set's folder; it needs no videos")],
    to: Annotated[Path | None, typer.Option(help="folder; default: results/<FOLDER's name>")] = None,
    seeds: Annotated[int, typer.Option(help="number of random draws", min=1, max=100)] = 20,
    as_json: AsJson = False,
) -> None:
    """What scores without a video.   Example: efa audit annotations cot-afa"""
    from efa.utils import paths
    from efa_book.audit.annotations import TABLES, audit, paper_gaps, write
    from efa_book.paper import numbers

    target = to or paths.results() / folder.resolve().name
    with bar("METEOR") as update:
        made = audit(folder, seeds, update)
    files = write(made, target, f"efa audit annotations {shlex.quote(folder.resolve().name)} --seeds {seeds}")
    held = paper_gaps(made.blind, numbers())
    if as_json:
        document: dict[str, Any] = {name: _to_records(getattr(made, name)) for name in TABLES}
        document |= {"reached": _to_records(held), "skipped": made.skipped, "facts": made.facts}
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for name, reason in made.skipped.items():
        err.print(f"left out: {name}: {reason}", soft_wrap=True)
    for population, part in made.blind.groupby("population", sort=False):
        _print_scores(f"{population}: {part['clips'].iloc[0]} clips", part, ["predictor"])
    if len(made.shortcuts):
        _print_scores("without a video", made.shortcuts, ["rule", "title"])  # two rules may have the same title
    for file in files:
        out.print(f"written: {file}")


def _print_scores(title: str, scores: Any, by: list[str]) -> None:
    """One line for each group of the columns `by`, named after the last of them, and one column a metric."""
    metrics = list(scores["metric"].unique())
    shown = Table(title, *metrics)
    shown.columns[0].no_wrap = len(by) == 1
    for key, part in scores.groupby(by, sort=False):
        values = dict(part.dropna(subset="value").set_index("metric")["value"].map("{:.1f}".format))
        shown.add_row(str(key[-1]), *(values.get(metric, "") for metric in metrics))
    out.print(shown)


def _to_records(table: Any) -> list[dict[str, Any]]:
    """Rows as JSON objects, null for NaN."""
    return list(json.loads(table.to_json(orient="records", force_ascii=False)))


@audit_app.command("cuts")
def audit_cuts(
    root: Annotated[Path, typer.Argument(metavar="COT_AFA", help="CoT-AFA's annotations as released")],
    to: Annotated[Path | None, typer.Option(help="file; default: results/cot-afa/cuts.csv")] = None,
) -> None:
    """What the release cuts off of texts and clips.   Example: efa audit cuts CoT-AFA"""
    from efa_book.audit.cuts import count, default

    for name, value in count(root, to or default()).items():
        out.print(f"{name}: {value:.6g}")


@explore_app.command("attention")
def explore_attention(
    preset: Preset = "laptop",
    seed: Annotated[int, typer.Option(help="of the run 6/EFA", min=0)] = 0,
    dataset: Dataset = "",
    to: Target = None,
) -> None:
    """Publish where the steps of a finished 6/EFA look, by frame.   Example: efa explore attention --seed 0"""
    from efa_book.attention import publish

    path = publish(preset, seed, {"data.source": dataset} if dataset else None, to)
    out.print(f"published to {path}")


@explore_app.command("parts")
def explore_parts(
    preset: Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="of the runs 6/EFA and standards/EFA, comma-separated")] = "0",
    dataset: Dataset = "",
    to: Target = None,
    row: Annotated[str, typer.Option(help="6/EFA or standards/EFA; default: both")] = "",
) -> None:
    """Publish what finished EFAs lose without one of their parts.   Example: efa explore parts --seeds 0,1,2"""
    from efa_book.parts import ROWS, publish

    if row and row not in ROWS:
        raise InputError(f"there are no parts of '{row}'", hint=f"one of {', '.join(ROWS)}")
    with bar("runs") as update:
        overrides = {"data.source": dataset} if dataset else None
        path = publish(preset, seeds_of(seeds), overrides, to, update, [row] if row else ROWS)
    out.print(f"published to {path}")


@explore_app.command("page")
def explore_page(
    to: Annotated[Path, typer.Argument(metavar="OUT.html")],
    preset: Preset = "laptop",
    dataset: Dataset = "",
    clips: Annotated[int, typer.Option(help="how many clips of the test split, picked by rule", min=1)] = 128,
) -> None:
    """Write the explorer as one page that needs nothing else.   Example: efa explore page explorer.html"""
    from efa.utils.files import write_safely
    from efa_book import explorer

    document = explorer.build_document(explorer.find_results(preset, dataset), clips)
    if not document["clips"]:
        raise InputError("there are no predictions to explore", hint=f"efa run 4 --preset {preset}")
    if not to.parent.is_dir():
        raise InputError("no such folder", file=to.parent, hint="create it, or choose another one")
    write_safely(to, lambda partly: partly.write_text(explorer.html_page(document), encoding="utf-8"))
    out.print(f"{len(document['clips'])} clips in {to}")


def publish(
    what: Annotated[str, typer.Argument(help="all, a table or one row, as for run")] = "all",
    preset: Preset = "laptop",
    seeds: str = "0",
    settings: Settings = None,
    to: Target = None,
) -> None:
    """Copy scores of finished runs to results/, and judge the claims.   Example: efa publish --seeds 0,1,2"""
    from efa_book.claims import write_outcomes
    from efa_book.published import publish as publish_runs

    folder, missing = publish_runs(preset, seeds_of(seeds), to, settings_of(settings), what)
    out.print(f"published to {folder}")
    if to is None:
        out.print(f"written: {write_outcomes()}")
    if missing:
        out.print(f"not finished: {', '.join(missing)}", soft_wrap=True)


def score(predictions: Path, as_json: AsJson = False) -> None:
    """Score a predictions file, as far as its columns go.

    Example: efa score results/formsim-laptop/predictions/6-EFA-0.parquet
    """
    from efa import metrics
    from efa.runs import fault_parser
    from efa_book.predictions import read_predictions, unavailable

    table = read_predictions(predictions)
    known = fault_parser() if table["fault"].astype(bool).any() else None
    scores = {str(name): metrics.score(part, known) for name, part in table.groupby("protocol")}
    if as_json:
        print(json.dumps(scores, indent=1, allow_nan=False))
        return
    shown, missing = Table("metric", *scores), unavailable(scores)
    for metric in next(iter(scores.values())):
        if metric not in missing:
            shown.add_row(metric, *("" if s[metric] is None else f"{s[metric]:.2f}" for s in scores.values()))
    out.print(shown)
    for need in dict.fromkeys(missing.values()):
        out.print(f"Not available: {', '.join(name for name in missing if missing[name] == need)} (needs {need})")


def search(
    system: Annotated[str, typer.Argument(help="EFA, a compared system, or all")],
    preset: Preset = "laptop",
    trials: Annotated[int, typer.Option(help="of each system, finished ones included; on poses up to 20", min=1)] = 12,
    seed: Annotated[int, typer.Option(help="of draws and trainings", min=0)] = 0,
    write: Annotated[bool, typer.Option("--write", help="make the best settings those of the tables' rows")] = False,
) -> None:
    """Search systems' settings on the validation split.   Example: efa search C3D --trials 2

    Every trial is kept in results/search.csv. Rerun the command to resume; several systems may be searched at a time.
    """
    from efa_book import search as searching

    for name in searching.systems_of(system, preset):
        searching.search(name, preset, trials, seed, lambda line: out.print(line, markup=False))
    if write:
        searching.write_settings(preset)
