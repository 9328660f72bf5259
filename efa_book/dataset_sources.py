"""The data sets of the chapter: their numbers, counted now or read from results/<data set>/*.csv, and the paper's."""

from __future__ import annotations

import datetime
import hashlib
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from efa.baselines.inputs import word_pieces
from efa.config import FormSimData, TextConfig, build
from efa.data.loader import open_dataset
from efa.data.manifest import DataSet, load_dataset
from efa.runs import commit, versions
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import html
from efa_book.files import csv_text, read_json, read_table, write_json, write_text
from efa_book.html import Html
from efa_datasets.statistics import TABLES, Pieces, measure, read_extras, value

PUBLISHED = {"CoT-AFA": "cot-afa", "UI-PRMD": "ui-prmd"}  # name -> folder below results/
TEXT_COLUMNS = {"about", "quantity", "definition", "mode", "type", "split"}
TEXT_COLUMNS |= {"what", "done", "list", "cue", "parent", "word"}
ENTRY = "statistics"  # in provenance.json, where other numbers of the data set may have entries of their own
ANNOTATIONS = (".csv", ".gz", ".json", ".parquet", ".txt", ".xlsx")  # what is hashed; videos and notes are not
DEFINITIONS = {"texts": "explanation not blank", "people": "named in the manifest"}  # of counts
PAPER_COLUMNS = ("table", "number", "value", "source")
HINT = "efa data statistics writes it again"


@dataclass(frozen=True)
class Source:
    """One data set's numbers."""

    name: str
    tables: dict[str, pd.DataFrame]  # as `efa_datasets.statistics.measure` returns them
    facts: str  # where they come from, for the stamp
    command: str  # makes them again
    dataset: DataSet | None = None  # with names of actions and, perhaps, videos; None if only numbers are published
    config: FormSimData | None = None  # draws FormSim's clips; None elsewhere

    @property
    def texts(self) -> float | None:
        """How many clips have an explanation."""
        return self.number("counts", "texts", DEFINITIONS["texts"])

    def number(self, about: str, quantity: str, definition: str = "") -> float | None:
        return value(self.tables, about, quantity, definition)

    def table(self, name: str) -> pd.DataFrame:
        """Without rows where the data set does not fill it."""
        return self.tables.get(name, pd.DataFrame(columns=list(TABLES[name])))


@dataclass(frozen=True)
class Sources:
    """What the chapter shows: the data set it is about, the others beside it, and the paper's numbers."""

    about: Source
    others: tuple[Source, ...]
    paper: pd.DataFrame

    @property
    def all(self) -> tuple[Source, ...]:
        return (self.about, *self.others)

    def find(self, name: str) -> Source | None:
        return next((source for source in self.all if source.name == name), None)

    def paper_number(self, table: str, number: str) -> float | None:
        found = self.paper[(self.paper["table"] == table) & (self.paper["number"] == number)]["value"]
        return float(found.iloc[0]) if len(found) else None


def load_sources(dataset: str = "", preset: str = "laptop") -> Sources:
    """Everything that the chapter shows. InputError where the folder or a published file cannot be used.

    Args:
        dataset: a folder with a manifest, which the chapter is then about; '': the published numbers of CoT-AFA.
        preset: whose FormSim clips stand beside it.
    """
    data = build(preset).data
    assert isinstance(data, FormSimData)
    clips = open_dataset(data)
    facts = f"FormSim: {data.clips:,} clips of preset {preset}, counted now"
    formsim = Source("FormSim", measure(clips), facts, f"EFA_PRESET={preset} make book", clips, data)
    sources = [*(found for name in PUBLISHED if (found := _published_source(name))), formsim]
    if dataset:
        folder = Path(dataset)
        own = load_dataset(folder, videos=False)
        name = folder.absolute().name
        if name in {source.name for source in sources}:
            name += " (yours)"
        facts = f"{name}: {len(own.table):,} clips, counted now"
        tables = measure(own, read_extras(folder), word_piece_counter())
        sources.insert(0, Source(name, tables, facts, f"efa data statistics {folder.name}", own))
    return Sources(sources[0], tuple(sources[1:]), read_paper_numbers())


def _published_source(name: str) -> Source | None:
    place = f"results/{PUBLISHED[name]}"
    folder = paths.results() / PUBLISHED[name]
    tables, entry = read_tables(folder), read_provenance(folder)
    if "statistics" not in tables:
        return None
    day = f" on {entry['finished'][:10]}" if entry.get("finished") else ""
    facts = f"{name}: counted from its annotations{day}, {place}/"
    return Source(name, tables, facts, entry.get("command", f"efa data statistics DATA --to {place}"))


def word_piece_counter() -> Pieces | None:
    """Cuts a text into the word pieces of the text encoder 'minilm'; None where its package is not installed."""
    try:
        tokenizer = word_pieces(TextConfig(model="minilm"))
    except InputError:
        return None
    return lambda text: tokenizer.encode(text, len(text) + 2)[1:-1]  # without [CLS] and [SEP]; a piece has a character


def stamp(*sources: Source) -> Html:
    """Where the numbers of one or more data sets come from."""
    own = {source.name for source in sources} - {"FormSim", *PUBLISHED}
    badge = "own data" if own else "Annotations counted, nothing trained"
    return html.stamp(badge, [source.facts for source in sources], "; ".join(s.command for s in sources))


