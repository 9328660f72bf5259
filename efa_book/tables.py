"""The paper's tables and the benchmarks beside them: what the paper says and what came out here, as HTML."""

import math
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
import pandas as pd

from efa.config import PRESETS, SHORT_OF
from efa.experiments import TABLES
from efa_book import claims, estimates, html, paper
from efa_book.claims import OTHERS, Judged
from efa_book.collect import Results, obtain
from efa_book.estimates import NOTHING, REASONS, Estimate
from efa_book.html import Cell, Html
from efa_book.provenance import stamp
from efa_book.table_specs import AUC, BALANCED, CIDER, FAULT, NOT_PRINTED, TABLE_SPECS, TOP1, Metric

TEXTS = {
    "predicted": "its own guess of the action picks the text",
    "oracle": "the text of the true action",
    "none": "no text",
    "wrong": "the text of another standard or action",
}
INSTEAD = {  # of the right text -> (row, protocol, '' its own): first for the same weights, then in training as well
    "no text": ("EFA", "none"),
    "another's text": ("EFA", "wrong"),
    "trained without text": ("w/o text", ""),
    "trained with another's": ("Wrong text", ""),
    "trained with random vectors": ("Random vectors", ""),
    "trained with shuffled steps": ("Shuffled text", ""),
}
KINDS = {"caption": "Caption", "action": "Class", "form": "Quality"}  # as the paper heads its columns


def scores(results: Results, published: pd.DataFrame | None = None) -> Html:
    """One of the paper's tables, in its order and under its names: paper | ours with interval, seeds, state and
    outcomes; then the columns and rows that the paper does not have.

    `published`: the paper's numbers as `paper.numbers` gives them; by default those of results/paper.csv.
    """
    known = paper.numbers() if published is None else published
    spec, judged = TABLE_SPECS[results.table], claims.judge(results)
    names, lines = spec.names(results.rows), spec.lines(results.rows)
    rows: list[list[str | Cell]] = []
    for heading, part in lines.items():
        if len(lines) > 1:
            rows.append([heading])
        for row in part:
            printed = (Estimate(paper.printed_number(known, results.table, row, metric)) for metric in spec.metrics)
            before = [f"{_mean(one)} | " if m.printed else "" for m, one in zip(spec.metrics, printed, strict=True)]
            cells = [_number_cell(results, row, m, before=text) for m, text in zip(spec.metrics, before, strict=True)]
            rows.append([_row_cell(results, row, names[row]), *cells, _outcomes(judged, row, spec.subject)])
    notes = [*_notes(results, [(row, results.protocol(row)) for row in results.rows], spec.metrics)]
    if called := [f"{name} is {row}" for row, name in names.items() if name.replace("λ", "lambda") != row]:
        notes.append(f"Under the paper's names; for 'efa run' {', '.join(called)}.")
    absent = [name for row, name in names.items() if results.state(row) == "missing"]
    if 0 < len(absent) < len(names):
        notes.append(f"Not trained yet: {', '.join(absent)}.")
    if spec.floor:
        floor = estimates.floor(results)
        reached = [f"{floor[metric.key]:.1f}" if metric.key in floor else "–" for metric in spec.metrics]
        shown = [f"– | {text}" if m.printed else text for m, text in zip(spec.metrics, reached, strict=True)]
        first = Cell("without looking", "computed")
        rows.append([first, *(Cell(text, number=True) for text in shown), "no system"])
        notes.append(
            "Without looking: every action equally likely; every verdict the more frequent one, by its share of the "
            "test split; for balanced accuracy and the area under the curve (AUC) a coin."
        )
    titles = [
        Cell(metric.printed or metric.title, "paper | ours" if metric.printed else "ours") for metric in spec.metrics
    ]
    head: list[str | Cell] = [Cell("seeds, state"), *titles, Cell("outcomes")]
    kinds = groupby(KINDS[metric.kind] if metric.printed else NOT_PRINTED for metric in spec.metrics)
    groups = [(spec.first, 1), *((title, len(list(part))) for title, part in kinds), ("Claims", 1)]
    notes += [*_outcome_notes(judged), *paper.explain_numbers(known, results.table, results.rows, spec.metrics)]
    return html.table(_caption(results), head, rows, notes, groups) + stamp(results) + _short(results, names)


