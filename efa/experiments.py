"""The paper's tables as data: table -> rows -> overrides of one configuration. One line here adds an ablation."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from efa.config import SHORT_OF, Config, build
from efa.runs import Run
from efa.utils.errors import InputError

Overrides = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """One table: `common` settings of all rows, and what each row changes."""

    title: str
    rows: dict[str, Overrides]
    common: Overrides = field(default_factory=dict)
    protocols: dict[str, tuple[str, ...]] = field(default_factory=dict)  # of rows with others than 'predicted'

    def protocols_of(self, row: str) -> tuple[str, ...]:
        """The protocols that a row is scored under."""
        return self.protocols.get(row, ("predicted",))


ABLATION: dict[str, Overrides] = {
    "w/o global branch": {"fusion.global_branch": False},
    "w/o step branch": {"fusion.step_branch": False},
    "Q-text": {"fusion.query": "text"},
    "Q-video": {"fusion.query": "video"},
    "Concatenate": {"fusion.merge": "concatenate"},
    "Add": {"fusion.merge": "add"},
    "w/o text": {"fusion.text": "none"},
    "Shuffled text": {"fusion.text": "shuffled"},  # the action's own steps: by eq. 5-8 the same as EFA
    "EFA": {},
}
# Not in the paper: what its text leaves open, or what a row of its Table VI cannot show.
READINGS: dict[str, Overrides] = {
    "Wrong text": {"fusion.text": "wrong"},
    "Random vectors": {"fusion.text": "random"},
    "Step positions": {"fusion.step_position": True},
    "Shuffled text, step positions": {"fusion.text": "shuffled", "fusion.step_position": True},
    "Class in two passes": {"fusion.class_from": "two_pass"},
    "Class given the true text": {"fusion.class_from": "true_text"},
    "One head": {"fusion.heads": 1},
    "Scalar sigma": {"fusion.sigma_shape": "scalar"},
    "sigma = 0.001": {"fusion.sigma": 1e-3},
    "EFA": {},
}
ALL_PROTOCOLS = ("predicted", "oracle", "none", "wrong")
TEXT_ROWS = {"EFA": {}, "w/o text": ABLATION["w/o text"], "Wrong text": READINGS["Wrong text"]}
CAPTIONERS = ("C3DAVG", "MSCADC", "SwinBERT", "LAVENDER", "RICA2")
RECOGNISERS = ("C3D", "TSM", "I3D", "TimeSformer", "Video Swin", "RICA2")

SETTINGS_FILE = Path(__file__).with_name("system_settings.json")  # preset -> system -> what `efa search` found best
SYSTEM_SETTINGS: dict[str, dict[str, Overrides]] = json.loads(SETTINGS_FILE.read_text("utf-8"))
SYSTEMS: dict[str, Overrides] = {name: {"system.name": name} for name in (*RECOGNISERS, *CAPTIONERS, "EFA")}

TABLES: dict[str, Table] = {
    "4": Table("Explanations (Table IV)", {name: SYSTEMS[name] for name in (*CAPTIONERS, "EFA")}),
    "5": Table("Action and form (Table V)", {name: SYSTEMS[name] for name in (*RECOGNISERS, "EFA")}),
    "6": Table("Ablation (Table VI)", ABLATION, protocols={"EFA": ALL_PROTOCOLS}),
    "7": Table("Loss weight (Table VII)", {f"lambda = {w}": {"training.weight_class": w} for w in (1, 3, 5, 10, 15)}),
    "readings": Table(
        "Readings of the paper",
        READINGS,
        protocols=dict.fromkeys(("EFA", "Class in two passes", "Class given the true text"), ALL_PROTOCOLS),
    ),
    # Not in the paper: the same motion is right under one standard and wrong under another, so only the text decides.
    "standards": Table("Standards benchmark", TEXT_ROWS, {"data.benchmark": "standards"}, {"EFA": ALL_PROTOCOLS}),
    # Not in the paper: whole actions are held out of training, so only their steps describe them.
    "unseen": Table(
        "Unseen actions",
        TEXT_ROWS,
        {"data.benchmark": "unseen"},
        dict.fromkeys(TEXT_ROWS, ("oracle",)) | {"EFA": ("oracle", "none", "wrong")},
    ),
    # Not in the paper: all actions, in rooms full of things, which are about as hard to name as the paper's.
    "hard": Table(
        "Hard benchmark",
        TEXT_ROWS | {"Random vectors": READINGS["Random vectors"]},
        {"data.actions": 0, "data.clutter": 1.0},
        {"EFA": ALL_PROTOCOLS},
    ),
}
PAPER = ("4", "5", "6", "7")  # `efa run paper`: the 27 rows of the paper's tables


def select(what: str, preset: str, seeds: tuple[int, ...], overrides: Overrides | None = None) -> list[Run]:
    """The runs of 'all', 'paper', a table ('6') or one row ('6/Q-text'), row by row, each with every seed.

    '@' and a preset at its end take the place of `preset`: '6/EFA@pose'.
    """
    what, _, own = what.partition("@")
    name, _, row = what.partition("/")
    groups = {"all": tuple(TABLES), "paper": PAPER}
    if name not in TABLES and name not in groups:
        raise InputError(f"unknown table '{name}'", hint=f"one of {', '.join([*groups, *TABLES])}")
    runs = []
    for table in groups.get(name, (name,)):
        rows = TABLES[table].rows
        if row and row not in rows:
            raise InputError(f"table {table} has no row '{row}'", hint=f"one of {', '.join(rows)}")
        for chosen in [row] if row else rows:
            runs += [_run(table, chosen, seed, own or preset, overrides or {}, own) for seed in seeds]
    return runs


def table_config(table: str, preset: str, overrides: Overrides | None = None) -> Config:
    """What all rows of a table share. A folder as `data.source` replaces FormSim and the table's benchmark of it."""
    return build(preset, TABLES[table].common).with_(overrides or {})


def _run(table: str, row: str, seed: int, preset: str, overrides: Overrides, own: str) -> Run:
    shared, changes = table_config(table, preset), TABLES[table].rows[row]
    found = SYSTEM_SETTINGS.get(SHORT_OF.get(preset, preset), {}).get(changes.get("system.name", "EFA"), {})
    settings = found | changes | overrides | {"training.seed": seed}
    return Run(table, row, seed, shared.with_(settings), TABLES[table].protocols_of(row), own)
