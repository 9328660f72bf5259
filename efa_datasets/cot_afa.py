"""CoT-AFA as released -> a data set like anybody's own (see `efa.data.manifest`).

The annotations are GYM88.xlsx, comment/ and three JSON files (see `efa_datasets.cot_afa_files`). The videos are
workout_ori/NN/NN_MM.mp4 or folders of frames frames/NN_MM/*.jpg, anywhere below one folder; a video goes before frames.

OUT gets manifest.parquet, steps.json, released.csv (what the manifest has no column for: label and view as released,
body parts, reason, seconds, where the text is from) and oddities.csv. A manifest's paths are relative and stay inside
its folder, so OUT/videos becomes a symbolic link to the videos' folder, and a path reads
videos/workout_ori/NN/NN_MM.mp4. Nothing is copied. Videos that lie inside OUT need no link. Without videos the paths
say where they would be, and `load_dataset` misses every one: `read_release` serves whoever only counts.

Label 2 has no meaning in the release. The one clip that has it gives a reason for bad form: it is read as non-standard.
Action names keep the release's spelling, since the texts quote it. Only the ids of the test split are released; the
other two are drawn here, before any clip is left out, so that they do not depend on which videos are there.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from efa.data.manifest import DataSet, make_dataset, save_dataset
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_datasets.cot_afa_files import (
    COMMENTS,
    NAMES,
    REFERENCES,
    SHEET,
    STEP_FILE,
    SUFFIX,
    Notes,
    SheetRow,
    fold,
    read_comments,
    read_names,
    read_references,
    read_sheet,
    read_steps,
)
from efa_datasets.cot_afa_videos import find_videos, link

FITNESS = {"徒手": "manual", "器械": "apparatus"}  # major class: the minor one is the type
FITNESS_TYPES = {
    "普拉提": "Pilates",
    "瑜伽": "Yoga",
    "拉伸": "Stretching",
    "健身操": "Aerobics",
    "热身": "Warm-up",
    "俯卧撑": "Push-up",
    "杠铃": "Barbell",
    "哑铃": "Dumbbell",
    "单杠": "Horizontal Bar",
    "双杠": "Parallel Bars",
    "划船机": "Rowing Machine",
    "拉力器": "Cable Machine",
    "拉背机": "Cable Machine",
    "史密斯机": "Smith Machine",
}
MARTIAL = {  # major class -> mode and type
    "翻子拳": ("manual", "Fanziquan"),
    "南拳": ("manual", "Nanquan"),
    "少林拳": ("manual", "Shaolinquan"),
    "太极拳": ("manual", "Taijiquan"),
    "长拳": ("manual", "Changquan"),
    "刀术": ("apparatus", "Broadsword"),
    "南刀": ("apparatus", "Southern Broadsword"),
    "棍术": ("apparatus", "Staff"),
    "南棍": ("apparatus", "Southern Staff"),
    "枪术": ("apparatus", "Spear"),
    "剑术": ("apparatus", "Sword"),
    "太极剑": ("apparatus", "Taiji Sword"),
    "九节鞭": ("apparatus", "Nine-Section Whip"),
    "流星锤": ("apparatus", "Meteor Hammer"),
    "双截棍": ("apparatus", "Nunchaku"),
}
VIEWS = {"正面": "front", "侧面": "side", "侧面(左)": "side", "侧面(右)": "side", "背面": "back"}
MISSPELT = {"Dcline": "Decline", "Crul-up": "Curl-up", "Keen lift": "Knee lift"}
VALIDATION = 0.15  # of all clips, as in the paper
_OPENING = re.compile(r"\bin (?:this|the) video\b(.{0,40})")


@dataclass(frozen=True)
class Conversion:
    """What became of the release.

    Attributes:
        dataset: without a folder where no videos were asked for.
        released: one row a clip of the data set.
        oddities: all, in the order in which they were met.
    """

    dataset: DataSet
    released: pd.DataFrame
    oddities: Notes


ANNOTATIONS_ONLY = "ANNOTATIONS_ONLY.txt"
NO_VIDEOS = "annotations without videos: they can be counted and audited, and nothing can be trained on them"


def convert(
    root: Path,
    out: Path,
    annotations: Path | None = None,
    videos: Path | None = None,
    seed: int = 0,
    with_videos: bool = True,
) -> Conversion:
    """Read the release and write the data set to `out`.

    Args:
        root: holds both parts; `annotations` and `videos` say where one of them is instead.
        seed: of the training and validation splits.
        with_videos: False keeps every clip and looks for no video. A root that holds annotations alone, as the authors'
            repository does, is taken the same way, and `ANNOTATIONS_ONLY` in `out` says so.

    Raises:
        InputError: a file is missing or malformed, or `videos` holds none.
    """
    home = videos or root
    found = None
    notes = Notes()
    try:
        if out.exists() and not out.is_dir():
            raise InputError("is a file", file=out, hint="choose a folder to write to")
        if with_videos:
            found = find_videos(home, out, notes)
            if not found and videos is not None:
                hint = "give --videos DIR, or --no-videos for the annotations alone"
                raise InputError("no video called NN_MM, nor folder of frames", file=home, hint=hint)
            found = found or None
        made = read_release(annotations or root, seed, found, notes)
        out.mkdir(parents=True, exist_ok=True)
        if found is not None:
            prefix = link(home, out)
            made.dataset.table["path"] = [prefix + path for path in made.dataset.table["path"]]
            made = replace(made, dataset=DataSet(out, made.dataset.table, made.dataset.steps))
        save_dataset(made.dataset, out)
        lists = pd.DataFrame([asdict(one) for one in notes], columns=["file", "row", "clip_id", "what", "done"])
        if found is None:
            write_safely(out / ANNOTATIONS_ONLY, partial(Path.write_text, data=NO_VIDEOS + "\n"))
        else:
            (out / ANNOTATIONS_ONLY).unlink(missing_ok=True)
        for name, table in (("released.csv", made.released), ("oddities.csv", lists)):
            write_safely(out / name, partial(table.to_csv, index=False, lineterminator="\n"))
    except OSError as error:
        raise InputError(
            f"cannot be read or written: {error}", file=out, hint="check folders and disk space"
        ) from error
    return made


def read_release(
    folder: Path, seed: int = 0, videos: Mapping[str, str] | None = None, notes: Notes | None = None
) -> Conversion:
    """The annotations as a data set in memory.

    Args:
        seed: of the training and validation splits.
        videos: clip -> path; clips without one are left out. None: all are kept.
        notes: takes the oddities.
    """
    notes = Notes() if notes is None else notes
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, hint="give the folder with GYM88.xlsx, --annotations DIR")
    actions = read_steps(folder / STEP_FILE, notes)
    sheet = read_sheet(folder / SHEET, len(actions), notes)
    names = read_names(folder / NAMES, notes)
    numbers = {row.clip_id: row.row for row in sheet}
    references = read_references(folder / REFERENCES, numbers, notes)
    comments = read_comments(folder / COMMENTS, numbers, notes)
    for name, _ in actions:
        for wrong, right in MISSPELT.items():
            if wrong in name:
                notes.add(STEP_FILE, name, "", f"spelling: {wrong} for {right}", "kept, since the texts quote it")
        if "\u2019" in name:
            notes.add(STEP_FILE, name, "", "curly apostrophe in an action's name", "kept, since the texts quote it")
    kinds = _kinds(sheet, notes)
    texts = {row.clip_id: _text(row.clip_id, comments, references, notes) for row in sheet}
    qualities = {row.clip_id: int(row.label > 0) for row in sheet}
    splits = draw_splits([(row.clip_id, row.number, qualities[row.clip_id]) for row in sheet], set(references), seed)
    first: dict[str, str] = {}
    records, released = [], []
    for row in sheet:
        clip, (action, steps), (text, source) = row.clip_id, actions[row.number], texts[row.clip_id]
        _check_row(row, action, names, notes)
        if text:
            file = REFERENCES if source == "reference" else f"{COMMENTS}/{clip}{SUFFIX}"
            _check_text(text, file, clip, action, qualities[clip], first, notes)
        path: str | None = f"videos/workout_ori/{clip.partition('_')[0]}/{clip}.mp4"
        if videos is not None:
            path = videos.get(clip)
        if steps is None:
            notes.add(SHEET, row.row, clip, f"clip of an action with missing steps: {action}", "left out")
            continue
        if path is None:
            notes.add(SHEET, row.row, clip, "missing video", "left out of the manifest")
            continue
        mode, kind = kinds[row.number]
        records.append(
            {
                "clip_id": clip,
                "path": path,
                "action": action,
                "mode": mode,
                "type": kind,
                "quality": qualities[clip],
                "view": VIEWS.get(fold(row.view), ""),
                "explanation": text,
                "split": splits[clip],
            }
        )
        kept = {"label": row.label, "view": row.view, "parts": row.parts, "reason": row.reason, "seconds": row.seconds}
        released.append({"clip_id": clip, **kept, "text_from": source})
    if videos is not None:
        for clip in sorted(set(videos) - set(numbers)):
            notes.add(videos[clip], "", clip, "video without a row in the sheet", "left out")
    if not records:
        raise InputError("no clip is left: none has both steps and a video", file=folder, hint="check --videos")
    dataset = make_dataset(records, {name: steps for name, steps in actions if steps})
    return Conversion(dataset, pd.DataFrame(released), notes)


def draw_splits(clips: Sequence[tuple[str, int, int]], test: Set[str], seed: int) -> dict[str, str]:
    """Clip -> split. Validation gets 15 % of all clips, drawn from those that are not test clips, an equal share of
    each action and quality (largest remainders, ties by lot), and never the last clip of one.

    Args:
        clips: name, class and quality of each.
        test: names of the test clips.
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
    lots = random.permutation(len(keys))
    for i in sorted(range(len(keys)), key=lambda i: (counts[i] - quotas[i], lots[i])):
        counts[i] += counts[i] < sizes[i] - 1 and counts.sum() < target
    splits = {name: "test" if name in test else "train" for name, _, _ in clips}
    for key, count in zip(keys, counts, strict=True):
        for i in random.permutation(len(strata[key]))[:count]:
            splits[strata[key][i]] = "val"
    return splits


