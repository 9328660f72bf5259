"""Explanations of test clips by writers that never see a video: all they use is training texts and what they are told.

Training texts are those of the splits train and val, since the paper's own lists of the two are not released. A
writer that finds none of the kind it wants takes any training text, and that is counted.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from efa_book.audit.annotations_names import Names, learn_action, learn_threshold

RECOGNISED = 0.77
"""How often the action is right in one row: about the Top-1 that is cited for the paper's EFA."""
_WORDS = re.compile(r"\w+")
_ANY, _OWN, _FORM, _COIN, _OTHER, _THERE = range(6)  # what each of a clip's lots decides

Choice = Callable[[Any, np.ndarray], str | None]


@dataclass(frozen=True)
class Writer:
    """One text a test clip and draw.

    Attributes:
        key: as blind.csv has it.
        name, told: as a table says them: what it writes, and what it is told of a clip.
        texts: [draws][clips], clips by name.
        fell_back: [draws, clips] of bool: no training text of the kind that `name` says.
        redundant: where every clip's action has a training text, it writes the same as another writer.
    """

    key: str
    name: str
    told: str
    texts: list[list[str]]
    fell_back: np.ndarray
    redundant: bool = False


def usable(clips: pd.DataFrame, *splits: str) -> pd.DataFrame:
    """The rows of these splits that have a text, sorted by name, so that nothing depends on a manifest's order."""
    there = clips["split"].isin(splits) & (clips["explanation"].str.strip() != "")
    return clips[there].sort_values("clip_id").reset_index(drop=True)


def written(
    clips: pd.DataFrame, instructions: Mapping[str, str], seeds: Sequence[int], names: Names | None = None
) -> list[Writer]:
    """What every writer writes for the test clips that have a reference; none where there is no training text.

    A clip's lots come from the seed and its name alone, and all writers share them: what one writer writes for a clip
    does not depend on the other clips, and two writers that do the same write the same.

    Args:
        clips: a manifest: clip_id, split, action, quality, explanation.
        instructions: action -> its steps as one text.
        seeds: one draw each.
        names: what the clips' names say; None: the writers that read them are left out.
    """
    told, test = usable(clips, "train", "val"), usable(clips, "test")
    if told.empty or test.empty:
        return []
    lots = np.array([[_lots(seed, clip) for clip in test["clip_id"]] for seed in seeds])  # [draws, clips, 6]
    rows = list(test.itertuples(index=False))
    everything = list(told["explanation"])

    def writer(key: str, name: str, knows: str, *chain: Choice, redundant: bool = False) -> Writer:
        """The first choice that has a text writes it."""
        texts: list[list[str]] = []
        back = np.zeros(lots.shape[:2], dtype=bool)
        for k, draw in enumerate(lots):
            texts.append([])
            for i, (row, lot) in enumerate(zip(rows, draw, strict=True)):
                offers = (choose(row, lot) for choose in chain)
                at, text = next(((j, offer) for j, offer in enumerate(offers) if offer), (-1, ""))
                back[k, i] = at != 0
                texts[-1].append(text or _pick(everything, lot[_ANY]))
        return Writer(key, name, knows, texts, back, redundant)

    own: dict[str, list[str]] = _grouped(told, "action")
    form: dict[tuple[str, int], list[str]] = _grouped(told, ["action", "quality"])
    central = {kind: {k: most_central(v, kind) for k, v in own.items()} for kind in ("f1", "cosine")}
    central_form = {kind: {k: most_central(v, kind) for k, v in form.items()} for kind in ("f1", "cosine")}
    nearest = _nearest(sorted(set(test["action"])), sorted(own), instructions)
    action, both, file_name = "the true action", "the true action and quality", "the file name"

    def of_action(row: Any, lot: np.ndarray) -> str | None:
        return _pick(own.get(row.action, []), lot[_OWN])

    def of_form(row: Any, lot: np.ndarray) -> str | None:
        return _pick(form.get((row.action, row.quality), []), lot[_FORM])

    def of_guess(row: Any, lot: np.ndarray) -> str | None:
        if lot[_COIN] < RECOGNISED:
            return of_action(row, lot)
        other = _pick([name for name in own if name != row.action], lot[_OTHER])
        return _pick(own.get(other, []), lot[_THERE])

    def of_nearest(row: Any, lot: np.ndarray) -> str | None:
        return _pick(own.get(nearest.get(row.action, ""), []), lot[_OWN])

    def centre(kind: str, row: Any, _: np.ndarray) -> str | None:
        return central[kind].get(row.action)

    def centre_form(kind: str, row: Any, _: np.ndarray) -> str | None:
        return central_form[kind].get((row.action, row.quality))

    made = [
        writer("any", "any training text", "nothing", lambda row, lot: _pick(everything, lot[_ANY])),
        writer("guess", "a text of the guessed action", f"the action, right {RECOGNISED:.0%} of the time", of_guess),
        writer("action", "a text of the action", action, of_action),
        writer(
            "nearest-action", "a text of the action with the most similar steps", action, of_nearest, redundant=True
        ),
        writer("action-central-cosine", "the action's most central text (cosine)", action, partial(centre, "cosine")),
        writer("action-central-f1", "the action's most central text (F1)", action, partial(centre, "f1")),
    ]
    if names is not None:
        by_number, from_index = learn_action(clips, names), learn_threshold(clips, names)
        takes = _takes(told, names)

        def beside(row: Any, _: np.ndarray) -> str | None:
            number, index = names[row.clip_id]
            among = takes.get(number, [])
            return min(among, key=lambda take: (abs(take[0] - index), take[0]))[1] if among else None

        def centre_named(row: Any, _: np.ndarray) -> str | None:
            number, index = names[row.clip_id]
            return central_form["f1"].get((by_number.get(number, ""), int(index >= from_index)))

        def centre_number(row: Any, _: np.ndarray) -> str | None:
            return central["f1"].get(by_number.get(names[row.clip_id][0], ""))

        made += [
            writer("name-nearest", "the text of the nearest clip index, same action", file_name, beside),
            writer(
                *("name-central-f1", "the most central text (F1) of action and quality, both by name", file_name),
                *(centre_named, centre_number),
            ),
        ]
    made += [
        writer("form", "a text of the action and quality", both, of_form, of_action),
        *(
            writer(
                *(f"form-central-{kind}", f"the most central text ({said}) of action and quality", both),
                *(partial(centre_form, kind), partial(centre, kind)),
            )
            for kind, said in (("cosine", "cosine"), ("f1", "F1"))
        ),
    ]
    return made


