"""Where numbers come from: the stamp under every table and figure, and how the shipped weights were made."""

import contextlib
import json
import re
import shlex
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
    "": "no results yet",
}
NOTEBOOKS = {"4": "comparison", "5": "comparison", "6": "ablation", "7": "loss_weight"}


def stamp(results: Results, again: str = "") -> Html:
    """Data, preset, seeds, protocol, hardware, runtime, commit, and the command to rerun (`again`)."""
    config = table_config(results.table, results.preset, results.overrides)
    data = config.data
    badge, described = "own data", data.source
    if isinstance(data, FormSimData):
        badge = "FormSim, a stand-in for CoT-AFA"
        shown = "as skeletons" if config.encoder.kind == "pose" else f"of {data.size} pixels"
        described = f"{data.clips} clips {shown}, benchmark {data.benchmark}"
    facts = list(results.facts.values())
    states = Counter(results.states.values()).most_common()
    seeds = f"seed{'s' * (len(results.seeds) > 1)} {_ranges(results.seeds)}"
    odd = [f"{count} of {len(results.states)} runs {state}" for state, count in states if state != "done"]
    parts = [
        ", ".join([f"preset {results.preset}", seeds, *odd, ORIGINS[results.origin]]),
        described,
        f"protocol {results.asked_protocol}" if results.asked_protocol else "",
        f"{len(results.states)} runs",
    ]
    if facts:
        minutes = sum(sum(fact.get("seconds", {}).values()) for fact in facts) / 60
        commits = sorted({fact.get("commit", "") or "no commit" for fact in facts})
        parts += [" / ".join(sorted({fact.get("device", "") for fact in facts}))]
        parts += [f"{minutes:.1f} minutes in all", f"commit {', '.join(commits)}"]
    return html.stamp(badge, parts, again or rerun_command(results))


def _ranges(seeds: Sequence[int]) -> str:
    """0, 1, 2, 5 -> '0-2, 5'."""
    runs: list[list[int]] = []
    for seed in seeds:
        if runs and runs[-1][-1] == seed - 1:
            runs[-1].append(seed)
        else:
            runs.append([seed])
    return ", ".join(f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs)


def rerun_command(results: Results) -> str:
    """The shell command that makes these numbers; a protocol other than the table's own needs its notebook."""
    seeds = ",".join(map(str, results.seeds))
    if results.asked_protocol:
        asked = {"preset": results.preset, "seeds": seeds, "protocol": results.asked_protocol}
        name = NOTEBOOKS.get(results.table, "comparison")
        given = json.dumps(asked | {"overrides": results.overrides})
        return f"papermill notebooks/{name}.ipynb out.ipynb -y {shlex.quote(given)}"
    settings = ""
    for key, value in results.overrides.items():
        text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
        settings += f" --set {shlex.quote(f'{key}={text}')}"
    return f"efa run {results.table} --preset {results.preset} --seeds {seeds}{settings}"


def weights_table(preset: str, overrides: Overrides | None = None, folder: Path | None = None) -> Html:
    """The files that runs of a preset start from: whose part each is, how it was made and what it reached.

    Read from the .json beside each file; a missing or unreadable one is reported in the table.
    """
    users: dict[str, list[str]] = {}  # name of a file of weights -> 'TSM (video)' for each system that starts from it
    for name in dict.fromkeys(("EFA", *CAPTIONERS, *RECOGNISERS)):
        config = build(preset, (overrides or {}) | {"system.name": name})
        for part, file in (("video", encoder_file(config)), ("words", decoder_file(config))):
            if file:
                users.setdefault(Path(file).stem, []).append(f"{name} ({part})")
    described = {name: _describe_stages((folder or paths.WEIGHTS) / f"{name}.json") for name in sorted(users)}
    rows: list[list[str | Cell]] = [[name, ", ".join(users[name]), *cells] for name, cells in described.items()]
    if not rows:
        return html.note(f"Nothing starts pre-trained in preset {preset}.")
    head = ["weights", "part of", "made by", "examples seen", "parameters", "minutes", "held out"]
    notes = ["Examples seen: fresh clips or texts times passes, over all stages. Files: efa/model/weights/, with logs."]
    return html.table("What starts pre-trained, and how it was made", head, rows, notes)


def _describe_stages(path: Path) -> list[str | Cell]:
    """Cells: task and command, examples seen, parameters, minutes, scores held out; a dash for what is unknown."""
    stages: Any = []
    with contextlib.suppress(OSError, ValueError):
        facts = json.loads(path.read_text(encoding="utf-8"))
        stages = facts.get("stages", [facts]) if isinstance(facts, dict) else []
    if not stages or not isinstance(stages, list) or not all(isinstance(stage, dict) for stage in stages):
        return ["no record of it here", *[Cell("–", number=True)] * 3, "–"]
    last = stages[-1]
    options = [dict(re.findall(r"--(clips|texts|passes) (\d+)", str(stage.get("command", "")))) for stage in stages]
    seen = [int(o.get("clips") or o.get("texts") or 0) * int(o.get("passes") or 0) for o in options]
    count, reached = last.get("parameters"), last.get("held_out")
    seconds = [stage.get("seconds") for stage in stages]
    spent: list[Any] = [one.get("all") if isinstance(one, dict) else one for one in seconds]
    numbers = [
        f"{sum(seen):,}" if all(seen) else "–",
        f"{count / 1e6:.2f} M" if isinstance(count, int | float) else "–",
        f"{sum(spent) / 60:.0f}" if all(isinstance(one, int | float) for one in spent) else "–",
    ]
    before = f"the last of {len(stages)} stages: " if len(stages) > 1 else ""
    task = Cell(str(last.get("data", "not recorded")), f"{before}{last.get('command', 'command not recorded')}")
    scores = [f"{k.replace('_', ' ')} {v}" for k, v in reached.items()] if isinstance(reached, dict) else ["–"]
    return [task, *(Cell(text, number=True) for text in numbers), ", ".join(scores)]