def _kinds(sheet: Sequence[SheetRow], notes: Notes) -> dict[int, tuple[str, str]]:
    """Class -> mode and type, by what most of its rows say; rows that say nothing or something else are noted."""
    said: dict[int, Counter[tuple[str, str]]] = defaultdict(Counter)
    for row in sheet:
        said[row.number].update([(row.major, row.minor)] if row.major else [])
    kinds: dict[int, tuple[str, str]] = {}
    for number in sorted(said):
        major, minor = said[number].most_common(1)[0][0] if said[number] else ("", "")
        mode, kind = (
            (FITNESS[major], FITNESS_TYPES.get(minor, minor)) if major in FITNESS else MARTIAL.get(major, ("", major))
        )
        kinds[number] = mode, kind
        if not (mode and kind in {*FITNESS_TYPES.values(), *(known for _, known in MARTIAL.values())}):
            done = "mode or type kept as written, or empty"
            notes.add(SHEET, "", "", f"class {number} of unknown kind: {major} {minor}".rstrip(), done)
    for row in sheet:
        if not row.major:
            notes.add(SHEET, row.row, row.clip_id, "no major and minor class", "taken from other clips of the action")
        elif (row.major, row.minor) != said[row.number].most_common(1)[0][0]:
            what = f"major and minor class differ from the action's: {row.major} {row.minor}".rstrip()
            notes.add(SHEET, row.row, row.clip_id, what, "the action's are used")
    return kinds


