"""The paper's tables and the benchmarks beside them: what the paper says and what came out here, as HTML."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from efa.experiments import TABLES
from efa_book import claims, estimates, html, paper
from efa_book.claims import OTHERS, Judged
from efa_book.collect import Results
from efa_book.estimates import REASONS, Estimate
from efa_book.html import Cell, Html
from efa_book.provenance import stamp
from efa_book.table_specs import AUC, BALANCED, CIDER, FAULT, TABLE_SPECS, TOP1, Metric

TEXTS = {
    "predicted": "its own guess of the action picks the text",
    "oracle": "the text of the true action",
    "none": "no text",
    "wrong": "the text of another standard or action",
}


def scores(results: Results, published: pd.DataFrame | None = None) -> Html:
    """One of the paper's tables: paper | ours with interval, seeds, state and verdicts; rows under the paper's names.

    Args:
        published: the paper's numbers as `paper.numbers` gives them; by default those of results/paper.csv.
    """
    known = paper.numbers() if published is None else published
    shown = TABLE_SPECS[results.table]
    judged = claims.judge(results)
    rows: list[list[str | Cell]] = []
    for row in results.rows:
        cells: list[str | Cell] = [Cell(row, _seeds_and_state(results, row))]
        for metric in shown.metrics:
            printed = paper.cell(known, results.table, row, metric)
            cells.append(_number_cell(results, row, metric, before=f"{printed} | " if metric.printed else ""))
        rows.append([*cells, _verdict_cell(judged, row, shown.subject)])
    notes = [*_notes(results), *_asked(results, [(row, results.protocol(row)) for row in results.rows], shown.metrics)]
    if shown.floor:
        rows.append(_floor_row(results, shown.metrics))
        notes.append(
            "Without looking: every action equally likely; every verdict the more frequent one, by its share of the "
            "test split; for balanced accuracy and the area under the curve (AUC) a coin."
        )
    head: list[str | Cell] = [Cell(shown.first, "seeds, state"), *_titles(shown.metrics), "claim"]
    notes += [*_verdict_notes(judged), *paper.notes(known, results.table, results.rows, shown.metrics)]
    return html.table(_caption(results), head, rows, notes) + stamp(results)


def verdicts(results: Results) -> Html:
    """Every claim on a table: what is compared, the difference with its interval, the limit, and the outcome."""
    judged = claims.judge(results)
    if not judged:
        return html.note("results/claims.csv says nothing about this table.") + stamp(results)
    rows: list[list[str | Cell]] = []
    for one in judged:
        number = Cell(_mean(one.gap, sign=True), _interval(one.gap, sign=True), number=True)
        limit = Cell(f"{one.claim.tolerance:g}", number=True)
        outcome = Cell(one.outcome, one.reason)
        rows.append([one.claim.claim, one.claim.shown.title, one.claim.compared, number, limit, outcome])
    head = ["claim", "metric", "compared", "difference", "limit", "outcome"]
    sources = paper.listed([one.claim.source for one in judged])
    notes = [*_notes(results), *_verdict_notes(judged), _chance_note(len(rows)), f"The claims, from: {sources}"]
    return html.table(f"What is claimed: {TABLES[results.table].title}", head, rows, notes) + stamp(results)


def protocols(results: Results, row: str = "EFA") -> Html:
    """One model asked with different texts: what knowing the true action is worth."""
    metrics = (TOP1, BALANCED, AUC, CIDER, FAULT)
    rows: list[list[str | Cell]] = []
    texts = TABLES[results.table].protocols_of(row)
    for protocol in texts:
        cells = [_number_cell(results, row, metric, protocol) for metric in metrics]
        rows.append([protocol, TEXTS[protocol], *cells])
    head = ["protocol", "what the model reads", *(metric.title for metric in metrics)]
    notes = [*_asked(results, [(row, protocol) for protocol in texts], metrics), *_notes(results)]
    return html.table(f"{row} under every protocol, preset {results.preset}", head, rows, notes) + stamp(results)


def benchmark(results: Results) -> Html:
    """A benchmark beside the paper's tables, one line a way to be asked: the right text, another, or none."""
    if not results.origin:
        return html.note(f"No results yet: {TABLES[results.table].title}.") + stamp(results)
    shown = TABLE_SPECS[results.table]
    rows: list[list[str | Cell]] = []
    for row, protocol, name in shown.entries:
        cells = [_number_cell(results, row, metric, protocol) for metric in shown.metrics]
        rows.append([Cell(name, _seeds_and_state(results, row)), *cells])
    head: list[str | Cell] = [Cell(shown.first, "seeds, state"), *(metric.title for metric in shown.metrics)]
    asked = [(row, protocol) for row, protocol, _ in shown.entries]
    notes = [*_notes(results), *_asked(results, asked, shown.metrics)]
    return html.table(_caption(results), head, rows, notes) + stamp(results)


def _caption(results: Results) -> str:
    under = f", protocol {results.under}" if results.under else ""
    return f"{TABLES[results.table].title}, preset {results.preset}{under}"


def _titles(metrics: tuple[Metric, ...]) -> list[str | Cell]:
    return [Cell(metric.title, "paper | ours" if metric.printed else "ours") for metric in metrics]


def _seeds_and_state(results: Results, row: str) -> str:
    count = results.scores.loc[results.scores["row"] == row, "seed"].nunique()
    seeds = f"{count} seed{'s' if count > 1 else ''}, " if count else ""
    return f"{seeds}{results.state(row)}"


