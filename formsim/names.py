"""What people call FormSim's actions."""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import yaml

from formsim.errors import InputError, did_you_mean


def find_action(name: str, known: Iterable[str], otherwise: str = "") -> str:
    """The action of `known` that `name` means: by its own name, by synonyms.yaml, or as the only one whose name has it.

    InputError with the nearest name, or the names of several; `otherwise` ends its hint.
    """
    actions, wanted = {_fold(action): action for action in known}, _fold(name)
    meant = {_fold(synonym): action for synonym, action in _synonyms().items() if action in actions.values()} | actions
    if found := meant.get(wanted):
        return found
    inside = [action for folded, action in actions.items() if wanted and wanted in folded]
    if len(inside) > 1:
        raise InputError(f"several actions contain '{name}'", hint=f"one of: {', '.join(inside)}")
    if not inside:
        raise InputError(f"unknown action '{name}'", hint=did_you_mean(name, actions.values()) + otherwise)
    return inside[0]


@cache
def _synonyms() -> dict[str, str]:
    table = yaml.safe_load(Path(__file__).with_name("synonyms.yaml").read_text(encoding="utf-8"))
    return {synonym: action for action, synonyms in table.items() for synonym in synonyms}


def _fold(name: str) -> str:
    """Without case, spaces, hyphens and a plural s."""
    return re.sub(r"[\W_]+", "", name.casefold()).removesuffix("s")
