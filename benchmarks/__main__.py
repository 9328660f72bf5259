"""`python -m benchmarks`: runs the parts and writes cpu.csv and provenance.json."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.parts import PARTS
from benchmarks.run import QUICK_ROUNDS, ROUNDS, bench
from efa.cli.console import err
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.benchmarks import FACTS, TABLE


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


if __name__ == "__main__":
    sys.exit(main())