def _short(results: Results, names: dict[str, str]) -> Html:
    """The same rows as `make reproduce` trained them here, beside the results of the whole preset; '' without any."""
    preset = next((short for short, whole in SHORT_OF.items() if whole == results.preset), "")
    here = obtain(results.table, preset, None, train=False) if preset and not results.overrides else None
    if here is None or here.origin != "runs":
        return Html("")
    trained = [row for row in here.rows if here.state(row) != "missing"]
    metrics = TABLE_SPECS[results.table].metrics
    rows: list[list[str | Cell]] = []
    for row in trained:
        cells = [
            _number_cell(here, row, metric, before=f"{_mean(estimates.estimate(results, row, metric.key))} | ")
            for metric in metrics
        ]
        rows.append([_row_cell(here, row, names[row]), *cells])
    few, whole = PRESETS[preset], PRESETS[results.preset]
    head: list[str | Cell] = [Cell("row", "seeds, state"), *(Cell(m.title, "above | here") for m in metrics)]
    notes = [
        f"Preset {preset}: the same settings, but {few['data.clips']:,} clips in place of {whole['data.clips']:,}, and "
        f"{few['data.sealed']:,} test clips of its own. Expect lower scores than above, and wider intervals.",
        *_notes(here, [(row, here.protocol(row)) for row in trained], metrics),
    ]
    return html.table(f"{TABLES[results.table].title}, trained here: preset {preset}", head, rows, notes) + stamp(here)


def verdicts(results: Results) -> Html:
    """The paper's sentences on a table, each with its outcomes and what would change them in a line, opening into its
    claims: what is compared, the difference with its interval, the tolerance, the paper's own, and the outcome."""
    judged = claims.judge(results)
    if not judged:
        return html.note("results/claims.csv says nothing about this table.") + stamp(results)
    sentences = claims.by_sentence(judged)
    about = f"{len(sentences)} sentences of the paper on {TABLES[results.table].title}, in our words"
    out = html.note(f"{about}, each with what came out here. They open into {len(judged)} claims.")
    head = ["metric", "difference here", "tolerance", "in the paper", "outcome", "claim"]
    lines = claims.sentences_table(judged)
    for (sentence, part), outcome, change in zip(sentences.items(), lines["outcome"], lines["change"], strict=True):
        rows: list[list[str | Cell]] = []
        for one in part:
            here = Cell(_mean(one.gap, "+.1f"), _interval(one.gap, "+.1f"), number=True)
            printed = Cell(_mean(Estimate(one.paper), "+.1f"), f"size {one.size}", number=True)
            limit = Cell(_mean(Estimate(one.tolerance)), number=True)
            p = "" if math.isnan(one.p_holm) else f"p {one.p_holm:.2g}"
            why = one.reason or (p if one.gap.known else "not trained yet")
            first, said = Cell(one.claim.metric_spec.title, one.claim.compared), Cell(one.claim.claim, one.claim.source)
            rows.append([first, here, limit, printed, Cell(one.said, why), said])
        inside = html.table(f"Claim by claim: {sentence}", head, rows)
        inside += html.note(f"What would change this: {change}.")
        out += html.details(sentence, outcome, inside)
    return out + html.note("The notes below the table of scores say how an outcome is decided.") + stamp(results)


def protocols(results: Results, row: str = "EFA") -> Html:
    """One model with different texts: what knowing the true action is worth."""
    metrics = (TOP1, BALANCED, AUC, CIDER, FAULT)
    texts = TABLES[results.table].protocols_of(row)
    rows: list[list[str | Cell]] = [
        [name, TEXTS[name], *(_number_cell(results, row, metric, name) for metric in metrics)] for name in texts
    ]
    head = ["protocol", "what the model reads", *(metric.title for metric in metrics)]
    asked = [(row, protocol) for protocol in texts]
    notes = [*_notes_on_gaps(results, asked, metrics), *_notes(results)]
    return html.table(f"{row} under every protocol, preset {results.preset}", head, rows, notes) + stamp(results)


