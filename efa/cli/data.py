"""`efa data ...`: make, convert and check data sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from efa.cli.console import bar, err, out
from efa.utils.errors import InputError

data_app = typer.Typer(no_args_is_help=True, help="Make, convert and check data sets.")


def _check_size(size: int) -> None:
    if not 16 <= size <= 4096:
        raise InputError(f"--size cannot be {size}", hint="16 to 4096 pixels")


@data_app.command("formsim")
def data_formsim(
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    clips: int = 60,
    size: int = 224,
    seed: int = 0,
    benchmark: Annotated[str, typer.Option(help="main, standards or unseen")] = "main",
    actions: Annotated[int, typer.Option(help="so many of varied types; 0: all fifty")] = 0,
    fps: int = 12,
) -> None:
    """Write FormSim clips as mp4 with manifest and steps.   Example: efa data formsim my-data --clips 100"""
    from efa.config import build
    from efa_datasets.formsim_files import export

    _check_size(size)
    if fps < 1:
        raise InputError(f"--fps cannot be {fps}", hint="a number above 0")
    settings = {"clips": clips, "size": size, "seed": seed, "benchmark": benchmark, "actions": actions}
    config = build("paper", {f"data.{name}": value for name, value in settings.items()}).data
    with bar("rendering") as update:
        export(config, folder, fps, update)
    out.print(f"{clips} clips in {folder}", highlight=False, markup=False)


@data_app.command("cot-afa")
def data_cot_afa(
    root: Annotated[Path, typer.Argument(help="CoT-AFA's folder: annotations and videos")],
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    annotations: Annotated[Path | None, typer.Option(help="where the annotations are, if not in ROOT")] = None,
    videos: Annotated[Path | None, typer.Option(help="where the videos are, if not in ROOT")] = None,
    no_videos: Annotated[bool, typer.Option("--no-videos", help="annotations only, for statistics")] = False,
    download: Annotated[bool, typer.Option("--download", help="fetch the videos with kagglehub")] = False,
    kaggle_id: Annotated[str | None, typer.Option(help="OWNER/NAME for --download")] = None,
    seed: Annotated[int, typer.Option(help="of the training and validation splits", min=0, max=2**32 - 1)] = 0,
) -> None:
    """Turn CoT-AFA as released into a data set.   Example: efa data cot-afa CoT-AFA my-data"""
    from efa_datasets.cot_afa import ANNOTATIONS_ONLY, NO_VIDEOS, convert, read_release
    from efa_datasets.cot_afa_videos import download as fetch

    if (no_videos and (videos or download)) or (videos and download):
        raise InputError("--no-videos, --videos and --download exclude each other", hint="give one of them")
    if download:
        read_release(annotations or root, seed)  # so that gigabytes come after the cheap mistakes
        videos = fetch(kaggle_id)
    made = convert(root, folder, annotations, videos, seed, with_videos=not no_videos)
    shown = Table("times", "what is odd", "what was done")
    for (what, done), count in made.oddities.counts().most_common():
        shown.add_row(str(count), what, done)
    out.print(shown)
    table = made.dataset.table
    sizes = ", ".join(f"{len(made.dataset.split(name))} {name}" for name in ("train", "val", "test"))
    out.print(f"{len(table)} clips ({sizes}) in {folder}", markup=False, highlight=False)
    quality, told = table["quality"].value_counts(), (table["explanation"].str.strip() != "").sum()
    counts = f"{table['action'].nunique()} actions, {table['type'].nunique()} types, "
    counts += f"{quality.get(0, 0)} standard / {quality.get(1, 0)} non-standard, {told} with text"
    out.print(counts, markup=False, highlight=False)
    if (folder / ANNOTATIONS_ONLY).is_file():
        out.print(f"{NO_VIDEOS}; --videos DIR says where they are", markup=False, highlight=False)
    out.print(f"each oddity: {folder / 'oddities.csv'}", markup=False, highlight=False)


@data_app.command("ui-prmd")
def data_ui_prmd(
    root: Annotated[Path, typer.Argument(metavar="ROOT", help="holds 'Segmented Movements' and its incorrect twin")],
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    test_subject: Annotated[
        int | None, typer.Option(help="leave this subject out for the test; default: 9 and 10, and 7 and 8 validate")
    ] = None,
    repetitions: Annotated[int, typer.Option(help="the first so many of each; 0: all")] = 0,
    size: int = 224,
    fps: float = 12,
    rate: Annotated[float, typer.Option(help="frames a second of the files; the originals have 100")] = 100,
    images: Annotated[bool, typer.Option("--images", help="folders of PNG frames instead of mp4")] = False,
) -> None:
    """Render UI-PRMD's motion, front and side, with manifest and steps.   Example: efa data ui-prmd UI-PRMD my-data"""
    from efa_datasets.ui_prmd import Export, export

    with bar("rendering") as update:
        count, skipped = export(root, Export(folder, size, fps, rate, images), test_subject, repetitions, update)
    for problem in skipped:
        err.print(f"left out: {problem}", markup=False, highlight=False, soft_wrap=True)
    out.print(f"{count} clips in {folder}, {len(skipped)} files left out", highlight=False, markup=False)


