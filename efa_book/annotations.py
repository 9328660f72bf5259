"""What scores without a video on CoT-AFA's released annotations, as the book shows it: from results/cot-afa/.

The files are those of `efa audit annotations`; nothing is computed again but the differences to the paper's numbers.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from efa.metrics import CAPTION_METRICS
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html, paper
from efa_book.audit.annotations import BLIND, CAUTION, POPULATIONS, reached
from efa_book.audit.annotations_verdicts import COLUMNS
from efa_book.html import Cell, Html
from efa_book.table_specs import BALANCED, KNOWN, QUALITY, TOP1

RULES = ("target", "rule", "title", "learnt_on", "metric", "value", "low", "high", "clips")
TITLES = {name: KNOWN[name].title if name in KNOWN else name.replace("bleu", "BLEU-") for name in CAPTION_METRICS}
AGAIN = "efa audit annotations FOLDER"


def folder() -> Path:
    """Where the published numbers lie."""
    return paths.results() / "cot-afa"


def blind_table() -> Html:
    """Caption scores of texts that nobody's video was looked at for, beside the paper's Table IV, on both groups of
    test clips."""
    blind, facts = _read("blind", BLIND), _facts()
    if blind.empty:
        return _nothing("blind")
    known = paper.numbers()
    theirs = known[(known["table"] == "4") & known["metric"].isin(CAPTION_METRICS)]
    out = Html("")
    for population, title in POPULATIONS.items():
        part = blind[blind["population"] == population]
        if part.empty:
            continue
        metrics = [name for name in CAPTION_METRICS if name in set(part["metric"])]
        rows: list[list[str | Cell]] = []
        for key in part["predictor"].unique():
            found = part[part["predictor"] == key].set_index("metric")
            first = found.iloc[0]
            rows.append([Cell(first["title"], f"told: {first['told']}"), *(_number(found, name) for name in metrics)])
        for row in theirs["row"].unique():
            printed = theirs[theirs["row"] == row].set_index("metric")["value"]
            cells = [Cell(f"{printed[name]:.1f}" if name in printed else "–", number=True) for name in metrics]
            rows.append([Cell(f"the paper's {row}", "told: the video; on all test clips"), *cells])
        head = ["who writes", *(TITLES[name] for name in metrics)]
        caption = f"Explanations written without a video: {title} ({part['clips'].iloc[0]})"
        out = out + html.table(caption, head, rows, _blind_notes(part, population, facts))
    sources = paper.listed(list(theirs["source"])) if len(theirs) else ""
    below = html.note(f"A dash: this number of the paper was not to be had. The others, from: {sources}")
    return out + (below if sources else Html("")) + _stamp(facts)


def reached_table() -> Html:
    """The best blind text of each metric minus the number of the paper's EFA."""
    blind, facts = _read("blind", BLIND), _facts()
    if blind.empty:
        return _nothing("blind")
    held = reached(blind, paper.numbers())
    if held.empty:
        return html.note("results/paper.csv holds no caption score of the paper's EFA to compare with.")
    rows: list[list[str | Cell]] = []
    shown: set[tuple[str, ...]] = set()
    for line in held.to_dict("records"):
        best = (line["population"], line["metric"], line["title"])
        if best in shown:  # the best of all is told no more than the file name
            continue
        shown.add(best)
        group = "all test clips" if line["population"] == "all" else "action has a text"
        who = f"told: {line['told']}" + ("" if line["among"] == "all" else "; best of those told no more")
        gap = Cell(f"{line['gap']:+.1f}", f"[{line['low']:+.1f}, {line['high']:+.1f}]", number=True)
        numbers = [Cell(f"{line[name]:.1f}", number=True) for name in ("value", "paper")]
        rows.append([Cell(TITLES[line["metric"]], group), Cell(line["title"], who), *numbers, gap, line["outcome"]])
    head = ["metric", "best blind text", "blind", "paper's EFA", "difference", "the blind text"]
    order = "The paper gives BLEU without its order; its number is held against BLEU-1, whose size it has."
    return html.table("Which of the paper's caption scores need no video", head, rows, [CAUTION, order]) + _stamp(facts)


def shortcuts_table() -> Html:
    """Verdict and action of the test clips without a video, beside the paper's Table V."""
    rules, facts = _read("shortcuts", RULES), _facts()
    if rules.empty:
        return _nothing("shortcuts")
    metrics = (QUALITY, BALANCED, TOP1)
    rows: list[list[str | Cell]] = []
    for rule in rules["rule"].unique():
        found = rules[rules["rule"] == rule].set_index("metric")
        first = found.iloc[0]
        numbers = [_number(found, metric.key) for metric in metrics]
        rows.append([Cell(first["title"], _learnt(str(first["learnt_on"]))), *numbers])
    known = paper.numbers()
    theirs = known[(known["table"] == "5") & known["metric"].isin([metric.key for metric in metrics])]
    for row in theirs["row"].unique():
        printed = theirs[theirs["row"] == row].set_index("metric")["value"]
        cells = [Cell(f"{printed[m.key]:.1f}" if m.key in printed else "–", number=True) for m in metrics]
        rows.append([Cell(f"the paper's {row}", "from the video"), *cells])
    notes = [
        f"{rules['clips'].iloc[0]} test clips; in brackets 95 % bootstrap intervals over them. A clip is called NN_MM: "
        "NN is the number of its class, so that the name alone gives the action away; MM is the clip index.",
        "The threshold 30 was read off the whole list, test clips included; the others are learnt on train and val.",
    ]
    if len(theirs):
        notes.append(f"The paper's numbers, from: {paper.listed(list(theirs['source']))}")
    head = ["what decides", *(metric.title for metric in metrics)]
    return html.table("Form and action of the test clips without a video", head, rows, notes) + _stamp(facts)


