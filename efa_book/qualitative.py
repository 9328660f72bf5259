"""Figure 7 again: clips with what was written about them, chosen by rule, failures beside successes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from efa.config import build
from efa.data.loader import open_dataset
from efa_book import attention, examples, figures, html
from efa_book.collect import Results
from efa_book.estimates import fault_parser
from efa_book.html import Cell, Html
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
FIGURE_7 = (("Seated Cable Row", 1), ("Barbell Bent-Over Row", 0))  # the paper's two examples: action and label


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
    weights = _find_weights(results, row, seed, clip["clip_id"])
    frames = examples.render_frames(clip, results.preset, results.overrides)
    if frames is None or weights is None:
        return out + examples.show_clip(results, clip)
    alt = f"Six frames of {clip['action']}; below, how much each of the five steps attends to each frame."
    drawn = figures.attention_map(frames, weights, _find_steps(results, clip))
    return out + html.show(drawn, alt, kind="png") + examples.clip_facts(clip)


def figure_7(results: Results, row: str = "EFA") -> Html:
    """The paper's two examples: of each action and label the first test clip by id, or a line that none is trained."""
    seed, out = results.seeds[0], Html("")
    clips = results.clips(row, seed)
    for action, quality in FIGURE_7:
        title = f"{action}, {examples.VERDICTS[quality]}"
        if clips is None or (found := clips[(clips["action"] == action) & (clips["quality"] == quality)]).empty:
            out += html.note(f"{title}: not trained yet. No predictions of {row} for this action and label are here.")
        else:
            out += html.note(f"{title}: clip {found['clip_id'].iloc[0]}; {row}, seed {seed}.")
            out += examples.show_clip(results, found.iloc[0])
    return out


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
    """The steps that the model read: those of the action that it took the clip for; none where that is gone."""
    steps, action = open_dataset(build(results.preset, results.overrides).data).steps, clip["predicted_action"]
    key = action if action in steps else next((name for name in steps if name.startswith(f"{action} [")), "")
    return steps[key].steps if key else ()
