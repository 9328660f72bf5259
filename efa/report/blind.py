"""What a text is worth that was written without looking: the floor under scores of an explanation."""

from __future__ import annotations

from collections import Counter
from functools import cache

import numpy as np
import pandas as pd

from efa import metrics
from efa.config import DataConfig, build
from efa.data.loader import open_dataset
from efa.experiments import TABLES
from efa.report import estimates, html, tables
from efa.report.collect import Results
from efa.report.estimates import CIDER, FAULT, Estimate
from efa.report.html import Cell, Html
from efa.runs import parser_for

DRAWS = 5
SHOWN = (CIDER, FAULT)  # the score of the paper's abstract, and the one that asks what was seen


def table(results: Results) -> Html:
    """CIDEr-D and fault F1 of each row of a table beside those of texts that nobody's video was looked at for."""
    common = TABLES[results.table].common
    config = build(results.preset, common | results.overrides)
    if not results.origin or parser_for(config) is None:
        return html.note("No results, or a data set whose true faults are not known.")
    floor = floors(config.data)
    rows: list[list[str | Cell]] = [
        [name, *(Cell(f"{score[metric.key]:.1f}", number=True) for metric in SHOWN), ""]
        for name, score in floor.items()
    ]
    best = max(score[FAULT.key] for score in floor.values())
    for row in results.rows:
        found = [estimates.estimate(results, row, metric.key) for metric in SHOWN]
        if found[-1].known:
            rows.append([row, *(_cell(one) for one in found), Cell(f"{found[-1].mean / best:.1f}", number=True)])
    notes = [
        "Times: fault F1 in multiples of the better blind text's. Test split, 95 % intervals where there are any.",
        "Where a blind text is ahead, the score does not measure looking, and a lead in it shows no understanding.",
    ]
    head: list[str | Cell] = ["who writes", *(metric.title for metric in SHOWN), "times"]
    return html.table("Beside texts written without looking", head, rows, notes) + tables.stamp(results)


def _cell(found: Estimate) -> Cell:
    interval = f"[{found.low:.1f}, {found.high:.1f}]" if found.bounded else ""
    return Cell(f"{found.mean:.1f}" if found.known else "–", interval, number=True)


@cache
def floors(data: DataConfig) -> dict[str, dict[str, float]]:
    """CIDEr-D and fault F1, percent, on the test split of two texts that know the true action and nothing else.

    Random: any training text of the action, mean of five draws. Central: for each action the training text whose words
    agree best with those of the action's other training texts (cosine between word counts).
    """
    clips = open_dataset(data).table
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == "test"]
    parser = parser_for(build("laptop", {"data.source": data.source}))
    if parser is None:
        raise ValueError("the true faults of this data set are not known")
    texts = {str(action): list(group) for action, group in train.groupby("action")["explanation"]}

    def score(written: list[str]) -> dict[str, float]:
        quality, faults = test["quality"].to_numpy(), list(test["fault"])
        counts = metrics.fault_counts(written, list(test["action"]), quality, faults, parser)
        return {CIDER.key: _cider(list(test["explanation"]), written), FAULT.key: 100 * metrics.micro_f1(counts)}

    draw = np.random.RandomState(0)
    drawn = [score([texts[a][draw.randint(len(texts[a]))] for a in test["action"]]) for _ in range(DRAWS)]
    central = {action: most_central(group) for action, group in texts.items()}
    return {
        "a random training text of the true action": {
            metric.key: float(np.mean([one[metric.key] for one in drawn])) for metric in SHOWN
        },
        "the most central training text of the true action": score([central[a] for a in test["action"]]),
    }


def _cider(references: list[str], texts: list[str]) -> float:
    """CIDEr-D x 100 as `metrics.caption_scores` has it, without the other scores, of which METEOR takes seconds."""
    from pycocoevalcap.cider.cider import Cider

    from efa.metrics.captions import tokenize

    tokens = tokenize([*references, *texts])
    count = len(references)
    pairs = [{i: [tokens[start + i]] for i in range(count)} for start in (0, count)]
    return 100 * float(Cider().compute_score(*pairs)[0])


def most_central(texts: list[str]) -> str:
    """The text whose word counts have the largest mean cosine with those of all texts."""
    counts = pd.DataFrame([Counter(text.lower().split()) for text in texts]).fillna(0.0).to_numpy()
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return texts[int((unit @ unit.mean(0)).argmax())]
