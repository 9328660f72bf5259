"""Table VI, the protocols and the standards benchmark: what the paper says beside what came out here."""

from __future__ import annotations

import math
from pathlib import Path

import pandas as pd

from efa import paths
from efa.config import build
from efa.errors import InputError
from efa.experiments import TABLES
from efa.metrics import METRICS
from efa.report import estimates, html
from efa.report.collect import COLUMNS, Results
from efa.report.estimates import ABLATION_METRICS, AUC, BALANCED, CIDER, CLAIMS, FAULT, TOP1, Estimate, Metric
from efa.report.html import Cell, Html

PAPER_REPORTS = ("cider_d", "meteor", "rouge_l", "bleu4", "top1", "quality_acc")  # the others are ours alone
TEXTS = {
    "predicted": "its own guess of the action picks the text",
    "oracle": "the text of the true action",
    "none": "no text",
    "wrong": "the text of another standard or action",
}
MISSING_NOTE = (
    "n/a: this number of the paper was not available to us. With the PDF at hand, add one line for it to "
    "results/paper.csv, for example 6,Q-text,,unstated,meteor,VALUE,Table VI: the next build shows it here."
)


def paper(path: Path | None = None) -> pd.DataFrame:
    """results/paper.csv: the paper's own numbers as far as they are known, each with its source.

    Raises:
        InputError: missing column, unknown metric, no number, a number or source missing, one cell given twice.
    """
    path = path or paths.results() / "paper.csv"
    columns = (*COLUMNS, "source")
    if not path.is_file():
        return pd.DataFrame(columns=list(columns))
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    if lacking := [name for name in columns if name not in table.columns]:
        raise InputError(f"missing column {', '.join(lacking)}", file=path, mend=f"columns: {', '.join(columns)}")
    value = pd.to_numeric(table["value"], errors="coerce")
    problems = {
        "value is no number": value.isna() | value.abs().eq(math.inf),
        "unknown metric": ~table["metric"].isin(METRICS),
        "source is empty": table["source"].str.strip() == "",
        "this number stands above already": table.duplicated(list(COLUMNS[:5])),
    }
    for message, bad in problems.items():
        if bad.any():
            raise InputError(message, file=path, row=int(bad.to_numpy().argmax()) + 2)
    return table.assign(value=value)


def ablation(results: Results, published: pd.DataFrame | None = None) -> Html:
    """Table VI: paper | ours with interval, state and verdicts; one row a variant under the paper's name."""
    known = paper() if published is None else published
    rows: list[list[str | Cell]] = []
    for row in results.rows:
        cells: list[str | Cell] = [Cell(row, results.state(row))]
        for metric in ABLATION_METRICS:
            ours = estimates.estimate(results, row, metric.key)
            cells.append(Cell(f"{_of_paper(known, row, metric)} | {_mean(ours)}", _interval(ours), number=True))
        rows.append([*cells, _verdict_cell(results, row)])
    titles: list[str | Cell] = [Cell(metric.title, "paper | ours") for metric in ABLATION_METRICS]
    notes = [MISSING_NOTE + " A dash: the paper does not report it.", *_notes(results), _verdict_note()]
    head: list[str | Cell] = [Cell("variant", "state"), *titles, "claim"]
    return html.table(_caption(results), head, rows, notes) + stamp(results)


def differences(results: Results) -> Html:
    """EFA minus each variant, with interval and verdict, for every metric that a claim rests on."""
    rows: list[list[str | Cell]] = []
    for claim in CLAIMS:
        for metric in claim.metrics:
            gap = estimates.difference(results, claim.row, metric.key)
            number = Cell(_mean(gap, sign=True), _interval(gap, sign=True), number=True)
            rows.append([claim.row, claim.says, metric.title, number, estimates.verdict(gap, metric.tolerance)])
    head = ["variant", "claim", "metric", "EFA minus variant", "verdict"]
    notes = [*_notes(results), _verdict_note(), _chance_note(len(rows))]
    return html.table("What each ablation is meant to show, and whether it does", head, rows, notes) + stamp(results)


def protocols(results: Results, row: str = "EFA") -> Html:
    """One model asked with different texts: what knowing the true action is worth."""
    metrics = (TOP1, BALANCED, AUC, CIDER, FAULT)
    rows: list[list[str | Cell]] = []
    for protocol in TABLES[results.table].protocols.get(row, TABLES[results.table].default):
        cells: list[str | Cell] = [protocol, TEXTS[protocol]]
        for metric in metrics:
            found = estimates.estimate(results, row, metric.key, protocol)
            cells.append(Cell(_mean(found), _interval(found), number=True))
        rows.append(cells)
    head = ["protocol", "what the model reads", *(metric.title for metric in metrics)]
    caption = f"{row} under every protocol, preset {results.preset}"
    notes = ["Top-1 is left out where the true action is told.", *_notes(results)]
    return html.table(caption, head, rows, notes) + stamp(results)


def standards(results: Results) -> Html:
    """The standards benchmark: form judged with the right text, another, or none."""
    if not results.origin:
        return html.note("No results of the standards benchmark for this preset yet.") + stamp(results)
    rows: list[list[str | Cell]] = []
    for row, protocol, name in standards_entries(results):
        cells: list[str | Cell] = [name]
        for metric in (AUC, BALANCED, FAULT, CIDER):
            found = estimates.estimate(results, row, metric.key, protocol)
            cells.append(Cell(_mean(found), _interval(found), number=True))
        rows.append([*cells, results.state(row)])
    head = ["what the model reads", *(metric.title for metric in (AUC, BALANCED, FAULT, CIDER)), "state"]
    return html.table(_caption(results), head, rows, _notes(results)) + stamp(results)


