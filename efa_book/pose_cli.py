"""The command `efa pose`: what the pose estimator sees in a video, to look at."""

from pathlib import Path
from typing import Annotated

import typer

from efa.cli.console import bar, err, out, printable
from efa.utils.errors import InputError


def pose(
    videos: Annotated[list[Path], typer.Argument(help="video files, or folders of frames")],
    video: Annotated[bool, typer.Option("--video", help="a video in place of a contact sheet")] = False,
    to: Annotated[Path, typer.Option(help="folder for the pictures")] = Path(),
) -> None:
    """Skeletons over a video, to look at.   Example: efa pose squat.mp4

    Writes NAME-pose.png with twelve frames, or NAME-pose.mp4 with all that were read (about twelve a second).
    """
    to.mkdir(parents=True, exist_ok=True)
    failed = False
    written: set[Path] = set()
    for path in videos:
        name = path.resolve().stem
        target = to / f"{name}-pose{'.mp4' if video else '.png'}"
        for k in range(2, len(videos) + 2):  # two videos of one name
            if target not in written:
                break
            target = target.with_stem(f"{name}-pose-{k}")
        try:
            line = _draw(path, target, video)
        except InputError as error:
            err.print(f"efa: {error}", soft_wrap=True)
            failed = True
            continue
        written.add(target)
        out.print(printable(f"{path}: {line}"))
    if failed:
        raise typer.Exit(2)


def _draw(path: Path, target: Path, video: bool) -> str:
    """Writes the picture; what was found, in one line."""
    import numpy as np

    from efa.data.pose import landmarks_of
    from efa.data.stream import RATE
    from efa.utils.files import write_safely
    from efa_book.pictures import contact_sheet, overlays
    from efa_datasets.mp4 import write_mp4

    with bar(printable(path.name)) as progress:
        landmarks = landmarks_of(path, progress)
    count = len(landmarks.times)
    if not landmarks.found.any():
        seen = f"nobody was found in {count} frame{'s'[: count > 1]}"
        raise InputError(seen, file=path, hint="film one person, whole, in good light")
    if video:
        span = float(landmarks.times[-1] - landmarks.times[0])
        frames = (np.asarray(picture) for _, picture in overlays(path, landmarks))
        write_safely(target, lambda partial: write_mp4(partial, frames, (count - 1) / span if span else RATE))
    else:
        sheet = contact_sheet(path, landmarks)
        write_safely(target, lambda partial: sheet.save(partial, "PNG"))
    found = f"somebody in {landmarks.found.mean():.0%} of {count} frames"
    return "; ".join([found, *landmarks.notes, f"written: {target}"])
