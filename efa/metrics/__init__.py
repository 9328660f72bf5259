"""Scores from predictions, without a model or torch: n-grams in `captions`, verdicts and faults in `forms`."""

from typing import Any

import numpy as np
import pandas as pd

from efa.metrics.captions import CAPTION_METRICS, caption_scores, score_captions
from efa.metrics.forms import auc, balanced_accuracy, fault_counts, micro_f1
from efa.utils.errors import InputError
from formsim.faults import FaultParser, is_broken, names_action, step_in_text
from formsim.verdicts import verdict_in_text

__all__ = ["CAPTION_METRICS", "METRICS", "SCORES_VERSION", "FaultParser", "auc", "balanced_accuracy"]
__all__ += ["caption_scores", "evaluate", "fault_counts", "micro_f1", "score", "step_in_text"]
__all__ += ["verdict_in_text"]

SCORES_VERSION = 2  # raise it when a score of the same predictions may change: finished runs are then scored again
QUALITY_METRICS = ("quality_acc", "quality_balanced_acc", "quality_majority", "quality_auc")
FAULT_METRICS = ("fault_f1", "fault_precision", "fault_recall", "hallucinated_faults", "step_acc")
VERDICT_METRICS = ("verdict_agreement", "written_verdict_acc")
TEXT_METRICS = ("chain", "names_action", "degenerate", "cider_named", "texts")
METRICS = (*CAPTION_METRICS, "top1", "top5", *QUALITY_METRICS, *FAULT_METRICS, *VERDICT_METRICS, *TEXT_METRICS, "n")
SAME = ("top1", "top5", "chain", "names_action", "degenerate")  # scores that are shares of a flag of this name
UNSPACED = "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]"  # no blanks between words
FLAGS = (*SAME, "fault_right", "fault_wrong", "fault_missed", "step", "agreement")
CAPTION_TYPES = dict.fromkeys(("bleu_right", "bleu_length", "bleu_wanted"), "int16")
CAPTION_TYPES |= dict.fromkeys(("meteor", "rouge_l", "cider_d"), "float16")
CLIP_TYPES = {"truth": "int8", "p": "float32"} | CAPTION_TYPES | dict.fromkeys(FLAGS, "int8")


def score(predictions: pd.DataFrame, parser: FaultParser | None = None) -> dict[str, float | None]:
    """Every metric of `METRICS` for a table from `read_predictions`: percentages, None where a metric does not apply.

    - Captions (`bleu1` ... `cider_d`): clips with a reference; None for a system that writes nothing and in a script
      that leaves no blanks between words. CIDEr-D weighs words by how rare they are: it needs two different
      references. `cider_named`: CIDEr-D over the clips whose text names the true action.
    - `top1`, `top5`: None under the protocol oracle, which is given the class.
    - `quality_*`: clips of known quality, verdict at probability 0.5; `quality_majority`: share of the larger class.
    - `fault_*`: micro-averaged over standard clips and non-standard clips whose fault is known; `hallucinated_faults`:
      standard clips whose text names any fault; `step_acc`: clips with a known faulty step whose text names that step;
      `chain`: faulty clips whose text names the true fault alone, what it leads to and how to correct it.
    - `verdict_agreement`: the written verdict is the quality head's; `written_verdict_acc`: it is the truth. A text
      without a verdict counts as wrong in both.
    - `names_action`: texts that name the true action; `degenerate`: texts that break off, repeat themselves
      (`formsim.faults.is_broken`) or state no verdict; `texts`: how many different ones are written.

    Raises InputError: no clips, protocols mixed, Java missing where there are captions to score.
    """
    return evaluate(predictions, parser)[0]


