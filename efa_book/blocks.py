"""A metric without each of fifty blocks of clips: what the clips add to the variance of a score, in few bytes.

Of a finished run they are computed from `metrics.evaluate`; of a published one they are read.
"""

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from efa import metrics
from efa_book.table_specs import AUC

BLOCKS = 50
COLUMNS = [f"without_{block}" for block in range(BLOCKS)]
Statistic = Callable[[np.ndarray], np.ndarray]  # sums over clips [..., k] -> values [...], in points
Left = Callable[[str, str], np.ndarray | None]  # protocol, metric -> `leave_out`; None: not known


def of_clips(path: Path) -> Left:
    """Of a run, from its clips.parquet."""
    read = cache(lambda: pd.read_parquet(path) if path.is_file() else None)

    def find(protocol: str, metric: str) -> np.ndarray | None:
        clips = read()
        clips = None if clips is None else clips[clips["protocol"] == protocol]
        return None if clips is None or clips.empty else leave_out(clips, metric)

    return find


def of_rows(rows: pd.DataFrame) -> Left:
    """Of a published run, from its rows of blocks.parquet."""
    known = dict(zip(zip(rows["protocol"], rows["metric"], strict=True), rows[COLUMNS].to_numpy(float), strict=True))

    def find(protocol: str, metric: str) -> np.ndarray | None:
        values = known.get((protocol, metric))
        return None if values is None else values[~np.isnan(values)]  # fewer clips than blocks

    return find


def rows_of(clips: pd.DataFrame, names: Iterable[str]) -> pd.DataFrame:
    """`leave_out` of each protocol and metric that has it, one a row: protocol, metric and `COLUMNS`, float32."""
    rows = []
    for protocol, part in clips.groupby("protocol", sort=False):
        for name in names:
            if (values := leave_out(part, name)) is not None:
                rows.append((protocol, name, *np.pad(values, (0, BLOCKS - len(values)), constant_values=np.nan)))
    found = pd.DataFrame(rows, columns=["protocol", "metric", *COLUMNS])
    return found.astype(dict.fromkeys(COLUMNS, "float32"))


def leave_out(clips: pd.DataFrame, metric: str) -> np.ndarray | None:
    """A metric in points without each block of clips, [blocks]; None for one that a clip's numbers do not give.

    `clips`: `metrics.evaluate` of one protocol; equal clips, in any order, are cut into equal blocks.
    """
    clips = clips.sort_values("clip_id", ignore_index=True)
    blocks = min(BLOCKS, len(clips))
    block = np.random.RandomState(0).permutation(len(clips)) % blocks
    if metric == AUC.key:
        return _auc_without(clips[(clips["truth"] >= 0) & (clips["p"] >= 0)], block, blocks)
    found = _summands(clips, metric)
    if found is None or not (used := (found[0] >= 0).all(1)).any():
        return None
    summed, statistic = found
    sums = np.stack([np.bincount(block[used], column[used], blocks) for column in summed.T], axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        left = statistic(sums.sum(0) - sums)
    return None if np.isnan(left).any() else left


def _summands(clips: pd.DataFrame, metric: str) -> tuple[np.ndarray, Statistic] | None:
    """What is summed over clips, [N, k] (-1: the clip does not count), and a metric from the sums."""
    truth, p, said = clips["truth"], clips["p"], (clips["p"] >= 0.5).astype(int)
    flags = {"step_acc": "step", "verdict_agreement": "agreement"} | {one: one for one in metrics.SAME}
    if metric in flags:
        return _share(clips[flags[metric]] * 100.0)
    if metric in ("meteor", "rouge_l", "cider_d"):
        return _share(clips[metric].astype(float))
    if metric == "quality_acc":
        return _share((100.0 * (said == truth)).where((truth >= 0) & (p >= 0), -1))
    if metric == "hallucinated_faults":
        return _share((100.0 * (clips["fault_wrong"] > 0)).where((truth == 0) & (clips["fault_wrong"] >= 0), -1))
    if metric == "fault_f1":
        columns = clips[["fault_right", "fault_wrong", "fault_missed"]].to_numpy(float)
        return columns, lambda sums: 200 * sums[..., 0] / (sums @ np.array([2.0, 1.0, 1.0]))
    if metric == "bleu1":
        columns = clips[["bleu_right", "bleu_length", "bleu_wanted"]].to_numpy(float)
        return (
            columns,
            lambda sums: 100 * sums[..., 0] / sums[..., 1] * np.exp(np.minimum(0, 1 - sums[..., 2] / sums[..., 1])),
        )
    if metric == "quality_balanced_acc":
        kinds = [(truth == kind) & right for kind in (0, 1) for right in (said == kind, said >= 0)]
        columns = np.stack(kinds, axis=1).astype(float)
        columns[(truth < 0) | (p < 0)] = -1
        return columns, lambda sums: 50 * (sums[..., 0] / sums[..., 1] + sums[..., 2] / sums[..., 3])
    return None


def _share(values: pd.Series) -> tuple[np.ndarray, Statistic]:
    """The mean of the values that are not negative."""
    columns = np.stack([values, np.where(values < 0, -1, 1)], axis=1)
    return columns, lambda sums: sums[..., 0] / sums[..., 1]


def _auc_without(clips: pd.DataFrame, block: np.ndarray, blocks: int) -> np.ndarray | None:
    """The area under the curve without each block, from the pairs won between every two blocks."""
    positive, score = clips["truth"].to_numpy() == 1, clips["p"].to_numpy()
    block = block[clips.index]
    if positive.all() or not positive.any():
        return None
    won, size = np.zeros((blocks, blocks)), [np.bincount(block[one], minlength=blocks) for one in (positive, ~positive)]
    for other in range(blocks):
        negative = np.sort(score[~positive & (block == other)])
        wins = sum(np.searchsorted(negative, score[positive], side) for side in ("left", "right")) / 2
        won[:, other] = np.bincount(block[positive], wins, blocks)
    rest = won.sum() - won.sum(0) - won.sum(1) + won.diagonal()
    pairs = (size[0].sum() - size[0]) * (size[1].sum() - size[1])
    return 100 * rest / pairs if pairs.all() else None
