"""Boxing: do answers say what the coaches said? Topics of their sentences, and references that never saw the boxer."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from sklearn.impute import SimpleImputer
from sklearn.neighbors import NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from efa.metrics import caption_scores
from efa_book.real_people.evaluate import COLUMNS, GROUPED, topic_f1
from efa_book.real_people.features import percentiles
from efa_datasets.real_people import Record

Array = np.ndarray
BLIND, NEIGHBOUR, RANDOM_CLIP = "most frequent topics", "nearest joints", "any clip's comment"
Answer = tuple[set[str], str]
"""Topics of an answer, and its text."""
Coach = Callable[[Sequence[Record], Sequence[Record]], list[Answer]]


@cache
def topics() -> dict[str, re.Pattern[str]]:
    """Name of a topic -> what its words match."""
    document = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return {name: re.compile("|".join(f"(?:{one})" for one in patterns)) for name, patterns in document.items()}


def sentences(record: Record) -> list[str]:
    """Every sentence of every coach about a clip."""
    parts = [part for text in record.extra["comments"] for part in re.split(r"(?<=[.!?;])\s+", text)]
    return [part for part in parts if part]


def topics_of(text: str) -> set[str]:
    """The topics that a text touches."""
    words = text.lower().replace("’", "'")
    return {name for name, pattern in topics().items() if pattern.search(words)}


def topics_in(record: Record) -> set[str]:
    """The topics that any coach touched about a clip."""
    return set().union(*map(topics_of, sentences(record)))


def coverage(records: Sequence[Record]) -> tuple[int, int]:
    """Numbers of sentences with a topic and of all sentences."""
    found = [bool(topics_of(one)) for record in records for one in sentences(record)]
    return sum(found), len(found)


def count_topics(records: Sequence[Record]) -> pd.DataFrame:
    """topic, clips, sentences, boxers: how often each is touched."""
    rows = []
    for name in topics():
        clips = [record for record in records if name in topics_in(record)]
        said = sum(name in topics_of(one) for record in records for one in sentences(record))
        rows.append((name, len(clips), said, len({record.group for record in clips})))
    return pd.DataFrame(rows, columns=["topic", "clips", "sentences", "boxers"])


def most_frequent(train: Sequence[Record], test: Sequence[Record]) -> list[Answer]:
    """Always the same: the most frequent topics, as many as score best on the training clips, and the comment of the
    training clip that comes closest to them."""
    said = [topics_in(record) for record in train]
    order = [name for name, _ in Counter(name for one in said for name in sorted(one)).most_common()]
    lists = [set(order[: count + 1]) for count in range(len(order))]
    often = max(lists, key=lambda names: sum(topic_f1(names, one) for one in said))
    closest = max(range(len(train)), key=lambda i: topic_f1(often, said[i]))
    return [(often, whole_text(train[closest]))] * len(test)


def nearest(train: Sequence[Record], test: Sequence[Record]) -> list[Answer]:
    """What was said about the training clip of the same punch whose joint angles are closest."""
    answers: dict[str, Answer] = {}
    for punch in {record.exercise for record in test}:
        known, asked = ([one for one in part if one.exercise == punch] for part in (train, test))
        scale = make_pipeline(SimpleImputer(keep_empty_features=True), StandardScaler())
        search = NearestNeighbors(n_neighbors=1).fit(scale.fit_transform(percentiles(known, directions=True)))
        found = search.kneighbors(scale.transform(percentiles(asked, directions=True)), return_distance=False)[:, 0]
        answers |= {one.clip: (topics_in(known[i]), whole_text(known[i])) for one, i in zip(asked, found, strict=True)}
    return [answers[record.clip] for record in test]


def any_clip(train: Sequence[Record], test: Sequence[Record]) -> list[Answer]:
    """What was said about a training clip of the same punch, drawn by lot."""
    random = np.random.RandomState(0)
    known = [[one for one in train if one.exercise == record.exercise] for record in test]
    drawn = [some[random.randint(len(some))] for some in known]
    return [(topics_in(record), whole_text(record)) for record in drawn]


COACHES: dict[str, Coach] = {BLIND: most_frequent, NEIGHBOUR: nearest, RANDOM_CLIP: any_clip}


def whole_text(record: Record) -> str:
    """All that the coaches said about a clip, one text."""
    return " ".join(record.extra["comments"])


def judge(records: Sequence[Record], coach: Coach, name: str) -> tuple[pd.DataFrame, list[dict[str, object]]]:
    """Answers by a coach that knows all other boxers' clips: a table with `evaluate.COLUMNS` (`label` and `predicted`
    are topics, '; ' between), and BLEU-4 and ROUGE-L of the texts, in percent, against all that was said of a clip."""
    rows, texts = [], []
    for fold, boxer in enumerate(sorted({record.group for record in records})):
        known, asked = ([one for one in records if (one.group == boxer) == out] for out in (False, True))
        for one, (said, text) in zip(asked, coach(known, asked), strict=True):
            true = "; ".join(sorted(topics_in(one)))
            row = (one.set, one.clip, boxer, name, GROUPED, fold, true, float("nan"), "; ".join(sorted(said)))
            rows.append(row)
            texts.append((whole_text(one), text))
    scores = caption_scores(*map(list, zip(*texts, strict=True)))
    return pd.DataFrame(rows, columns=list(COLUMNS)), [
        {"metric": name, "value": scores[name]} for name in ("bleu4", "rouge_l")
    ]
