"""`efa data ...`: check and preview data sets, and whatever the entry points of the group `efa.datasets` add."""

from pathlib import Path
from typing import Annotated

import typer

from efa.cli.console import out
from efa.cli.options import register_commands
from efa.utils.errors import InputError

data_app = typer.Typer(no_args_is_help=True, help="Make, convert and check data sets.")
register_commands("efa.datasets", data_app)


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
