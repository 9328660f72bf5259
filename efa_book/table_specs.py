"""How each table appears, as data: its metrics, its figures, and the lines of the benchmarks beside the paper's tables.

To show another metric in a table, add it to one line of `TABLE_SPECS`.
"""

from dataclasses import dataclass, field
from typing import Literal

from efa.experiments import READINGS

Kind = Literal["caption", "fault", "words", "action", "form"]


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        key: as in `efa.metrics.METRICS`.
        title: as in a table's head.
        kind: what it needs: 'caption' a text and a reference, 'fault' a text and a known fault, 'words' a text and a
            verdict, 'action' a class, 'form' a verdict.
        printed: the paper reports it.
    """

    key: str
    title: str
    kind: Kind
    printed: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One table.

    Attributes:
        metrics: one column each.
        first: title of the column that names the rows.
        subject: the row that the others are compared with.
        figures: name of a group of claims -> the metrics of its figure.
        floor: whether a last row says what is reached without looking.
        entries: (row, protocol, name) of each line, where lines are not simply rows under their own protocol.
    """

    metrics: tuple[Metric, ...]
    first: str = "system"
    subject: str = "EFA"
    figures: dict[str, tuple[Metric, ...]] = field(default_factory=dict)
    floor: bool = False
    entries: tuple[tuple[str, str, str], ...] = ()


BLEU1 = Metric("bleu1", "BLEU-1", "caption", True)
BLEU4 = Metric("bleu4", "BLEU-4", "caption", True)
METEOR = Metric("meteor", "METEOR", "caption", True)
ROUGE = Metric("rouge_l", "ROUGE-L", "caption", True)
CIDER = Metric("cider_d", "CIDEr-D", "caption", True)
TOP1 = Metric("top1", "Top-1", "action", True)
TOP5 = Metric("top5", "Top-5", "action", True)
QUALITY = Metric("quality_acc", "quality accuracy", "form", True)
BALANCED = Metric("quality_balanced_acc", "balanced accuracy", "form")
AUC = Metric("quality_auc", "AUC of form", "form")
FAULT = Metric("fault_f1", "fault F1", "fault")
HALLUCINATED = Metric("hallucinated_faults", "hallucinated faults", "fault")
STEP = Metric("step_acc", "right step named", "fault")
AGREEMENT = Metric("verdict_agreement", "verdict agreement", "words")
KNOWN = {metric.key: metric for metric in list(globals().values()) if isinstance(metric, Metric)}

TABLE_SPECS: dict[str, TableSpec] = {
    "4": TableSpec(
        (BLEU1, BLEU4, METEOR, ROUGE, CIDER, FAULT, HALLUCINATED, STEP, AGREEMENT),
        figures={"explanation": (CIDER, METEOR, FAULT, HALLUCINATED)},
    ),
    "5": TableSpec(
        (TOP1, TOP5, QUALITY, BALANCED, AUC),
        figures={"action": (TOP1, TOP5), "form": (QUALITY, BALANCED, AUC)},
        floor=True,
    ),
    "6": TableSpec(
        (CIDER, METEOR, ROUGE, BLEU4, TOP1, QUALITY, BALANCED, FAULT),
        first="variant",
        figures={"all": (CIDER, FAULT, BALANCED, TOP1)},
    ),
    "7": TableSpec(
        (CIDER, METEOR, ROUGE, TOP1, QUALITY, BALANCED, FAULT),
        first="weight",
        subject="lambda = 3",
        figures={"explanation": (CIDER, FAULT), "action and form": (TOP1, QUALITY, BALANCED)},
    ),
    "standards": TableSpec(
        (AUC, BALANCED, FAULT, CIDER),
        first="what the model reads",
        figures={"form": (AUC, BALANCED)},
        entries=(
            ("EFA", "oracle", "the right text"),
            ("EFA", "predicted", "the right standard, action by own guess"),
            ("EFA", "none", "no text, trained with text"),
            ("EFA", "wrong", "the text of another standard"),
            ("w/o text", "predicted", "no text, trained without text"),
            ("Wrong text", "predicted", "wrong text, trained with it"),
        ),
    ),
    "unseen": TableSpec(
        (AUC, BALANCED, FAULT),
        first="what the model reads",
        figures={"form": (AUC, BALANCED, FAULT)},
        entries=(
            ("EFA", "oracle", "the new action's text"),
            ("EFA", "none", "no text, trained with text"),
            ("EFA", "wrong", "another action's text"),
            ("w/o text", "oracle", "no text, trained without text"),
            ("Wrong text", "oracle", "wrong text, trained with it"),
        ),
    ),
    "readings": TableSpec(
        (CIDER, FAULT, BALANCED, TOP1, QUALITY),
        first="reading",
        entries=tuple((row, "predicted", row) for row in READINGS),
    ),
}
