"""FormSim as files: mp4 videos, manifest and steps, a data set like anybody's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from efa.config import FormSimData
from efa.data.manifest import StepText, make_dataset, save_dataset
from efa.data.video import write_mp4
from formsim.dataset import Clip, clips, record, render_clip, some_actions, step_table
from formsim.schema import load_actions


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
