"""Grouped cross-validation: what a condition says of people it has not seen, its scores, and their intervals.

A condition is a function (training clips, test clips) -> scores. A group (session, scene, person) is never on both
sides. The verdict's threshold is chosen on the training clips, by the same cross-validation among them.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from sklearn.metrics import f1_score
from sklearn.model_selection import LeaveOneGroupOut, StratifiedGroupKFold, StratifiedKFold

from efa.metrics import auc, balanced_accuracy
from efa_datasets.real_people import Record

Array = np.ndarray
Condition = Callable[[Sequence[Record], Sequence[Record]], Array]
"""(training clips, test clips) -> [N, C]: higher is likelier, classes in the order of their sorted names."""

COLUMNS = ("set", "clip", "group", "condition", "split", "fold", "label", "score", "predicted")
METRICS = {"auc": "AUC", "balanced": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1"}
GROUPED, RANDOM = "by group", "random"
CORRECT = "correct"
FOLDS, INNER_FOLDS, FEW_GROUPS, DRAWS = 5, 3, 10, 1000


def target(record: Record) -> str:
    """What is to be told: for deadlifts which fault, else '0' correct or '1' incorrect."""
    return record.fault or CORRECT if record.set == "deadlift" else str(record.label)


def folds(records: Sequence[Record], split: str = GROUPED, count: int = FOLDS) -> Iterator[tuple[Array, Array]]:
    """Indices of training and test clips. `GROUPED`: each of at most ten groups is left out once, more groups are dealt
    into `count` parts with similar shares of the classes. `RANDOM` ignores groups: a warning, not a measurement."""
    targets, groups = [target(record) for record in records], [record.group for record in records]
    if split == RANDOM:
        return StratifiedKFold(count, shuffle=True, random_state=0).split(targets, targets)
    few = len(set(groups)) <= FEW_GROUPS
    splitter = LeaveOneGroupOut() if few else StratifiedGroupKFold(count, shuffle=True, random_state=0)
    return splitter.split(targets, targets, groups)


def predict(
    records: Sequence[Record], condition: Condition, name: str, split: str = GROUPED,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> pd.DataFrame:  # fmt: skip
    """Every clip judged once by a model that did not see its group: a table with `COLUMNS`.

    `label` is the class, `score` that of 'incorrect', `predicted` the answer.
    """
    classes, parts = sorted({target(record) for record in records}), []
    every = list(folds(records, split))
    for fold, (train, test) in enumerate(every):
        known, asked = [records[i] for i in train], [records[i] for i in test]
        scores = condition(known, asked)
        if len(classes) == 2:
            score = scores[:, 1]
            predicted = np.where(score >= choose_threshold(known, condition, split), *reversed(classes))
        else:
            score = 1 - scores[:, classes.index(CORRECT)]
            predicted = np.array(classes)[scores.argmax(1)]
        rows = [(one.set, one.clip, one.group, name, split, fold, target(one)) for one in asked]
        table = pd.DataFrame(rows, columns=list(COLUMNS[:7]))
        parts.append(table.assign(score=score, predicted=predicted))
        progress(fold + 1, len(every))
    return pd.concat(parts, ignore_index=True)


def choose_threshold(records: Sequence[Record], condition: Condition, split: str = GROUPED) -> float:
    """The score from which on 'incorrect' is best balanced, among clips left out of the training clips in turn."""
    labels, scores = [], []
    for train, test in folds(records, split, INNER_FOLDS):
        if len({target(records[i]) for i in train}) == 2:
            scores += condition([records[i] for i in train], [records[i] for i in test])[:, 1].tolist()
            labels += [int(target(records[i])) for i in test]
    order = np.unique(scores)
    middles = np.unique(np.quantile((order[1:] + order[:-1]) / 2, np.linspace(0, 1, 200))) if len(order) > 1 else order
    reached = [balanced_accuracy(labels, np.array(scores) >= middle) for middle in middles]
    best = np.flatnonzero(np.isclose(reached, np.nanmax(reached)))
    return float(middles[best[len(best) // 2]])


def score(labels: Array, scores: Array, predicted: Array) -> dict[str, float]:
    """Metrics in points of columns `label`, `score` and `predicted` of a table of `predict`, [N] each."""
    wrong = (labels != CORRECT) & (labels != "0")
    found = {"auc": auc(wrong, scores)}
    if set(labels) <= {"0", "1"}:
        found["balanced"] = balanced_accuracy(wrong, predicted == "1")
    else:
        found["accuracy"] = float((labels == predicted).mean())
        found["macro_f1"] = float(f1_score(labels, predicted, average="macro", zero_division=0))
    return {name: 100 * value for name, value in found.items()}


def summarize(predictions: pd.DataFrame) -> pd.DataFrame:
    """set, condition, split, metric, value, low, high, n, groups of every condition; low and high are the 95 % interval
    of a bootstrap that draws whole groups, seed 0."""
    rows = []
    for (name, condition, split), part in predictions.groupby(["set", "condition", "split"], sort=False):
        columns = [part[column].to_numpy() for column in ("label", "score", "predicted")]
        groups = [np.flatnonzero(part["group"] == group) for group in sorted(set(part["group"]))]
        picks = np.random.RandomState(0).randint(0, len(groups), (DRAWS, len(groups)))
        draws = [np.concatenate([groups[i] for i in pick]) for pick in picks]
        drawn = pd.DataFrame([score(*(column[draw] for column in columns)) for draw in draws])
        for metric, value in score(*columns).items():
            low, high = np.nanpercentile(drawn[metric], [2.5, 97.5])
            rows.append((name, condition, split, metric, value, low, high, len(part), len(groups)))
    head = ["set", "condition", "split", "metric", "value", "low", "high", "n", "groups"]
    return pd.DataFrame(rows, columns=head)
