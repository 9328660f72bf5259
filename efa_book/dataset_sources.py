"""The data sets of the chapter: their numbers, counted now or published, and the paper's beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from efa.config import DataConfig, TextConfig, build
from efa.data.loader import open_dataset
from efa.data.manifest import DataSet, load_dataset
from efa.train import word_pieces
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book import dataset_files, html
from efa_book.html import Html
from efa_datasets.statistics import TABLES, Pieces, measure, read_extras, value

PUBLISHED = (("CoT-AFA", "cot-afa"), ("UI-PRMD", "ui-prmd"))  # name, folder below results/


@dataclass(frozen=True)
class Source:
    """One data set's numbers.

    Attributes:
        tables: as `efa_datasets.statistics.measure` gives them.
        facts: where they come from, for the stamp.
        command: makes them again.
        dataset: with its actions' names and, perhaps, videos; None where only the numbers are published.
        config: draws FormSim's clips; None elsewhere.
    """

    name: str
    tables: dict[str, pd.DataFrame]
    facts: str
    command: str
    dataset: DataSet | None = None
    config: DataConfig | None = None

    def number(self, about: str, quantity: str, definition: str = "") -> float | None:
        return value(self.tables, about, quantity, definition)

    def table(self, name: str) -> pd.DataFrame:
        """Without rows where the data set does not fill it."""
        return self.tables.get(name, pd.DataFrame(columns=list(TABLES[name])))


@dataclass(frozen=True)
class Sources:
    """What the chapter shows: the data set it is about, those beside it, and the paper's numbers."""

    about: Source
    beside: tuple[Source, ...]
    paper: pd.DataFrame

    @property
    def all(self) -> tuple[Source, ...]:
        return (self.about, *self.beside)

    def named(self, name: str) -> Source | None:
        return next((source for source in self.all if source.name == name), None)

    def printed(self, table: str, number: str) -> float | None:
        found = self.paper[(self.paper["table"] == table) & (self.paper["number"] == number)]["value"]
        return float(found.iloc[0]) if len(found) else None


def piece_counter() -> Pieces | None:
    """A text's word pieces, those of the text encoder 'minilm'; None where its package is not installed."""
    try:
        tokenizer = word_pieces(TextConfig(model="minilm"))
    except InputError:
        return None
    return lambda text: tokenizer.encode(text, len(text) + 2)[1:-1]  # without [CLS] and [SEP]; a piece has a character


def obtain(dataset: str = "", preset: str = "laptop") -> Sources:
    """Everything that the chapter shows.

    Args:
        dataset: a folder with a manifest, which the chapter is then about; '': what is published of CoT-AFA.
        preset: whose FormSim clips stand beside it.

    Raises:
        InputError: the folder or a published file cannot be used.
    """
    published = [source for name, folder in PUBLISHED if (source := _published(name, folder))]
    data = build(preset).data
    made = open_dataset(data)
    facts = f"FormSim: {data.clips:,} clips of preset {preset}, counted now"
    formsim = Source("FormSim", measure(made), facts, f"EFA_PRESET={preset} make book", made, data)
    others = [*published, formsim]
    if dataset:
        folder = Path(dataset)
        own = load_dataset(folder, videos=False)
        name = _free(folder.absolute().name, [source.name for source in others])
        facts = f"{name}: {len(own.table):,} clips, counted now"
        command = f"efa data statistics {folder.name}"
        others.insert(0, Source(name, measure(own, read_extras(folder), piece_counter()), facts, command, own))
    return Sources(others[0], tuple(others[1:]), dataset_files.paper_numbers())


def _free(name: str, taken: Sequence[str]) -> str:
    return f"{name} (yours)" if name in taken else name


def _published(name: str, folder: str) -> Source | None:
    place = paths.results() / folder
    tables = dataset_files.read(place)
    if "statistics" not in tables:
        return None
    known = dataset_files.provenance(place)
    day = str(known.get("finished", ""))[:10]
    facts = f"{name}: counted from its annotations{f' on {day}' if day else ''}, results/{folder}/"
    return Source(name, tables, facts, str(known.get("command", f"efa data statistics DATA --to results/{folder}")))


def stamp(*sources: Source) -> Html:
    """Where the numbers of one or more data sets come from."""
    own = [source.name for source in sources if source.name not in {"FormSim", *(name for name, _ in PUBLISHED)}]
    badge = "own data" if own else "Annotations counted, nothing trained"
    return html.stamp(badge, [source.facts for source in sources], "; ".join(s.command for s in sources))
