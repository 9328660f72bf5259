"""Which words of an explanation name a fault, and whether it is the true one: what the explorer marks."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from efa.metrics import FaultParser, step_in_text
from efa.metrics.forms import one_line

RIGHT, PLAIN, WRONG = 1, 0, -1
_SENTENCE = re.compile(r"\S.*?(?:[.!?]+(?=\s|$)|$)")


class FaultMarker:
    """Cuts a text into plain parts and parts that name a fault, with the parser that fault F1 uses.

    Args:
        phrases: action -> fault -> the clauses that state it; empty if the truth is not known.
    """

    def __init__(self, phrases: Mapping[str, Mapping[str, Sequence[str]]]):
        self.phrases = {f"{action}/{name}": p for action, faults in phrases.items() for name, p in faults.items()}
        self.parser = FaultParser(phrases) if phrases else None

    def describe(self, fault: object, step: object) -> dict[str, Any] | None:
        """name, clause and step (1 to 5, or None) of a true fault 'action/fault'; None if there is none."""
        if not isinstance(fault, str) or not fault:
            return None
        number = int(step) if isinstance(step, int | float) and not math.isnan(step) else None
        return {"name": _name(fault), "clause": next(iter(self.phrases.get(fault, ())), ""), "step": number}

    def mark(self, text: str, action: str, fault: object) -> dict[str, Any]:
        """text as [[part, mark]], mark 1 for the true fault, -1 for another, 0 for the rest; names; the step blamed.

        Args:
            action, fault: the clip's true ones; fault 'action/fault' or ''.
        """
        line = one_line(text)
        spans, names = [], []
        if self.parser is not None:
            # Names come from the whole text, as for fault F1; each sentence by itself says where.
            names = [{"name": _name(one), "right": one == fault} for one in sorted(self.parser.faults(line, action))]
            for sentence in _SENTENCE.finditer(line) if names else ():
                for named in sorted(self.parser.faults(sentence[0], action)):
                    start, end = self._find_span(named, sentence[0])
                    spans.append((sentence.start() + start, sentence.start() + end, named == fault))
        return {"text": _cut(line, spans), "names": names, "step": step_in_text(line)}

    def _find_span(self, fault: str, sentence: str) -> tuple[int, int]:
        """Where in a sentence a fault is stated: the longest of its phrases that occurs there, else all of it."""
        found = []
        for phrase in self.phrases.get(fault, ()):
            pattern = r"\W+".join(map(re.escape, re.findall(r"\w+", phrase)))
            if hit := re.search(rf"\b{pattern}\b", sentence, re.IGNORECASE):
                found.append(hit.span())
        return max(found, key=lambda span: span[1] - span[0], default=(0, len(sentence)))


def _name(fault: str) -> str:
    return fault.split("/")[-1].replace("_", " ")


def _cut(line: str, spans: list[tuple[int, int, bool]]) -> list[list[Any]]:
    """[[part, mark]] in order; where spans overlap, the right one counts, then the first."""
    taken: list[tuple[int, int, bool]] = []
    for start, end, right in sorted(spans, key=lambda span: (not span[2], span[0])):
        if all(end <= a or start >= b for a, b, _ in taken):
            taken.append((start, end, right))
    parts, at = [], 0
    for start, end, right in sorted(taken):
        parts += [[line[at:start], PLAIN], [line[start:end], RIGHT if right else WRONG]]
        at = end
    return [part for part in [*parts, [line[at:], PLAIN]] if part[0]]