def evaluate(
    predictions: pd.DataFrame, parser: FaultParser | None = None
) -> tuple[dict[str, float | None], pd.DataFrame]:
    """`score`, and what each clip contributes to it, one row a clip, -1 where something does not apply.

    clip_id, protocol, truth (0 standard, 1 non-standard), p (of non-standard), the words that BLEU-1 finds, lengths of
    text and reference, METEOR, ROUGE-L and CIDEr-D of the clip in percent, and 0, 1 or a count for each of `FLAGS`.
    """
    if predictions.empty:
        raise InputError("no predictions to score")
    if len(protocols := sorted(set(predictions["protocol"]))) > 1:
        raise InputError(f"protocols mixed: {', '.join(protocols)}", hint="score each protocol by itself")
    predictions = predictions.reset_index(drop=True)
    scores: dict[str, float | None] = dict.fromkeys(METRICS)
    scores["n"] = len(predictions)
    quality, action, fault = (predictions[name].to_numpy() for name in ("quality", "action", "fault"))
    known, nonstandard = quality >= 0, quality == 1
    probability = predictions["quality_prob"].to_numpy(dtype=float)
    verdicts = probability >= 0.5
    has_head = not np.isnan(probability).any()
    clips = predictions[["clip_id", "protocol"]].assign(truth=quality, p=np.nan_to_num(probability, nan=-1.0))
    clips[list(CLIP_TYPES)[2:]] = -1.0

    if protocols != ["oracle"] and (predictions["predicted_action"] != "").any():
        clips["top1"] = (predictions["predicted_action"] == action).astype(float)
        if predictions["top5"].map(len).any():
            clips["top5"] = [float(one in names) for one, names in zip(action, predictions["top5"], strict=True)]
    if has_head and known.any():
        truth, predicted = nonstandard[known], verdicts[known]
        scores["quality_acc"] = _percent(predicted == truth)
        scores["quality_balanced_acc"] = _percent(balanced_accuracy(truth, predicted))
        scores["quality_majority"] = 100 * float(max(truth.mean(), 1 - truth.mean()))
        scores["quality_auc"] = _percent(auc(truth, probability[known]))

    texts = predictions["explanation"]
    if (texts.str.strip() != "").any():
        references = predictions["reference"]
        referenced = (references.str.strip() != "").to_numpy()
        if referenced.any() and not references.str.contains(UNSPACED).any():
            found, each = score_captions(list(references[referenced]), list(texts[referenced]))
            scores.update(found)
            if references[referenced].nunique() < 2:  # no word is rarer than another
                scores["cider_d"], each[:, -1] = None, -1
            clips.loc[referenced, list(CAPTION_TYPES)] = each
        read = {text: (verdict_in_text(text), step_in_text(text), is_broken(text)) for text in texts.unique()}
        verdict, step, broken = zip(*(read[text] for text in texts), strict=True)
        written = np.array([-1 if one is None else one for one in verdict])
        clips["degenerate"] = np.array(broken) | (written < 0)
        clips["names_action"] = [names_action(*one) if one[1] else -1 for one in zip(texts, action, strict=True)]
        scores["texts"] = texts.nunique()
        if has_head:
            clips["agreement"] = written == verdicts
        scores["written_verdict_acc"] = _percent((written == quality)[known])
        has_step = nonstandard & predictions["fault_step"].notna().to_numpy()
        clips.loc[has_step, "step"] = (np.array(step) == predictions["fault_step"])[has_step].astype(float)
        has_fault = nonstandard & (fault != "")
        if parser is not None and has_fault.any():
            counted = has_fault | (quality == 0)
            counts = fault_counts(texts[counted], action[counted], quality[counted], fault[counted], parser)
            clips.loc[counted, ["fault_right", "fault_wrong", "fault_missed"]] = counts
            right, wrong, missed = counts.sum(axis=0)
            scores["fault_f1"] = _percent(micro_f1(counts))
            scores["fault_precision"] = _percent(right / (right + wrong)) if right + wrong else None
            scores["fault_recall"] = _percent(right / (right + missed))
            scores["hallucinated_faults"] = _percent(clips["fault_wrong"][quality == 0] > 0)
            alone = (clips["fault_right"] == 1) & (clips["fault_wrong"] == 0)
            follows = [parser.follows(*pair) for pair in zip(texts[has_fault], fault[has_fault], strict=True)]
            clips.loc[has_fault, "chain"] = alone[has_fault] * np.array(follows, dtype=float)
    for metric, name in (("step_acc", "step"), ("verdict_agreement", "agreement"), *zip(SAME, SAME, strict=True)):
        scores[metric] = _percent(clips[name][clips[name] >= 0])
    named = clips["cider_d"][(clips["cider_d"] >= 0) & (clips["names_action"] == 1)]
    scores["cider_named"] = float(named.mean()) if len(named) else None
    return scores, clips.astype(CLIP_TYPES)


def _percent(values: Any) -> float | None:
    """Mean x 100 of booleans or of one number; None where there is none."""
    values = np.asarray(values, dtype=float)
    return None if values.size == 0 or np.isnan(values).any() else 100 * float(values.mean())
