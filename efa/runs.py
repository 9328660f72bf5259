"""One run = one row x one seed = one folder ``runs/<key>/``: found again when finished, resumed when interrupted.

The key is a hash of the configuration, the data, the initial weights and `RESULTS_VERSION`, which is raised by hand
when the code may give other numbers (`tests/test_golden.py`). Change any of them and the old run is *stale*.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import importlib.metadata
import json
import platform
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import formsim
from efa import metrics
from efa.baselines.inputs import prepare
from efa.baselines.registry import decoder_file, encoder_file, fetch_command
from efa.config import RESULTS_VERSION, Config, DataConfig, FormSimData, TrainingConfig
from efa.data.loader import Progress, data_fingerprint, open_dataset
from efa.predict import EFA, predict
from efa.train import MEMORY, Report, fit, micro_batch
from efa.utils import distributed, paths
from efa.utils.errors import InputError
from efa.utils.files import locked, write_safely
from efa.utils.recovery import RESUMED, recover
from efa.utils.signals import available_cores

PACKAGE = Path(__file__).parent
HOW = ("micro_batch", "checkpointing", "compile")  # say how to train, not what: no part of the hash while at defaults


@dataclass(frozen=True)
class Run:
    """A row of a table with a seed, its configuration and the protocols it is scored under."""

    table: str
    row: str
    seed: int
    config: Config
    protocols: tuple[str, ...] = ("predicted",)
    preset: str = ""  # its own, where that of the command is another

    @property
    def label(self) -> str:
        return f"{self.table}/{self.row}{self.preset and f'@{self.preset}'} seed {self.seed}"

    @property
    def key(self) -> str:
        """Hash of configuration, data, initial weights and `RESULTS_VERSION`, 16 hexadecimal digits."""
        data = _hash_of_data(self.config.data)
        parts = [config_hash(self.config), data, _weights_hash(self.config), f"v{RESULTS_VERSION}"]
        return hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]

    @property
    def folder(self) -> Path:
        return paths.runs() / self.key

    @property
    def finished(self) -> bool:
        return state_of(self) == "done"

    def execute(self, progress: Progress | None = None, report: Report = lambda line: None) -> Path:
        """Trains, predicts and scores whatever is missing; returns the folder. Of several processes, all only train."""
        folder = self.folder
        if not distributed.main():
            return _train_as_helper(self)
        folder.mkdir(parents=True, exist_ok=True)
        with locked(folder / ".lock", lambda: report("another process works on this run: waiting for it")):
            recover(folder, report)
            if distributed.broadcast((self.key, not (folder / "provenance.json").is_file()))[1]:
                _train(self, folder, progress, report)
            _predict_missing(self, folder / "predictions.parquet")
            _score_missing(self, folder / "scores.json")
            facts = json.loads((folder / "provenance.json").read_text())
            if self.label not in facts["labels"]:  # another row is the same run
                _write_json(folder / "provenance.json", facts | {"labels": sorted([*facts["labels"], self.label])})
        distributed.wait()
        return folder


def config_hash(config: Config) -> str:
    """Of the settings that a run's numbers depend on, 16 hexadecimal digits."""
    settings, plain = config.to_dict(), vars(TrainingConfig())
    asked, training = settings["prediction"], settings["training"]
    settings["prediction"] = {k: asked[k] for k in ("max_tokens", *(["beams"] if asked["beams"] > 1 else []))}
    settings["training"] = {k: v for k, v in training.items() if k not in HOW or v != plain[k]}
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]


@cache
def _hash_of_data(data: DataConfig) -> str:
    return data_fingerprint(open_dataset(data), data)


@cache
def _hash_of_file(file: str, changed: int) -> str:
    return hashlib.sha256(Path(file).read_bytes()).hexdigest()


def _weights_hash(config: Config) -> str:
    """Of the files that the run starts from; '' where everything starts at random."""
    hashes = []
    for setting, file in (("encoder", encoder_file(config)), ("decoder", decoder_file(config))):
        if file and not Path(file).is_file():
            hint = f"run 'efa pretrain {setting}', or set {setting}.weights to ''"
            if setting == "encoder" and config.encoder.weights == "kinetics600":
                hint = f"run: {fetch_command(file)}"
            raise InputError(f"no such file of {setting} weights", file=file, hint=hint)
        hashes.append(_hash_of_file(file, Path(file).stat().st_mtime_ns) if file else "")
    for name in ("model.safetensors", "pytorch_model.bin", "vocab.txt", "tokenizer.json"):  # a BERT of the user's own
        part = Path(config.text.model) / name
        if part.is_file():
            hashes.append(_hash_of_file(str(part), part.stat().st_mtime_ns))
    return " ".join(hashes).strip()


def state_of(run: Run) -> str:
    """'done', 'interrupted', 'stale' (run before with another version, data or settings) or 'missing'."""
    folder = run.folder
    if all(holds(folder / name) for name in ("provenance.json", "predictions.parquet", "scores.json")):
        return "done"
    if folder.is_dir() and any(folder.iterdir()):
        return "interrupted"
    return "stale" if any(run.label in facts.get("labels", []) for _, facts in finished_runs()) else "missing"


