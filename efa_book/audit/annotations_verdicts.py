"""The released texts against the released labels: how often they contradict each other, and what else is odd."""

from __future__ import annotations

import re

import pandas as pd

from efa.metrics import verdict_in_text
from efa_book.audit.annotations_names import READ_OFF, Names
from efa_datasets.cot_afa import written_verdict
from efa_datasets.cot_afa_files import fold

COLUMNS = ("texts", "what", "title", "count", "of")
_FORMULA = re.compile(r"the (.{1,200}?) action in this video is (?:not )?(?:good|bad)\b")


def contradictions(clips: pd.DataFrame, reasons: dict[str, str] | None, names: Names | None) -> pd.DataFrame:
    """Counts over the test references, the training texts (train and val) and both together.

    Columns texts ('test', 'train and val', 'all'; 'clips' where clips without a text count, too), what, title, count,
    of. Verdicts are those of `metrics.verdict_in_text`.

    Args:
        clips: a manifest.
        reasons: clip -> the reason for bad form that was released, '' for none; None: leaves such rows out.
        names: of the clips; None: leaves out what needs a clip index.
    """
    texts = clips[clips["explanation"].str.strip() != ""].copy()
    texts["says"] = [verdict_in_text(text) for text in texts["explanation"]]
    texts["opening"] = [written_verdict(text) for text in texts["explanation"]]
    folded = [fold(text).casefold() for text in texts["explanation"]]
    texts["formula"] = [_FORMULA.match(text) is not None for text in folded]
    pairs = zip(texts["action"], folded, strict=True)
    texts["named"] = [fold(action).casefold() in text for action, text in pairs]
    texts["folded"] = folded
    training = set(texts.loc[texts["split"] != "test", "folded"])
    rows: list[tuple[str, str, str, int, int]] = []
    for which in ("test", "train and val", "all"):
        chosen = {"test": texts["split"] == "test", "train and val": texts["split"] != "test"}
        part = texts[chosen[which]] if which in chosen else texts
        against = part["says"].notna() & (part["says"] != part["quality"])
        late = part["quality"] == 1
        found = {
            "no verdict": ("the parser reads no verdict", part["says"].isna()),
            "contradicts": ("the verdict contradicts the label", against),
            "good, labelled non-standard": ("good by the text, non-standard by the label", against & late),
            "bad, labelled standard": ("bad by the text, standard by the label", against & ~late),
            "parser and formula differ": (
                "the parser's verdict is not that of 'in this video is good' or 'bad'",
                part["says"].fillna(-1) != part["opening"].fillna(-1),
            ),
            "formula": ("opens 'The ... action in this video is good' or 'bad'", part["formula"]),
            "action not named": ("does not name the action as the label does", ~part["named"]),
            "duplicate": ("the same text as another clip's", part["folded"].duplicated(keep=False)),
        }
        rows += [(which, what, title, int(hit.sum()), len(part)) for what, (title, hit) in found.items()]
        if which == "test":
            shared = int(part["folded"].isin(training).sum())
            rows.append((which, "in training", "the same text as a training clip's", shared, len(part)))
        if names is not None:
            sides = (part["clip_id"].map(lambda clip: names[clip][1]) >= READ_OFF) == late
            title = f"of those: the clip index ({READ_OFF} or more: non-standard) sides with the label"
            rows.append((which, "index sides with label", title, int((against & sides).sum()), int(against.sum())))
        if reasons is not None:
            given = part["clip_id"].map(lambda clip: bool(reasons.get(clip, "").strip())).astype(bool)
            title = "of the good ones labelled non-standard: a reason for bad form is released"
            called = against & late
            rows.append((which, "reason for contradicted", title, int((called & given).sum()), int(called.sum())))
            title = "non-standard clips with a text: a reason for bad form is released"
            rows.append((which, "reason", title, int((late & given).sum()), int(late.sum())))
    if reasons is not None:
        given = clips["clip_id"].map(lambda clip: bool(reasons.get(clip, "").strip())).astype(bool)
        late = clips["quality"] == 1
        title = "non-standard clips: a reason for bad form is released"
        rows.append(("clips", "reason", title, int((late & given).sum()), int(late.sum())))
        title = "standard clips: a reason for bad form is released"
        rows.append(("clips", "reason for standard", title, int((~late & given).sum()), int((~late).sum())))
    return pd.DataFrame(rows, columns=list(COLUMNS))
