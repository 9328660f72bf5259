"""How each table appears, as data: its metrics, and the lines of the benchmarks beside the paper's tables.

To show another metric in a table, add it to one line of `TABLE_SPECS`.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from efa.experiments import READINGS

Kind = Literal["caption", "fault", "words", "action", "form"]
NOT_PRINTED = "not in the paper"


@dataclass(frozen=True)
class Metric:
    """One score.

    Attributes:
        key: as in `efa.metrics.METRICS`.
        title: as in a table's head.
        kind: what it needs: 'caption' a text and a reference, 'fault' a text and a known fault, 'words' a text and a
            verdict, 'action' a class, 'form' a verdict.
        printed: its name in the paper's tables; '' if the paper does not report it.
        tolerance: the smallest difference that would matter, declared before any run: in points, or if `relative` in
            percent of the reference's mean.
    """

    key: str
    title: str
    kind: Kind
    printed: str = ""
    tolerance: float = 1.0
    relative: bool = False


@dataclass(frozen=True)
class TableSpec:
    """One table.

    Attributes:
        metrics: one column each: the paper's in its order, then ours.
        first: title of the column that names the rows.
        subject: the row that the others are compared with.
        floor: whether a last row says what is reached without looking.
        printed_rows: heading in the paper ('': none) -> the rows below it, in the paper's order.
        printed_names: row -> the paper's name of it, where that differs.
        entries: (row, protocol, name) of each line, where lines are not simply rows under their own protocol.
    """

    metrics: tuple[Metric, ...]
    first: str = "Method"
    subject: str = "EFA"
    floor: bool = False
    printed_rows: dict[str, tuple[str, ...]] = field(default_factory=dict)
    printed_names: dict[str, str] = field(default_factory=dict)
    entries: tuple[tuple[str, str, str], ...] = ()

    def lines(self, rows: Iterable[str]) -> dict[str, list[str]]:
        """`printed_rows` as far as a table has them, then its other rows."""
        found = {heading: [row for row in part if row in rows] for heading, part in self.printed_rows.items()}
        others = [row for row in rows if not any(row in part for part in self.printed_rows.values())]
        return found | ({NOT_PRINTED: others} if others else {})

    def names(self, rows: Iterable[str]) -> dict[str, str]:
        """Row -> the name that is shown, in the order of `lines`."""
        return {row: self.printed_names.get(row, row) for part in self.lines(rows).values() for row in part}


BLEU1 = Metric("bleu1", "BLEU-1", "caption", "BLEU", 2, True)  # printed without its order; its size fits BLEU-1
BLEU4 = Metric("bleu4", "BLEU-4", "caption", "", 2, True)
METEOR = Metric("meteor", "METEOR", "caption", "METEOR", 2, True)
ROUGE = Metric("rouge_l", "ROUGE-L", "caption", "ROUGE-L", 2, True)
CIDER = Metric("cider_d", "CIDEr-D", "caption", "CIDEr", 5, True)
TOP1 = Metric("top1", "Top-1", "action", "TOP1")
TOP5 = Metric("top5", "Top-5", "action", "TOP5")
QUALITY = Metric("quality_acc", "quality accuracy", "form", "Acc")
BALANCED = Metric("quality_balanced_acc", "balanced accuracy", "form")
AUC = Metric("quality_auc", "AUC of form", "form")
FAULT = Metric("fault_f1", "fault F1", "fault", "", 3)
HALLUCINATED = Metric("hallucinated_faults", "hallucinated faults", "fault", "", 3)
STEP = Metric("step_acc", "right step named", "fault", "", 3)
CHAIN = Metric("chain", "fault, effect and remedy right", "fault", "", 3)
AGREEMENT = Metric("verdict_agreement", "verdict agreement", "words")
DEGENERATE = Metric("degenerate", "degenerate texts", "words")
CAPTION = (BLEU1, METEOR, CIDER, ROUGE)  # the paper's order
WEIGHTS = (1, 3, 5, 10, 15)
KNOWN = {metric.key: metric for metric in list(globals().values()) if isinstance(metric, Metric)}

TABLE_SPECS: dict[str, TableSpec] = {
    "4": TableSpec(
        (*CAPTION, BLEU4, FAULT, HALLUCINATED, STEP, CHAIN, AGREEMENT, DEGENERATE),
        printed_rows={"": ("C3DAVG", "MSCADC", "SwinBERT", "LAVENDER", "RICA2", "EFA")},
        printed_names={"SwinBERT": "SWINBERT", "RICA2": "RICA²", "EFA": "EFA (Ours)"},
    ),
    "5": TableSpec(
        (TOP1, TOP5, QUALITY, BALANCED, AUC),
        floor=True,
        printed_rows={"": ("C3D", "TSM", "I3D", "TimeSformer", "Video Swin", "RICA2", "EFA")},
        printed_names={"TimeSformer": "Timesformer", "RICA2": "RICA²", "EFA": "EFA (Ours)"},
    ),
    "6": TableSpec(
        (*CAPTION, TOP1, QUALITY, BALANCED, AUC, FAULT, BLEU4),
        printed_rows={
            "1) Global/Step-Aware Fusion Module": ("w/o global branch", "w/o step branch", "Q-text", "Q-video"),
            "2) Hierarchical Fusion Layer": ("Concatenate", "Add"),
            "3) Standard Technical Steps": ("w/o text", "Shuffled text"),
            "": ("EFA",),
        },
        printed_names={
            "w/o global branch": "w/o Global-Aware Fusion",
            "w/o step branch": "w/o Step-Aware Fusion",
            "EFA": "EFA Full Model",
        },
    ),
    "7": TableSpec(
        (*CAPTION, TOP1, QUALITY, BALANCED, AUC, FAULT, BLEU4),
        first="Weight",
        subject="lambda = 3",
        printed_rows={"": tuple(f"lambda = {weight}" for weight in WEIGHTS)},
        printed_names={f"lambda = {weight}": f"λ = {weight}" for weight in WEIGHTS},
    ),
    "standards": TableSpec(
        (AUC, BALANCED, FAULT, CIDER),
        first="what the model reads",
        entries=(
            ("EFA", "oracle", "the right text"),
            ("EFA", "predicted", "the right standard, action by own guess"),
            ("EFA", "none", "no text, trained with text"),
            ("EFA", "wrong", "the text of another standard"),
            ("w/o text", "predicted", "no text, trained without text"),
            ("Wrong text", "predicted", "another action's text, trained with it"),
        ),
    ),
    "unseen": TableSpec(
        (AUC, BALANCED, FAULT),
        first="what the model reads",
        entries=(
            ("EFA", "oracle", "the new action's text"),
            ("EFA", "none", "no text, trained with text"),
            ("EFA", "wrong", "another action's text"),
            ("w/o text", "oracle", "no text, trained without text"),
            ("Wrong text", "oracle", "another action's text, trained with it"),
        ),
    ),
    "hard": TableSpec(
        (TOP1, AUC, BALANCED, FAULT, CIDER),
        first="what the model reads",
        entries=(
            ("EFA", "oracle", "the right text"),
            ("EFA", "predicted", "the text of its own guess"),
            ("EFA", "none", "no text, trained with text"),
            ("EFA", "wrong", "another action's text"),
            ("w/o text", "predicted", "no text, trained without text"),
            ("Wrong text", "predicted", "another action's text, trained with it"),
            ("Random vectors", "predicted", "a random vector for each sentence, trained with it"),
        ),
    ),
    "readings": TableSpec(
        (CIDER, FAULT, BALANCED, AUC, TOP1),
        first="reading",
        entries=tuple((row, "predicted", row) for row in READINGS),
    ),
}
