"""Where numbers come from: the stamp under every table and figure, and how the shipped weights were made."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from efa.baselines.registry import decoder_file, encoder_file
from efa.config import FormSimData, build
from efa.experiments import CAPTIONERS, RECOGNISERS, Overrides, table_config
from efa.utils import paths
from efa_book import html
from efa_book.collect import Results
from efa_book.html import Cell, Html

ORIGINS = {
    "runs": "from runs/",
    "published": "as published in results/",
    "both": "from runs/ where trained here, other seeds as published in results/",
}
NOTEBOOKS = {"4": "comparison", "5": "comparison", "6": "ablation", "7": "loss_weight"}


def stamp(results: Results, again: str = "") -> Html:
    """Data, preset, seeds, protocol, hardware, runtime, commit, and the command that makes the numbers again.

    Args:
        again: that command, where it is not the table's.
    """
    data = table_config(results.table, results.preset, results.overrides).data
    stand_in = isinstance(data, FormSimData)
    facts = list(results.facts.values())
    devices = sorted({fact.get("device", "") for fact in facts})
    seconds = sum(sum(fact.get("seconds", {}).values()) for fact in facts)
    commits = sorted({fact.get("commit", "") or "no commit" for fact in facts})
    states = pd.Series(list(results.states.values())).value_counts().to_dict()
    origin = ORIGINS.get(results.origin, "no results yet")
    parts = [
        f"{data.clips} clips of {data.size} pixels, benchmark {data.benchmark}"
        if isinstance(data, FormSimData)
        else data.source,
        f"preset {results.preset}",
        f"seeds {', '.join(map(str, results.seeds))}",
        f"protocol {results.under}" if results.under else "",
        f"{len(results.states)} runs: " + ", ".join(f"{count} {state}" for state, count in states.items()),
        origin,
    ]
    if facts:
        parts += [" / ".join(devices), f"{seconds / 60:.1f} minutes in all", f"commit {', '.join(commits)}"]
    badge = "Stand-in: FormSim, procedural, not CoT-AFA" if stand_in else "own data"
    return html.stamp(badge, parts, again or command(results))


def command(results: Results) -> str:
    """What to type for these numbers; a protocol that is not the table's own is asked for by its notebook."""
    seeds = ",".join(map(str, results.seeds))
    if results.under:
        asked = {"preset": results.preset, "seeds": seeds, "protocol": results.under, "overrides": results.overrides}
        name = NOTEBOOKS.get(results.table, "comparison")
        return f"papermill notebooks/{name}.ipynb out.ipynb -y {shlex.quote(json.dumps(asked))}"
    given = [f"{key}={_typed(value)}" for key, value in results.overrides.items()]
    settings = "".join(f" --set {shlex.quote(setting)}" for setting in given)
    return f"efa run {results.table} --preset {results.preset} --seeds {seeds}{settings}"


def _typed(value: object) -> str:
    """A setting's value as the command line reads it."""
    return ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def weights(preset: str, overrides: Overrides | None = None, folder: Path | None = None) -> Html:
    """The files that runs of a preset start from: whose part it is, how it was made and what it reached.

    Read from the .json beside each file of weights; what is not there, or cannot be read, is said to be so.
    """
    rows: list[list[str | Cell]] = []
    for name, users in sorted(_users(preset, overrides or {}).items()):
        who, stages = ", ".join(users), _stages((folder or paths.WEIGHTS) / f"{name}.json")
        if not stages:
            rows.append([name, who, "no record of it here", *[Cell("–", number=True)] * 3, "–"])
            continue
        last = stages[-1]
        numbers = [Cell(text, number=True) for text in (_seen(stages), _millions(last), _minutes(stages))]
        rows.append([name, who, _task(last, len(stages)), *numbers, _reached(last)])
    if not rows:
        return html.note(f"Nothing starts pre-trained in preset {preset}.")
    head = ["weights", "part of", "made by", "examples seen", "parameters", "minutes", "held out"]
    notes = ["Examples seen: fresh clips or texts times passes, over all stages. Files: efa/model/weights/, with logs."]
    return html.table("What starts pre-trained, and how it was made", head, rows, notes)


def _users(preset: str, overrides: Overrides) -> dict[str, list[str]]:
    """Name of a file of weights -> 'TSM (video)' for every system that starts from it."""
    users: dict[str, list[str]] = {}
    for name in dict.fromkeys(("EFA", *CAPTIONERS, *RECOGNISERS)):
        config = build(preset, overrides | {"system.name": name})
        for part, file in (("video", encoder_file(config)), ("words", decoder_file(config))):
            if file:
                users.setdefault(Path(file).stem, []).append(f"{name} ({part})")
    return users


def _stages(path: Path) -> list[dict[str, Any]]:
    """One dictionary a stage of pre-training; none where the file is not what it should be."""
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return []
    stages = facts.get("stages", [facts]) if isinstance(facts, dict) else []
    return stages if isinstance(stages, list) and all(isinstance(stage, dict) for stage in stages) else []


def _task(stage: dict[str, Any], stages: int) -> Cell:
    before = f"the last of {stages} stages: " if stages > 1 else ""
    return Cell(str(stage.get("data", "not said")), f"{before}{stage.get('command', 'command not said')}")


def _seen(stages: Sequence[dict[str, Any]]) -> str:
    total = 0
    for stage in stages:
        found = dict(re.findall(r"--(clips|texts|passes) (\d+)", str(stage.get("command", ""))))
        if "passes" not in found or not found.keys() & {"clips", "texts"}:
            return "–"
        total += int(found.get("clips") or found["texts"]) * int(found["passes"])
    return f"{total:,}"


def _millions(stage: dict[str, Any]) -> str:
    count = stage.get("parameters")
    return f"{count / 1e6:.2f} M" if isinstance(count, int | float) else "–"


def _minutes(stages: Sequence[dict[str, Any]]) -> str:
    seconds = [stage.get("seconds") for stage in stages]
    spent = [one.get("all") if isinstance(one, dict) else one for one in seconds]
    known = [one for one in spent if isinstance(one, int | float)]
    return f"{sum(known) / 60:.0f}" if len(known) == len(stages) else "–"


def _reached(stage: dict[str, Any]) -> str:
    found = stage.get("held_out")
    if not isinstance(found, dict):
        return "–"
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in found.items())
