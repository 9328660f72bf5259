"""What scores without a video on CoT-AFA's released annotations, as the book shows it: from results/cot-afa/.

The files are those of `efa audit annotations`; nothing is computed again but the differences to the paper's numbers.
"""

import math
from collections.abc import Iterable
from typing import Any

import pandas as pd

from efa.metrics import CAPTION_METRICS
from efa.utils import paths
from efa_book import html, paper
from efa_book.audit.annotations import BLIND, CONTRADICTIONS, POPULATIONS
from efa_book.files import read_json, read_table
from efa_book.html import Cell, Html
from efa_book.table_specs import BALANCED, KNOWN, QUALITY, TOP1

Rows = list[list[str | Cell]]
RULES = ("target", "rule", "title", "learnt_on", "metric", "value", "low", "high", "clips")
TITLES = {name: KNOWN[name].title if name in KNOWN else name.replace("bleu", "BLEU-") for name in CAPTION_METRICS}
COMMAND = "efa audit annotations FOLDER"
UNKNOWN = Cell("–", number=True)


def blind_table() -> Html:
    """Caption scores of texts that were written without the video, beside the paper's Table IV, on both groups of test
    clips."""
    blind, facts = read("blind"), _read_facts()
    if blind.empty:
        return _nothing("blind")
    theirs = _paper_scores("4", CAPTION_METRICS)
    out = Html("")
    for population, title in POPULATIONS.items():
        part = blind[blind["population"] == population]
        if part.empty:
            continue
        shown = [name for name in CAPTION_METRICS if name in set(part["metric"])]
        rows: Rows = []
        for _, found in part.groupby("predictor", sort=False):
            rows.append([Cell(found["title"].iloc[0], f"given: {found['told'].iloc[0]}"), *_scores(found, shown)])
        rows += _paper_rows(theirs, shown, "given: the video; on all test clips")
        head = ["writer", *(TITLES[name] for name in shown)]
        caption = f"Explanations written without a video: {title} ({part['clips'].iloc[0]})"
        out += html.table(caption, head, rows, _blind_notes(part, population, facts))
    if len(theirs):
        dash = f"A dash: the paper does not report it. {paper.READINGS['bleu1']}"
        out += html.note(f"{dash} The paper's numbers, from: {paper.listed(list(theirs['source']))}")
    return out + _stamp(facts)


def shortcuts_table() -> Html:
    """Verdict and action of the test clips without a video, beside the paper's Table V."""
    rules, facts = read("shortcuts"), _read_facts()
    if rules.empty:
        return _nothing("shortcuts")
    shown = {metric.key: metric.title for metric in (QUALITY, BALANCED, TOP1)}
    rows: Rows = []
    for _, found in rules.groupby("rule", sort=False):
        learnt_on = found["learnt_on"].iloc[0]
        how = "read off the whole list" if learnt_on == "read off" else f"learnt on {learnt_on}"
        rows.append([Cell(found["title"].iloc[0], how), *_scores(found, shown)])
    theirs = _paper_scores("5", shown)
    rows += _paper_rows(theirs, shown, "from the video")
    notes = [
        f"{rules['clips'].iloc[0]} test clips; in brackets 95 % bootstrap intervals over them. A clip is called NN_MM: "
        "NN is the number of its class, so that the name alone gives the action away; MM is the clip index.",
        "The threshold 30 was read off the whole list, test clips included; the others are learnt on train and val.",
    ]
    if len(theirs):
        notes.append(f"The paper's numbers, from: {paper.listed(list(theirs['source']))}")
    head = ["what decides", *shown.values()]
    return html.table("Form and action of the test clips without a video", head, rows, notes) + _stamp(facts)


def contradictions_table() -> Html:
    """How the released texts agree with the released labels."""
    counts, facts = read("contradictions"), _read_facts()
    if counts.empty:
        return _nothing("contradictions")
    groups = [name for name in ("test", "train and val", "all") if name in set(counts["texts"])]
    of_texts = counts[counts["texts"].isin(groups)]
    rows: Rows = []
    for _, found in of_texts.groupby("what", sort=False):
        cells = {line["texts"]: _fraction(line) for line in found.to_dict("records")}
        rows.append([found["title"].iloc[0], *(cells.get(group, UNKNOWN) for group in groups)])
    for line in counts[counts["texts"] == "clips"].to_dict("records"):
        title = f"{line['title']} (all clips, with a text or not)"
        rows.append([title, *[UNKNOWN] * (len(groups) - 1), _fraction(line)])
    sizes = of_texts[of_texts["what"] == "contradicts"].set_index("texts")["of"]
    head: list[str | Cell] = ["what", *(Cell(group, f"{sizes[group]:,} texts") for group in groups)]
    notes = [
        "A verdict is what the project's parser reads in a text's first two sentences. Same text: after folding case, "
        "width and blanks. A dash: not counted there."
    ]
    return html.table("The released texts against the released labels", head, rows, notes) + _stamp(facts)


