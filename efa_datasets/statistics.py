"""Numbers about a data set, as the paper's Tables I to III have them: each with the definition it was counted by.

`measure` turns annotations into small tables of aggregates, none of which holds a clip or a text. Nothing is drawn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from efa.data.checks import SPLITS
from efa.data.manifest import DataSet
from efa.utils.errors import InputError
from efa_datasets import wording

VIEWS = ("front", "side", "back")
CUT_CHARACTERS = 256  # where the released code cuts each step and each instruction
CUT_PIECES = (128, 256)  # `decoder.max_tokens` of the presets laptop and paper
EXTRAS = {"released": ("clip_id", "label", "reason", "seconds"), "oddities": ("what", "done")}  # what is read of each
TABLES: dict[str, tuple[str, ...]] = {  # file -> columns
    "statistics": ("about", "quantity", "definition", "value"),
    "types": ("mode", "type", "actions", "clips", "standard", "nonstandard", *SPLITS, "texts"),
    "actions": ("mode", "type", "number", "clips", "standard", "nonstandard", "texts"),
    "splits": ("split", "clips", "standard", "nonstandard", "texts", "actions", "actions_with_text", "of_told_actions"),
    "cues": ("what", "list", "cue", "texts", "occurrences"),
    "lexicon": ("what", "parent", "word", "texts"),
    "growth": ("texts", "words", "low", "high"),
    "oddities": ("what", "done", "times"),
}

Pieces = Callable[[str], Sequence[object]]
Row = tuple[str, str, str, float]


def read_extras(folder: Path, columns: Mapping[str, tuple[str, ...]] = EXTRAS) -> dict[str, pd.DataFrame]:
    """released.csv and oddities.csv where `efa data cot-afa` left them: 'released' and 'oddities', texts as written.

    Args:
        columns: those that each file must have; a file without an entry is not read.

    Raises:
        InputError: a file is there and is no such table.
    """
    found = {}
    for name, needed in columns.items():
        file, hint = folder / f"{name}.csv", "efa data cot-afa writes it again"
        if not file.is_file():
            continue
        try:
            found[name] = pd.read_csv(file, dtype=str, keep_default_na=False)
        except (OSError, ValueError) as error:  # pandas' own errors are ValueErrors
            raise InputError(f"cannot be read: {error}", file=file, hint=hint) from error
        if missing := [column for column in needed if column not in found[name].columns]:
            raise InputError(f"missing column {', '.join(missing)}", file=file, hint=hint)
    return found


def measure(
    dataset: DataSet, extras: Mapping[str, pd.DataFrame] | None = None, pieces: Pieces | None = None
) -> dict[str, pd.DataFrame]:
    """Every table of `TABLES` that the data set fills; columns as there.

    Args:
        extras: as `read_extras` gives them.
        pieces: a text's word pieces; without it nothing is counted by them.

    Raises:
        InputError: released.csv holds no number where one is due.
    """
    extras = extras or {}
    clips = dataset.table
    with_text = clips[has_text(clips)]
    texts = list(with_text["explanation"])
    curves = wording.growth_curves([wording.tokens(text) for text in texts])
    rows = [
        *_counts(dataset),
        *_texts(with_text, pieces),
        *_vocabulary(curves, len(clips)),
        *_steps(dataset, pieces),
        *(_released(extras["released"]) if "released" in extras else []),
    ]
    tables = {"statistics": pd.DataFrame(rows, columns=list(TABLES["statistics"]))}
    tables |= {"types": _types(clips), "actions": _actions(dataset), "splits": _splits(clips)}
    if texts:
        tables |= {"cues": wording.cue_table(texts), "lexicon": wording.lexicon(texts)}
        tables["growth"] = wording.growth_table(curves)
    if "oddities" in extras:
        tables["oddities"] = _oddities(extras["oddities"])
    return tables


def has_text(clips: pd.DataFrame) -> pd.Series[bool]:
    """Which clips have an explanation: any that is not blank."""
    return clips["explanation"].str.strip() != ""


def _counts(dataset: DataSet) -> list[Row]:
    clips = dataset.table
    with_text = clips[has_text(clips)]
    kinds = clips.drop_duplicates("action")
    found: dict[tuple[str, str], float] = {("clips", ""): len(clips), ("actions", ""): clips["action"].nunique()}
    for column in ("type", "mode"):
        found[f"{column}s", ""] = clips.loc[clips[column] != "", column].nunique()
    for mode in ("manual", "apparatus"):
        found[f"clips, {mode}", ""] = (clips["mode"] == mode).sum()
        found[f"actions, {mode}", ""] = (kinds["mode"] == mode).sum()
    found["clips, standard", ""] = (clips["quality"] == 0).sum()
    found["clips, non-standard", ""] = (clips["quality"] == 1).sum()
    for view in VIEWS:
        found[f"clips, {view} view", ""] = (clips["view"] == view).sum()
    found["clips, view not said", ""] = (clips["view"] == "").sum()
    found["people", "named in the manifest"] = clips.loc[clips["subject"] != "", "subject"].nunique()
    found["clips with a known fault", ""] = (clips["fault"] != "").sum()
    found["texts", "explanation not blank"] = len(with_text)
    found["texts", "each different one once"] = with_text["explanation"].map(wording.fold).nunique()
    found["texts", "of non-standard clips"] = (with_text["quality"] == 1).sum()
    found["actions with a text", ""] = with_text["action"].nunique()
    found["actions with a text", "in train"] = with_text.loc[with_text["split"] == "train", "action"].nunique()
    return [("counts", quantity, definition, float(value)) for (quantity, definition), value in found.items()]


def _texts(clips: pd.DataFrame, pieces: Pieces | None) -> list[Row]:
    """Of clips that have a text."""
    if clips.empty:
        return []
    texts = list(clips["explanation"])
    rows: list[Row] = []
    counters: dict[str, Pieces] = {**wording.WORDS, **({"word pieces of the text encoder": pieces} if pieces else {})}
    for definition, split in counters.items():
        numbers = wording.word_statistics([[str(word) for word in split(text)] for text in texts])
        rows += [("texts", quantity, definition, value) for quantity, value in numbers.items()]
    for definition, part in wording.SENTENCES.items():
        rows.append(("texts", "sentences a text", definition, _mean(len(part(text)) for text in texts)))
    sizes = np.array([(len(wording.tokens(text)), len(wording.sentences(text))) for text in texts])
    groups = {"every text": np.ones(len(clips), dtype=bool), "standard clips": (clips["quality"] == 0).to_numpy()}
    groups["non-standard clips"] = ~groups["standard clips"]
    groups |= {f"split {name}": (clips["split"] == name).to_numpy() for name in SPLITS}
    for name, group in groups.items():
        if group.any():
            numbers = dict(zip(("words a text", "sentences a text"), sizes[group].mean(0), strict=True))
            numbers = {"texts": group.sum(), **numbers}
            rows += [("by group", quantity, name, float(value)) for quantity, value in numbers.items()]
    for name in ("every text", "non-standard clips"):
        rates = wording.cue_rates([text for text, chosen in zip(texts, groups[name], strict=True) if chosen])
        rows += [(f"{what}, {name}", measured, cues, value) for what, measured, cues, value in rates]
    for limit in CUT_PIECES if pieces else ():
        rows.append(("texts", *_share_cut(texts, limit, pieces)))
    return rows


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _share_cut(texts: Sequence[str], limit: int, pieces: Pieces | None) -> tuple[str, str, float]:
    """Quantity, definition and value: texts longer than so many word pieces, or characters where there are none."""
    unit = "word pieces" if pieces else "characters"
    share = _mean(len(pieces(text) if pieces else text) > limit for text in texts)
    return "share of texts cut", f"longer than {limit} {unit}", share


def _vocabulary(curves: np.ndarray, clips: int) -> list[Row]:
    found = wording.extrapolate(curves, clips)
    if found is None:
        return []
    values = {
        "texts": found.texts,
        "words": found.words,
        "words, low": found.low,
        "words, high": found.high,
        "exponent": found.beta,
        "said of the texts that are there, over the truth": found.bias,
    }
    return [("vocabulary if every clip had a text", name, "Heaps' law", float(value)) for name, value in values.items()]


def _steps(dataset: DataSet, pieces: Pieces | None) -> list[Row]:
    kinds = {
        "steps": [step for text in dataset.steps.values() for step in text.steps],
        "instructions": [text.instruction for text in dataset.steps.values()],
    }
    rows: list[Row] = []
    for name, texts in kinds.items():
        about = f"{name} of the actions"
        words = _mean(len(wording.tokens(text)) for text in texts)
        rows.append((about, "texts", "", float(len(texts))))
        rows.append((about, "words a text", next(iter(wording.WORDS)), words))
        rows.append((about, *_share_cut(texts, CUT_CHARACTERS, None)))
        if pieces:
            rows.append((about, *_share_cut(texts, CUT_PIECES[0], pieces)))
    return rows


def _released(table: pd.DataFrame) -> list[Row]:
    """What the release says of its clips beyond the manifest's columns."""
    seconds = pd.to_numeric(table["seconds"].replace("", np.nan), errors="coerce")
    if bad := (seconds.isna() & (table["seconds"] != "")).to_numpy().nonzero()[0].tolist():
        message = f"seconds cannot be {table['seconds'].iloc[bad[0]][:80]!r}"
        raise InputError(message, file="released.csv", row=bad[0] + 2, hint="efa data cot-afa writes it again")
    with_reason = ((table["label"] != "0") & (table["reason"] != "")).sum()
    rows: list[Row] = [
        *(("as released", "clips", f"label {label}", float(n)) for label, n in sorted(Counter(table["label"]).items())),
        ("as released", "clips", "non-standard, with a reason", float(with_reason)),
        ("as released", "clips", "with a length", float(seconds.notna().sum())),
    ]
    if seconds.notna().any():
        rows.append(("as released", "mean seconds", "clips with a length", float(seconds.mean())))
    return rows


