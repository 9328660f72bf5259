"""What a text is worth that was written without looking: the floor under the scores of an explanation."""

import hashlib
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from efa import metrics
from efa.config import DataConfig, FormSimData, build
from efa.data.loader import data_fingerprint, open_dataset
from efa.experiments import table_config
from efa.metrics import captions
from efa.runs import fault_parser
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import estimates, html
from efa_book.audit.annotations_texts import most_central
from efa_book.collect import Results
from efa_book.estimates import Estimate
from efa_book.files import read_json, write_json
from efa_book.html import Cell, Html
from efa_book.provenance import stamp
from efa_book.table_specs import CIDER, FAULT, HALLUCINATED, STEP

VERSION = 3  # raise it when the blind texts or their scores change: kept scores are then computed again
DRAWS = 5
SEEN = (FAULT, HALLUCINATED, STEP)
FILE, PUBLISHED = "blind.json", ("laptop", "pose")
Floors = dict[str, dict[str, float]]  # writer -> metric -> percent


def blind_table(results: Results) -> Html:
    """CIDEr-D and fault F1 of each row beside those of texts that were written without the video."""
    if not results.origin:
        return html.note("No results to compare with texts written without looking.")
    try:
        floor = floors(table_config(results.table, results.preset, results.overrides).data)
    except InputError as error:
        return html.note(f"The blind texts cannot be scored here: {error}.")
    shown = [metric for metric in (CIDER, FAULT) if any(metric.key in found for found in floor.values())]
    lines = {name: [Estimate(found[metric.key]) for metric in shown] for name, found in floor.items()}
    lines |= {row: [estimates.estimate(results, row, metric.key) for metric in shown] for row in results.rows}
    known = {name: found for name, found in lines.items() if any(one.known for one in found)}
    rows: list[list[str | Cell]] = [[name, *map(_cell, found)] for name, found in known.items()]
    head = ["writer", *(metric.title for metric in shown)]
    notes = ["Test split. Random: mean of five draws. Intervals, where there are any, as in the table of the scores."]
    if "stale" in results.states.values():
        notes.append("Stale rows were made with other code or data; the blind texts are of the present data.")
    return html.table("Beside texts written without looking", head, rows, notes) + stamp(results)


def verdict_table(results: Results, row: str = "EFA") -> Html:
    """What seeing the fault adds: a row's texts, and training texts that are drawn with its verdict, with the true one
    or with none. Only the margin over a blind fault with the row's own verdict shows that the fault was seen."""
    clips = results.clips(row, results.seeds[0])
    if clips is None or estimates.fault_parser(results) is None:
        return html.note(f"No texts of {row} are here whose true faults are known.")
    training = open_dataset(table_config(results.table, results.preset, results.overrides).data).table
    training = training[(training["split"] == "train") & (training["explanation"].str.strip() != "")]
    own = clips.assign(action=clips["predicted_action"], quality=(clips["quality_prob"] >= 0.5).astype(int))
    asked = {
        "any text of the true action": (["action"], clips),
        f"any text of {row}'s action and verdict": (["action", "quality"], own),
        "any text of the true action and verdict": (["action", "quality"], clips),
    }
    texts = {name: _draw(training, keys, given) for name, (keys, given) in asked.items()}
    rows: list[list[str | Cell]] = []
    for name, draws in (texts | {f"{row} itself": [list(clips["explanation"])]}).items():
        each = [_fault_scores(clips, one) for one in draws]
        means = (np.mean([one.get(metric.key, np.nan) for one in each]) for metric in SEEN)
        rows.append([name, *(Cell(f"{mean:.1f}", number=True) for mean in means)])
    notes = [f"{len(clips):,} test clips of seed {results.seeds[0]}; training texts: mean of {DRAWS} draws."]
    head = ["writer", *(metric.title for metric in SEEN)]
    return html.table("What seeing the fault is worth", head, rows, notes) + stamp(results)


def _cell(found: Estimate) -> Cell:
    interval = f"[{found.low:.1f}, {found.high:.1f}]" if found.bounded else ""
    return Cell(f"{found.mean:.1f}" if found.known else "–", interval, number=True)


