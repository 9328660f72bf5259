"""The fault parser with a memory: models write few different sentences, and reading one costs half a millisecond."""

from __future__ import annotations

import contextlib
import hashlib
import json

import formsim
from efa.metrics import SCORES_VERSION, FaultParser
from efa.metrics.forms import sentences
from efa.utils import paths
from efa.utils.files import write_safely


class SentenceMemory(FaultParser):
    """Says of every text what `parser` says, and reads a sentence once, in this process and, after `keep`, in others.

    Args:
        parser: of FormSim's faults.
    """

    def __init__(self, parser: FaultParser):
        self.__dict__.update(parser.__dict__)
        phrases = json.dumps(formsim.fault_phrases(), sort_keys=True)
        name = hashlib.sha256(f"{SCORES_VERSION} {phrases}".encode()).hexdigest()[:16]
        self._path = paths.cache() / "faults" / f"{name}.json"
        self._read: dict[str, list[str]] = {}
        with contextlib.suppress(OSError, ValueError):
            self._read = json.loads(self._path.read_text(encoding="utf-8"))
        self._kept = len(self._read)

    def faults(self, text: str, action: str) -> set[str]:
        named: set[str] = set()
        for sentence in sentences(text):
            key = f"{action}\t{sentence}"
            if key not in self._read:
                self._read[key] = sorted(super().faults(sentence, action))
            named.update(self._read[key])
        return named

    def keep(self) -> None:
        """Writes down what was read since, where the cache can be written."""
        if len(self._read) > self._kept:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                write_safely(self._path, lambda partly: partly.write_text(json.dumps(self._read), encoding="utf-8"))
            self._kept = len(self._read)
