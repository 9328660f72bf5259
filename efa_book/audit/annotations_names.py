"""What a clip's name gives away: NN_MM is the MM-th clip of class NN, and the standard ones come first."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import pandas as pd

from efa import metrics
from efa_datasets.cot_afa_files import CLIP

Names = dict[str, tuple[int, int]]  # clip -> class number and clip index
READ_OFF = 30
"""The clip index from which on the release's clips are non-standard, as one sees who looks at the whole list: this
one is not learnt, and test clips were among those looked at."""


def read_names(clips: Sequence[str]) -> Names | None:
    """None where a name is not of the form NN_MM."""
    found = {clip: CLIP.fullmatch(clip) for clip in clips}
    return {clip: (int(hit[1]), int(hit[2])) for clip, hit in found.items() if hit} if all(found.values()) else None


def trained(clips: pd.DataFrame) -> pd.DataFrame:
    """What a rule may be learnt from: train and val."""
    return clips[clips["split"].isin(["train", "val"])]


def learn_action(clips: pd.DataFrame, names: Names) -> dict[int, str]:
    """Class number -> the action that most of its training clips have."""
    seen: dict[int, Counter[str]] = defaultdict(Counter)
    for clip, action in zip(trained(clips)["clip_id"], trained(clips)["action"], strict=True):
        seen[names[clip][0]][action] += 1
    return {number: min(count, key=lambda name: (-count[name], name)) for number, count in seen.items()}


def learn_threshold(clips: pd.DataFrame, names: Names) -> int:
    """The clip index from which on 'non-standard' is right most often in training; see `best_threshold`."""
    told = trained(clips)
    return best_threshold([names[clip][1] for clip in told["clip_id"]], list(told["quality"]))


def best_threshold(indices: Sequence[int], quality: Sequence[int], usual: int | None = None) -> int:
    """Of equally good ones `usual`, where it is among them, else the largest, which calls the fewest non-standard."""
    index, truth = np.array(indices, dtype=int), np.array(quality, dtype=int)
    if not len(index):
        return 0 if usual is None else usual
    tried = sorted({*index.tolist(), int(index.max()) + 1, *([] if usual is None else [usual])})
    right = {at: int(((index >= at) == truth).sum()) for at in tried}
    best = max(right.values())
    if usual is not None and right[usual] == best:
        return usual
    return max(at for at in tried if right[at] == best)


def shortcuts(clips: pd.DataFrame, names: Names | None) -> pd.DataFrame:
    """Verdict and action of the test clips without a video, beside the truth.

    Columns target ('form' or 'action'), rule, title, learnt_on, parameter (the threshold), metric, value, low, high
    (percent, 95 % bootstrap over clips) and clips. Rules that read names are left out where `names` is None.
    """
    told, test = trained(clips), clips[clips["split"] == "test"].sort_values("clip_id")
    columns = ["target", "rule", "title", "learnt_on", "parameter", "metric", "value", "low", "high", "clips"]
    if told.empty or test.empty:
        return pd.DataFrame(columns=columns)
    truth = test["quality"].to_numpy()
    usual = _majority(told["quality"])
    by_action = {str(action): _majority(part["quality"]) for action, part in told.groupby("action")}
    learnt = "train and val"
    found: list[tuple[str, str, str, float, np.ndarray]] = [
        ("majority", "the more frequent verdict", learnt, np.nan, np.full(len(test), usual)),
        ("action", "the action's more frequent verdict", learnt, np.nan, _of(test, by_action, usual)),
    ]
    if names is not None:
        index = np.array([names[clip][1] for clip in test["clip_id"]])
        at = learn_threshold(clips, names)
        own = {
            str(action): best_threshold([names[clip][1] for clip in part["clip_id"]], list(part["quality"]), at)
            for action, part in told.groupby("action")
        }
        from_own = index >= _of(test, own, at)
        found += [
            ("index-30", f"clip index from {READ_OFF} on: non-standard", "read off", READ_OFF, index >= READ_OFF),
            ("index", f"clip index from {at} on: non-standard", learnt, at, index >= at),
            ("action-index", "clip index from the action's own threshold on", learnt, np.nan, from_own),
        ]
    rows: list[tuple[object, ...]] = []
    for rule, title, source, parameter, said in found:
        right = (said.astype(int) == truth).astype(float)
        interval = metrics.bootstrap(right, lambda drawn: 100 * float(drawn.mean()))
        rows.append(("form", rule, title, source, parameter, "quality_acc", 100 * right.mean(), *interval, len(test)))
        balanced = 100 * metrics.balanced_accuracy(truth, said)
        interval = metrics.balanced_accuracy_interval(truth, said)
        rows.append(("form", rule, title, source, parameter, "quality_balanced_acc", balanced, *interval, len(test)))
    if names is not None:
        by_number = learn_action(clips, names)
        pairs = zip(test["clip_id"], test["action"], strict=True)
        right = np.array([by_number.get(names[clip][0]) == action for clip, action in pairs], dtype=float)
        interval = metrics.bootstrap(right, lambda drawn: 100 * float(drawn.mean()))
        title = "the action that has this number in training"
        rows.append(("action", "number", title, learnt, np.nan, "top1", 100 * right.mean(), *interval, len(test)))
    return pd.DataFrame(rows, columns=columns)


def _majority(quality: pd.Series[int]) -> int:
    """A tie is standard."""
    return int(quality.mean() > 0.5)


def _of(test: pd.DataFrame, by_action: dict[str, int], otherwise: int) -> np.ndarray:
    return np.array([by_action.get(action, otherwise) for action in test["action"]])
