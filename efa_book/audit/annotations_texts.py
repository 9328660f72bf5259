"""Explanations of test clips by writers that never see a video: they use training texts and what they are given alone.

Training texts are those of the splits train and val, since the paper's own lists of the two are not released. A
writer that finds none of the kind it wants takes any training text, and that is counted. What a clip's name gives away
is here, too: NN_MM is the MM-th clip of class NN, and the standard ones come first.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from efa_datasets.cot_afa_files import CLIP

Names = dict[str, tuple[int, int]]  # clip -> class number and clip index
RECOGNISED = 0.77
"""How often the action is right in one row: about the Top-1 of the paper's EFA (Table V)."""
_WORDS = re.compile(r"\w+")
_ANY, _OWN, _FORM, _COIN, _OTHER, _OF_OTHER = range(6)  # what each of a clip's random numbers decides

Choice = Callable[[Any, np.ndarray], str]  # row of a clip, its random numbers -> a text, '' where there is none


@dataclass(frozen=True)
class Writer:
    """One text a test clip and draw.

    Attributes:
        key: as in blind.csv.
        name, given: as in a table: what it writes, and what it knows of a clip.
        texts: [draws][clips], clips by name.
        fell_back: [draws, clips] of bool: no training text of the kind that `name` says.
        redundant: where every clip's action has a training text, it writes the same as another writer.
    """

    key: str
    name: str
    given: str
    texts: list[list[str]]
    fell_back: np.ndarray
    redundant: bool = False


def read_names(clips: Sequence[str]) -> Names | None:
    """None where a name is not of the form NN_MM."""
    found = {clip: CLIP.fullmatch(clip) for clip in clips}
    return {clip: (int(hit[1]), int(hit[2])) for clip, hit in found.items() if hit} if all(found.values()) else None


def training_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """What a rule may be learnt from: train and val."""
    return clips[clips["split"].isin(["train", "val"])]


def learn_action(clips: pd.DataFrame, names: Names) -> dict[int, str]:
    """Class number -> the action that most of its training clips have; of several the first by name."""
    training = training_clips(clips)
    numbers = training["clip_id"].map(lambda clip: names[clip][0])
    return {number: min(actions.mode()) for number, actions in training["action"].groupby(numbers)}


def learn_threshold(clips: pd.DataFrame, names: Names) -> int:
    """The clip index from which on 'non-standard' is right most often in training; see `best_threshold`."""
    training = training_clips(clips)
    return best_threshold([names[clip][1] for clip in training["clip_id"]], list(training["quality"]))


def best_threshold(indices: Sequence[int], quality: Sequence[int], usual: int | None = None) -> int:
    """Of equally good ones `usual`, where it is among them, else the largest, which calls the fewest non-standard."""
    index, truth = np.array(indices, dtype=int), np.array(quality, dtype=int)
    if not len(index):
        return usual or 0
    candidates = {*index.tolist(), int(index.max()) + 1, *([] if usual is None else [usual])}
    right = {at: int(((index >= at) == truth).sum()) for at in candidates}
    best = [at for at in candidates if right[at] == max(right.values())]
    return usual if usual is not None and usual in best else max(best)


def with_text(clips: pd.DataFrame, *splits: str) -> pd.DataFrame:
    """The rows of these splits that have a text, sorted by name, so that nothing depends on a manifest's order."""
    chosen = clips["split"].isin(splits) & (clips["explanation"].str.strip() != "")
    return clips[chosen].sort_values("clip_id").reset_index(drop=True)


