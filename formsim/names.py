"""What people call FormSim's actions."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml


def find_action(name: str, known: Iterable[str]) -> str | None:
    """The action of `known` that is meant by `name`, its own name or one of synonyms.yaml ('push ups'), or None."""
    actions = list(known)
    names = {_fold(synonym): action for synonym, action in _synonyms().items() if action in actions}
    return name if name in actions else (names | {_fold(action): action for action in actions}).get(_fold(name))


@cache
def _synonyms() -> dict[str, str]:
    table = yaml.safe_load(Path(__file__).with_name("synonyms.yaml").read_text(encoding="utf-8"))
    return {synonym: action for action, synonyms in table.items() for synonym in synonyms}


def _fold(name: str) -> str:
    """Without case, spaces, hyphens and a plural s."""
    return re.sub(r"[\W_]+", "", name.casefold()).removesuffix("s")
