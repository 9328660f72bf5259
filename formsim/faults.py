"""Read a text: its sentences, the faults that it names and the step that it blames."""

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from formsim.errors import InputError
from formsim.tables import TABLES

# What is read of a text: five times the mean length in CoT-AFA. METEOR's aligner and the PTB lexer are worse than
# linear and end in minutes or out of memory on a degenerate text of a few thousand words.
MAX_WORDS, MAX_CHARS = 500, 10_000
Phrases = Mapping[str, Mapping[str, Sequence[str]]]  # action -> fault -> ways to say it

_NEGATORS, _ADVICE, _OPENERS, _FILLERS = (
    frozenset(TABLES["words"][kind].split()) for kind in ("negators", "advice", "openers", "fillers")
)
_NO_CONTENT = _NEGATORS | _ADVICE | _OPENERS | _FILLERS
_OPPOSITES = [pair.split("/") for pair in TABLES["words"]["opposites"].split()]
_WORD_OR_BREAK = re.compile(r"[^\W_]+|[,;:()\u2013\u2014]")  # the dashes break clauses as the comma does
_STEP_WORDS = ("one first 1st 1", "two second 2nd 2", "three third 3rd 3", "four fourth 4th 4", "five fifth 5th 5")
_STEP_NUMBERS = {word: n for n, words in enumerate(_STEP_WORDS, start=1) for word in words.split()}
_STEP = re.compile(  # but not 'step one foot back'
    r"\bstep (?:no |number )?(one|two|three|four|five|[1-5])\b(?! ?\d| (?:foot|feet|leg|hand|arm|knee)\b)"
    r"|\b(first|second|third|fourth|fifth|1st|2nd|3rd|4th|5th) step\b"
)

_BLAME = re.compile(  # 'step one is done well' names a step, too, but not the one that went wrong
    r"\b(?:however|wrong(?:ly)?|mistakes?|errors?|faults?|faulty|flaws?|flawed|problems?|issues?|incorrect(?:ly)?|"
    r"improper(?:ly)?|poor(?:ly)?|fail(?:s|ed)?|breaks? down|suffers?|deviates?)\b"
)
_TWICE = re.compile(r"\b(\w+(?: \w+){1,11}) \1\b")
_SENTENCE = re.compile(r"[.!?]+(?:\s|$)|(?<=[a-z]{3})[.!?](?=[a-z])")


@dataclass(frozen=True)
class _Phrase:
    """One way to state a fault."""

    text: str  # its words, joined by blanks
    stems: frozenset[str]
    negative: bool
    opposites: frozenset[str]  # stems that would state the opposite
    owners: dict[str, str]  # action -> fault

    @classmethod
    def parse(cls, text: str, owners: dict[str, str]) -> "_Phrase":
        stems = _content_stems(text.split())
        against = {b for pair in _OPPOSITES for a, b in (pair, pair[::-1]) if _stem(a) in stems}
        return cls(text, stems, _is_negative(text.split()), frozenset(map(_stem, against)) - stems, owners)

    def fault_id(self, action: str) -> str:
        """'action/fault', of the asked action if it has this phrase."""
        owner = action if action in self.owners else next(iter(self.owners))
        return f"{owner}/{self.owners[owner]}"