def benchmark(results: Results) -> Html:
    """A benchmark beside the paper's tables, one line for each text: the right one, another, or none."""
    if not results.origin:
        return html.note(f"No results yet: {TABLES[results.table].title}.") + stamp(results)
    spec = TABLE_SPECS[results.table]
    rows: list[list[str | Cell]] = []
    for row, protocol, name in spec.entries:
        cells = [_number_cell(results, row, metric, protocol) for metric in spec.metrics]
        rows.append([_row_cell(results, row, name), *cells])
    head: list[str | Cell] = [Cell(spec.first, "seeds, state"), *(metric.title for metric in spec.metrics)]
    notes = _notes(results, [entry[:2] for entry in spec.entries], spec.metrics)
    return html.table(_caption(results), head, rows, notes) + stamp(results)


def text_table(lines: Mapping[str, Sequence[Results]], metric: Metric = AUC) -> Html:
    """What the right text is worth: name of a line -> its results; EFA told the right text minus each of `INSTEAD`."""
    gaps: dict[tuple[str, str], Estimate] = {}
    for name, found in lines.items():
        for title, (row, protocol) in INSTEAD.items():
            able = (one for one in found if row in one.rows)
            each = (estimates.effect(one, "EFA", row, metric.key, ("oracle", protocol)) for one in able)
            gaps[name, title] = next((gap for gap in each if gap.known), NOTHING)
    corrected = claims.holm(np.array([gap.p for gap in gaps.values()]))
    cells: dict[tuple[str, str], Cell] = {}
    for (key, gap), p in zip(gaps.items(), corrected, strict=True):
        outcome = claims.decide(gap, metric.tolerance, float(p), gap.mean > 0) if gap.known else ""
        cells[key] = Cell(_mean(gap, "+.1f"), f"{_interval(gap, '+.1f')} {outcome}", number=True)
    rows = [
        [_row_cell(found[0], "EFA", name), _number_cell(found[0], "EFA", metric, "oracle")]
        + [cells[name, title] for title in INSTEAD]
        for name, found in lines.items()
    ]
    notes = [
        f"{metric.title}: what EFA is ahead by. Brackets: 95 % interval. Outcomes as for the paper's claims: tolerance "
        f"{metric.tolerance:g}, Holm's correction over this table. A dash: not trained, or not by the same version."
    ]
    head = ["benchmark", "EFA, right text", *INSTEAD]
    groups = [("", 2), ("the same weights, given", 2), ("trained anew", 4)]
    return html.table(f"What the right text is worth: {metric.title}", head, rows, notes, groups)


def _caption(results: Results) -> str:
    protocol = f", protocol {results.asked_protocol}" if results.asked_protocol else ""
    return f"{TABLES[results.table].title}, preset {results.preset}{protocol}"


def _row_cell(results: Results, row: str, name: str) -> Cell:
    """A line's name over the number of seeds, their state, and whether it has learned."""
    count, state = _count_seeds(results, row), results.state(row)
    if count and "," in state:  # its seeds differ: '1 done, 4 missing'
        state = f"{count} of {len(results.seeds)} seeds{'' if 'done' in state else ', stale'}"
    elif count:
        state = f"{count} seed{'s' * (count > 1)}, {state}"
    return Cell(name, state + (", did not learn" if estimates.unlearned(results, row) else ""))


def _count_seeds(results: Results, row: str) -> int:
    """Of those that a row's numbers are from: as `Results.values` chooses them."""
    scored = results.scores.loc[results.scores["row"] == row, "seed"].unique()
    states = [results.states.get((row, int(seed))) for seed in scored]
    return states.count("done") or len(states)


def _number_cell(results: Results, row: str, metric: Metric, protocol: str = "", before: str = "") -> Cell:
    """Mean over interval, or the words that say why there is none, or a dash if nothing has been scored yet."""
    found = estimates.estimate(results, row, metric.key, protocol)
    ours = _mean(found) if found.known else estimates.absence(results, row, metric.key, protocol) or "–"
    return Cell(f"{before}{ours}", _interval(found), number=True)


