"""Scores from predictions, without a model or torch: n-grams in `captions`, verdicts and faults in `forms`."""

from typing import Any

import numpy as np
import pandas as pd

from efa.metrics.captions import CAPTION_METRICS, caption_scores
from efa.metrics.forms import auc, balanced_accuracy, fault_counts, micro_f1
from efa.utils.errors import InputError
from formsim.faults import FaultParser, step_in_text
from formsim.verdicts import verdict_in_text

__all__ = ["CAPTION_METRICS", "METRICS", "SCORES_VERSION", "FaultParser", "auc", "balanced_accuracy"]
__all__ += ["caption_scores", "fault_counts", "micro_f1", "score", "step_in_text", "verdict_in_text"]

SCORES_VERSION = 1  # raise it when a score of the same predictions may change: finished runs are then scored again
QUALITY_METRICS = ("quality_acc", "quality_balanced_acc", "quality_majority", "quality_auc")
FAULT_METRICS = ("fault_f1", "fault_precision", "fault_recall", "hallucinated_faults", "step_acc")
VERDICT_METRICS = ("verdict_agreement", "written_verdict_acc")
METRICS = (*CAPTION_METRICS, "top1", "top5", *QUALITY_METRICS, *FAULT_METRICS, *VERDICT_METRICS, "n")


def score(predictions: pd.DataFrame, parser: FaultParser | None = None) -> dict[str, float | None]:
    """Every metric of `METRICS` for a table from `read_predictions`: percentages, None where a metric does not apply.

    - Captions (`bleu1` ... `cider_d`): clips with a reference; None for a system that writes nothing.
    - `top1`, `top5`: None under the protocol oracle, which is given the class.
    - `quality_*`: clips of known quality, verdict at probability 0.5; `quality_majority`: share of the larger class.
    - `fault_*`: micro-averaged over standard clips and non-standard clips whose fault is known; `hallucinated_faults`:
      standard clips whose text names any fault; `step_acc`: clips with a known faulty step whose text names that step.
    - `verdict_agreement`: the written verdict is the quality head's; `written_verdict_acc`: it is the truth. A text
      without a verdict counts as wrong in both.

    Raises InputError: no clips, protocols mixed, Java missing where there are captions to score.
    """
    if predictions.empty:
        raise InputError("no predictions to score")
    if len(protocols := sorted(set(predictions["protocol"]))) > 1:
        raise InputError(f"protocols mixed: {', '.join(protocols)}", hint="score each protocol by itself")
    scores: dict[str, float | None] = dict.fromkeys(METRICS)
    scores["n"] = len(predictions)
    quality = predictions["quality"].to_numpy()
    known, standard, nonstandard = quality >= 0, quality == 0, quality == 1
    probability = predictions["quality_prob"].to_numpy(dtype=float)
    verdicts = probability >= 0.5
    has_head = not np.isnan(probability).any()

    if protocols != ["oracle"] and (predictions["predicted_action"] != "").any():
        scores["top1"] = _percent(predictions["predicted_action"] == predictions["action"])
        if predictions["top5"].map(len).any():
            ranked = zip(predictions["action"], predictions["top5"], strict=True)
            scores["top5"] = _percent([action in names for action, names in ranked])
    if has_head and known.any():
        truth, predicted = nonstandard[known], verdicts[known]
        scores["quality_acc"] = _percent(predicted == truth)
        scores["quality_balanced_acc"] = _percent(balanced_accuracy(truth, predicted))
        scores["quality_majority"] = 100 * float(max(truth.mean(), 1 - truth.mean()))
        scores["quality_auc"] = _percent(auc(truth, probability[known]))

    texts = predictions["explanation"]
    if not (texts.str.strip() != "").any():
        return scores
    referenced = predictions["reference"].str.strip() != ""
    if referenced.any():
        scores.update(caption_scores(list(predictions["reference"][referenced]), list(texts[referenced])))
    written = np.array([-1 if verdict is None else verdict for verdict in map(verdict_in_text, texts)])
    if has_head:
        scores["verdict_agreement"] = _percent(written == verdicts)
    scores["written_verdict_acc"] = _percent((written == quality)[known])
    has_step = nonstandard & predictions["fault_step"].notna().to_numpy()
    steps = zip(texts[has_step], predictions["fault_step"][has_step], strict=True)
    scores["step_acc"] = _percent([step_in_text(text) == step for text, step in steps])
    has_fault = nonstandard & (predictions["fault"] != "").to_numpy()
    if parser is not None and has_fault.any():
        rows = predictions[standard | has_fault]
        counts = fault_counts(rows["explanation"], rows["action"], rows["quality"], rows["fault"], parser)
        right, wrong, missed = counts.sum(axis=0)
        scores["fault_f1"] = _percent(micro_f1(counts))
        scores["fault_precision"] = _percent(right / (right + wrong)) if right + wrong else None
        scores["fault_recall"] = _percent(right / (right + missed))
        scores["hallucinated_faults"] = _percent(counts[rows["quality"] == 0, 1] > 0)
    return scores


def _percent(values: Any) -> float | None:
    """Mean x 100 of booleans or of one number; None where there is none."""
    values = np.asarray(values, dtype=float)
    return None if values.size == 0 or np.isnan(values).any() else 100 * float(values.mean())