class FaultParser:
    """Finds the faults that a text names.

    A fault is named where one of its phrases stands word for word in a sentence, unless a negation or a word of
    advice ('avoid', 'should') governs it. In a sentence without such a phrase, the best-matching phrase counts if its
    content words (stemmed) agree with those of one to three consecutive clauses at an F1 of `threshold` or more, at
    least three are shared or all are equal, and no negation, advice or opposite ('wide'/'narrow') stands against it.
    A phrase that several actions share counts for the asked action, or else for the first that has it.

    Args:
        faults: action -> fault -> the phrases that state it (what is seen).
        threshold: least F1 of a paraphrase.
        rest: the same with what a fault leads to, and with how to correct it; for `follows`.

    Raises:
        InputError: a phrase without a word, or one phrase for two faults of one action.
    """

    def __init__(self, faults: Phrases, threshold: float = 0.75, rest: Sequence[Phrases] = ()):
        self.threshold = threshold
        self._rest = [
            {
                f"{action}/{fault}": [spaced_words(one) for one in some]
                for action, own in part.items()
                for fault, some in own.items()
            }
            for part in rest
        ]
        owners: dict[str, dict[str, str]] = {}
        known = [(action, fault, one) for action, own in faults.items() for fault, some in own.items() for one in some]
        for action, fault, phrase in known:
            text = " ".join(_words(phrase))
            if not text:
                raise InputError("this phrase for a fault holds no word", row=f"{action}/{fault}")
            other = owners.setdefault(text, {}).setdefault(action, fault)
            if other != fault:
                message = f"the phrase {phrase!r} also states the fault {other!r}"
                raise InputError(message, row=f"{action}/{fault}", hint="word one of them differently")
        self._phrases = [_Phrase.parse(text, of_text) for text, of_text in owners.items()]
        self._known = lru_cache(2**16)(self._named)  # models write few different sentences
        self._by_text = {one.text: one for one in self._phrases}
        self._lengths = sorted({one.text.count(" ") + 1 for one in self._phrases})
        self._with_stem: dict[str, list[int]] = defaultdict(list)  # stem -> numbers of phrases
        for number, one in enumerate(self._phrases):
            for stem in one.stems:
                self._with_stem[stem].append(number)

    def faults(self, text: str, action: str) -> set[str]:
        """Ids 'action/fault' of the faults that the text names; `action`, the clip's, counts for a shared phrase."""
        return {fault for sentence in sentences(text) for fault in self._known(sentence, action)}

    def _named(self, sentence: str, action: str) -> set[str]:
        tokens = _WORD_OR_BREAK.findall(_STEP.sub(" ", _join_negations(sentence)))  # 'in step 3' is no fault
        words = [token for token in tokens if token[0].isalnum()]
        starts = _clause_starts(tokens)
        phrases = self._exact(words, starts)
        if phrases is None:  # no phrase stands there, not even a negated one
            best = self._closest(words, sorted(set(starts)), action)
            phrases = [best] if best else []
        return {phrase.fault_id(action) for phrase in phrases}

    def follows(self, text: str, fault: str) -> bool:
        """Whether the text states word for word what 'action/fault' leads to and how to correct it."""
        line = spaced_words(text)
        return bool(self._rest) and all(any(one in line for one in part.get(fault, ())) for part in self._rest)

    def _exact(self, words: list[str], starts: list[int]) -> list[_Phrase] | None:
        """Phrases stated word for word, without those inside a longer one; None where no phrase stands there at all."""
        spans = []
        for first in range(len(words)):
            for end in (first + length for length in self._lengths if first + length <= len(words)):
                if phrase := self._by_text.get(" ".join(words[first:end])):
                    spans.append((first, end, phrase))
        if not spans:
            return None
        return [
            phrase for first, end, phrase in spans
            if not any(a <= first and end <= b and b - a > end - first for a, b, _ in spans)
            and (_NEGATORS | _ADVICE).isdisjoint(words[starts[first] : first])
        ]  # fmt: skip

    def _closest(self, words: list[str], starts: list[int], action: str) -> _Phrase | None:
        """The phrase nearest to a paraphrase in one to three consecutive clauses, own action first among equals."""
        best, best_key = None, (0.0, False)
        for i, start in enumerate(starts):
            for end in [*starts, len(words)][i + 1 : i + 4]:
                part = words[start:end]
                if not _ADVICE.isdisjoint(part):
                    continue
                stems, negative = _content_stems(part), _is_negative(part)
                hits = Counter(number for stem in stems for number in self._with_stem.get(stem, ()))
                for number, shared in sorted(hits.items()):
                    phrase = self._phrases[number]
                    f1 = 2 * shared / (len(phrase.stems) + len(stems))
                    if f1 < self.threshold or (shared < 3 and f1 < 1.0):
                        continue
                    key = (f1, action in phrase.owners)
                    if negative == phrase.negative and not phrase.opposites & stems and key > best_key:
                        best, best_key = phrase, key
        return best


