"""Figure 7 again: clips with what was written about them, by outcome, failures beside successes."""

import hashlib

import numpy as np
import pandas as pd

from efa.config import build
from efa.data.loader import open_dataset
from efa_book import attention, examples, figures, html
from efa_book.collect import Results
from efa_book.estimates import fault_parser
from efa_book.html import Html
from efa_book.published import folder_of

FIGURE_7 = (("Seated Cable Row", 1), ("Barbell Bent-Over Row", 0))  # the paper's two examples: action and label


def outcomes(results: Results, row: str = "EFA", seed: int | None = None) -> pd.DataFrame:
    """The predictions of a row and seed, in the order of the SHA-256 of the clips' ids, which knows no scores.

    Added: `called`, the verdict is non-standard; `named`, ids of the faults that the text names; `names_any`;
    `names_it`, the true fault is among them. Empty without predictions, or where the data set does not know its faults.
    """
    clips, parser = results.clips(row, results.seeds[0] if seed is None else seed), fault_parser(results)
    if clips is None or parser is None:
        known = {"clip_id": str, "action": str, "quality": int, "quality_prob": float, "fault": str, "explanation": str}
        clips = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in known.items()})
    texts = zip(clips["explanation"], clips["action"], strict=True)
    named = [parser.faults(*text) for text in texts] if parser else []
    faults = zip(clips["fault"], named, strict=True)
    found = {"called": clips["quality_prob"] >= 0.5, "named": pd.Series(named, clips.index, object)}
    found |= {"names_any": found["named"].map(bool).astype(bool)}
    found |= {"names_it": pd.Series([fault in some for fault, some in faults], clips.index, bool)}
    return clips.assign(**found).sort_values("clip_id", key=lambda ids: ids.map(_digest), ignore_index=True)


def _digest(clip: str) -> str:
    return hashlib.sha256(clip.encode()).hexdigest()


def show_first(results: Results, clips: pd.DataFrame, row: str = "EFA", seed: int | None = None) -> Html:
    """The first of these clips (rows of `outcomes`): its frames, where the steps look, reference and prediction."""
    if clips.empty:
        return html.note("No clip is of this kind.")
    clip, seed = clips.iloc[0], results.seeds[0] if seed is None else seed
    out = html.note(f"{clip['clip_id']}: the first of {len(clips)}.")
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
