"""How much of its class a model reads off the text that it is given: the readings of `fusion.class_from` compared."""

import numpy as np

from efa.data.loader import open_dataset, text_keys
from efa.experiments import table_config
from efa_book import html
from efa_book.collect import Results
from efa_book.html import Cell, Html
from efa_book.provenance import stamp

ROWS = ("EFA", "Class in two passes", "Class given the true text")
PROTOCOLS = ("predicted", "oracle", "wrong")


def shares(results: Results, row: str, seed: int) -> list[float]:
    """Top-1 of a finished run under each of `PROTOCOLS`, and how often, under 'wrong', it names the action whose text
    it was given; in percent, empty if the run has no predictions under one of them."""
    clips = [results.clips(row, seed, protocol) for protocol in PROTOCOLS]
    named = [one["predicted_action"] == one["action"] for one in clips if one is not None and len(one)]
    if len(named) < len(PROTOCOLS) or clips[-1] is None:
        return []
    config = table_config(results.table, results.preset, results.overrides)
    dataset = open_dataset(config.data)
    actions = [key.partition(" [")[0] for key in dataset.steps]
    given = dict(zip(dataset.table["clip_id"], text_keys(dataset, config, wrong=True), strict=True))
    followed = clips[-1]["predicted_action"] == clips[-1]["clip_id"].map(lambda clip: actions[given[clip]])
    return [100 * float(right.mean()) for right in (*named, followed)]


def leak_table(results: Results) -> Html:
    """`shares` of the three readings of where the class comes from, mean over seeds."""
    rows: list[list[str | Cell]] = []
    for row in ROWS:
        found = [one for seed in results.seeds if (one := shares(results, row, seed))]
        numbers = [f"{mean:.1f}" for mean in np.mean(found, axis=0)] if found else ["not trained yet"] * 4
        rows.append([Cell(row, f"seeds: {len(found)}"), *(Cell(number, number=True) for number in numbers)])
    head = ["", *(Cell("Top-1", f"protocol {name}") for name in PROTOCOLS), Cell("names the given text", "wrong")]
    return html.table("What the class head takes from the text", head, rows) + stamp(results)
