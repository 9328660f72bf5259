"""CoT-AFA's videos: where they are, how a data set reaches them, and their download."""

from __future__ import annotations

import importlib
import os
from collections import defaultdict
from pathlib import Path
from typing import Any

from efa.data.video import check_file
from efa.utils.errors import InputError
from efa_datasets.cot_afa_files import CLIP, Notes

VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
PAGE = (
    "https://www.kaggle.com/datasets/dd34dc6f49a960a31e03af896f85be526a72f8c9a684defd715c75d62bedbdc2"  # in its README
)


def find_videos(folder: Path, out: Path, notes: Notes) -> dict[str, str]:
    """Clip -> path below `folder` of its video or folder of frames; neither `out` nor links to folders are entered."""
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, hint="check the path, or give --videos DIR")

    def fail(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", file=error.filename, hint="check its permissions")

    files: dict[str, list[str]] = defaultdict(list)
    frames: dict[str, list[str]] = defaultdict(list)
    skip = out.resolve()
    for place, folders, names in os.walk(folder, onerror=fail):
        for name in folders:
            if CLIP.fullmatch(name):
                frames[name].append((Path(place) / name).relative_to(folder).as_posix())
        folders[:] = sorted(n for n in folders if not CLIP.fullmatch(n) and (Path(place) / n).resolve() != skip)
        for name in sorted(names):
            stem, dot = os.path.splitext(name)
            if dot.lower() in VIDEO_SUFFIXES and CLIP.fullmatch(stem):
                files[stem].append((Path(place) / name).relative_to(folder).as_posix())
    found: dict[str, str] = {}
    for clip in sorted({*files, *frames}):
        for path in [*files[clip], *frames[clip]]:
            if clip in found:
                if path in files[clip] or found[clip] in frames[clip]:
                    notes.add(path, "", clip, f"another video of a clip: {found[clip]}", "left out; the first is used")
                continue
            try:
                check_file(folder / path)
                found[clip] = path
            except InputError as error:
                notes.add(path, "", clip, f"unusable video: {error.message}", "left out")
    return found


def link(videos: Path, out: Path) -> str:
    """Make the videos reachable from `out`; what comes before a path below `videos` in the manifest."""
    target, home = videos.resolve(), out.resolve()
    if target.is_relative_to(home):
        inside = target.relative_to(home).as_posix()
        return "" if inside == "." else f"{inside}/"
    link = home / "videos"
    if link.is_symlink():
        if link.resolve() == target:
            return "videos/"
        link.unlink()
    elif link.exists():
        raise InputError("there already, and no link", file=link, hint=f"delete it, or give --videos {link}")
    try:
        link.symlink_to(os.path.relpath(target, home), target_is_directory=True)
    except (OSError, ValueError, NotImplementedError) as error:
        hint = f"move the videos to {link} and give --videos {link}"
        raise InputError(f"no link can be made here: {error}", file=link, hint=hint) from error
    return "videos/"


def download(handle: str | None) -> Path:
    """Fetch the videos from Kaggle into kagglehub's cache; the folder they are in.

    Args:
        handle: OWNER/NAME. The release gives a link that does not contain it.
    """
    by_hand = f"or download by hand from {PAGE} and give --videos DIR"
    if not handle:
        message = "the release does not state the data set's Kaggle id OWNER/NAME"
        raise InputError(message, hint=f"give it with --kaggle-id, {by_hand}")
    try:
        kagglehub: Any = importlib.import_module("kagglehub")
    except ImportError as error:
        raise InputError(f"--download needs kagglehub: {error}", hint=f"pip install kagglehub, {by_hand}") from error
    try:
        return Path(kagglehub.dataset_download(handle))
    except Exception as error:  # no network, no such data set, no rights: kagglehub has a class for each
        message = f"{handle} cannot be downloaded: {type(error).__name__}: {error}"
        raise InputError(message[:500], hint=f"check network and id, {by_hand}") from error