@cache
def floors(data: DataConfig) -> Floors:
    """CIDEr-D and, where the true faults are known, fault F1, hallucinated faults and right steps of the blind texts on
    the test split; the mean over draws.

    Computed once for a data set and kept on disk; `python -m efa_book.blind` publishes those of `PUBLISHED`, because
    they take a minute. InputError: no such data set, or no Java to score with.
    """
    published, kept = (read_json(folder / FILE, "delete it") for folder in (paths.results(), paths.cache()))
    if known := (published | kept).get(key := _key(data)):
        return known
    dataset, final = open_dataset(data), open_dataset(data, final=True)
    training, test = (one.table[one.table["split"] == part] for one, part in ((dataset, "train"), (final, "test")))
    found: Floors = {}
    for name, draws in blind_texts(pd.concat([training, test])).items():
        each = [_score(test, texts, isinstance(data, FormSimData)) for texts in draws]
        found[name] = {metric: float(np.mean([one[metric] for one in each])) for metric in each[0]}
    paths.cache().mkdir(parents=True, exist_ok=True)
    write_json(paths.cache() / FILE, kept | {key: found})
    return found


def _key(data: DataConfig) -> str:
    found = [data_fingerprint(open_dataset(data, final), data) for final in (False, True)]
    return hashlib.sha256(f"{' '.join(found)} {metrics.SCORES_VERSION} {VERSION}".encode()).hexdigest()[:16]


def blind_texts(clips: pd.DataFrame) -> dict[str, list[list[str]]]:
    """Draws of a text for every test clip by two writers who know the true action and nothing else of the clip.

    Random: any training text of the action. Central: the training text whose words agree best with those of the
    action's other training texts (cosine between word counts). An action without a training text gets any other's.
    """
    training = clips[(clips["split"] == "train") & (clips["explanation"].str.strip() != "")]
    if training.empty:
        return {}
    test = clips[clips["split"] == "test"]
    central = {action: most_central(list(group)) for action, group in training.groupby("action")["explanation"]}
    random_texts = _draw(training, ["action"], test)
    central_texts = [central.get(action, other) for action, other in zip(test["action"], random_texts[0], strict=True)]
    which = "training text of the true action"
    return {f"a random {which}": random_texts, f"the most central {which}": [central_texts]}


def _draw(training: pd.DataFrame, keys: list[str], clips: pd.DataFrame) -> list[list[str]]:
    """Draws of a training text for each clip that has the same `keys`; any text where none has."""
    pools = {key: list(group) for key, group in training.groupby(keys)["explanation"]}
    asked, everything = list(clips[keys].itertuples(index=False, name=None)), list(training["explanation"])
    random = np.random.RandomState(0)
    found = [pools.get(key, everything) for _ in range(DRAWS) for key in asked]
    texts = [pool[random.randint(len(pool))] for pool in found]
    return [texts[i : i + len(asked)] for i in range(0, len(texts), max(1, len(asked)))]


def _score(test: pd.DataFrame, texts: list[str], known: bool) -> dict[str, float]:
    scores = {}
    referenced = (test["explanation"].str.strip() != "").to_numpy()
    if referenced.any():
        mine = [text for text, has_reference in zip(texts, referenced, strict=True) if has_reference]
        scores[CIDER.key] = _cider(list(test["explanation"][referenced]), mine)
    return scores | (_fault_scores(test, texts) if known else {})


def _fault_scores(test: pd.DataFrame, texts: list[str]) -> dict[str, float]:
    nothing: dict[str, Any] = {"predicted_action": "", "reference": "", "protocol": "blind", "quality_prob": np.nan}
    nothing["top5"] = [[]] * len(test)
    found = metrics.score(test.assign(explanation=texts, **nothing), fault_parser())
    return {metric.key: value for metric in SEEN if (value := found[metric.key]) is not None}


def _cider(references: list[str], texts: list[str]) -> float:
    """CIDEr-D x 100 as `metrics.caption_scores` computes it, without the other scores: METEOR takes seconds."""
    tokens = captions.tokenize([*references, *texts])
    wanted, given = tokens[: len(references)], tokens[len(references) :]
    return 100 * float(captions.ngram_scores(wanted, given, wanted)[1].mean())


if __name__ == "__main__":
    write_json(paths.results() / FILE, {_key(data): floors(data) for data in (build(one).data for one in PUBLISHED)})