def _text(
    clip: str, comments: Mapping[str, str | None], references: Mapping[str, str], notes: Notes
) -> tuple[str, str]:
    """Explanation, and whether 'comment' or 'reference' has it. A test clip's reference goes first."""
    comment, reference = comments[clip], references.get(clip, "")
    what = "no comment file" if comment is None else "empty comment file" if not comment else ""
    if reference and comment and reference.casefold() != comment.casefold():
        what = "comment and test reference differ"
    if what:
        done = "the test reference is used" if reference else "kept with an empty explanation"
        notes.add(f"{COMMENTS}/{clip}{SUFFIX}", "", clip, what, done)
    return (reference, "reference") if reference else (comment or "", "comment" if comment else "")


def _check_row(row: SheetRow, action: str, names: Mapping[str, str], notes: Notes) -> None:
    """What is odd about one row of the sheet."""

    def note(what: str, done: str) -> None:
        notes.add(SHEET, row.row, row.clip_id, what, done)

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
    spelt = [fold(name) for name in (row.name, row.major + martial if martial else "", martial) if name]
    if not spelt:
        note("no action name", "taken from the class in the clip's name")
        return
    known = [names[name] for name in spelt if name in names]
    if not known:
        note(f"action name is not in {NAMES}: {spelt[0][:80]}", "taken from the class in the clip's name")
    elif known[0] != action:
        note(f"action name is another class's: {known[0]}", f"the class in the clip's name is used: {action}")


def _check_text(
    text: str, file: str, clip: str, action: str, quality: int, first: dict[str, str], notes: Notes
) -> None:
    """What is odd about one explanation."""

    def note(what: str, done: str = "kept") -> None:
        notes.add(file, clip if file == REFERENCES else 1, clip, what, done)

    verdict = written_verdict(text)
    if verdict is None:
        note("the text states no verdict")
    elif verdict != quality:
        note(f"contradicting verdict: {('good', 'bad')[verdict]}, labelled {('standard', 'non-standard')[quality]}")
    if fold(action).casefold() not in fold(text).casefold():
        note(f"the text does not name the action as the release does: {action}")
    other = first.setdefault(text.casefold(), clip)
    if other != clip:
        note(f"same text as another clip: {other}")


def written_verdict(text: str) -> int | None:
    """What a text of the release says of the form where it opens 'The ... action in this video is ...'."""
    match = _OPENING.search(fold(text).casefold())
    if not match:
        return None
    return 1 if "bad" in match[1] or "not good" in match[1] else 0 if "good" in match[1] else None