def _types(clips: pd.DataFrame) -> pd.DataFrame:
    """One row a type, the modes together and the larger types first."""
    groups = _class_counts(clips, ["mode", "type"])
    groups = groups.assign(actions=clips.groupby(["mode", "type"])["action"].nunique())
    for name in SPLITS:
        count = clips[clips["split"] == name].groupby(["mode", "type"]).size()
        groups[name] = count.reindex(groups.index, fill_value=0)
    return _sorted(groups.reset_index(), ["mode", "clips", "type"])[list(TABLES["types"])]


def _actions(dataset: DataSet) -> pd.DataFrame:
    """One row an action that has clips; `number` is its class, so that the table names none."""
    groups = _class_counts(dataset.table, ["mode", "type", "action"]).reset_index()
    groups["number"] = groups["action"].map(dataset.actions.index)
    return _sorted(groups, ["mode", "type", "clips", "number"])[list(TABLES["actions"])]


def _class_counts(clips: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    marked = clips.assign(standard=clips["quality"] == 0, nonstandard=clips["quality"] == 1, texts=has_text(clips))
    found = marked.groupby(keys)[["standard", "nonstandard", "texts"]].sum()
    return found.assign(clips=marked.groupby(keys).size())


def _sorted(table: pd.DataFrame, by: list[str]) -> pd.DataFrame:
    """'manual' before 'apparatus' before nothing; more clips before fewer; the rest rising."""
    return table.sort_values(by, ascending=[name not in ("mode", "clips") for name in by], ignore_index=True)


def _splits(clips: pd.DataFrame) -> pd.DataFrame:
    """One row a split; `of_told_actions` counts its clips whose action has an explanation in train."""
    known = set(clips.loc[has_text(clips) & (clips["split"] == "train"), "action"])
    rows = []
    for name in SPLITS:
        part = clips[clips["split"] == name]
        with_text = part[has_text(part)]
        faulty = int((part["quality"] == 1).sum())
        actions = part["action"].nunique(), with_text["action"].nunique(), int(part["action"].isin(known).sum())
        rows.append((name, len(part), len(part) - faulty, faulty, len(with_text), *actions))
    return pd.DataFrame(rows, columns=list(TABLES["splits"]))


def _oddities(table: pd.DataFrame) -> pd.DataFrame:
    """How often each kind: what stands before ': ' (see `efa_datasets.cot_afa_files.Oddity`), the frequent first."""
    kinds = table[["what", "done"]].apply(lambda column: column.str.split(": ").str[0])
    counts = kinds.groupby(["what", "done"]).size().rename("times").reset_index()
    return counts.sort_values(["times", "what", "done"], ascending=[False, True, True], ignore_index=True)


def value(tables: Mapping[str, pd.DataFrame], about: str, quantity: str, definition: str = "") -> float | None:
    """One number of the table 'statistics'; None where it is not there."""
    table = tables["statistics"]
    rows = table[(table["about"] == about) & (table["quantity"] == quantity) & (table["definition"] == definition)]
    return float(rows["value"].iloc[0]) if len(rows) else None
