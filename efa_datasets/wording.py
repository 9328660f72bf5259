"""What explanations are made of: words, sentences, cues for reasons and advice, and how the vocabulary grows.

The paper (Table II, Section III-D) names examples of its keywords and not the rest, nor what a word or a sentence is,
so each number is counted by several definitions; a table shows the
first of a dictionary, and the others say how much depends on it.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
import yaml

Splitter = Callable[[str], Sequence[str]]

_CONTRACTED = re.compile(r"(?:n't|'(?:s|re|ve|ll|d|m))$")
_PART = re.compile(r"(?:[a-z]\.){2,}|\b(?:etc|vs)\.|[^\W_]+(?:[-'/&][^\W_]+|[.,](?=\d)\d+)*'?%?|[^\w\s]|_")
_RUN = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def fold(text: str) -> str:
    """Lower case, compatibility form (NFKC), straight apostrophes."""
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'")


def tokens(text: str, punctuation: bool = False) -> list[str]:
    """Tokens much like those that the caption metrics count (Penn Treebank, lower case, no punctuation), without Java.

    A hyphenated word is one token, a contraction two ("doesn't": does n't, "knee's": knee 's). The metrics' own
    tokenizer counts brackets, too (as -lrb-), as this does with every mark if `punctuation` is set.
    """
    found: list[str] = []
    for part in _PART.findall(fold(text)):
        word = part.rstrip("'%")
        if not word[:1].isalnum():
            found += [part] if punctuation else []
            continue
        short = _CONTRACTED.search(word)
        if word == "cannot":
            found += ["can", "not"]
        elif short and short.start() > 0:
            found += [word[: short.start()], short[0]]
        else:
            found.append(word)
        found += list(part[len(word) :]) if punctuation else []
    return found


WORDS: dict[str, Splitter] = {
    "tokens as the caption metrics count them": tokens,
    "runs of letters and digits, hyphens split": lambda text: _RUN.findall(fold(text)),
    "whatever stands between blanks": lambda text: fold(text).split(),
    "tokens, punctuation included": lambda text: tokens(text, punctuation=True),
}

_END = re.compile(r"[.!?]+[\"')\]\u201d\u2019]*(?=\s|$)|(?<=[a-z]{3})[.!?](?=[A-Z])")
_ABBREVIATION = re.compile(r"(?:^|[\s(])(?:e\.g|i\.e|etc|vs|cf|approx|mrs?|ms|dr|prof|st|fig|no|[a-z])$", re.IGNORECASE)
_LIST_NUMBER = re.compile(r"(?:^|[\s:;(])\d{1,2}$")


def sentences(text: str) -> list[str]:
    """Sentences by rule: '.', '!' or '?' before a blank or the end closes one, or before a capital where the blank was
    forgotten; but not in '0.5', after an abbreviation that no capital follows, or after the number of a list's item."""
    cuts = [0]
    for end in _END.finditer(text):
        before, after = text[cuts[-1] : end.start()], text[end.end() :].lstrip()
        short = _ABBREVIATION.search(before) and not re.match(r"[A-Z\"']", after)
        if after and (short or (text[end.start()] == "." and _LIST_NUMBER.search(before))):
            continue
        cuts.append(end.end())
    parts = [text[a:b].strip() for a, b in pairwise([*cuts, len(text)])]
    return [part for part in parts if any(char.isalnum() for char in part)]


def _between(marks: str) -> Splitter:
    return lambda text: [part for part in re.split(f"[{marks}]+", text) if part.strip()]


SENTENCES: dict[str, Splitter] = {
    "by rule: decimals, abbreviations and lists survive": sentences,
    "text between full stops": _between("."),
    "text between any of . ! ?": _between(".!?"),
}

_LISTS = yaml.safe_load(Path(__file__).with_name("wording.yaml").read_text(encoding="utf-8"))
CUES: dict[str, dict[str, list[str]]] = _LISTS["cues"]  # 'lead*' is any word that begins so
STOP = frozenset(_LISTS["stop"].split())


def cue_pattern(cues: Sequence[str]) -> re.Pattern[str]:
    """One expression for several cues, for folded text; of cues that begin alike the longer one is found."""
    longest = sorted(cues, key=lambda cue: (-len(cue), cue))
    parts = [re.escape(cue).replace(r"\*", r"\w*").replace(r"\ ", r"\s+") for cue in longest]
    return re.compile(rf"\b(?:{'|'.join(parts)})\b")


def cue_table(texts: Sequence[str]) -> pd.DataFrame:
    """How often each cue stands in the texts: columns what, list, cue, texts (that have it), occurrences."""
    folded = [fold(text) for text in texts]
    rows = []
    for what, lists in CUES.items():
        for cue in dict.fromkeys(cue for cues in lists.values() for cue in cues):
            pattern = cue_pattern([cue])
            counts = [len(pattern.findall(text)) for text in folded]
            narrow = "narrow" if cue in lists["narrow"] else "wide"
            rows.append((what, narrow, cue, sum(count > 0 for count in counts), sum(counts)))
    return pd.DataFrame(rows, columns=["what", "list", "cue", "texts", "occurrences"])


def cue_rates(texts: Sequence[str]) -> list[tuple[str, str, str, float]]:
    """(what, measure, list, value) for each list of cues: occurrences a text, sentences with one a text, and the share
    of texts with one. No rows without texts."""
    rates = []
    folded = [list(map(fold, sentences(text))) for text in texts]
    for what, name in [(what, name) for what, lists in CUES.items() for name in lists] if texts else ():
        pattern = cue_pattern(CUES[what][name])
        counts = [np.array([len(pattern.findall(sentence)) for sentence in parts], int) for parts in folded]
        rates += [
            (what, "occurrences a text", name, float(np.mean([one.sum() for one in counts]))),
            (what, "sentences a text", name, float(np.mean([(one > 0).sum() for one in counts]))),
            (what, "share of texts", name, float(np.mean([one.any() for one in counts]))),
        ]
    return rates


_CLAUSE = re.compile(r"[,.;:!?()\"\u2013\u2014]")
_WORD = re.compile(r"[a-z]+(?:[-'][a-z]+)*")
_ADVISED = re.compile(r"\b(?:should|must)\b")


def _content(clause: str) -> list[str]:
    words = (word.removesuffix("'s") for word in _WORD.findall(clause))
    return [word for word in words if len(word) > 2 and word not in STOP]


def lexicon(texts: Sequence[str], heads: int = 10, words: int = 6) -> pd.DataFrame:
    """The words around reasons and advice: columns what, parent, word ('' for the parent itself), texts.

    Reasoning: the parent is a cue of the wide list, its words are the content words after it, up to the end of the
    clause or the next cue. Suggestion: the parent is the first content word after 'should' or 'must', adverbs in -ly
    passed over; its words likewise. A content word is none of `STOP` and longer than two letters. A text counts once
    for each pair. The `heads` most frequent parents of each kind are kept, with `words` words each.
    """
    reasons = cue_pattern(CUES["reasoning"]["wide"])
    counts: Counter[tuple[str, str, str]] = Counter()
    patterns = {cue: cue_pattern([cue]) for cue in CUES["reasoning"]["wide"]}
    for text in texts:
        pairs: set[tuple[str, str, str]] = set()
        for sentence in map(fold, sentences(text)):
            for start in reasons.finditer(sentence):
                cue = next(name for name, pattern in patterns.items() if pattern.fullmatch(start[0]))
                clause = reasons.split(_CLAUSE.split(sentence[start.end() :])[0])[0]
                pairs |= {("reasoning", cue, word) for word in ("", *_content(clause))}
            for start in _ADVISED.finditer(sentence):
                clause = _CLAUSE.split(sentence[start.end() :])[0]
                verb, *rest = [word for word in _content(clause) if not word.endswith("ly")] or [""]
                if verb:
                    pairs |= {("suggestion", verb, word) for word in ("", *rest) if word != verb}
        counts.update(pairs)
    rows = []
    for what in CUES:
        totals = {parent: n for (kind, parent, word), n in counts.items() if kind == what and not word}
        for parent in sorted(totals, key=lambda p: (-totals[p], p))[:heads]:
            own = {word: n for (kind, head, word), n in counts.items() if (kind, head) == (what, parent) and word}
            best = sorted(own, key=lambda word: (-own[word], word))[:words]
            rows += [(what, parent, "", totals[parent]), *((what, parent, word, own[word]) for word in best)]
    return pd.DataFrame(rows, columns=["what", "parent", "word", "texts"])


ORDERS = 200
LEAST_TEXTS = 100  # with fewer the law has nothing to be fitted to


class Extrapolation(NamedTuple):
    """The vocabulary that more texts of the same kind would have."""

    texts: int  # how many there would be
    words: float
    low: float  # of the 95 % interval
    high: float
    beta: float  # exponent of Heaps' law
    bias: float  # what the same method says of the texts that are there, over the truth


def growth_curves(words: Sequence[Sequence[str]], orders: int = ORDERS, seed: int = 0) -> np.ndarray:
    """How many different words the first n texts have, n = 1 ... N, in random orders of the texts. int [orders, N]."""
    where: dict[str, list[int]] = {}
    for i, text in enumerate(words):
        for word in dict.fromkeys(text):
            where.setdefault(word, []).append(i)
    count = len(words)
    if not where:
        return np.zeros((orders, count), dtype=int)
    flat = np.concatenate([np.array(places) for places in where.values()])
    starts = np.cumsum([0, *(len(places) for places in where.values())])[:-1]
    draw = np.random.RandomState(seed)
    curves = np.empty((orders, count), dtype=int)
    for order in range(orders):
        place = np.empty(count, dtype=int)
        place[draw.permutation(count)] = np.arange(count)
        first = np.minimum.reduceat(place[flat], starts)  # of each word
        curves[order] = np.bincount(first, minlength=count).cumsum()
    return curves


def _heaps(curve: np.ndarray, upto: int, at: int) -> tuple[float, float]:
    """Heaps' law V = K n^beta, least squares in logarithms on the second half of the first `upto` texts: V(at), beta"""
    n = np.arange(max(1, upto // 2), upto + 1)
    beta, shift = np.polyfit(np.log(n), np.log(curve[n - 1]), 1)
    return float(np.exp(shift) * at**beta), float(beta)


def extrapolate(curves: np.ndarray, to: int) -> Extrapolation | None:
    """The vocabulary of `to` texts from the curves of fewer; None with fewer than `LEAST_TEXTS`, or nothing to add.

    Heaps' law alone overshoots, since its exponent falls as texts are added. By how much is measured in each order: the
    law, fitted to the first n / `to` of the n texts, is divided by the truth at n. The mean of its values for `to` is
    divided by that ratio; the interval is the middle 95 % over the orders.
    """
    count = curves.shape[1]
    if count < LEAST_TEXTS or to <= count:
        return None
    part = max(2, round(count * count / to))
    raw, betas = np.array([_heaps(curve, count, to) for curve in curves]).T
    ratio = np.array([_heaps(curve, part, count)[0] / curve[-1] for curve in curves])
    low, high = np.percentile(raw.mean() / ratio, [2.5, 97.5])
    numbers = (raw.mean() / ratio.mean(), low, high, betas.mean(), ratio.mean())
    return Extrapolation(to, *map(float, numbers))


def growth_table(curves: np.ndarray, points: int = 40) -> pd.DataFrame:
    """The curves at some numbers of texts: columns texts, words (mean), low, high (middle 95 % of the orders)."""
    count = curves.shape[1]
    at = np.unique(np.linspace(1, count, min(points, count)).round().astype(int))
    low, high = np.percentile(curves[:, at - 1], [2.5, 97.5], axis=0)
    return pd.DataFrame({"texts": at, "words": curves[:, at - 1].mean(0), "low": low, "high": high})


def word_statistics(words: Sequence[Sequence[str]]) -> Mapping[str, float]:
    """Mean, median and greatest number of words a text, and how many different words there are."""
    sizes = [len(text) for text in words]
    return {} if not sizes else {
        "words a text": float(np.mean(sizes)), "median words a text": float(np.median(sizes)),
        "most words a text": float(max(sizes)), "vocabulary": float(len({word for text in words for word in text})),
    }  # fmt: skip
