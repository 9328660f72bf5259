"""The audit as data: each difference between the paper, its released code and this book, with where to look.

`findings.yaml` holds them, `book/audit.md` says the same in prose, and a test keeps the two in step. What the release
does was read in its code (GitHub MICLAB-BUPT/EFA, commit 69acb6a); 'run' means that it was run with random weights,
since no checkpoint is released. What is measured here is measured on our code and on `efa_book.audit.release`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml


@dataclass(frozen=True)
class Finding:
    """One difference.

    Attributes:
        number, title: as on the page.
        where: the paper's equation, table or part.
        paper, release, ours: what each does, in a sentence or two.
        code: 'file#object', ours first.
        settings: keys of `efa.config` that switch it, 'key' or 'key=value'.
        unswitched: why there is no setting; '' where there is one.
    """

    number: int
    title: str
    where: str
    paper: str
    release: str
    ours: str
    code: tuple[str, ...]
    settings: tuple[str, ...] = ()
    unswitched: str = ""


def _load(file: Path) -> tuple[Finding, ...]:
    entries: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))
    values: list[dict[str, Any]] = [
        {key: tuple(v) if isinstance(v, list) else v for key, v in entry.items()} for entry in entries
    ]
    return tuple(Finding(number, **value) for number, value in enumerate(values, 1))


FINDINGS = _load(Path(__file__).with_suffix(".yaml"))