def _number_cell(results: Results, row: str, metric: Metric, protocol: str = "", before: str = "") -> Cell:
    """Mean over interval, or the words that say why there is none, or a dash where nothing has been scored yet."""
    found = estimates.estimate(results, row, metric.key, protocol)
    ours = _mean(found) if found.known else estimates.absence(results, row, metric.key, protocol) or "–"
    return Cell(f"{before}{ours}", _interval(found), number=True)


def _floor_row(results: Results, metrics: tuple[Metric, ...]) -> list[str | Cell]:
    floor = estimates.floor(results)
    reached = [f"{floor[metric.key]:.1f}" if metric.key in floor else "–" for metric in metrics]
    shown = [f"– | {text}" if metric.printed else text for metric, text in zip(metrics, reached, strict=True)]
    return [Cell("without looking", "computed"), *(Cell(text, number=True) for text in shown), "no system"]


def _verdict_cell(judged: Sequence[Judged], row: str, subject: str) -> str | Cell:
    """The outcomes of the claims that belong to a row's line, the first one large."""
    found = []
    for one in (one for one in judged if one.claim.line == row):
        other = one.claim.reference if one.claim.row == row else one.claim.row
        against = "" if other in (subject, OTHERS) else f" against {other}"
        found.append(f"{one.claim.shown.title}{against}: {one.outcome}")
    if not found:
        best = any(one.claim.line == subject for one in judged)
        return "the reference" if row == subject else f"see {subject}" if best else "no claim"
    return Cell(found[0], "; ".join(found[1:]))


def _verdict_notes(judged: Sequence[Judged]) -> list[str]:
    """The rules, as far as claims of the table use them; the limits stand in the file."""
    if not judged:
        return []
    said = ", ".join(sorted({f"{one.claim.tolerance:g} in {one.claim.shown.title}" for one in judged}))
    notes = []
    if any(one.claim.reference != OTHERS for one in judged):
        notes.append(
            "A claim holds where the difference in its favour, paired by seed, has an interval above 0 and is at least "
            f"as large as a limit set beforehand ({said}). It does not hold where the interval lies below 0, or above "
            "0 with a smaller difference. It cannot be told where the interval includes 0 or there is one seed."
        )
    if any(one.claim.reference == OTHERS for one in judged):
        notes.append(
            "That one row is the best holds where its difference to the mean of all others, paired by seed, has an "
            f"interval above 0 and is at least as large as a limit set beforehand ({said}), and no other row's mean is "
            "higher. It does not hold where that interval lies below 0, or above 0 with a smaller difference, or where "
            "another row is higher with an interval that excludes 0. Otherwise it cannot be told."
        )
    return notes


def _chance_note(count: int) -> str:
    return f"{count} claims at 95 %: about one interval in twenty misses the truth by chance."


def _notes(results: Results) -> list[str]:
    """What the brackets are, and whether results are stale."""
    seeds = sorted(set(results.scores.groupby("row")["seed"].nunique()))
    out = [] if seeds else ["No results yet: the command below makes them."]
    if more := [str(n) for n in seeds if n > 1]:
        out.append(f"In brackets: 95 % interval over {' or '.join(more)} seeds (Student's t).")
    if 1 in seeds:
        out.append(
            f"{'Rows with one' if more else 'One'} seed: in brackets the 95 % interval over test clips (bootstrap), "
            "which says nothing about another seed; the n-gram scores have none."
        )
    if results.again:
        count, same, most = results.again
        says = "the published scores" if same == count else f"the published scores in {same}, else up to {most:.1f} off"
        out.append(f"Trained here and published, too: {count} runs. They give {says}.")
    if "stale" in results.states.values():
        out.append("Stale: made with other code or data than the present; run the command below to make it again.")
    return out


def _asked(results: Results, asked: Sequence[tuple[str, str]], metrics: Sequence[Metric]) -> list[str]:
    """Notes on (row, protocol) that cannot have some number, or that finished runs were not asked for yet."""
    s = results.scores
    have = set(zip(s["row"], s["protocol"], strict=True))
    lacking = [(row, p) for row, p in asked if (row, p) not in have and "done" in results.state(row)]
    out = _absences(results, asked, metrics)
    if lacking:
        said = ", ".join(f"{row} under {protocol}" for row, protocol in lacking)
        out.append(f"Trained, but not asked yet: {said}. The command below asks.")
    return out


def _absences(results: Results, asked: Sequence[tuple[str, str]], metrics: Sequence[Metric]) -> list[str]:
    """One note for each kind of number that some (row, protocol) cannot have."""
    found: dict[str, list[str]] = {}
    for row, protocol in asked:
        for metric in metrics:
            if label := estimates.absence(results, row, metric.key, protocol):
                found.setdefault(label, []).append(row)
    return [f"{label}: {REASONS[label]} ({', '.join(dict.fromkeys(rows))})." for label, rows in found.items()]


def _mean(found: Estimate, sign: bool = False) -> str:
    return _number(found.mean, sign) if found.known else "–"


def _interval(found: Estimate, sign: bool = False) -> str:
    return f"[{_number(found.low, sign)}, {_number(found.high, sign)}]" if found.bounded else ""


def _number(value: float, sign: bool) -> str:
    return format(round(value, 1) + 0.0, "+.1f" if sign else ".1f")  # never '-0.0'
