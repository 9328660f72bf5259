"""A data set of videos, or of files of landmarks, as one for the pose encoder: a file of landmarks for each clip."""

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from efa.data.landmarks import load_landmarks
from efa.data.manifest import load_dataset
from efa.data.pose import landmarks_of
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_datasets.writing import save_dataset


def command(
    folder: Annotated[Path, typer.Argument(help="a data set: manifest, steps.json and videos (or .npz landmarks)")],
    to: Annotated[Path, typer.Argument(metavar="OUT")],
) -> None:
    """Find the people of a data set, for --preset pose.   Example: efa data pose my-data my-poses

    Then: efa run 6/EFA --preset pose --set data.source=my-poses. Clips in which nobody is found are left out, each with
    a line. What is done stays; rerun the same command to resume.
    """
    from efa.cli.console import bar, err, out

    dataset = load_dataset(folder)
    (to / "landmarks").mkdir(parents=True, exist_ok=True)
    paths: list[str] = []
    with bar("finding people") as update:
        for i, path in enumerate(dataset.table["path"]):
            paths.append("")
            name = f"landmarks/{i:05d}.npz"
            try:
                source = folder / path
                found = load_landmarks(source) if source.suffix == ".npz" else landmarks_of(source)
                if not found.found.any():
                    raise InputError("nobody is found in any frame: left out", file=source, row=i + 2)
                write_safely(to / name, found.save)
                paths[-1] = name
            except InputError as error:
                err.print(f"efa: {error}", soft_wrap=True)
            update(i + 1, len(dataset.table))
    kept = [bool(path) for path in paths]
    if not any(kept):
        raise InputError("nobody is found in any clip", file=folder)
    table = dataset.table.assign(path=paths)[kept].reset_index(drop=True)
    save_dataset(dataclasses.replace(dataset, folder=to, table=table), to)
    out.print(f"{sum(kept)} of {len(kept)} clips in {to}")
    if not all(kept):
        raise typer.Exit(2)
