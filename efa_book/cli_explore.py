"""`efa explore ...`: the explorer of clips and answers, and what it shows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from efa.cli.console import bar, out
from efa.cli.options import Preset, seeds_of
from efa.utils.errors import InputError

explore_app = typer.Typer(no_args_is_help=True, help="The explorer of clips and answers, and what it needs.")
DataSet = Annotated[str, typer.Option(help="a folder with a manifest, in place of the preset's data")]


@explore_app.command("attention")
def attention(
    preset: Preset = "laptop",
    seed: Annotated[int, typer.Option(help="of the run 6/EFA", min=0)] = 0,
    dataset: DataSet = "",
    to: Annotated[Path | None, typer.Option(help="folder; default: results/<data set>-<preset>")] = None,
) -> None:
    """Publish where the steps of a finished 6/EFA look, by frame.   Example: efa explore attention --seed 0"""
    from efa_book.attention import publish

    path = publish(preset, seed, {"data.source": dataset} if dataset else None, to)
    out.print(f"published to {path}", markup=False, highlight=False)


@explore_app.command("parts")
def parts(
    preset: Preset = "laptop",
    seeds: Annotated[str, typer.Option(help="of the runs 6/EFA and standards/EFA, comma-separated")] = "0",
    dataset: DataSet = "",
    to: Annotated[Path | None, typer.Option(help="folder; default: results/<data set>-<preset>")] = None,
) -> None:
    """Publish what finished EFAs lose with a part switched off.   Example: efa explore parts --seeds 0,1,2"""
    from efa_book.parts import publish

    with bar("runs") as update:
        path = publish(preset, seeds_of(seeds), {"data.source": dataset} if dataset else None, to, update)
    out.print(f"published to {path}", markup=False, highlight=False)


@explore_app.command("page")
def page(
    to: Annotated[Path, typer.Argument(metavar="OUT.html")],
    preset: Preset = "laptop",
    dataset: DataSet = "",
    clips: Annotated[int, typer.Option(help="how many clips of the test split, picked by rule", min=1)] = 128,
) -> None:
    """Write the explorer as one page that needs nothing else.   Example: efa explore page explorer.html"""
    from efa.utils.files import write_safely
    from efa_book import explorer

    document = explorer.data(explorer.find(preset, dataset), clips)
    if not document["clips"]:
        raise InputError("there are no predictions to explore", hint=f"efa run 4 --preset {preset}")
    if not to.parent.is_dir():
        raise InputError("no such folder", file=to.parent, hint="make it, or give another")
    text = explorer.page(document)
    write_safely(to, lambda partly: partly.write_text(text, encoding="utf-8"))
    out.print(f"{len(document['clips'])} clips in {to}", markup=False, highlight=False)