def _outcomes(judged: Sequence[Judged], row: str, subject: str) -> str:
    """The outcomes of the claims that belong to a row's line, in a few words."""
    found = [one.outcome for one in judged if one.claim.line == row]
    return claims.summarize(found) if found else "the reference" if row == subject else "no claim"


def _outcome_notes(judged: Sequence[Judged]) -> list[str]:
    """The rules, as far as claims of the table use them."""
    used = {one.claim.metric: one.claim.metric_spec for one in judged}.values()
    limits = ", ".join(f"{one.title} {one.tolerance:g} {'%' if one.relative else 'points'}" for one in used)
    notes = []
    if judged:
        notes.append(
            "The difference is in favour of the claim, paired by seed and clip. No effect: its 90 % interval lies "
            f"within the tolerance, set beforehand ({limits}). Holds, reversed: above or below 0 with p < .05, "
            f"corrected for all {len(judged)} claims of the table (Holm). Inconclusive: everything else, and one seed. "
            "Size: whether the paper's difference, in percent of the reference, lies in the 95 % interval of ours."
        )
    if failed := sorted({one.reason for one in judged if one.outcome == claims.UNLEARNED}):
        notes.append(f"Did not learn, so a difference to it says nothing: {'; '.join(failed)}.")
    if any(one.claim.reference == OTHERS for one in judged):
        notes.append(
            "That one row is best or jointly best holds if it is worse than none by more than the tolerance, and "
            "better than one; it is reversed if another is better. The difference shown is the smallest to any other."
        )
    return notes


def _notes(results: Results, asked: Sequence[tuple[str, str]] = (), metrics: Sequence[Metric] = ()) -> list[str]:
    """What the brackets are, whether results are stale, and which numbers of `asked` (row, protocol) are missing."""
    seeds = sorted({_count_seeds(results, row) for row in results.scores["row"].unique()})
    out = [] if seeds else ["No results yet: the command below makes them."]
    if more := [str(n) for n in seeds if n > 1]:
        out.append(f"In brackets: 95 % interval over {' or '.join(more)} seeds and the test clips.")
    if 1 in seeds:
        out.append(
            f"{'Rows with one' if more else 'One'} seed: in brackets the 95 % interval over test clips (jackknife), "
            "which says nothing about another seed."
        )
    if results.repeats:
        count, same, most = results.repeats
        says = "the published scores" if same == count else f"the published scores in {same}, else up to {most:.1f} off"
        out.append(f"Trained here and published, too: {count} runs. They give {says}.")
    if "stale" in results.states.values():
        out.append(
            "Stale: made with other code, settings or data than the present, so not to be compared with rows that are "
            "not; run the command below to make it again."
        )
    return [*out, *_notes_on_gaps(results, asked, metrics)]


def _notes_on_gaps(results: Results, asked: Sequence[tuple[str, str]], metrics: Sequence[Metric]) -> list[str]:
    """Notes on (row, protocol) that cannot have some number, or under which finished runs have not predicted yet."""
    absent: dict[str, list[str]] = {}
    for row, protocol in asked:
        for metric in metrics:
            if label := estimates.absence(results, row, metric.key, protocol):
                absent.setdefault(label, []).append(row)
    out = [f"{label}: {REASONS[label]} ({', '.join(dict.fromkeys(rows))})." for label, rows in absent.items()]
    have = set(zip(results.scores["row"], results.scores["protocol"], strict=True))
    lacking = [f"{row} under {p}" for row, p in asked if (row, p) not in have and "done" in results.state(row)]
    if lacking:
        out.append(f"Trained, but not scored yet: {', '.join(lacking)}. The command below does it.")
    return out


def _mean(found: Estimate, form: str = ".1f") -> str:
    return format(round(found.mean, 1) + 0.0, form) if found.known else "–"  # never '-0.0'


def _interval(found: Estimate, form: str = ".1f") -> str:
    low, high = (format(round(value, 1) + 0.0, form) for value in (found.low, found.high))
    return f"[{low}, {high}]" if found.bounded else ""
