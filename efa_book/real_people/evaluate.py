"""Grouped cross-validation: what a condition says of people it has not seen, its scores, and their intervals.

A condition is a function (training clips, test clips) -> scores. A group (session, scene, person) is never on both
sides. The verdict's threshold, and settings where there are several, are chosen by the same cross-validation among the
training clips.
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
SCORES = ("set", "condition", "split", "metric", "value", "low", "high", "n", "groups")
METRICS = {
    "auc": "AUC", "balanced": "balanced accuracy", "accuracy": "accuracy", "macro_f1": "macro F1",
    "topic_f1": "topic F1", "bleu4": "BLEU-4", "rouge_l": "ROUGE-L",
}  # fmt: skip
GROUPED, RANDOM = "by group", "random"
CORRECT = "correct"
FOLDS, INNER_FOLDS, FEW_GROUPS, DRAWS = 5, 3, 10, 1000


def target(record: Record) -> str:
    """What is to be told: for deadlifts which fault, else '0' correct or '1' incorrect."""
    return record.fault or CORRECT if record.set == "deadlift" else str(record.label)


def folds(records: Sequence[Record], split: str = GROUPED, inner: bool = False) -> Iterator[tuple[Array, Array]]:
    """Indices of training and test clips. `GROUPED`: each of at most ten groups is left out once; more of them, or
    those `inner` to a training part, are dealt into a few parts with similar shares of the classes. `RANDOM` ignores
    groups: a warning, not a measurement."""
    targets, groups = [target(record) for record in records], [record.group for record in records]
    count, few = INNER_FOLDS if inner else FOLDS, len(set(groups))
    if split == RANDOM:
        return StratifiedKFold(count, shuffle=True, random_state=0).split(targets, targets)
    if few <= (count if inner else FEW_GROUPS):
        return LeaveOneGroupOut().split(targets, targets, groups)
    return StratifiedGroupKFold(count, shuffle=True, random_state=0).split(targets, targets, groups)


def predict(
    records: Sequence[Record], candidates: Condition | Sequence[Condition], name: str, split: str = GROUPED,
    progress: Callable[[int, int], None] = lambda done, total: None, fixed: float | None = None,
) -> pd.DataFrame:  # fmt: skip
    """Every clip judged once by a model that did not see its group: a table with `COLUMNS`.

    Of several candidates (settings of one condition) each fold takes the one that is best among its own training clips.
    `fixed` is a threshold that is not chosen: what never saw the set has to do without its clips here, too.
    `label` is the class, `score` that of 'incorrect', `predicted` the answer.
    """
    options = [candidates] if callable(candidates) else list(candidates)
    classes, parts = sorted({target(record) for record in records}), []
    every = list(folds(records, split))
    for fold, (train, test) in enumerate(every):
        known, asked = [records[i] for i in train], [records[i] for i in test]
        if len(classes) == 2:
            best, threshold = (options[0], fixed) if fixed is not None else choose(known, options, split)
            score = best(known, asked)[:, 1]
            predicted = np.where(score >= threshold, classes[1], classes[0])
        else:
            best = choose(known, options, split)[0] if len(options) > 1 else options[0]
            scores = best(known, asked)
            score, predicted = 1 - scores[:, classes.index(CORRECT)], np.array(classes)[scores.argmax(1)]
        rows = [(one.set, one.clip, one.group, name, split, fold, target(one)) for one in asked]
        table = pd.DataFrame(rows, columns=list(COLUMNS[:7]))
        parts.append(table.assign(score=score, predicted=predicted))
        progress(fold + 1, len(every))
    return pd.concat(parts, ignore_index=True)


def choose(records: Sequence[Record], candidates: Sequence[Condition], split: str) -> tuple[Condition, float]:
    """The best candidate and its threshold, by clips that are left out of `records` in turn.

    Two classes: by AUC; the threshold is the score from which on 'incorrect' is best balanced. More: by accuracy.
    """
    classes = sorted({target(record) for record in records})
    inner = [(a, b) for a, b in folds(records, split, inner=True) if {target(records[i]) for i in a} == {*classes}]
    truth = np.array([classes.index(target(records[i])) for _, test in inner for i in test])
    results = []
    for candidate in candidates:
        pairs = (([records[i] for i in train], [records[i] for i in test]) for train, test in inner)
        scores = np.concatenate([candidate(*pair) for pair in pairs])
        two = len(classes) == 2
        results.append((auc(truth, scores[:, 1]) if two else float((scores.argmax(1) == truth).mean()), scores))
    at = int(np.argmax([reached for reached, _ in results]))
    return candidates[at], best_threshold(truth, results[at][1][:, 1])


def best_threshold(labels: Array, scores: Array) -> float:
    """The middle of the thresholds with the best balanced accuracy; at most 200 are tried."""
    order = np.unique(scores)
    middles = np.unique(np.quantile((order[1:] + order[:-1]) / 2, np.linspace(0, 1, 200))) if len(order) > 1 else order
    reached = [balanced_accuracy(labels, scores >= middle) for middle in middles]
    best = np.flatnonzero(np.isclose(reached, np.nanmax(reached)))
    return float(middles[best[len(best) // 2]])


def score(labels: Array, scores: Array, predicted: Array) -> dict[str, float]:
    """Metrics in points of columns `label`, `score` and `predicted` of a table of `predict`, [N] each."""
    if np.isnan(scores).any():  # topics: there is nothing to rank
        pairs = [(set(a.split("; ")), set(b.split("; "))) for a, b in zip(predicted, labels, strict=True)]
        return {"topic_f1": 100 * float(np.mean([topic_f1(*pair) for pair in pairs]))}
    wrong = (labels != CORRECT) & (labels != "0")
    found = {"auc": auc(wrong, scores)}
    if set(labels) <= {"0", "1"}:
        found["balanced"] = balanced_accuracy(wrong, predicted == "1")
    else:
        found["accuracy"] = float((labels == predicted).mean())
        found["macro_f1"] = float(f1_score(labels, predicted, average="macro", zero_division=0))
    return {name: 100 * value for name, value in found.items()}


def topic_f1(said: set[str], true: set[str]) -> float:
    """F1 of two sets in [0, 1]; 1 where both are empty."""
    return 2 * len(said & true) / (len(said) + len(true)) if said or true else 1.0


def summarize(predictions: pd.DataFrame) -> pd.DataFrame:
    """`SCORES` of every condition and metric; low and high are the 95 % interval of a bootstrap
    that draws whole groups, seed 0."""
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
    return pd.DataFrame(rows, columns=list(SCORES))