def write_tables(tables: Mapping[str, pd.DataFrame], dataset: DataSet, to: Path, source: Path | None = None) -> None:
    """Write each table as a .csv, and what they were counted from to provenance.json: with the hashes of the
    annotations in `source`, where the data set was made from others' files.

    InputError: `to` holds a data set, is no folder or cannot be written; `source` holds no annotations.
    """
    if any((to / name).exists() for name in ("manifest.parquet", "manifest.csv")):
        raise InputError("holds a data set", file=to, hint="choose another folder with --to")
    entries = _read_entries(to)
    place, home = to.resolve(), paths.home().resolve()  # the command names no folder outside the project
    short = place.relative_to(home).as_posix() if place.is_relative_to(home) else to.name
    name = dataset.folder.name if dataset.folder else "formsim"
    command = ["efa", "data", "statistics", name, "--to", short, *(["--source", source.name] if source else [])]
    files = {f"{table}.csv": csv_text(tables[table]) for table in TABLES if table in tables and len(tables[table])}
    used = versions()
    entry = {
        "command": shlex.join(command),
        "clips": len(dataset.table),
        "manifest and steps": DataSet(None, dataset.table, dataset.steps).fingerprint(),
        "made from": {} if source is None else hash_files(source),
        "files": {name: hashlib.sha256(text.encode()).hexdigest() for name, text in files.items()},
        "commit": commit(),
        "versions": {name: used[name] for name in used if name in ("efa", "numpy", "pandas", "python")},
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    old = [name for name in entries.get(ENTRY, {}).get("files", {}) if name.removesuffix(".csv") in TABLES]
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name in set(old) - set(files):
            (to / name).unlink(missing_ok=True)
        for name, text in files.items():
            write_text(to / name, text)
        write_json(to / "provenance.json", entries | {ENTRY: entry})
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", file=to, hint="check the folder") from error


def hash_files(folder: Path) -> dict[str, str]:
    """sha256 of each file of annotations in a folder, and one for each subfolder of them: names and contents, in order.
    InputError: no such folder, nothing in it, or a file that cannot be read."""
    if not folder.is_dir():
        raise InputError("no such folder", file=folder, hint="--source is where the annotations were released")
    found = {}
    try:
        for place in sorted(folder.iterdir()):
            inside = sorted(place.rglob("*")) if place.is_dir() else [place]
            files = [path for path in inside if path.suffix in ANNOTATIONS and path.is_file()]
            names = [path.relative_to(place).as_posix().encode() + b"\0" if place.is_dir() else b"" for path in files]
            content = b"".join(name + path.read_bytes() for name, path in zip(names, files, strict=True))
            name = f"{place.name}/ ({len(files)} files)" if place.is_dir() else place.name
            if files:
                found[name] = hashlib.sha256(content).hexdigest()
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", file=folder, hint="check its permissions") from error
    if not found:
        raise InputError("holds no annotations", file=folder, hint=f"files ending in {', '.join(ANNOTATIONS)}")
    return found


def read_tables(folder: Path) -> dict[str, pd.DataFrame]:
    """The tables that `write_tables` left in a folder; none without a folder. InputError where one is damaged."""
    tables = {}
    for name, columns in TABLES.items():
        file = folder / f"{name}.csv"
        if file.is_file():
            table = read_table(file, columns, HINT, dtype=str, keep_default_na=False)
            numbers = {
                column: _to_numbers(table[column], file, HINT) for column in columns if column not in TEXT_COLUMNS
            }
            tables[name] = table.assign(**numbers)[list(columns)]
    return tables


def _to_numbers(column: pd.Series[str], file: Path, hint: str) -> pd.Series[float]:
    numbers = pd.to_numeric(column, errors="coerce")
    bad = ~np.isfinite(numbers.to_numpy(dtype=float))
    if bad.any():
        row = int(bad.argmax())
        raise InputError(f"{column.name} cannot be {column.iloc[row][:80]!r}", file=file, row=row + 2, hint=hint)
    return numbers


def read_provenance(folder: Path) -> dict[str, Any]:
    """The entry of provenance.json about these tables; empty where there is none."""
    return dict(_read_entries(folder).get(ENTRY, {}))


def _read_entries(folder: Path) -> dict[str, Any]:
    entries = read_json(folder / "provenance.json", f"delete it, {HINT}")
    if not isinstance(entries.get(ENTRY, {}), dict):
        raise InputError("not a JSON object of entries", file=folder / "provenance.json", hint=f"delete it, {HINT}")
    return entries


def read_paper_numbers(file: Path | None = None) -> pd.DataFrame:
    """The paper's own numbers about its data, results/cot-afa/paper.csv: `PAPER_COLUMNS`; no rows without a file.
    InputError: missing column, no number, no source, or one number twice."""
    file = file or paths.results() / "cot-afa" / "paper.csv"
    hint = f"columns: {', '.join(PAPER_COLUMNS)}"
    table = read_table(file, PAPER_COLUMNS, hint, dtype=str, keep_default_na=False)
    problems = {
        "source is empty": table["source"].str.strip() == "",
        "this number is given above already": table.duplicated(["table", "number"]),
    }
    for message, bad in problems.items():
        if bad.any():
            raise InputError(message, file=file, row=int(bad.to_numpy().argmax()) + 2)
    return table.assign(value=_to_numbers(table["value"], file, hint))
