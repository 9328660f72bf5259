"""The file that `efa assess --steps` takes: how to do an action that the model has never seen."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from efa.data.checks import Log, StepText, check_step_text
from efa.utils.errors import InputError

SHAPE = 'it must hold {"steps": [five texts], "instruction": text}'


def read_steps_file(path: Path) -> tuple[StepText, list[str]]:
    """Five steps and an instruction, by the rules of a data set's steps.json; and a line for everything odd in them.

    Raises:
        InputError: not such a file, a text that is missing or empty, a key that is there twice.
    """

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise InputError("a key is there twice", file=path, hint="keep one")
        return found

    try:
        document = json.loads(path.read_text(encoding="utf-8-sig"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"this is no steps file: not JSON: {error}", file=path, hint=SHAPE) from None
    log = Log(path)
    text = check_step_text("", document, SHAPE, log)
    problems = [dataclasses.replace(problem, row=None).error() for problem in log.problems]  # the file has no rows
    if text is None:
        raise InputError(f"this is no steps file: {problems[-1].message}", file=path, hint=problems[-1].hint)
    return text, [str(problem) for problem in problems]
