"""The first page: what the paper claims, what came out here, and one clip with its assessment."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pandas as pd

from efa.config import build
from efa.utils.errors import InputError
from efa_book import blind, claims, estimates, examples, figures, html, people, provenance, qualitative
from efa_book.claims import FAILS, HOLDS, OPEN
from efa_book.collect import Results, obtain
from efa_book.html import Html, escape

Line = tuple[str, str, str, str]  # claim, outcome, figures, page

UNTESTED = "cannot be tested here"


def read(preset: str = "laptop") -> dict[str, Results]:
    """Results of every table that the page speaks of, with every seed that is there; trains nothing."""
    return {table: obtain(table, preset, None, train=False) for table in ("4", "5", "6", "7", "standards", "unseen")}


def summary(outcomes: Sequence[str]) -> str:
    """Several outcomes of one claim in a few words: 'holds 4 of 6, cannot be told 2'."""
    counted = [(outcome, list(outcomes).count(outcome)) for outcome in (HOLDS, FAILS, OPEN)]
    there = [(outcome, count) for outcome, count in counted if count]
    if not there:
        return UNTESTED
    if len(there) == 1:
        return there[0][0] if len(outcomes) == 1 else f"{there[0][0]} ({len(outcomes)} of {len(outcomes)})"
    return ", ".join(f"{outcome} {count} of {len(outcomes)}" for outcome, count in there)


def lines(tables: dict[str, Results]) -> list[Line]:
    """The rows of the table of claims: of the paper first, then what this book asks besides."""

    def of(table: str, chosen: Callable[[pd.DataFrame], pd.Series]) -> str:
        found = claims.outcomes(tables[table])
        return summary(list(found.loc[chosen(found), "outcome"]))

    def is_metric(*names: str) -> Callable[[pd.DataFrame], pd.Series]:
        return lambda found: found["metric"].isin(names)

    best, form = _value(tables["4"], "EFA", "cider_d"), _value(tables["5"], "EFA", "quality_balanced_acc")
    text, bare = (_value(tables["standards"], row, "quality_auc") for row in ("EFA", "w/o text"))
    new, none = (_value(tables["unseen"], row, "quality_auc") for row in ("EFA", "w/o text"))
    alone = _value(tables["5"], "Video Swin", "quality_balanced_acc")
    return [
        (
            "It explains better than earlier systems",
            of("4", is_metric("cider_d")),
            f"CIDEr-D {best}{_blind(tables['4'])}",
            "notebooks/comparison",
        ),
        (
            "It finds the action more often",
            of("5", is_metric("top1")),
            f"Top-1 {_value(tables['5'], 'EFA', 'top1')}",
            "notebooks/comparison",
        ),
        (
            "It judges form better",
            of("5", is_metric("quality_acc")),
            f"balanced accuracy {form}; its encoder alone {alone}",
            "notebooks/comparison",
        ),
        (
            "Each part of it helps",
            of("6", lambda found: found["id"].notna()),
            "18 comparisons of nine variants",
            "notebooks/ablation",
        ),
        (
            "A loss weight of 3 is best",
            of("7", lambda found: found["id"].notna()),
            "five weights",
            "notebooks/loss_weight",
        ),
        ("Its numbers on CoT-AFA", UNTESTED, "the videos cannot be shipped; the code runs on them", "book/own_data"),
        (
            "Asked here: where only the text can decide, it does",
            _gap(tables["standards"]),
            f"AUC {text}, without text {bare}",
            "notebooks/ablation",
        ),
        (
            "Asked here: text helps with new exercises",
            _gap(tables["unseen"]),
            f"AUC {new}, without text {none}",
            "notebooks/ablation",
        ),
        *_people(),
    ]


def _blind(results: Results) -> str:
    """What texts reach that were picked without looking; '' where it cannot be scored."""
    try:
        floors = blind.floors(build(results.preset, results.overrides).data).values()
    except InputError:
        return ""
    return f"; a text picked without looking has up to {max(floor['cider_d'] for floor in floors):.0f}"


def _value(results: Results, row: str, metric: str) -> str:
    found = estimates.estimate(results, row, metric)
    if not found.known:
        return "unknown"
    spread = f" ({found.low:.1f}\u2013{found.high:.1f})" if found.bounded else ""
    return f"{found.mean:.1f}{spread}"


def _gap(results: Results, tolerance: float = 2.0) -> str:
    return claims.verdict(estimates.difference(results, "EFA", "w/o text", "quality_auc"), tolerance)


def _people() -> list[Line]:
    try:
        found = people.load_results()
    except InputError:
        return []
    rows = found.comparisons.set_index("claim")
    out: list[Line] = []
    for asked, claim in (
        ("Asked here: it judges real people whom it never saw", "EFA tells correct from incorrect people"),
        ("Asked here: so it does without training on people", "EFA that never saw people does, too"),
    ):
        if claim in rows.index:
            cell = found.cell(str(rows.loc[claim, "row"]), "acc")
            out.append(
                (
                    asked,
                    str(rows.loc[claim, "outcome"]),
                    f"accuracy {cell.text} ({cell.minor})",
                    "notebooks/real_people",
                )
            )
    return out


def table(tables: dict[str, Results]) -> Html:
    """The claims with their outcomes, each linked to its chapter; made for book/intro.html."""
    found = lines(tables)
    body = "".join(
        f'<tr><th scope="row"><a href="../{escape(page)}.html">{escape(claim)}</a></th>'
        f"<td>{escape(outcome)}</td><td>{escape(figures_)}</td></tr>"
        for claim, outcome, figures_, page in found
    )
    head = '<th scope="col">claim</th><th scope="col">here</th><th scope="col">EFA here</th>'
    caption = "The paper's claims, and four questions of our own"
    inner = f"<caption>{caption}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody>"
    source = html.wide(inner, caption)
    text = "\n".join([caption, *(" | ".join(line) for line in found)])
    return Html(source, text) + provenance.stamp(tables["6"])


def clip(tables: dict[str, Results]) -> Html:
    """One clip with what EFA says of it, and how often that happens."""
    results = tables["6"]
    found = qualitative.kinds(results)
    kind, total = found[0], sum(one.count for one in found)
    if not total:
        return html.note("No predictions to show yet: run 'efa run 6/EFA'.")
    if kind.clip is None:
        return html.note("EFA names no fault rightly here.")
    frames = examples.render_frames(kind.clip["clip_id"], results.preset, results.overrides)
    out = Html("")
    if frames is not None:
        out += html.show(figures.film(frames), f"Six frames of a rendered figure: {kind.clip['action']}.", kind="png")
    said = html.note(f"EFA says: {kind.clip['predicted_action']}, non-standard form. {kind.clip['explanation']}")
    faulty = sum(one.count for one in found[:4])
    often = html.note(
        f"The first clip, in an order that knows no scores, of the {kind.count} among {faulty} faulty ones whose fault "
        f"EFA both sees and names; {total} clips were tested. The chapter on single clips has the other outcomes."
    )
    return out + said + often
