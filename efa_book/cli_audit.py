"""`efa audit ...`: what the paper's numbers are worth, measured on its own annotations."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from efa.cli.console import bar, err, out

audit_app = typer.Typer(no_args_is_help=True, help="Hold the paper against its own annotations.")


@audit_app.command("annotations")
def audit_annotations(
    folder: Annotated[Path, typer.Argument(help="a data set's folder; it needs no videos")],
    to: Annotated[Path | None, typer.Option(help="folder; default: results/<FOLDER's name>")] = None,
    seeds: Annotated[int, typer.Option(help="draws of what is chosen at random: seeds 0, 1, ...", min=1, max=100)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")] = False,
) -> None:
    """What scores without a video.   Example: efa audit annotations cot-afa"""
    from efa.utils import paths
    from efa_book.audit.annotations import TABLES, audit, paper_gaps, write
    from efa_book.paper import numbers

    target = to or paths.results() / folder.resolve().name
    with bar("METEOR") as update:
        made = audit(folder, seeds, update)
    command = f"efa audit annotations {shlex.quote(folder.resolve().name)} --seeds {seeds}"
    files = write(made, target, command)
    held = paper_gaps(made.blind, numbers())
    if as_json:
        document: dict[str, Any] = {name: _records(getattr(made, name)) for name in TABLES}
        document |= {"reached": _records(held), "skipped": made.skipped, "facts": made.facts}
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
        return
    for name, reason in made.skipped.items():
        err.print(f"left out: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    for population, part in made.blind.groupby("population", sort=False):
        wide = part.pivot(index="predictor", columns="metric", values="value").loc[part["predictor"].unique()]
        shown = Table(f"{population}: {part['clips'].iloc[0]} clips", *part["metric"].unique())
        shown.columns[0].no_wrap = True
        for key, row in wide[part["metric"].unique()].iterrows():
            shown.add_row(str(key), *(f"{value:.1f}" for value in row))
        out.print(shown)
    if len(made.shortcuts):
        metrics = list(made.shortcuts["metric"].unique())
        shown = Table("without a video", *metrics)
        for (_, title), part in made.shortcuts.groupby(["rule", "title"], sort=False):  # two rules may read the same
            known = part.dropna(subset="value")
            values = {m: f"{value:.1f}" for m, value in zip(known["metric"], known["value"], strict=True)}
            shown.add_row(str(title), *(values.get(m, "") for m in metrics))
        out.print(shown)
    for file in files:
        out.print(f"written: {file}", markup=False, highlight=False)


def _records(table: Any) -> list[dict[str, Any]]:
    """Rows as JSON has them: nothing for NaN."""
    return list(json.loads(table.to_json(orient="records", force_ascii=False)))


@audit_app.command("cuts")
def audit_cuts(
    root: Annotated[Path, typer.Argument(metavar="COT_AFA", help="CoT-AFA's annotations as released")],
    to: Annotated[Path | None, typer.Option(help="file; default: results/cot-afa/cuts.csv")] = None,
) -> None:
    """What the release cuts off of texts and clips.   Example: efa audit cuts CoT-AFA"""
    from efa_book.audit.cuts import count, default

    for name, value in count(root, to or default()).items():
        out.print(f"{name}: {value:.6g}", markup=False, highlight=False)
