"""CoT-AFA as released -> a data set in EFA's format (see `efa.data.manifest`).

The annotations are GYM88.xlsx, comment/ and three JSON files (see `efa_datasets.cot_afa_files`). The videos are
workout_ori/NN/NN_MM.mp4 or folders of frames frames/NN_MM/*.jpg, anywhere below one folder; a video is preferred.

OUT gets manifest.parquet, steps.json, released.csv (what the manifest has no column for) and oddities.csv. Videos are
not copied: OUT/videos becomes a symbolic link to their folder, unless they lie inside OUT. Without videos the paths say
where they would be. Label 2 has no meaning in the release; the one clip that has it gives a reason for bad form and is
read as non-standard. Action names keep the release's spelling, since the texts quote it. Only the ids of the test split
are released; the other two are drawn here, before any clip is left out, so that they do not depend on the videos.
"""

import importlib
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer

from efa.data.manifest import ANNOTATIONS_ONLY, DataSet, make_dataset
from efa.data.video import check_file
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_datasets import cot_afa_files as raw
from efa_datasets.cot_afa_files import Notes, SheetRow, fold
from efa_datasets.writing import save_dataset

FITNESS, FITNESS_TYPES, MARTIAL_ARTS, VIEWS = map(raw.TERMS.get, ("fitness", "fitness types", "martial arts", "views"))
TYPES = {*FITNESS_TYPES.values(), *(kind for _, kind in MARTIAL_ARTS.values())}
VALIDATION = 0.15  # of all clips, as in the paper
NO_VIDEOS = "annotations without videos: they can be counted and audited, but nothing can be trained on them"
VIDEO_SUFFIXES = (".mp4", ".avi", ".mov", ".mkv", ".webm")
PAGE = "https://www.kaggle.com/datasets/dd34dc6f49a960a31e03af896f85be526a72f8c9a684defd715c75d62bedbdc2"
_OPENING = re.compile(r"\bin (?:this|the) video\b(.{0,40})")


@dataclass(frozen=True)
class Conversion:
    """The converted release."""

    dataset: DataSet  # without a folder where no videos were asked for
    released: pd.DataFrame  # one row per clip of the data set
    oddities: Notes  # in the order in which they were found


def command(
    root: Annotated[Path, typer.Argument(help="CoT-AFA's folder: annotations and videos")],
    folder: Annotated[Path, typer.Argument(metavar="OUT")],
    annotations: Annotated[Path | None, typer.Option(help="where the annotations are, if not in ROOT")] = None,
    videos: Annotated[Path | None, typer.Option(help="where the videos are, if not in ROOT")] = None,
    no_videos: Annotated[bool, typer.Option("--no-videos", help="annotations only, for statistics")] = False,
    download: Annotated[bool, typer.Option("--download", help="fetch the videos with kagglehub")] = False,
    kaggle_id: Annotated[str | None, typer.Option(help="OWNER/NAME for --download")] = None,
    seed: Annotated[int, typer.Option(help="of the training and validation splits", min=0, max=2**32 - 1)] = 0,
) -> None:
    """Turn CoT-AFA as released into a data set.   Example: efa data cot-afa CoT-AFA cot-afa"""
    from rich.table import Table

    from efa.cli.console import out

    if no_videos + download + (videos is not None) > 1:
        raise InputError("--no-videos, --videos and --download exclude each other", hint="give one of them")
    if download:
        read_release(annotations or root, seed)  # so that cheap mistakes show before gigabytes are fetched
        videos = download_videos(kaggle_id)
    made = convert(root, folder, annotations, videos, seed, with_videos=not no_videos)
    kinds = Table("times", "what is odd", "what was done")
    for (what, done), count in made.oddities.counts().most_common():
        kinds.add_row(str(count), what, done)
    out.print(kinds)
    table = made.dataset.table
    sizes = ", ".join(f"{(table['split'] == name).sum()} {name}" for name in ("train", "val", "test"))
    standard, texts = (table["quality"] == 0).sum(), (table["explanation"].str.strip() != "").sum()
    lines = [f"{len(table)} clips ({sizes}) in {folder}"]
    lines += [f"{table['action'].nunique()} actions, {table['type'].nunique()} types, "]
    lines[-1] += f"{standard} standard / {len(table) - standard} non-standard, {texts} with text"
    if (folder / ANNOTATIONS_ONLY).is_file():
        lines.append(f"{NO_VIDEOS}; --videos DIR says where they are")
    out.print("\n".join([*lines, f"each oddity: {folder / 'oddities.csv'}"]))