def contradictions_table() -> Html:
    """How the released texts agree with the released labels."""
    counts, facts = _read("contradictions", COLUMNS), _facts()
    if counts.empty:
        return _nothing("contradictions")
    groups = [name for name in ("test", "train and val", "all") if name in set(counts["texts"])]
    of_texts = counts[counts["texts"].isin(groups)]
    rows: list[list[str | Cell]] = []
    for what in of_texts["what"].unique():
        found = of_texts[of_texts["what"] == what].set_index("texts")
        rows.append([found["title"].iloc[0], *(_share(found, group) for group in groups)])
    for line in counts[counts["texts"] == "clips"].to_dict("records"):
        blank = [Cell("–", number=True) for _ in groups[1:]]
        rows.append([f"{line['title']} (all clips, with a text or not)", *blank, _fraction(line["count"], line["of"])])
    sizes = of_texts[of_texts["what"] == "contradicts"].set_index("texts")["of"]
    head: list[str | Cell] = ["what", *(Cell(group, f"{sizes[group]:,} texts") for group in groups)]
    notes = [
        "A verdict is what the project's parser reads in a text's first two sentences. Same text: after folding case, "
        "width and blanks. A dash: not counted there."
    ]
    return html.table("The released texts against the released labels", head, rows, notes) + _stamp(facts)


def _blind_notes(part: pd.DataFrame, population: str, facts: dict[str, Any]) -> list[str]:
    draws = int(part["draws"].max())
    few = int(part.loc[part["metric"] == "meteor", "draws"].max()) if (part["metric"] == "meteor").any() else draws
    spread = part.loc[part["metric"] == "cider_d", "draw_sd"].max()
    sizes = facts.get("clips", {})
    notes = [
        f"In brackets: 95 % bootstrap intervals over clips and over the {draws} draws of what is chosen at random"
        f"{f' (METEOR, which is slow: {few})' if few < draws else ''}, whose mean is given. Draws differ: "
        f"their standard deviation is up to {spread:.1f} points of CIDEr-D."
        if math.isfinite(spread)
        else "In brackets: 95 % bootstrap intervals over clips.",
        "Most central: with the largest mean similarity to the other training texts of its kind, by the cosine of word "
        "counts, which favours long texts, or by the F1 of shared words.",
    ]
    if sizes:
        notes.append(
            f"Training texts: the {sizes['training texts']:,} released ones of train and val, which name "
            f"{sizes['actions with a training text']} actions. The paper's own are more, and not released."
        )
    if population == "all":
        count = int(part.loc[part["predictor"] == "action", "fell_back"].max())
        notes.append(f"For {count} of these clips no training text has the action: any training text stands in.")
    guessed = facts.get("action guessed right")
    if isinstance(guessed, float):
        notes.append(
            f"Guessed: right {guessed:.0%} of the time, about the Top-1 cited for the paper's EFA; else another action."
        )
    return notes


def _number(found: pd.DataFrame, metric: str) -> Cell:
    if metric not in found.index:
        return Cell("–", number=True)
    line = found.loc[metric]
    return Cell(f"{line['value']:.1f}", f"[{line['low']:.1f}, {line['high']:.1f}]", number=True)


def _share(found: pd.DataFrame, group: str) -> Cell:
    if group not in found.index:
        return Cell("–", number=True)
    count, of = (int(found[name].to_dict()[group]) for name in ("count", "of"))
    return _fraction(count, of)


def _fraction(count: int, of: int) -> Cell:
    return Cell(f"{count:,} of {of:,}", f"{100 * count / of:.1f} %" if of else "", number=True)


def _learnt(on: str) -> str:
    return "read off the whole list" if on == "read off" else f"learnt on {on}"


def _read(name: str, columns: tuple[str, ...]) -> pd.DataFrame:
    """No rows where there is no such file."""
    path = folder() / f"{name}.csv"
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    try:
        table = pd.read_csv(path)
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=f"{AGAIN} writes it again") from None
    if lacking := [column for column in columns if column not in table.columns]:
        raise InputError(f"missing column {lacking[0]}", file=path, hint=f"{AGAIN} writes it again")
    return table


def _facts() -> dict[str, Any]:
    path = folder() / "blind_provenance.json"
    if not path.is_file():
        return {}
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=f"{AGAIN} writes it again") from None
    return facts if isinstance(facts, dict) else {}


def _nothing(name: str) -> Html:
    return html.note(f"results/cot-afa/{name}.csv is not there or empty: {AGAIN} writes it.")


def _stamp(facts: dict[str, Any]) -> Html:
    parts = [
        f"annotations {facts['annotations'][:12]}" if facts.get("annotations") else "no record of the annotations",
        f"{facts['draws']} draws, seeds 0 to {facts['draws'] - 1}" if facts.get("draws") else "",
        f"{facts['seconds']:.0f} seconds" if facts.get("seconds") else "",
        f"commit {facts['commit']}" if facts.get("commit") else "",
        str(facts.get("date", "")),
        "as published in results/cot-afa/",
    ]
    return html.stamp("CoT-AFA, released annotations", parts, str(facts.get("command") or AGAIN))
