"""FormSim as files: mp4 videos, manifest and steps, a data set like any other."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from efa.config import FormSimData, build
from efa.data.manifest import StepText, make_dataset
from efa.utils.errors import InputError
from efa_datasets.mp4 import write_mp4
from efa_datasets.writing import save_dataset
from formsim.dataset import Clip, clips, record, render_clip, some_actions, step_table
from formsim.schema import load_actions


def command(
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    clips: int = 60,
    size: int = 224,
    seed: int = 0,
    benchmark: Annotated[str, typer.Option(help="main, standards or unseen")] = "main",
    actions: Annotated[int, typer.Option(help="so many of varied types; 0: all fifty")] = 0,
    fps: int = 12,
) -> None:
    """Write FormSim clips as mp4 with manifest and steps.   Example: efa data formsim my-data --clips 100"""
    from efa.cli.console import bar, out

    if not 16 <= size <= 4096:
        raise InputError(f"--size cannot be {size}", hint="16 to 4096 pixels")
    if fps < 1:
        raise InputError(f"--fps cannot be {fps}", hint="a number above 0")
    settings = {"clips": clips, "size": size, "seed": seed, "benchmark": benchmark, "actions": actions}
    config = build("paper", {f"data.{name}": value for name, value in settings.items()}).data
    assert isinstance(config, FormSimData)
    with bar("rendering") as update:
        export(config, folder, fps, update)
    out.print(f"{clips} clips in {folder}")


def export(
    config: FormSimData, folder: Path, fps: int = 12, progress: Callable[[int, int], None] | None = None
) -> None:
    """Render every clip at `fps` and write the data set to `folder`; one repetition lasts what its action says."""
    from efa.data.loader import in_processes

    chosen = clips(config.benchmark, config.clips, config.seed, some_actions(config.actions))
    (folder / "videos").mkdir(parents=True, exist_ok=True)
    for done, _ in enumerate(in_processes(partial(_write, folder=folder, config=config, fps=fps), chosen), 1):
        if progress:
            progress(done, len(chosen))
    steps = {key: StepText(*text) for key, text in step_table(chosen).items()}
    save_dataset(make_dataset([record(clip) for clip in chosen], steps), folder)


def _write(clip: Clip, folder: Path, config: FormSimData, fps: int) -> None:
    count = max(6, round(load_actions()[clip.action].seconds * fps))
    frames = render_clip(clip, config.size, count, config.clutter)
    write_mp4(folder / "videos" / f"{clip.clip_id}.mp4", frames, fps)
