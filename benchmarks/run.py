"""Runs the parts, each in a process of its own, and keeps their rows and how they were made."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.apart import apart
from benchmarks.models import PAPER, TINY
from benchmarks.parts import PARTS
from benchmarks.timing import Row
from efa.cli.console import err
from efa.runs import commit, device, versions
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book import benchmarks as shown

ROUNDS, QUICK_ROUNDS = 5, 2


def bench(only: Sequence[str], to: Path, quick: bool = False, threads: int = 1, rounds: int = 0) -> pd.DataFrame:
    """Runs the parts one after another, each in a process of its own, and writes after each.

    Args:
        only: parts, keys of `PARTS`; rows of the others stay as they are in `to`.
        to: folder for cpu.csv and provenance.json.
        quick: a tiny model, to see that everything runs. Its times say nothing.
        threads: of PyTorch.
        rounds: 0: five, or two if quick.

    Returns:
        The table as written.

    Raises:
        InputError: no such part, or what stands in `to` is of the other kind (quick or not) or cannot be read.
    """
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise InputError(f"no part '{unknown[0]}'", hint=f"--only takes any of {','.join(PARTS)}")
    if threads < 1 or rounds < 0:
        raise InputError("threads must be at least 1 and rounds at least 0")
    rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    rows, facts = _before(to, quick)
    to.mkdir(parents=True, exist_ok=True)
    for name in PARTS:
        if name not in only:
            continue
        err.print(f"{name} ...", highlight=False)
        measured, about = _apart(name, quick, threads, rounds)
        facts[name] = about
        rows = [row for row in rows if row.part != name] + measured
        rows.sort(key=lambda row: list(PARTS).index(row.part))  # stable: rows of a part stay in order
        _write(to, rows, facts)
    return table(rows)


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as cpu.csv holds them."""
    return pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=list(shown.COLUMNS))


def _before(to: Path, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Rows and provenance that are there already."""
    if not (to / shown.TABLE).is_file():
        return [], {}
    found = shown.read(to)
    if any(bool(one["quick"]) != quick for one in found.facts.values()):
        raise InputError("quick and full rows do not mix", file=to, hint="choose another folder with --to")
    known = found.table.astype(object).where(found.table.notna(), None)
    return [Row(**{str(k): v for k, v in one.items()}) for one in known.to_dict("records")], dict(found.facts)


def _apart(name: str, quick: bool, threads: int, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    started, load = time.time(), os.getloadavg()[0]
    rows, share = apart(_run, name, quick, rounds, threads=threads)
    only = f"--only {name}{' --quick' if quick else ''}"
    return rows, {
        "device": device(),
        "threads": threads,
        "rounds": rounds,
        "quick": quick,
        "load_before": round(load, 2),
        "share_of_a_core": None if share is None else round(share, 2),
        "seconds": round(time.time() - started, 1),
        "versions": versions(),
        "commit": commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": f"python -m benchmarks {only} --threads {threads} --rounds {rounds}",
    }


def _run(name: str, quick: bool, rounds: int) -> tuple[list[Row], float | None]:
    """In the part's own process: its rows, and the processor time it got for each second of each thread. A machine
    that does something else as well gives less than 1. None for `memory`, whose work other processes do."""
    _quiet()
    wall, spent = time.perf_counter(), time.process_time()
    rows = PARTS[name](TINY if quick else PAPER, rounds)
    share = (time.process_time() - spent) / (time.perf_counter() - wall) / torch.get_num_threads()
    return rows, None if name == "memory" else share


def _write(to: Path, rows: Sequence[Row], facts: dict[str, Any]) -> None:
    found, order = table(rows), [name for name in PARTS if name in facts]
    text = json.dumps({name: facts[name] for name in order}, indent=1, allow_nan=False) + "\n"
    write_safely(to / shown.TABLE, lambda partly: found.to_csv(partly, index=False, float_format="%.6g"))
    write_safely(to / shown.FACTS, lambda partly: partly.write_text(text, encoding="utf-8"))


def _quiet() -> None:
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
