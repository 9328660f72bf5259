"""`python -m efa_book.real_people FOLDER`: every condition on every set, predictions and scores to results/real-people."""

import dataclasses
import shlex
import time
from pathlib import Path
from typing import Annotated

import pandas as pd
import typer

from efa.cli.console import bar, err, out
from efa.runs import commit, device, versions
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.files import csv_text, read_json, write_json, write_parquet, write_text
from efa_book.real_people import references
from efa_book.real_people.evaluate import COLUMNS, GROUPED, RANDOM, predict, summarize
from efa_datasets.real_people import Record, read_real_people, read_ui_prmd

SETS = ("front_squat", "push_up", "push_up_kaggle", "deadlift", "plank")
HINT = "run 'python -m efa_book.real_people FOLDER --again'"


def read_set(folder: Path, name: str) -> list[Record]:
    """The clips of a set; 'push_up_kaggle' are the hundred push-ups that others report, apart."""
    if name == "push_up_kaggle":
        kept = [record for record in read_real_people(folder, ["push_up"]) if record.extra["kaggle"]]
        return [dataclasses.replace(record, set=name) for record in kept]
    return read_ui_prmd(folder) if name == "ui_prmd" else read_real_people(folder, [name])


def command(
    folder: Annotated[Path, typer.Argument(help="holds push_up.npz, push_up.csv and the other sets")],
    ui_prmd: Annotated[Path | None, typer.Option(help="UI-PRMD's folder, judged, too")] = None,
    only: Annotated[list[str] | None, typer.Option(help="a set, by name; several times for several")] = None,
    again: Annotated[bool, typer.Option("--again", help="conditions that are there, too")] = False,
    to: Annotated[Path | None, typer.Option(help="folder; default: results/real-people")] = None,
) -> None:
    """Judge real people's form by every condition.   Example: python -m efa_book.real_people real-people

    What is finished stays; rerun the same command to resume.
    """
    to = to or paths.results() / "real-people"
    to.mkdir(parents=True, exist_ok=True)
    kept, provenance = to / "predictions.parquet", to / "provenance.json"
    done = pd.read_parquet(kept) if kept.is_file() else pd.DataFrame(columns=list(COLUMNS))
    facts = read_json(provenance, HINT)
    options = f"{shlex.quote(folder.name)}" + " --ui-prmd UI-PRMD" * (ui_prmd is not None)
    names = [*SETS, *(["ui_prmd"] if ui_prmd else [])]
    if unknown := [name for name in only or [] if name not in names]:
        raise InputError(f"there is no set '{unknown[0]}'", hint=f"one of {', '.join(names)}")
    for name in only or names:
        records = read_set(ui_prmd if name == "ui_prmd" and ui_prmd else folder, name)
        for condition, function in references.conditions(records).items():
            for split in (GROUPED, RANDOM) if condition == references.FOREST else (GROUPED,):
                here = (done["set"] == name) & (done["condition"] == condition) & (done["split"] == split)
                if here.any() and not again:
                    continue
                started = time.time()
                with bar(f"{name}: {condition}, {split}") as update:
                    found = predict(records, function, condition, split, update)
                done = pd.concat([done[~here], found.round({"score": 4})], ignore_index=True)
                done = done.sort_values(["set", "condition", "split", "clip"], kind="stable", ignore_index=True)
                facts[f"{name}: {condition}, {split}"] = {
                    "command": f"python -m efa_book.real_people {options}", "commit": commit() or "no commit",
                    "date": pd.Timestamp.now("UTC").isoformat(timespec="seconds"), "device": device(),
                    "seconds": round(time.time() - started), "versions": versions(),
                }  # fmt: skip
                write_parquet(kept, done.astype({c: str for c in COLUMNS if c not in ("fold", "score")}))
                write_json(provenance, dict(sorted(facts.items())))
    write_text(to / "scores.csv", csv_text(summarize(done), "%.2f"))
    out.print(f"written: {to}")


def main() -> int:
    """Exit status 0, or 2 after one line about what was wrong."""
    try:
        typer.run(command)
    except InputError as error:
        err.print(f"real people: {error}", soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