def convert(
    root: Path, out: Path, annotations: Path | None = None, videos: Path | None = None, seed: int = 0,
    with_videos: bool = True,
) -> Conversion:  # fmt: skip
    """Read the release and write the data set to `out`.

    Args:
        root: holds both parts; `annotations` and `videos` say where one of them is instead.
        with_videos: False keeps every clip and looks for no video; the file `ANNOTATIONS_ONLY` in `out` then says so.

    Raises:
        InputError: a file is missing or malformed, or `videos` holds none.
        OSError: a file cannot be read or written.
    """
    notes, home = Notes(), videos or root
    if out.exists() and not out.is_dir():
        raise InputError("is a file", file=out, hint="choose a folder to write to")
    found = find_videos(home, out, notes) if with_videos else {}
    if with_videos and videos is not None and not found:
        hint = "give --videos DIR, or --no-videos for the annotations alone"
        raise InputError("no video called NN_MM, nor folder of frames", file=home, hint=hint)
    made = read_release(annotations or root, seed, found or None, notes)
    out.mkdir(parents=True, exist_ok=True)
    if found:
        made.dataset.folder = out
        made.dataset.table["path"] = link_videos(home, out) + made.dataset.table["path"]
    save_dataset(made.dataset, out)
    oddities = pd.DataFrame(notes, columns=list(raw.Oddity._fields))
    for name, table in (("released.csv", made.released), ("oddities.csv", oddities)):
        write_safely(out / name, partial(table.to_csv, index=False, lineterminator="\n"))
    (out / ANNOTATIONS_ONLY).unlink(missing_ok=True)
    if not found:
        write_safely(out / ANNOTATIONS_ONLY, partial(Path.write_text, data=NO_VIDEOS + "\n"))
    return made


def read_release(
    folder: Path, seed: int = 0, videos: Mapping[str, str] | None = None, notes: Notes | None = None
) -> Conversion:
    """The annotations as a data set. `videos`: clip -> path, clips without one are left out; None: all stay."""
    for name in ("", raw.STEP_FILE, raw.SHEET, raw.NAMES, raw.REFERENCES, raw.COMMENTS):
        if not (folder / name).exists():
            hint = "give the folder with CoT-AFA's annotations, --annotations DIR"
            raise InputError("no such file or folder", file=folder / name, hint=hint)
    notes = Notes() if notes is None else notes
    actions = raw.read_steps(folder / raw.STEP_FILE, notes)
    sheet = {row.clip_id: row for row in raw.read_sheet(folder / raw.SHEET, len(actions), notes)}
    names = raw.read_names(folder / raw.NAMES, notes)
    references = raw.read_references(folder / raw.REFERENCES, sheet, notes)
    comments = raw.read_comments(folder / raw.COMMENTS, sheet, notes)
    for name, _ in actions:
        odd = [f"spelling: {wrong} for {right}" for wrong, right in raw.TERMS["misspellings"].items() if wrong in name]
        odd += ["curly apostrophe in an action's name"] if "\u2019" in name else []
        for what in odd:
            notes.add(raw.STEP_FILE, name, "", what, "kept, since the texts quote it")
    kinds = _kinds(list(sheet.values()), notes)
    texts = {clip: _choose_text(clip, comments[clip], references.get(clip, ""), notes) for clip in sheet}
    clips = [(clip, row.number, int(row.label > 0)) for clip, row in sheet.items()]
    splits = draw_splits(clips, set(references), seed)
    first: dict[str, str] = {}
    records, released = [], []
    for clip, row in sheet.items():
        (action, steps), (text, source) = actions[row.number], texts[clip]
        _check_row(row, action, names, notes)
        if text:
            file = raw.REFERENCES if source == "reference" else f"{raw.COMMENTS}/{clip}{raw.SUFFIX}"
            _check_text(text, file, row, action, first, notes)
        path = f"videos/workout_ori/{clip.partition('_')[0]}/{clip}.mp4" if videos is None else videos.get(clip)
        if steps is None:
            notes.add(raw.SHEET, row.row, clip, f"clip of an action with missing steps: {action}", "left out")
        elif path is None:
            notes.add(raw.SHEET, row.row, clip, "missing video", "left out of the manifest")
        else:
            mode, kind = kinds[row.number]
            record: dict[str, object] = {"clip_id": clip, "path": path, "action": action, "mode": mode, "type": kind}
            record |= {"quality": int(row.label > 0), "view": VIEWS.get(fold(row.view), "")}
            records.append(record | {"explanation": text, "split": splits[clip]})
            extra = {key: asdict(row)[key] for key in ("clip_id", "label", "view", "parts", "reason", "seconds")}
            released.append(extra | {"text_from": source})
    for clip in sorted(set(videos or ()) - set(sheet)):
        notes.add((videos or {})[clip], "", clip, "video without a row in the sheet", "left out")
    if not records:
        raise InputError("no clip is left: none has both steps and a video", file=folder, hint="check --videos")
    dataset = make_dataset(records, {name: steps for name, steps in actions if steps})
    return Conversion(dataset, pd.DataFrame(released), notes)