def write_blindly(
    clips: pd.DataFrame, instructions: Mapping[str, str], seeds: Sequence[int], names: Names | None = None
) -> list[Writer]:
    """What every writer writes for the test clips that have a reference; none where there is no training text.

    A clip's random numbers come from the seed and its name alone, and all writers share them: what one writer writes
    for a clip does not depend on the other clips, and two writers that do the same write the same.

    Args:
        clips: a manifest: clip_id, split, action, quality, explanation.
        instructions: action -> its steps as one text.
        seeds: one draw each.
        names: what the clips' names say; None: the writers that read them are left out.
    """
    training, test = with_text(clips, "train", "val"), with_text(clips, "test")
    if training.empty or test.empty:
        return []
    numbers = np.array([[_random_numbers(seed, clip) for clip in test["clip_id"]] for seed in seeds])
    rows = list(test.itertuples(index=False))
    everything = list(training["explanation"])
    writers = []

    def add(key: str, name: str, given: str, *choices: Choice, redundant: bool = False) -> None:
        """The first choice that has a text writes it."""
        offers = [
            [
                [*(choose(row, u) for choose in choices), _pick(everything, u[_ANY])]
                for row, u in zip(rows, draw, strict=True)
            ]
            for draw in numbers
        ]
        texts = [[next(filter(None, offer)) for offer in draw] for draw in offers]
        fell_back = np.array([[not offer[0] for offer in draw] for draw in offers])
        writers.append(Writer(key, name, given, texts, fell_back, redundant))

    def pick(table: Mapping[Any, Sequence[str]], key: Callable[[Any], Any], number: int = _OWN) -> Choice:
        return lambda row, u: _pick(table.get(key(row), ()), u[number])

    def by_action(row: Any) -> str:
        return row.action

    def by_form(row: Any) -> tuple[str, int]:
        return row.action, row.quality

    own: dict[Any, list[str]] = {action: list(group) for action, group in training.groupby("action")["explanation"]}
    form: dict[Any, list[str]] = {
        key: list(group) for key, group in training.groupby(["action", "quality"])["explanation"]
    }
    kinds = ("cosine", "f1")
    central = {kind: {key: [most_central(texts, kind)] for key, texts in own.items()} for kind in kinds}
    central_form = {kind: {key: [most_central(texts, kind)] for key, texts in form.items()} for kind in kinds}
    nearest = _nearest(sorted(set(test["action"])), sorted(own), instructions)
    action, both, file_name = "the true action", "the true action and quality", "the file name"
    of_action = pick(own, by_action)

    def of_guess(row: Any, u: np.ndarray) -> str:
        if u[_COIN] < RECOGNISED:
            return of_action(row, u)
        other = _pick([name for name in own if name != row.action], u[_OTHER])
        return _pick(own.get(other, ()), u[_OF_OTHER])

    add("any", "any training text", "nothing", lambda row, u: _pick(everything, u[_ANY]))
    add("guess", "a text of the guessed action", f"the action, right {RECOGNISED:.0%} of the time", of_guess)
    add("action", "a text of the action", action, of_action)
    of_nearest = pick(own, lambda row: nearest[row.action])
    add("nearest-action", "a text of the action with the most similar steps", action, of_nearest, redundant=True)
    for kind, title in zip(kinds, ("cosine", "F1"), strict=True):
        name = f"the action's most central text ({title})"
        add(f"action-central-{kind}", name, action, pick(central[kind], by_action))
    if names is not None:
        by_number, from_index = learn_action(clips, names), learn_threshold(clips, names)
        takes: dict[int, list[tuple[int, str]]] = {}
        for clip, text in zip(training["clip_id"], training["explanation"], strict=True):
            takes.setdefault(names[clip][0], []).append((names[clip][1], text))

        def nearest_take(row: Any, _: np.ndarray) -> str:
            number, index = names[row.clip_id]
            return min(takes.get(number, ()), key=lambda take: (abs(take[0] - index), take[0]), default=(0, ""))[1]

        def action_by_name(row: Any) -> str:
            return by_number.get(names[row.clip_id][0], "")

        def form_by_name(row: Any) -> tuple[str, int]:
            return action_by_name(row), int(names[row.clip_id][1] >= from_index)

        add("name-nearest", "the text of the nearest clip index, same action", file_name, nearest_take)
        name = "the most central text (F1) of action and quality, both by name"
        choices = pick(central_form["f1"], form_by_name), pick(central["f1"], action_by_name)
        add("name-central-f1", name, file_name, *choices)
    add("form", "a text of the action and quality", both, pick(form, by_form, _FORM), of_action)
    for kind, title in zip(kinds, ("cosine", "F1"), strict=True):
        name = f"the most central text ({title}) of action and quality"
        add(f"form-central-{kind}", name, both, pick(central_form[kind], by_form), pick(central[kind], by_action))
    return writers


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
    counts = _counts([_WORDS.findall(instructions.get(name, "").lower()) for name in (*actions, *known)])
    mine, theirs = np.split(counts, [len(actions)])
    closest = [known[int(_f1(row, theirs).argmax())] for row in mine]
    return {name: name if name in known else other for name, other in zip(actions, closest, strict=True)}


def _random_numbers(seed: int, clip: str) -> np.ndarray:
    """Six numbers in [0, 1) for one clip and draw."""
    digest = hashlib.sha256(f"{seed} {clip}".encode()).digest()
    return np.random.RandomState(int.from_bytes(digest[:4], "big")).random_sample(6)


def _pick(candidates: Sequence[str], number: float) -> str:
    """'' where there is none."""
    return candidates[int(number * len(candidates))] if candidates else ""
