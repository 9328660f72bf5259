"""Which fault and which step does a text name, and is it the true one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from efa.metrics.forms import normalise, sentences
from efa.utils.errors import InputError

_NEGATORS = frozenset(
    ("not", "no", "never", "nor", "neither", "without", "hardly", "avoid", "avoids", "avoiding", "prevent", "prevents",
     "preventing")
)  # fmt: skip
_ADVICE = frozenset(
    ("should", "must", "ought", "ensure", "ensures", "ensuring", "sure", "try", "aim", "need", "needs", "remember",
     "focus", "goal")
)  # fmt: skip
_OPENERS = frozenset(
    ("because", "since", "as", "and", "but", "while", "when", "where", "which", "that", "so", "although", "though",
     "until", "with", "by", "if")
)  # fmt: skip
_STOP_WORDS = _OPENERS | frozenset(
    ("the", "a", "an", "is", "are", "was", "were", "be", "been", "being", "of", "to", "or", "this", "it", "its", "his",
     "her", "their", "your", "they", "he", "she", "at", "on", "for", "then", "there", "very", "much", "slightly",
     "clearly", "visibly", "bit", "little", "have", "has", "had", "do", "does", "did", "will", "person", "athlete",
     "subject", "man", "woman", "video", "here")
)  # fmt: skip
_OPPOSITES = (
    ("wide", "narrow"), ("high", "low"), ("inward", "outward"), ("in", "out"), ("forward", "backward"),
    ("forward", "back"), ("left", "right"), ("up", "down"), ("more", "less"), ("early", "late"), ("fast", "slow"),
    ("quick", "slow"), ("above", "below"), ("bent", "straight"), ("over", "under"), ("front", "behind"),
    ("open", "closed"), ("top", "bottom"), ("far", "close"), ("far", "near"), ("rise", "drop"), ("rise", "sink"),
    ("lift", "drop"), ("long", "short"), ("together", "apart"),
)  # fmt: skip
_WORD_OR_BREAK = re.compile(r"[^\W_]+|[,;:()\u2013\u2014]")  # the dashes break clauses as the comma does
_STEP_WORDS = (
    ("one", "first", "1st"), ("two", "second", "2nd"), ("three", "third", "3rd"), ("four", "fourth", "4th"),
    ("five", "fifth", "5th"),
)  # fmt: skip
_STEP_OF = {word: n for n, words in enumerate(_STEP_WORDS, start=1) for word in (*words, str(n))}
_STEP = re.compile(  # but not 'step one foot back'
    r"\bstep (?:no |number )?(one|two|three|four|five|[1-5])\b(?! ?\d| (?:foot|feet|leg|hand|arm|knee)\b)"
    r"|\b(first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th) step\b"
)

_BLAME = re.compile(  # 'step one is done well' names a step, too, but not the one that went wrong
    r"\b(?:however|wrong(?:ly)?|mistakes?|errors?|faults?|faulty|flaws?|flawed|problems?|issues?|incorrect(?:ly)?|"
    r"improper(?:ly)?|poor(?:ly)?|fail(?:s|ed)?|breaks? down|suffers?|deviates?)\b"
)


@dataclass(frozen=True)
class _Phrase:
    """One way to state a fault."""

    text: str  # its words, joined by blanks
    stems: frozenset[str]
    negative: bool
    excluded: frozenset[str]  # stems that would state the opposite
    owners: dict[str, str]  # action -> fault


@dataclass(frozen=True)
class _Unit:
    """One to three consecutive clauses of a sentence: what a paraphrase is looked for in."""

    stems: frozenset[str]
    negative: bool
    advice: bool


class FaultParser:
    """Finds the faults that a text names.

    A fault is named where one of its phrases stands word for word in a sentence, unless a negation or a word of
    advice ('avoid', 'should') governs it. In a sentence without such a phrase, the best-matching phrase counts if its
    content words (stemmed) agree with those of one to three consecutive clauses at an F1 of `threshold` or more, at
    least three of them are shared or all are equal, and neither negation, advice nor an opposite ('wide'/'narrow')
    stands against it: one fault a sentence at most. A phrase that several actions share counts for the asked action,
    or else once, for the first that has it.

    Args:
        faults: action -> fault -> the phrases that state it (what is seen).
        threshold: least F1 of a paraphrase.

    Raises:
        InputError: a phrase without a word, or one phrase for two faults of one action.
    """

    def __init__(self, faults: Mapping[str, Mapping[str, Sequence[str]]], threshold: float = 0.75):
        self.threshold = threshold
        owners: dict[str, dict[str, str]] = {}
        for action, of_action in faults.items():
            for fault, phrases in of_action.items():
                for phrase in phrases:
                    text = " ".join(_words(phrase))
                    if not text:
                        raise InputError("a fault's phrase holds no word", row=f"{action}/{fault}")
                    other = owners.setdefault(text, {}).setdefault(action, fault)
                    if other != fault:
                        message = f"the phrase {phrase!r} states another fault too, {other!r}"
                        raise InputError(message, row=f"{action}/{fault}", hint="word one of them differently")
        self._phrases = [_phrase(text, of_text) for text, of_text in owners.items()]

    def faults(self, text: str, action: str) -> set[str]:
        """Ids 'action/fault' of the faults named in the text.

        Args:
            text: any text.
            action: the clip's action, whose faults are preferred where a phrase is shared. Other actions' faults are
                found as well.
        """
        named: set[str] = set()
        for sentence in sentences(text):
            parts = _STEP.sub(" ", _joined(sentence))  # 'in step 3' is no part of what is seen
            exact = self._exact(_WORD_OR_BREAK.findall(parts))
            if exact is None:  # no phrase stands there, not even a negated one
                best = self._closest(_units(parts), action)
                exact = [best] if best else []
            named.update(_id(phrase, action) for phrase in exact)
        return named

    @staticmethod
    def step(text: str) -> int | None:
        """The step (1-5) that the text blames: `step_in_text`."""
        return step_in_text(text)

    def _exact(self, tokens: list[str]) -> list[_Phrase] | None:
        """Phrases stated word for word, without those inside a longer one; None where no phrase stands there at all."""
        words = [token for token in tokens if token[0].isalnum()]
        clause = _clause_starts(tokens)
        line = f" {' '.join(words)} "
        spans = []
        for phrase in self._phrases:
            at = line.find(f" {phrase.text} ")
            while at >= 0:
                first = line[: at + 1].count(" ") - 1
                spans.append((first, first + phrase.text.count(" ") + 1, phrase))
                at = line.find(f" {phrase.text} ", at + 1)
        if not spans:
            return None
        stated = []
        for first, end, phrase in spans:
            inside = any(a <= first and end <= b and b - a > end - first for a, b, _ in spans)
            before = set(words[clause[first] : first])
            if not inside and not before & (_NEGATORS | _ADVICE):
                stated.append(phrase)
        return stated

    def _closest(self, units: list[_Unit], action: str) -> _Phrase | None:
        """The phrase nearest to a paraphrase in one of the units, own action first among equals."""
        best, best_key = None, (0.0, False)
        for unit in units:
            for phrase in self._phrases:
                shared = len(phrase.stems & unit.stems)
                total = len(phrase.stems) + len(unit.stems)
                f1 = 2 * shared / total if total else 0.0
                if f1 < self.threshold or (shared < 3 and f1 < 1.0):
                    continue
                if unit.advice or unit.negative != phrase.negative or phrase.excluded & unit.stems:
                    continue
                key = (f1, action in phrase.owners)
                if key > best_key:
                    best, best_key = phrase, key
        return best


def step_in_text(text: str) -> int | None:
    """The step (1-5) that the text blames, as in 'step 3', 'step number three', 'the third step', else None.

    That is the first one named in a sentence that speaks of something wrong, or the first of all where none does.
    """
    named = [(found, line) for line in map(_line, sentences(text)) if (found := _STEP.search(line))]
    if not named:
        return None
    found = next((found for found, line in named if _BLAME.search(line)), named[0][0])
    return _STEP_OF[found[1] or found[2]]


def _line(sentence: str) -> str:
    return " ".join(_words(sentence))


def fault_counts(
    texts: Sequence[str], actions: Sequence[str], quality: ArrayLike, faults: Sequence[str], parser: FaultParser
) -> np.ndarray:
    """Per clip: faults named rightly, named wrongly, missed. int [N, 3].

    The truth is {fault} for a non-standard clip and nothing for a standard one. `micro_f1` of a sum or a bootstrap
    draw of the rows is the fault F1.
    """
    counts = np.zeros((len(texts), 3), dtype=np.int64)
    for i, (text, action, nonstandard, fault) in enumerate(
        zip(texts, actions, np.asarray(quality) == 1, faults, strict=True)
    ):
        named, true = parser.faults(text, action), ({fault} if nonstandard and fault else set())
        counts[i] = len(named & true), len(named - true), len(true - named)
    return counts


def micro_f1(counts: np.ndarray) -> float:
    """F1 in [0, 1] of rows of `fault_counts`, [N, 3]; NaN where nothing is true and nothing named."""
    right, wrong, missed = counts.sum(axis=0)
    total = 2 * right + wrong + missed
    return float(2 * right / total) if total else float("nan")


def _phrase(text: str, owners: dict[str, str]) -> _Phrase:
    words = text.split()
    stems = _content(words)
    against = {b for pair in _OPPOSITES for a, b in (pair, pair[::-1]) if _stem(a) in stems}
    excluded = frozenset(map(_stem, against)) - stems
    return _Phrase(text, stems, _negative(words), excluded, owners)


def _id(phrase: _Phrase, action: str) -> str:
    owner = action if action in phrase.owners else next(iter(phrase.owners))
    return f"{owner}/{phrase.owners[owner]}"


def _units(sentence: str) -> list[_Unit]:
    tokens = _WORD_OR_BREAK.findall(sentence)
    words = [token for token in tokens if token[0].isalnum()]
    starts = sorted(set(_clause_starts(tokens)))
    units = []
    for i, start in enumerate(starts):
        for end in [*starts, len(words)][i + 1 : i + 4]:
            part = words[start:end]
            units.append(_Unit(_content(part), _negative(part), not _ADVICE.isdisjoint(part)))
    return units


def _clause_starts(tokens: list[str]) -> list[int]:
    """For each word (not break) of the tokens, the index of the word that opens its clause."""
    starts: list[int] = []
    opens = 0
    for token in tokens:
        if not token[0].isalnum():
            opens = len(starts)
            continue
        if token in _OPENERS:
            opens = len(starts)
        starts.append(opens)
    return starts


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", _joined(normalise(text)))


def _joined(sentence: str) -> str:
    """Negations of two words as one."""
    return re.sub(r"\b(?:instead of|rather than)\b", "without", sentence)


def _content(words: Sequence[str]) -> frozenset[str]:
    return frozenset(
        _stem(word) for word in words if word not in _STOP_WORDS and word not in _NEGATORS and word not in _ADVICE
    )


def _negative(words: Sequence[str]) -> bool:
    return sum(word in _NEGATORS for word in words) % 2 == 1


def _stem(word: str) -> str:
    """A rough stem: 'collapse', 'collapses', 'collapsing' and 'collapsed' agree, and so do 'drop' and 'dropping'."""
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