def most_central(texts: Sequence[str], similarity: str = "cosine") -> str:
    """The text with the largest mean similarity to all texts; of equals the first.

    Args:
        similarity: 'cosine' between counts of what blanks separate, which favours long texts; or 'f1', twice the
            words that two texts share (each as often as in both) over the words that they have.
    """
    if similarity == "cosine":
        counts = _counts([text.lower().split() for text in texts])
        unit = counts / np.linalg.norm(counts, axis=1, keepdims=True)
        return texts[int((unit @ unit.mean(0)).argmax())]
    counts = _counts([_WORDS.findall(text.lower()) for text in texts])
    return texts[int(np.array([_f1(row, counts).mean() for row in counts]).argmax())]


def _counts(texts: Sequence[Sequence[str]]) -> np.ndarray:
    """[texts, words], how often."""
    return pd.DataFrame([Counter(words) for words in texts]).fillna(0.0).to_numpy()


def _f1(one: np.ndarray, many: np.ndarray) -> np.ndarray:
    """Word F1 of one row of counts with each of many, [many]; 0 for two texts without words."""
    return 2 * np.minimum(one, many).sum(1) / np.maximum(one.sum() + many.sum(1), 1)


def _nearest(actions: Sequence[str], known: Sequence[str], instructions: Mapping[str, str]) -> dict[str, str]:
    """Action -> the known one whose steps share most words with its own (F1): itself, where it is known."""
    every = [*actions, *known]
    counts = _counts([_WORDS.findall(instructions.get(name, "").lower()) for name in every])
    theirs = counts[len(actions) :]
    return {
        name: name if name in known else known[int(_f1(row, theirs).argmax())]
        for name, row in zip(actions, counts, strict=False)
    }


def _takes(told: pd.DataFrame, names: Names) -> dict[int, list[tuple[int, str]]]:
    """Class number -> clip index and text of its training clips."""
    takes: dict[int, list[tuple[int, str]]] = defaultdict(list)
    for clip, text in zip(told["clip_id"], told["explanation"], strict=True):
        takes[names[clip][0]].append((names[clip][1], text))
    return takes


def _grouped(told: pd.DataFrame, by: str | list[str]) -> dict[Any, list[str]]:
    return {key: list(group) for key, group in told.groupby(by)["explanation"]}


def _lots(seed: int, clip: str) -> np.ndarray:
    """Six numbers in [0, 1) for one clip and draw."""
    digest = hashlib.sha256(f"{seed} {clip}".encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "big")).random_sample(6)


def _pick(among: Sequence[str], lot: float) -> str:
    """'' where there is none."""
    return among[int(lot * len(among))] if among else ""
