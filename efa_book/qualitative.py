"""Figure 7 again: clips with what was written about them, chosen by rule, failures beside successes."""

import difflib
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from efa.config import build
from efa.data.loader import open_dataset
from efa_book import attention, examples, figures, html
from efa_book.collect import Results
from efa_book.estimates import fault_parser
from efa_book.html import Cell, Html, escape
from efa_book.published import folder_of

RULE = (
    "Chosen by rule, not by eye: of each kind the first clip of the test split in the order of the SHA-256 of the ids. "
    "So nobody picks a success that looks good, or a failure that looks excusable."
)
KINDS = (
    "the fault is seen and named",
    "the fault is seen, and another or none is named",
    "the fault is named, and the verdict misses it",
    "the fault is missed",
    "nothing is wrong, and nothing is said to be",
    "nothing is wrong, and a fault is named",
    "nothing is wrong, and the verdict says something is",
)
SHARED = 3  # words in a row that count as the same phrase


@dataclass(frozen=True)
class Kind:
    """A kind of outcome, how many clips of the split are of it, and the first of them."""

    title: str
    count: int
    clip: pd.Series | None


def kinds(results: Results, row: str = "EFA", seed: int | None = None) -> list[Kind]:
    """Every clip of the split belongs to one of these, by label, verdict and the faults that the text names.

    Where there are no predictions of that row and seed, or the data set does not know its faults, no clip does.
    """
    seed = results.seeds[0] if seed is None else seed
    clips, parser = results.clips(row, seed), fault_parser(results)
    if clips is None or parser is None:
        return [Kind(title, 0, None) for title in KINDS]
    titles = [_kind(clip, parser.faults(clip["explanation"], clip["action"])) for _, clip in clips.iterrows()]
    order = sorted(range(len(clips)), key=lambda i: hashlib.sha256(str(clips["clip_id"].iloc[i]).encode()).hexdigest())
    first: dict[str, int] = {}
    for i in order:
        first.setdefault(titles[i], i)
    return [Kind(title, titles.count(title), clips.iloc[first[title]] if title in first else None) for title in KINDS]


def _kind(clip: pd.Series, named: set[str]) -> str:
    called, right = clip["quality_prob"] >= 0.5, clip["fault"] in named
    if clip["quality"] == 1:
        seen = KINDS[0] if right else KINDS[1]
        return seen if called else KINDS[2] if right else KINDS[3]
    return KINDS[6] if called else KINDS[5] if named else KINDS[4]


def mark_shared(first: str, second: str) -> tuple[str, str]:
    """Both texts as HTML; phrases of `SHARED` words or more that stand in both, in the same order, are marked."""
    a, b = (re.findall(r"\S+", text) for text in (first, second))
    plain = [[re.sub(r"\W+", "", word).casefold() for word in words] for words in (a, b)]
    blocks = difflib.SequenceMatcher(None, plain[0], plain[1], autojunk=False).get_matching_blocks()
    kept = [block for block in blocks if block.size >= SHARED]
    return _mark(a, {block.a: block.size for block in kept}), _mark(b, {block.b: block.size for block in kept})


def _mark(words: Sequence[str], spans: Mapping[int, int]) -> str:
    """Words as HTML; `spans`: first word of a marked phrase -> how many words it has."""
    out = [escape(word) for word in words]
    for at, size in spans.items():
        out[at] = "<mark>" + out[at]
        out[at + size - 1] += "</mark>"
    return " ".join(out)


def kinds_table(found: Sequence[Kind]) -> Html:
    """How often each kind occurs."""
    total = sum(kind.count for kind in found)
    if not total:
        return html.note("No results yet: no predictions of clips whose faults are known.")
    rows: list[list[str | Cell]] = [
        [kind.title, *(Cell(text, number=True) for text in (str(kind.count), f"{100 * kind.count / total:.1f}"))]
        for kind in found
    ]
    return html.table("What happens to the clips of the test split", ["", "clips", "%"], rows)


def show_kind(results: Results, kind: Kind, row: str = "EFA", seed: int | None = None) -> Html:
    """Frames, where the steps look, and reference and prediction side by side."""
    clip, seed = kind.clip, results.seeds[0] if seed is None else seed
    if clip is None:
        return html.note("No clip of this kind.")
    out = html.note(f"{clip['clip_id']}: one of {kind.count}.")
    frames = examples.render_frames(clip["clip_id"], results.preset, results.overrides)
    weights = _find_weights(results, row, seed, clip["clip_id"])
    if frames is not None and weights is not None:
        alt = f"Six frames of {clip['action']}; below, how much each of the five steps attends to each frame."
        out += html.show(figures.attention_map(frames, weights, _find_steps(results, clip)), alt, kind="png")
    elif frames is not None:
        out += html.show(figures.film(frames), f"Six frames of {clip['action']}.", kind="png")
    return out + _facts(clip)


def _find_weights(results: Results, row: str, seed: int, clip: str) -> np.ndarray | None:
    """[5, T]; None where no attention is published for the run."""
    facts = results.facts.get((row, seed))
    if row != "EFA" or facts is None:
        return None
    table = attention.read_published(folder_of(results.preset, results.overrides), facts)
    part = None if table is None else table[table["clip_id"] == clip]
    if part is None or part.empty:
        return None
    return part.pivot(index="step", columns="frame", values="weight").to_numpy()


def _find_steps(results: Results, clip: pd.Series) -> tuple[str, ...]:
    """The steps that the model read: those of the action that it took the clip for."""
    steps, action = open_dataset(build(results.preset, results.overrides).data).steps, clip["predicted_action"]
    key = action if action in steps else next(name for name in steps if name.startswith(f"{action} ["))
    return steps[key].steps


def _facts(clip: pd.Series) -> Html:
    reference, written = mark_shared(clip["reference"], clip["explanation"])
    truth = "standard"
    if clip["quality"] != 0:
        truth = f"non-standard: {figures.fault_name(clip['fault'])}, step {clip['fault_step']:.0f}"
    verdict = examples.verdict_text(clip["quality_prob"])
    rows = [
        ("action", escape(clip["action"]), escape(clip["predicted_action"])),
        ("verdict", escape(truth), escape(verdict)),
        ("explanation", reference, written),
    ]
    body = "".join(f'<tr><th scope="row">{name}</th><td>{a}</td><td>{b}</td></tr>' for name, a, b in rows)
    head = "<tr><td></td><th scope='col'>truth</th><th scope='col'>model</th></tr>"
    source = html.wide(f"<thead>{head}</thead><tbody>{body}</tbody>", f"{clip['clip_id']}: truth and model")
    plain = [f"action: {clip['action']} | {clip['predicted_action']}", f"verdict: {truth} | {verdict}"]
    return Html(source, "\n".join([*plain, f"reference: {clip['reference']}", f"model: {clip['explanation']}"]))
