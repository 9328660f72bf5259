"""What Sections IV and V-A of the paper say, sentence by sentence, each with its settings and its line of code.

`sentences.yaml` holds the sentences in our words. Values of settings and numbers of lines are not in it: they are read
from the presets and from the code each time.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from efa.config import build

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Sentence:
    """One sentence of the paper.

    Attributes:
        says: the sentence, in our words.
        where: its place or places.
        code: 'file@marker' or 'file#object' that does it.
        settings: keys of `efa.config` that change it; none where it is fixed.
        here: where this book differs, or why there is no setting.
    """

    says: str
    where: str
    code: str
    settings: tuple[str, ...] = ()
    here: str = ""

    def values(self, preset: str) -> str:
        """The values of its settings in a preset, as the command line writes them; AttributeError if one is unknown."""
        config = build(preset)
        return ", ".join(_written(attrgetter(setting)(config)) for setting in self.settings) or "–"

    def place(self) -> tuple[str, int]:
        """File and line of its code; LookupError if the marker or the object is not there."""
        file, sign, name = re.split("([#@])", self.code, maxsplit=1)
        text = (ROOT / file).read_text(encoding="utf-8")
        found = _marked(text, name) if sign == "@" else _defined(text, name)
        if not found:
            raise LookupError(self.code)
        return file, found


@cache
def load() -> tuple[Sentence, ...]:
    """All sentences, in the paper's order."""
    entries: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
    return tuple(Sentence(**entry | {"settings": tuple(entry.get("settings", ()))}) for entry in entries)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(_written, value))})"
    return str(value).lower() if isinstance(value, bool) else "''" if value == "" else str(value)


def _marked(text: str, label: str) -> int:
    """The line of code that a comment '# (label)' marks: its own, or the next after comments alone; 0 without one."""
    own_line = marked = False
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type == tokenize.COMMENT and re.match(rf"# \((?:[\w-]+, )*{label}[,)]", token.string):
            marked, own_line = True, token.line.lstrip().startswith("#")
        if marked and not (own_line and token.type in (tokenize.COMMENT, tokenize.NL)):
            return token.start[0]
    return 0


def _defined(text: str, name: str) -> int:
    """The line where a class, function or constant is defined, such as 'Branch.forward'; 0 if it is not."""
    scope: ast.AST | None = ast.parse(text)
    for part in name.split("."):
        inside = ast.iter_child_nodes(scope) if scope else ()
        scope = next((node for node in inside if part in _names(node)), None)
    return getattr(scope, "lineno", 0)


def _names(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.ClassDef | ast.FunctionDef):
        yield node.name
    targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
    yield from (target.id for target in targets if isinstance(target, ast.Name))
