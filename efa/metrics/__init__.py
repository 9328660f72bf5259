"""Scores from predictions, without a model and without torch: `read_predictions`, then `score`.

`captions` holds the n-gram metrics, `forms` what texts and heads say about the form.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet

from efa.metrics.captions import CAPTION_METRICS, caption_scores
from efa.metrics.forms import auc, balanced_accuracy, fault_counts, micro_f1, verdict_in_text
from efa.utils.errors import InputError
from formsim.faults import FaultParser, step_in_text

__all__ = ["CAPTION_METRICS", "COLUMNS", "METRICS", "SCORES_VERSION", "FaultParser", "auc", "balanced_accuracy"]
__all__ += ["caption_scores", "fault_counts", "micro_f1", "read_predictions", "score", "step_in_text"]
__all__ += ["verdict_in_text"]

SCORES_VERSION = 1  # raise it when a score of the same predictions may change: finished runs are then scored again
TEXT_COLUMNS = ("clip_id", "action", "predicted_action", "reference", "explanation", "protocol", "fault", "split")
COLUMNS = (*TEXT_COLUMNS, "top5", "quality", "quality_prob", "fault_step")
QUALITY_METRICS = ("quality_acc", "quality_balanced_acc", "quality_majority", "quality_auc")
FAULT_METRICS = ("fault_f1", "fault_precision", "fault_recall", "hallucinated_faults", "step_acc")
VERDICT_METRICS = ("verdict_agreement", "written_verdict_acc")
METRICS = (*CAPTION_METRICS, "top1", "top5", *QUALITY_METRICS, *FAULT_METRICS, *VERDICT_METRICS, "n")


def read_predictions(path: str | Path) -> pd.DataFrame:
    """A predictions table from .parquet or .csv (top5 as a JSON list), one row a clip and protocol, checked.

    Texts come as str, `quality` as int (0, 1, -1 unknown), `quality_prob` and `fault_step` as float (NaN: the system
    gives no verdict, the clip has no known step), `top5` as list of at most five str. A system without a class head
    leaves `predicted_action` and `top5` empty in every row, one without a quality head `quality_prob`. Further
    columns are kept.

    Raises InputError: unreadable file, missing column, wrong type or value, duplicate or missing clip_id, gaps.
    """
    path = Path(path)
    table = _read_table(path)
    if missing := [name for name in COLUMNS if name not in table.columns]:
        raise InputError(f"missing column {', '.join(missing)}", file=path, hint=f"columns: {', '.join(COLUMNS)}")
    if table.columns.duplicated().any():
        raise InputError(f"column {table.columns[table.columns.duplicated()][0]} twice", file=path)
    if table.empty:
        raise InputError("no rows", file=path)

    def require(good: "pd.Series[bool]", message: str, hint: str | None = None) -> None:
        """An error at the first row that is not good."""
        if not good.all():
            at = int(np.argmin(good.to_numpy()))
            raise InputError(message, file=path, row=f"{at + 1} (clip {table['clip_id'].iloc[at]})", hint=hint)

    table = table.copy()
    for name in TEXT_COLUMNS:
        require(table[name].map(lambda cell: isinstance(cell, str)), f"{name} is not text", "leave it empty, not null")
    for name in ("quality", "quality_prob", "fault_step"):
        given = table[name].notna() & (table[name].astype(str).str.strip() != "")
        numbers = pd.to_numeric(table[name], errors="coerce").astype(float)
        require(~given | numbers.abs().lt(np.inf), f"{name} is not a number")
        table[name] = numbers
    table["top5"] = table["top5"].map(_parse_names)
    for name in ("clip_id", "action", "protocol"):
        require(table[name] != "", f"{name} is empty")
    require(~table.duplicated(["clip_id", "protocol"]), "duplicate clip_id", "keep one row a clip and protocol")
    require(table["quality"].isin([0, 1, -1]), "quality is not 0, 1 or -1", "0 standard, 1 non-standard, -1 unknown")
    require(table["top5"].map(lambda names: names is not None), "top5 is not a list of at most five names, best first")
    require(table["quality_prob"].isna() | table["quality_prob"].between(0, 1), "quality_prob is not in 0 to 1")
    require(table["fault_step"].isna() | table["fault_step"].isin(range(1, 6)), "fault_step is not 1 to 5")
    require(table["fault"].str.fullmatch("|.+/.+"), "fault is not of the form action/fault")
    hint = "fill every row, or none where the system does not predict it"
    for name in ("predicted_action", "top5", "quality_prob"):
        given = table[name].notna() if name == "quality_prob" else table[name].map(len) > 0
        require(given | (not given.any()), f"{name} is empty", hint)
    table["quality"] = table["quality"].astype(int)
    return table


def _read_table(path: Path) -> pd.DataFrame:
    if path.suffix not in (".parquet", ".csv"):
        raise InputError("predictions are .parquet or .csv", file=path, hint="efa run writes predictions.parquet")
    if not path.is_file():
        raise InputError("no such file", file=path)
    try:
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8")
        return pyarrow.parquet.read_table(path).to_pandas(ignore_metadata=True)
    except Exception as error:  # both readers raise a dozen kinds of their own on a broken file
        raise InputError(f"cannot be read: {error}", file=path, hint="write the predictions again") from error


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


def _parse_names(cell: Any) -> list[str] | None:
    """A cell of top5 as a list of names; None where it is none."""
    if isinstance(cell, str):
        try:
            cell = json.loads(cell) if cell.strip() else []
        except (ValueError, RecursionError):
            return None
    if not isinstance(cell, list | tuple | np.ndarray) or len(cell) > 5:
        return None
    return list(cell) if all(isinstance(name, str) and name for name in cell) else None