def holds(path: Path) -> bool:
    """Whether the file exists and is not empty, as a power cut may leave it."""
    return path.is_file() and path.stat().st_size > 0


def finished_runs() -> Iterator[tuple[Path, dict[str, Any]]]:
    """Folder and provenance of each run that has one, the oldest first, whatever code made it."""
    for path in sorted(paths.runs().glob("*/provenance.json"), key=lambda p: p.stat().st_mtime):
        with contextlib.suppress(OSError, ValueError):
            yield path.parent, json.loads(path.read_text())


def _train_as_helper(run: Run) -> Path:
    """What a process that is not the main one does: its share of the training."""
    key, missing = distributed.broadcast(("", False))
    if key != run.key:
        hint = "give every machine the same code, settings and data"
        raise InputError(f"{run.label} is another run here ({run.key}) than in the main process ({key})", hint=hint)
    if missing:
        distributed.wait()  # until what is frozen has been computed
        fit(run.config, prepare(run.config, None), run.folder)
    distributed.wait()
    return run.folder


def _train(run: Run, folder: Path, progress: Progress | None, report: Report) -> None:
    started, config = time.time(), run.config
    inputs = prepare(config, None)
    distributed.wait()
    prepared = time.time()
    model = fit(config, inputs, folder, progress, report)
    EFA.from_material(model, config, inputs).save_pretrained(folder)
    facts = {
        "labels": [run.label],
        "key": run.key,
        "config_hash": config_hash(config),
        "data_fingerprint": _hash_of_data(config.data),
        "results_version": RESULTS_VERSION,
        "weights": " ".join(part[:16] for part in _weights_hash(config).split()),
        "commit": commit(),
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "seconds": {"prepare": round(prepared - started, 1), "train": round(time.time() - prepared, 1)},
        "device": device(),
        "versions": versions(),
        "parameters": sum(p.numel() for p in model.parameters()),
        "parameters_trained": sum(p.numel() for p in model.parameters() if p.requires_grad),
    }
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        facts["peak_memory_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    if clips := micro_batch(folder):
        facts["micro_batch"] = clips  # clips at once, where memory did not hold a batch
    if distributed.count() > 1:
        facts["processes"] = distributed.count()
    _write_json(folder / "provenance.json", facts)
    for leftover in (*RESUMED, MEMORY):  # only now: without the provenance the run is not finished
        (folder / leftover).unlink(missing_ok=True)


def _predict_missing(run: Run, path: Path) -> None:
    tables = [pd.read_parquet(path)] if path.is_file() else []
    have = {protocol for table in tables for protocol in table["protocol"]}
    if missing := [protocol for protocol in run.protocols if protocol not in have]:
        inputs = prepare(run.config, final=True)
        model = EFA.from_pretrained(path.parent).model.to(distributed.state().device)
        tables += [predict(model, inputs, run.config, protocol=protocol) for protocol in missing]
        table = pd.concat(tables, ignore_index=True)
        write_safely(path, lambda partly: table.to_parquet(partly, index=False))


def _score_missing(run: Run, path: Path) -> None:
    known = json.loads(path.read_text()) if path.is_file() else {}
    if known.get("scores_version") != metrics.SCORES_VERSION:
        known = {"scores_version": metrics.SCORES_VERSION}
    predictions = pd.read_parquet(path.with_name("predictions.parquet"))
    file, parser = path.with_name("clips.parquet"), parser_for(run.config)
    for protocol in [name for name in run.protocols if name not in known]:
        known[protocol], clips = metrics.evaluate(predictions[predictions["protocol"] == protocol], parser)
        parts = [pd.read_parquet(file)] if len(known) > 2 and file.is_file() else []  # others of this version
        table = pd.concat([*(part[part["protocol"] != protocol] for part in parts), clips])
        write_safely(file, partial(table.to_parquet, index=False))
        _write_json(path, known)  # after each, in case the next one fails


def parser_for(config: Config) -> metrics.FaultParser | None:
    """The fault parser where the truth is known."""
    return fault_parser() if isinstance(config.data, FormSimData) else None


@cache
def fault_parser() -> metrics.FaultParser:
    """FormSim's faults, with what they lead to and how to correct them; one for all, because it keeps its answers."""
    rest = [formsim.fault_phrases(part) for part in ("leads_to", "correct")]
    return metrics.FaultParser(formsim.fault_phrases(), rest=rest)


def scores_of(run: Run) -> dict[str, dict[str, float | None]]:
    """protocol -> metric -> value of a finished run."""
    scores = json.loads((run.folder / "scores.json").read_text())
    return {protocol: scores[protocol] for protocol in run.protocols if protocol in scores}


def _write_json(path: Path, value: object) -> None:
    write_safely(path, lambda partly: partly.write_text(json.dumps(value, indent=1, allow_nan=False) + "\n"))


def commit() -> str:
    """The commit of the checkout, with '+' when files were changed since; '' outside one."""

    def git(*arguments: str) -> str:
        return subprocess.check_output(["git", *arguments], cwd=PACKAGE, text=True, stderr=subprocess.DEVNULL).strip()

    try:
        return git("rev-parse", "--short=12", "HEAD") + ("+" if git("status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    return f"{available_cores()} CPU cores, {model}"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("torch", "transformers", "accelerate", "numpy", "pandas", "efa"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found