def step_in_text(text: str) -> int | None:
    """The step (1-5) that the text blames, as in 'step 3', 'step number three', 'the third step', else None.

    That is the first one named in a sentence that speaks of something wrong, or the first of all where none does.
    """
    lines = (" ".join(_words(sentence)) for sentence in sentences(text))
    named = [(found, line) for line in lines if (found := _STEP.search(line))]
    if not named:
        return None
    found = next((found for found, line in named if _BLAME.search(line)), named[0][0])
    return _STEP_NUMBERS[found[1] or found[2]]


def names_action(text: str, action: str) -> bool:
    """Whether the text names the action, word for word."""
    return spaced_words(action) in spaced_words(text)


def is_broken(text: str) -> bool:
    """Whether a text ends without a full stop or repeats itself: two words or more twice in a row, four words three
    times in a sentence, or a sentence twice."""
    lines = [" ".join(_words(sentence)) for sentence in sentences(text)]
    if len(set(lines)) < len(lines) or not text.rstrip(" \"')").endswith((".", "!", "?")):
        return True
    for line in lines:
        words = line.split()
        if _TWICE.search(line) or max(Counter(zip(*(words[i:] for i in range(4)))).values(), default=0) > 2:  # noqa: B905
            return True
    return False


def one_line(text: str) -> str:
    """The text with every run of white space (\\r, tab, U+2028, ...) as one blank, cut to what is scored."""
    return " ".join(text.split()[:MAX_WORDS])[:MAX_CHARS].rstrip()


def normalise(text: str) -> str:
    """`one_line` in lower case and compatibility form (NFKC), contracted negations spelled out. Punctuation stays."""
    text = unicodedata.normalize("NFKC", one_line(text)).casefold().replace("\u2019", "'")
    text = re.sub(r"\bcannot\b", "can not", " ".join(text.split()))
    # also as a BERT tokenizer joins them: "isn ' t", "non - standard"
    text = re.sub(r"(?<=[a-z])n ?' ?t\b", " not", text)
    return re.sub(r"\b(non|sub) ?[-\u2010\u2013] ?(?=standard)", r"\1", text)


def sentences(text: str) -> list[str]:
    """Normalised sentences. 'bad.The player' is two of them, '0.5' and 'e.g.this' end none."""
    return [part for part in _SENTENCE.split(normalise(text)) if part.strip()]


def _clause_starts(tokens: list[str]) -> list[int]:
    """For each word (not break) of the tokens, the index of the word that opens its clause."""
    starts: list[int] = []
    opens = 0
    for token in tokens:
        is_word = token[0].isalnum()
        if not is_word or token in _OPENERS:
            opens = len(starts)
        if is_word:
            starts.append(opens)
    return starts


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", _join_negations(normalise(text)))


def spaced_words(text: str) -> str:
    """' its words in lower case ', in which a name can be looked for."""
    return f" {' '.join(_words(text))} "


def _join_negations(sentence: str) -> str:
    return re.sub(r"\b(?:instead of|rather than)\b", "without", sentence)


def _content_stems(words: Sequence[str]) -> frozenset[str]:
    return frozenset(_stem(word) for word in words if word not in _NO_CONTENT)


def _is_negative(words: Sequence[str]) -> bool:
    return sum(word in _NEGATORS for word in words) % 2 == 1


@lru_cache(2**14)
def _stem(word: str) -> str:
    """A rough stem: 'collapse', 'collapses', 'collapsing' and 'collapsed' agree, and so do 'drop' and 'dropping'."""
    for suffix in ("ing", "ed", "es", "s"):
        if word.endswith(suffix) and len(word) - len(suffix) >= 3:
            word = word[: -len(suffix)]
            break
    if len(word) > 3 and word[-1] == word[-2]:
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
