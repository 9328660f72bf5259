"""What Sections IV and V-A of the paper say, sentence by sentence, each with its settings and its line of code.

`sentences.yaml` holds the sentences in our words. Values of settings and numbers of lines are not in it: they are read
from the settings that EFA is trained with and from the code each time.
"""

import ast
import re
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from efa.experiments import select
from efa_book import html

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sentence:
    """One sentence of the paper: in our words, its places, and 'file@marker' or 'file#object' of the code that does it.

    Attributes:
        settings: keys of `efa.config` that change it; none where it is fixed.
        here: where this book differs, or why there is no setting.
    """

    says: str
    where: str
    code: str
    settings: tuple[str, ...] = ()
    here: str = ""

    def values(self, preset: str) -> str:
        """Its settings' values in EFA's run of a preset; AttributeError for an unknown setting."""
        config = select("6/EFA", preset, (0,))[0].config
        return ", ".join(html.setting(attrgetter(name)(config)) for name in self.settings) or "–"

    def place(self) -> tuple[str, int]:
        """File and line of its code; LookupError if the marker or the object is not there."""
        file, sign, name = re.split("([#@])", self.code, maxsplit=1)
        text = (ROOT / file).read_text(encoding="utf-8")
        if line := _marked(text, name) if sign == "@" else _defined(text, name):
            return file, line
        raise LookupError(self.code)


def _marked(text: str, label: str) -> int:
    """The line of code that a comment '# (label)' marks: its own, or the next after comments alone; 0 without one."""
    comment, lines = re.compile(rf"(^ *|  )# \((?:[\w-]+, )*{label}[,)]"), text.splitlines()
    at = next((i for i, line in enumerate(lines) if comment.search(line)), -1)
    while at >= 0 and lines[at].lstrip().startswith("#"):
        at += 1
    return at + 1


def _defined(text: str, name: str) -> int:
    """The line where a class, function or constant is defined, such as 'Branch.forward'; 0 if it is not."""
    scope: ast.AST = ast.parse(text)
    for part in name.split("."):
        scope = next((node for node in ast.iter_child_nodes(scope) if part in _names(node)), ast.Pass())
    return getattr(scope, "lineno", 0)


def _names(node: ast.AST) -> list[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", node)]
    return [str(getattr(target, "id", getattr(target, "name", ""))) for target in targets]


def _load(file: Path) -> tuple[Sentence, ...]:
    entries: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    return tuple(Sentence(**entry | {"settings": tuple(entry.get("settings", ()))}) for entry in entries)


SENTENCES = _load(Path(__file__).with_suffix(".yaml"))