def _paper_scores(table: str, shown: Iterable[str]) -> pd.DataFrame:
    known = paper.numbers()
    return known[(known["table"] == table) & known["metric"].isin(list(shown))]


def _paper_rows(theirs: pd.DataFrame, shown: Iterable[str], how: str) -> Rows:
    rows: Rows = []
    for row, found in theirs.groupby("row", sort=False):
        printed = found.set_index("metric")["value"]
        cells = [Cell(f"{printed[name]:.1f}", number=True) if name in printed else UNKNOWN for name in shown]
        rows.append([Cell(f"the paper's {row}", how), *cells])
    return rows


def _scores(found: pd.DataFrame, shown: Iterable[str]) -> list[Cell]:
    """A cell with interval for each metric that is there."""
    cells = {
        line["metric"]: Cell(f"{line['value']:.1f}", f"[{line['low']:.1f}, {line['high']:.1f}]", number=True)
        for line in found.to_dict("records")
    }
    return [cells.get(name, UNKNOWN) for name in shown]


def _fraction(line: dict[Any, Any]) -> Cell:
    count, of = int(line["count"]), int(line["of"])
    return Cell(f"{count:,} of {of:,}", f"{100 * count / of:.1f} %" if of else "", number=True)


def _blind_notes(part: pd.DataFrame, population: str, facts: dict[str, Any]) -> list[str]:
    draws = int(part["draws"].max())
    few = int(part.loc[part["metric"] == "meteor", "draws"].max()) if (part["metric"] == "meteor").any() else draws
    spread = part.loc[part["metric"] == "cider_d", "draw_sd"].max()
    notes = [
        f"In brackets: 95 % bootstrap intervals over clips and over the {draws} draws of what is chosen at random"
        f"{f' (METEOR, which is slow: {few})' if few < draws else ''}, whose mean is given. Draws differ: "
        f"their standard deviation is up to {spread:.1f} points of CIDEr-D."
        if math.isfinite(spread)
        else "In brackets: 95 % bootstrap intervals over clips.",
        "Most central: with the largest mean similarity to the other training texts of its kind, by the cosine of word "
        "counts, which favours long texts, or by the F1 of shared words.",
    ]
    if sizes := facts.get("clips", {}):
        notes.append(
            f"Training texts: the {sizes['training texts']:,} released ones of train and val, which name "
            f"{sizes['actions with a training text']} actions. The paper's own are more, and not released."
        )
    if population == "all":
        count = int(part.loc[part["predictor"] == "action", "fell_back"].max())
        notes.append(f"For {count} of these clips no training text has the action: any training text stands in.")
    if isinstance(guessed := facts.get("action guessed right"), float):
        notes.append(
            f"Guessed: right {guessed:.0%} of the time, about the Top-1 of the paper's EFA; else another action."
        )
    return notes


def read(name: str) -> pd.DataFrame:
    """blind, shortcuts or contradictions of results/cot-afa/; empty where it is missing."""
    columns = {"blind": BLIND, "shortcuts": RULES, "contradictions": CONTRADICTIONS}[name]
    return read_table(paths.results() / "cot-afa" / f"{name}.csv", columns, f"{COMMAND} writes it again")


def _read_facts() -> dict[str, Any]:
    return read_json(paths.results() / "cot-afa" / "blind_provenance.json", f"{COMMAND} writes it again")


def _nothing(name: str) -> Html:
    return html.note(f"results/cot-afa/{name}.csv is missing or empty: {COMMAND} writes it.")


def _stamp(facts: dict[str, Any]) -> Html:
    parts = [
        f"annotations {facts['annotations'][:12]}" if facts.get("annotations") else "no record of the annotations",
        f"{facts['draws']} draws, seeds 0 to {facts['draws'] - 1}" if facts.get("draws") else "",
        f"{facts['seconds']:.0f} seconds" if facts.get("seconds") else "",
        f"commit {facts['commit']}" if facts.get("commit") else "",
        str(facts.get("date", "")),
        "as published in results/cot-afa/",
    ]
    return html.stamp("CoT-AFA, released annotations", parts, str(facts.get("command") or COMMAND))
