"""The command: runs the parts, each in a process of its own, and keeps their rows and how they were made."""

import argparse
import dataclasses
import datetime
import logging
import os
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from benchmarks.models import PAPER, TINY
from benchmarks.parts import PARTS
from benchmarks.timing import Row, in_process
from efa.cli.console import err
from efa.runs import commit, device, versions
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.benchmarks import COLUMNS, FACTS, TABLE, read_benchmarks
from efa_book.files import csv_text, write_json, write_text

ROUNDS, QUICK_ROUNDS = 5, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser("python -m benchmarks", description="Wall clock and memory on this machine.")
    parser.add_argument("--only", default=",".join(PARTS), help=f"parts, comma-separated: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="a tiny model, to see that everything runs")
    parser.add_argument("--to", type=Path, help="folder; default: results/benchmarks, or .cache/benchmarks if quick")
    parser.add_argument("--threads", type=int, default=1, help="of PyTorch (1)")
    parser.add_argument("--rounds", type=int, default=0, help=f"0: {ROUNDS}, or {QUICK_ROUNDS} if quick")
    given = parser.parse_args(arguments)
    to = given.to or (paths.cache() if given.quick else paths.results()) / "benchmarks"
    # before numpy's and PyTorch's libraries start in the parts' processes
    os.environ |= {"OMP_NUM_THREADS": str(given.threads), "OPENBLAS_NUM_THREADS": "1"}
    try:
        only = [name.strip() for name in given.only.split(",") if name.strip()]
        bench(only, to, given.quick, given.threads, given.rounds)
    except InputError as error:
        err.print(f"benchmarks: {error}", markup=False, highlight=False, soft_wrap=True)
        return 2
    print(f"written: {to / TABLE}, {FACTS}")
    return 0


def bench(only: Sequence[str], to: Path, quick: bool = False, threads: int = 1, rounds: int = 0) -> pd.DataFrame:
    """Runs the parts one after another, each in a process of its own, and writes after each.

    Args:
        only: parts, keys of `PARTS`; rows of the others stay as they are in `to`.
        to: folder for cpu.csv and provenance.json.
        quick: a tiny model, to see that everything runs. Its times say nothing.
        threads: of PyTorch.
        rounds: 0: five, or two if quick.

    Returns the table as written. InputError: no such part, or the files in `to` are of the other kind (quick or not) or
    cannot be read.
    """
    unknown = [name for name in only if name not in PARTS]
    if unknown:
        raise InputError(f"no part '{unknown[0]}'", hint=f"--only takes any of {','.join(PARTS)}")
    if threads < 1 or rounds < 0:
        raise InputError("threads must be at least 1 and rounds at least 0")
    rounds = rounds or (QUICK_ROUNDS if quick else ROUNDS)
    rows, facts = _read_previous(to, quick)
    to.mkdir(parents=True, exist_ok=True)
    for name in [name for name in PARTS if name in only]:
        err.print(f"{name} ...", highlight=False)
        measured, facts[name] = run_part(name, quick, threads, rounds)
        rows = [row for row in rows if row.part != name] + measured
        rows.sort(key=lambda row: list(PARTS).index(row.part))  # stable: rows of a part stay in order
        write_text(to / TABLE, csv_text(table(rows)))
        write_json(to / FACTS, {name: facts[name] for name in PARTS if name in facts})
    return table(rows)


def table(rows: Sequence[Row]) -> pd.DataFrame:
    """Rows as cpu.csv holds them."""
    return pd.DataFrame([dataclasses.asdict(row) for row in rows], columns=list(COLUMNS))


def _read_previous(to: Path, quick: bool) -> tuple[list[Row], dict[str, Any]]:
    """Rows and provenance that are there already."""
    if not (to / TABLE).is_file():
        return [], {}
    found = read_benchmarks(to)
    if any(bool(one["quick"]) != quick for one in found.facts.values()):
        raise InputError("quick and full rows do not mix", file=to, hint="choose another folder with --to")
    known = found.table.astype(object).where(found.table.notna(), None)
    return [Row(**{str(k): v for k, v in one.items()}) for one in known.to_dict("records")], dict(found.facts)


def run_part(name: str, quick: bool, threads: int, rounds: int) -> tuple[list[Row], dict[str, Any]]:
    """Rows of a part and their provenance."""
    started, load = time.time(), os.getloadavg()[0]
    rows, share = in_process(_run, name, quick, rounds, threads=threads)
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
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.getLogger("transformers").setLevel(logging.ERROR)
    wall, spent = time.perf_counter(), time.process_time()
    rows = PARTS[name](TINY if quick else PAPER, rounds)
    share = (time.process_time() - spent) / (time.perf_counter() - wall) / torch.get_num_threads()
    return rows, None if name == "memory" else share