def draw_splits(clips: Sequence[tuple[str, int, int]], test: Set[str], seed: int) -> dict[str, str]:
    """Clip -> split, for `clips` (name, class, quality) of which `test` are test clips. Validation gets 15 % of all,
    an equal share of each action and quality (largest remainders, ties at random), and never the last clip of one.
    """
    strata: dict[tuple[int, int], list[str]] = defaultdict(list)
    for name, number, quality in sorted(clips):
        if name not in test:
            strata[number, quality].append(name)
    keys = sorted(strata)
    sizes = np.array([len(strata[key]) for key in keys], dtype=int)
    target = min(round(VALIDATION * len(clips)), int(sizes.sum()))
    quotas = sizes * target / max(1, sizes.sum())
    counts = np.minimum(np.floor(quotas).astype(int), sizes - 1)
    random = np.random.RandomState(seed)
    order = random.permutation(len(keys))
    for i in sorted(range(len(keys)), key=lambda i: (counts[i] - quotas[i], order[i])):
        counts[i] += counts[i] < sizes[i] - 1 and counts.sum() < target
    splits = {name: "test" if name in test else "train" for name, _, _ in clips}
    for key, count in zip(keys, counts, strict=True):
        for i in random.permutation(len(strata[key]))[:count]:
            splits[strata[key][i]] = "val"
    return splits


def _kinds(sheet: Sequence[SheetRow], notes: Notes) -> dict[int, tuple[str, str]]:
    """Class -> mode and type, by what most of its rows say; rows that say nothing or something else are noted."""
    note = partial(notes.add, raw.SHEET)
    votes: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in sheet:
        votes[row.number].update([(row.major, row.minor)] if row.major else [])
    majority = {number: votes[number].most_common(1)[0][0] if votes[number] else ("", "") for number in sorted(votes)}
    kinds: dict[int, tuple[str, str]] = {}
    for number, (major, minor) in majority.items():
        mode, kind = MARTIAL_ARTS.get(major, ("", major))
        if major in FITNESS:
            mode, kind = FITNESS[major], FITNESS_TYPES.get(minor, minor)
        kinds[number] = mode, kind
        if not mode or kind not in TYPES:
            what = f"class {number} of unknown kind: {major} {minor}".rstrip()
            note("", "", what, "mode or type kept as written, or empty")
    for row in sheet:
        if not row.major:
            note(row.row, row.clip_id, "no major and minor class", "taken from other clips of the action")
        elif (row.major, row.minor) != majority[row.number]:
            what = f"major and minor class differ from the action's: {row.major} {row.minor}".rstrip()
            note(row.row, row.clip_id, what, "the action's are used")
    return kinds


def _choose_text(clip: str, comment: str | None, reference: str, notes: Notes) -> tuple[str, str]:
    """Explanation, and whether 'comment' or 'reference' has it. A test clip's reference goes first."""
    what = "no comment file" if comment is None else "empty comment file" if not comment else ""
    if reference and comment and reference.casefold() != comment.casefold():
        what = "comment and test reference differ"
    if what:
        done = "the test reference is used" if reference else "kept with an empty explanation"
        notes.add(f"{raw.COMMENTS}/{clip}{raw.SUFFIX}", "", clip, what, done)
    return (reference, "reference") if reference else (comment or "", "comment" if comment else "")


def _check_row(row: SheetRow, action: str, names: Mapping[str, str], notes: Notes) -> None:
    """Note what is odd about one row of the sheet."""
    note = partial(notes.add, raw.SHEET, row.row, row.clip_id)
    if row.label == 2:
        note("unexplained label 2", "read as non-standard" + (", since a reason is given" if row.reason else ""))
    if row.label and not row.reason:
        note("non-standard without a reason", "left empty")
    if not row.label and row.reason:
        note("standard, but with a reason for bad form", "the label is used, the reason kept in released.csv")
    if not row.view:
        note("no view", "left empty")
    elif fold(row.view) not in VIEWS:
        note(f"unknown view: {row.view[:80]}", "left empty in the manifest")
    elif row.view not in VIEWS and fold(row.view) != row.view:
        note("view in full-width brackets", "read like the others")
    if ("(" in row.name) != (")" in row.name):
        note("mixed brackets in the action name", "read like the others")
    martial = row.minor if row.major not in FITNESS else ""
    spellings = [fold(name) for name in (row.name, row.major + martial if martial else "", martial) if name]
    known = [names[name] for name in spellings if name in names]
    if not spellings:
        note("no action name", "taken from the class in the clip's name")
    elif not known:
        note(f"action name is not in {raw.NAMES}: {spellings[0][:80]}", "taken from the class in the clip's name")
    elif known[0] != action:
        note(f"action name is another class's: {known[0]}", f"the class in the clip's name is used: {action}")