@data_app.command("check")
def data_check(folder: Path, probe: Annotated[bool, typer.Option(help="open every video, too")] = False) -> None:
    """Every problem in a data set, each with its row and what was done about it.   Example: efa data check my-data"""
    from efa.data.manifest import check_dataset
    from efa_datasets.cot_afa import ANNOTATIONS_ONLY, NO_VIDEOS

    problems = check_dataset(folder, probe)
    if (folder / ANNOTATIONS_ONLY).is_file():  # one line in place of thousands
        absent = [one for one in problems if one.column == "path" and "no such file" in one.message]
        problems = [one for one in problems if one not in absent]
        out.print(f"{len(absent)} clips have no video: {NO_VIDEOS}", markup=False, highlight=False)
    for problem in problems:
        out.print(str(problem), markup=False, highlight=False)
    errors = sum(problem.severity == "error" for problem in problems)
    out.print(f"{errors} errors, {len(problems) - errors} warnings", highlight=False)
    if errors:
        raise typer.Exit(2)


@data_app.command("preview")
def data_preview(
    actions: Annotated[list[str] | None, typer.Argument(help="names; all by default")] = None,
    to: Annotated[Path, typer.Option(help="PNG file")] = Path("preview.png"),
    size: int = 128,
) -> None:
    """A contact sheet: each action's standard beside each of its faults.   Example: efa data preview Squat"""
    from formsim.preview import sheet

    _check_size(size)
    if to.suffix.lower() != ".png":
        raise InputError("a contact sheet is a PNG picture", file=to, hint="call it something.png")
    sheet(actions or [], to, size)
    out.print(f"written: {to}", markup=False, highlight=False)


@data_app.command("statistics")
def data_statistics(
    folder: Annotated[Path, typer.Argument(help="a data set; its videos need not be there")],
    to: Annotated[Path | None, typer.Option(help="write the tables there, as .csv with provenance")] = None,
    source: Annotated[
        Path | None, typer.Option(help="the release that FOLDER was made from: its hashes go to the provenance")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")] = False,
) -> None:
    """Count clips, actions, words and sentences, each by its definitions.   Example: efa data statistics my-data"""
    from efa.data.manifest import load_dataset
    from efa_book.dataset_files import write
    from efa_book.dataset_sources import piece_counter
    from efa_datasets.statistics import measure, read_extras

    if source and not to:
        raise InputError("--source goes into the provenance, which --to writes", hint="give --to DIR, too")
    dataset = load_dataset(folder, videos=False)
    tables = measure(dataset, read_extras(folder), piece_counter())
    if to:
        write(tables, dataset, to, source)
    if as_json:
        document = {name: json.loads(table.to_json(orient="records")) for name, table in tables.items()}
        print(json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False))
        return
    shown = Table("about", "number", "counted by", "value")
    for about, quantity, definition, value in tables["statistics"].itertuples(index=False, name=None):
        shown.add_row(about, quantity, definition, f"{value:,.6g}")
    out.print(shown)
    if to:
        out.print(f"written: {to}", markup=False, highlight=False)