def standards_entries(results: Results) -> list[tuple[str, str, str]]:
    """(row, protocol, name) of every way to be asked on the standards benchmark."""
    entries = [
        ("EFA", "oracle", "the right text"),
        ("EFA", "predicted", "the right standard, action by own guess"),
        ("EFA", "none", "no text, trained with text"),
        ("EFA", "wrong", "the text of another standard"),
        ("w/o text", "predicted", "no text, trained without text"),
        ("Shuffled text", "predicted", "shuffled text, trained with it"),
    ]
    return [entry for entry in entries if entry[0] in results.rows]


def stamp(results: Results) -> Html:
    """Data, preset, seeds, hardware, runtime, commit, and the command that makes the numbers again."""
    data = build(results.preset, results.overrides).data
    stand_in = data.source == "formsim"
    facts = list(results.facts.values())
    devices = sorted({fact.get("device", "") for fact in facts})
    seconds = sum(sum(fact.get("seconds", {}).values()) for fact in facts)
    commits = sorted({fact.get("commit", "") or "no commit" for fact in facts})
    states = pd.Series(list(results.states.values())).value_counts().to_dict()
    origin = {"runs": "from runs/", "published": "as published in results/"}.get(results.origin, "no results yet")
    benchmark = TABLES[results.table].common.get("data.benchmark", data.benchmark)
    parts = [
        f"{data.clips} clips of {data.size} pixels, benchmark {benchmark}" if stand_in else data.source,
        f"preset {results.preset}",
        f"seeds {', '.join(map(str, results.seeds))}",
        f"{len(results.states)} runs: " + ", ".join(f"{count} {state}" for state, count in states.items()),
        origin,
    ]
    if facts:
        parts += [" / ".join(devices), f"{seconds / 60:.1f} minutes in all", f"commit {', '.join(commits)}"]
    badge = "Stand-in: FormSim, procedural, not CoT-AFA" if stand_in else "own data"
    settings = "".join(f" --set {key}={value}" for key, value in results.overrides.items())
    seeds = ",".join(map(str, results.seeds))
    return html.stamp(badge, parts, f"efa run {results.table} --preset {results.preset} --seeds {seeds}{settings}")


def _caption(results: Results) -> str:
    return f"{TABLES[results.table].title}, preset {results.preset}"


def _of_paper(known: pd.DataFrame, row: str, metric: Metric) -> str:
    if metric.key not in PAPER_REPORTS:
        return "–"
    found = known[(known["table"] == "6") & (known["row"] == row) & (known["metric"] == metric.key)]["value"]
    return f"{found.iloc[0]:.1f}" if len(found) else "n/a"


def _verdict_cell(results: Results, row: str) -> str | Cell:
    claim = next((claim for claim in CLAIMS if claim.row == row), None)
    if claim is None:
        return "the reference"
    gaps = {metric: estimates.difference(results, row, metric.key) for metric in claim.metrics}
    first, *others = (f"{m.title}: {estimates.verdict(gap, m.tolerance)}" for m, gap in gaps.items())
    return Cell(_unbroken(first), _unbroken("; ".join(others)))


def _unbroken(text: str) -> str:
    return text.replace(" ", "\u00a0")


def _verdict_note() -> str:
    metrics = {metric for claim in CLAIMS for metric in claim.metrics}
    limits = ", ".join(f"{m.tolerance:g} in {m.title}" for m in sorted(metrics, key=lambda m: m.title))
    return (
        "A claim holds where EFA minus the variant, paired by seed, has an interval above 0 and is at least as "
        f"large as a limit set beforehand ({limits}). It does not hold where the interval lies below 0, or above 0 "
        "with a smaller difference. It cannot be told where the interval includes 0 or there is one seed."
    )


def _chance_note(count: int) -> str:
    return f"{count} claims at 95 %: about one interval in twenty misses the truth by chance."


def _notes(results: Results) -> list[str]:
    seeds = sorted(set(results.scores.groupby("row")["seed"].nunique()))
    out = [] if seeds else ["No results yet: the command below makes them."]
    if more := [str(n) for n in seeds if n > 1]:
        out.append(f"In brackets: 95 % interval over {' or '.join(more)} seeds (Student's t).")
    if 1 in seeds:
        out.append(
            f"{'Rows with one' if more else 'One'} seed: in brackets the 95 % interval over test clips (bootstrap), "
            "which says nothing about another seed; the n-gram scores have none."
        )
    if "stale" in results.states.values():
        out.append("Stale: made with other code or data than the present; run the command below to make it again.")
    return out


def _mean(found: Estimate, sign: bool = False) -> str:
    return _number(found.mean, sign) if found.known else "–"


def _interval(found: Estimate, sign: bool = False) -> str:
    return f"[{_number(found.low, sign)}, {_number(found.high, sign)}]" if found.bounded else ""


def _number(value: float, sign: bool) -> str:
    return format(round(value, 1) + 0.0, "+.1f" if sign else ".1f")  # never '-0.0'