def _check_text(text: str, file: str, row: SheetRow, action: str, first: dict[str, str], notes: Notes) -> None:
    """Note what is odd about one explanation. `first`: text -> the first clip that has it."""
    note = partial(notes.add, file, row.clip_id if file == raw.REFERENCES else 1, row.clip_id, done="kept")
    verdict, quality = written_verdict(text), int(row.label > 0)
    if verdict is None:
        note(what="the text states no verdict")
    elif verdict != quality:
        label = ("standard", "non-standard")[quality]
        note(what=f"contradicting verdict: {('good', 'bad')[verdict]}, labelled {label}")
    if fold(action).casefold() not in fold(text).casefold():
        note(what=f"the text does not name the action as the release does: {action}")
    other = first.setdefault(text.casefold(), row.clip_id)
    if other != row.clip_id:
        note(what=f"same text as another clip: {other}")


def written_verdict(text: str) -> int | None:
    """1 for 'bad' and 0 for 'good' where a text of the release opens 'The ... action in this video is ...'."""
    match = _OPENING.search(fold(text).casefold())
    if not match:
        return None
    return 1 if "bad" in match[1] or "not good" in match[1] else 0 if "good" in match[1] else None


def find_videos(folder: Path, out: Path, notes: Notes) -> dict[str, str]:
    """Clip -> path below `folder` of its video or folder of frames; neither `out` nor links to folders are entered."""
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, hint="check the path, or give --videos DIR")

    def fail(error: OSError) -> None:
        raise error

    skip = out.resolve()
    candidates: dict[str, list[tuple[bool, str]]] = defaultdict(list)  # clip -> (is a folder of frames, path)
    for place, folders, files in os.walk(folder, onerror=fail):
        below = Path(place).relative_to(folder)
        videos = [(False, name, Path(name).stem) for name in sorted(files) if name.lower().endswith(VIDEO_SUFFIXES)]
        for is_frames, name, clip in [*videos, *((True, name, name) for name in folders)]:
            if raw.CLIP.fullmatch(clip):
                candidates[clip].append((is_frames, (below / name).as_posix()))
        folders[:] = sorted(n for n in folders if not raw.CLIP.fullmatch(n) and (folder / below / n).resolve() != skip)
    found: dict[str, tuple[bool, str]] = {}
    for clip in sorted(candidates):
        for is_frames, path in sorted(candidates[clip], key=lambda candidate: candidate[0]):
            if clip not in found:
                try:
                    check_file(folder / path)
                    found[clip] = is_frames, path
                except InputError as error:
                    notes.add(path, "", clip, f"unusable video: {error.message}", "left out")
            elif found[clip][0] == is_frames:
                notes.add(path, "", clip, f"another video of a clip: {found[clip][1]}", "left out; the first is used")
    return {clip: path for clip, (_, path) in found.items()}


def link_videos(videos: Path, out: Path) -> str:
    """Make the videos reachable from `out`; returns the manifest's prefix for paths below `videos`."""
    target, home = videos.resolve(), out.resolve()
    if target.is_relative_to(home):
        inside = target.relative_to(home).as_posix()
        return "" if inside == "." else f"{inside}/"
    link = home / "videos"
    if link.exists() and not link.is_symlink():
        raise InputError("there already, and no link", file=link, hint=f"delete it, or give --videos {link}")
    try:
        link.unlink(missing_ok=True)
        link.symlink_to(os.path.relpath(target, home), target_is_directory=True)
    except (OSError, ValueError, NotImplementedError) as error:
        hint = f"move the videos to {link} and give --videos {link}"
        raise InputError(f"no link can be made here: {error}", file=link, hint=hint) from error
    return "videos/"


def download_videos(kaggle_id: str | None) -> Path:
    """Fetch the videos from Kaggle into kagglehub's cache; returns their folder. `kaggle_id`: OWNER/NAME."""
    by_hand = f"or download by hand from {PAGE} and give --videos DIR"
    if not kaggle_id:
        hint = f"give it with --kaggle-id, {by_hand}"
        raise InputError("the release does not state the data set's Kaggle id OWNER/NAME", hint=hint)
    try:
        kagglehub: Any = importlib.import_module("kagglehub")
        return Path(kagglehub.dataset_download(kaggle_id))
    except ImportError as error:
        raise InputError(f"--download needs kagglehub: {error}", hint=f"pip install kagglehub, {by_hand}") from error
    except Exception as error:  # no network, no such data set, no permission: kagglehub has a class for each
        message = f"{kaggle_id} cannot be downloaded: {type(error).__name__}: {error}"
        raise InputError(message[:500], hint=f"check network and id, {by_hand}") from error
