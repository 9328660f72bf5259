"""`python -m efa_book.real_people FOLDER`: every condition on every set; predictions and scores to results/."""

import dataclasses
import shlex
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from efa.cli.console import bar, err, out
from efa.runs import commit, device, versions
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.files import csv_text, read_json, read_table, write_json, write_parquet, write_text
from efa_book.real_people import coaches, network, references
from efa_book.real_people.evaluate import COLUMNS, GROUPED, RANDOM, SCORES, predict, summarize
from efa_datasets.real_people import Record, read_real_people, read_ui_prmd

SETS = ("front_squat", "push_up", "push_up_kaggle", "deadlift", "plank", "boxing")
HINT = "run 'python -m efa_book.real_people FOLDER --again'"


def read_set(folder: Path, name: str) -> list[Record]:
    """The clips of a set; 'push_up_kaggle' are the hundred push-ups that others report, apart."""
    if name == "push_up_kaggle":
        kept = [record for record in read_real_people(folder, ["push_up"]) if record.extra["kaggle"]]
        return [dataclasses.replace(record, set=name) for record in kept]
    if name == "boxing":  # without the two standards, which nobody commented
        return [record for record in read_real_people(folder, [name]) if record.group]
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
    scores = read_table(to / "scores.csv", SCORES, HINT)
    facts = read_json(provenance, HINT)
    options = f"{shlex.quote(folder.name)}" + " --ui-prmd UI-PRMD" * (ui_prmd is not None)
    names = [*SETS, *(["ui_prmd"] if ui_prmd else [])]
    if unknown := [name for name in only or [] if name not in names]:
        raise InputError(f"there is no set '{unknown[0]}'", hint=f"one of {', '.join(names)}")
    for name in only or names:
        records = read_set(ui_prmd if name == "ui_prmd" and ui_prmd else folder, name)
        for condition, split, judge in _tasks(name, records):
            if len(_of(done, name, condition, split)) and not again:
                continue
            started, title = time.time(), f"{name}: {condition}, {split}"
            with bar(title) as update:
                found, texts = judge(update)
            told = [{"set": name, "condition": condition, "split": split} | one for one in texts]
            judged = pd.concat([summarize(found), pd.DataFrame(told)], ignore_index=True)
            scores = pd.concat([scores.drop(_of(scores, name, condition, split)), judged], ignore_index=True)
            scores = scores.sort_values(["set", "condition", "split"], kind="stable", ignore_index=True)
            done = pd.concat(
                [done.drop(_of(done, name, condition, split)), found.round({"score": 4})], ignore_index=True
            )
            done = done.astype({"fold": int, "score": float})
            done = done.sort_values(["set", "condition", "split", "clip"], kind="stable", ignore_index=True)
            facts[title] = {
                "command": f"python -m efa_book.real_people {options}", "commit": commit() or "no commit",
                "date": pd.Timestamp.now("UTC").isoformat(timespec="seconds"), "device": device(),
                "seconds": round(time.time() - started), "versions": versions(),
            }  # fmt: skip
            write_text(to / "scores.csv", csv_text(scores.astype({"n": "Int64", "groups": "Int64"}), "%.2f"))
            write_parquet(kept, done)
            write_json(provenance, dict(sorted(facts.items())))
        if name == "boxing":
            write_text(to / "topics.csv", csv_text(coaches.count_topics(records)))
    out.print(f"written: {to}")


def _of(table: pd.DataFrame, name: str, condition: str, split: str) -> pd.Index:
    """The rows of a condition of a set."""
    return table.index[(table["set"] == name) & (table["condition"] == condition) & (table["split"] == split)]


def _tasks(name: str, records: list[Record]) -> Iterator[tuple[str, str, Callable[..., Any]]]:
    """Condition, split, and the function that judges a set's clips by them."""
    if name == "boxing":
        for condition, coach in coaches.COACHES.items():
            yield condition, GROUPED, lambda update, c=condition, f=coach: coaches.judge(records, f, c)
        return
    for condition, candidates in (references.conditions(records) | network.conditions(records)).items():
        fixed = 0.5 if condition == network.ZERO_SHOT else None
        for split in (GROUPED, RANDOM) if condition == references.FOREST else (GROUPED,):
            judge = partial(predict, records, candidates, condition, split, fixed=fixed)
            yield condition, split, lambda update, judge=judge: (judge(progress=update), [])


def main() -> int:
    """Exit status 0, or 2 after one line about what was wrong."""
    try:
        app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        app.command()(command)
        app()
    except InputError as error:
        err.print(f"real people: {error}", soft_wrap=True)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
