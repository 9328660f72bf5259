"""What a text is worth that was written without looking: the floor under every score of an explanation."""

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
from efa.report.estimates import FAULT
from efa.report.html import Cell, Html
from efa.runs import parser_for

DRAWS = 5


def table(results: Results) -> Html:
    """Fault F1 of each row of a table beside that of texts that nobody's video was looked at for."""
    common = TABLES[results.table].common
    config = build(results.preset, common | results.overrides)
    if not results.origin or parser_for(config) is None:
        return html.note("No results, or a data set whose true faults are not known.")
    floor = floors(config.data)
    rows: list[list[str | Cell]] = [[name, Cell(f"{value:.1f}", number=True), ""] for name, value in floor.items()]
    best = max(floor.values())
    for row in results.rows:
        found = estimates.estimate(results, row, FAULT.key)
        if found.known:
            interval = f"[{found.low:.1f}, {found.high:.1f}]" if found.bounded else ""
            times = Cell(f"{found.mean / best:.1f}", number=True)
            rows.append([row, Cell(f"{found.mean:.1f}", interval, number=True), times])
    notes = ["Times: how many times the better of the two blind texts. Test split, 95 % intervals where there are any."]
    head: list[str | Cell] = ["who writes", FAULT.title, "times"]
    return html.table("Fault F1 beside texts written without looking", head, rows, notes) + tables.stamp(results)


@cache
def floors(data: DataConfig) -> dict[str, float]:
    """Fault F1 in percent on the test split of two texts that know the true action and nothing else of the clip.

    Random: any training text of the action, mean of five draws. Central: for each action the training text whose words
    agree best with those of the action's other training texts (cosine between word counts).
    """
    clips = open_dataset(data).table
    train, test = clips[clips["split"] == "train"], clips[clips["split"] == "test"]
    parser = parser_for(build("laptop", {"data.source": data.source}))
    if parser is None:
        raise ValueError("the true faults of this data set are not known")
    texts = {str(action): list(group) for action, group in train.groupby("action")["explanation"]}

    def score(written: list[str]) -> float:
        quality, faults = test["quality"].to_numpy(), list(test["fault"])
        return 100 * metrics.micro_f1(metrics.fault_counts(written, list(test["action"]), quality, faults, parser))

    draw = np.random.RandomState(0)
    drawn = [[texts[a][draw.randint(len(texts[a]))] for a in test["action"]] for _ in range(DRAWS)]
    central = {action: most_central(group) for action, group in texts.items()}
    return {
        "a random training text of the true action": float(np.mean([score(written) for written in drawn])),
        "the most central training text of the true action": score([central[a] for a in test["action"]]),
    }


def most_central(texts: list[str]) -> str:
    """The text whose word counts have the largest mean cosine with those of all texts."""
    counts = pd.DataFrame([Counter(text.lower().split()) for text in texts]).fillna(0.0).to_numpy()
    unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
    return texts[int((unit @ unit.mean(0)).argmax())]
