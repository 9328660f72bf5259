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
    it was given; in percent, empty if the run is stale or has no predictions under one of them."""
    clips = [one for protocol in PROTOCOLS if (one := results.clips(row, seed, protocol)) is not None and len(one)]
    if len(clips) < len(PROTOCOLS) or results.states.get((row, seed)) == "stale":  # stale: of other clips
        return []
    config = table_config(results.table, results.preset, results.overrides)
    dataset = open_dataset(config.data, final=True)
    keys = dict(zip(dataset.table["clip_id"], text_keys(dataset, config, wrong=True), strict=True))
    given = [list(dataset.steps)[keys[clip]].partition(" [")[0] for clip in clips[-1]["clip_id"]]
    right = [one["predicted_action"] == one["action"] for one in clips]
    return [100 * float(hits.mean()) for hits in (*right, clips[-1]["predicted_action"] == given)]


def leak_table(results: Results) -> Html:
    """`shares` of the three readings of where the class comes from, mean over seeds."""
    rows: list[list[str | Cell]] = []
    for row in ROWS:
        found = [one for seed in results.seeds if (one := shares(results, row, seed))]
        numbers = [f"{mean:.1f}" for mean in np.mean(found, axis=0)] if found else ["not trained yet"] * 4
        rows.append([Cell(row, f"seeds: {len(found)}"), *(Cell(number, number=True) for number in numbers)])
    tops = [Cell("Top-1", f"protocol {name}") for name in PROTOCOLS]
    head = [Cell("class read from"), *tops, Cell("names the given text", "protocol wrong")]
    return html.table("What the class head takes from the text", head, rows) + stamp(results)
