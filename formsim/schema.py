"""Actions as data: what a YAML file in ``actions/`` may say, read and checked.

One file is one action. A coach adds one without touching Python; ``python -m formsim preview NAME`` draws it.

    name: Squat                      # the class; unique
    mode: manual                     # manual or apparatus
    type: squat                      # workout type
    equipment: [mat]                 # names of equipment.EQUIPMENT
    anchor: stand                    # what touches what: a key of motion.ANCHORS
    arms: trunk                      # arm angles relative to the trunk, or to the world
    views: [front, side, back]       # cameras from which the action makes sense
    seconds: 3.0                     # one repetition
    base: {thigh.out: 12}            # degrees; names in motion.ANGLES, without _l or _r: both sides
    keys:                            # phase in [0, 1] -> angles that differ from base; 'hold' repeats the one before
      0: {}
      0.4: {thigh: 90, shank: -27}
      0.6: hold
      1: {}
    range: {step: 3, angles: [thigh, shank]}   # what 'through the full range' means here; see dataset.STANDARDS
    steps:                           # five: what to do, and how it reads when done right
      - do: Stand with the feet ...
        good: the feet are planted ...
    instruction: ...
    faults:                          # at least three
      knees_in:
        step: 4
        change: {thigh.out: '+ -16'}      # '* k' scales the excursion, '+ d' adds while moving, '@ d' adds always
        seen: [the knees collapse inward]                 # clauses; the first is the name of the fault
        leads_to: [harmful stress on the knee ligaments]  # noun phrases
        correct: [push the knees out over the toes]       # imperatives
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from formsim.equipment import EQUIPMENT
from formsim.errors import InputError
from formsim.motion import ANCHORS, ANGLES, sided
from formsim.render import VIEWS

FOLDER = Path(__file__).parent / "actions"
_KEYS = {"name", "mode", "type", "equipment", "anchor", "arms", "views", "seconds", "base", "keys", "range", "steps"}
_KEYS |= {"instruction", "faults"}
_FAULT_KEYS = {"step", "change", "seen", "leads_to", "correct"}


@dataclass(frozen=True)
class Fault:
    """One way to do an action wrong, and the words for it. `change`: angle of `ANGLES` -> (operator, amount): ``*``
    scales the excursion from the base pose, ``+`` adds degrees while the movement is on, ``@`` adds degrees throughout.
    """

    name: str
    step: int  # 1..5, the step it breaks
    change: dict[str, tuple[str, float]]
    seen: tuple[str, ...]
    leads_to: tuple[str, ...]
    correct: tuple[str, ...]


@dataclass(frozen=True)
class Action:
    """One exercise, as its YAML file says."""

    name: str
    mode: str
    type: str
    equipment: tuple[str, ...]
    anchor: str
    arms: str
    views: tuple[str, ...]
    seconds: float
    base: dict[str, float]  # angle -> degrees
    keys: tuple[tuple[float, dict[str, float]], ...]  # phase -> angles that differ from base
    range_step: int  # 1..5, the step whose text says how far to go
    range_angles: tuple[str, ...]
    steps: tuple[str, ...]  # five
    good: tuple[str, ...]  # five clauses
    instruction: str
    faults: dict[str, Fault]


DEEPEST = 50  # an action has four
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same in C where it is there, ten times as fast


@cache
def load_actions(folder: Path = FOLDER) -> dict[str, Action]:
    """Every action of a folder by name, sorted; InputError for the first file that breaks the schema."""
    actions: dict[str, Action] = {}
    for path in sorted(folder.glob("*.yaml")):
        action = read_action(path)
        if action.name in actions:
            raise InputError(f"a second action is called '{action.name}'", file=path, hint="names are unique")
        actions[action.name] = action
    if not actions:
        raise InputError("no action found", file=folder, hint="add a .yaml file")
    return dict(sorted(actions.items()))


def read_action(path: str | Path) -> Action:
    """One YAML file -> Action; InputError names the key at fault."""
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
        depth = 0
        for event in yaml.parse(text, _LOADER):  # the loader itself calls itself for each level, and dies of too many
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEEPEST:
                raise ValueError(f"more than {DEEPEST} lists in each other")
        raw = yaml.load(text, _LOADER)
    except (OSError, ValueError, AttributeError, LookupError, yaml.YAMLError) as error:  # of odd values, like '!!int x'
        raise InputError(f"cannot be read: {error}", file=path, hint="it must be a YAML file in UTF-8") from None
    return parse_action(raw, path)


def parse_action(raw: Any, path: str | Path = "action") -> Action:
    """The parsed YAML -> Action; every rule of the schema is checked here."""
    top = _Table(path, "", raw, _KEYS)
    keys = _keys(top.table("keys"))
    span = top.table("range", {"step", "angles"}, {})
    moving = list(dict.fromkeys(angle for _, pose in keys for angle in pose))
    steps = top.listing("steps")
    top.insist(len(steps) == 5, "steps", f"must be five, not {len(steps)}")
    tables = [_Table(path, f"steps[{i}].", step, {"do", "good"}) for i, step in enumerate(steps)]
    faults = top.table("faults")
    top.insist(len(faults.raw) >= 3, "faults", "must be at least three")
    return Action(
        name=top.text("name"), mode=top.choice("mode", ("manual", "apparatus")), type=top.text("type"),
        equipment=tuple(top.choice("equipment", EQUIPMENT, item) for item in top.listing("equipment", [])),
        anchor=top.choice("anchor", tuple(ANCHORS)),
        arms=top.choice("arms", ("trunk", "world"), top.raw.get("arms", "world")),
        views=tuple(top.choice("views", VIEWS, view) for view in top.texts("views", list(VIEWS))),
        seconds=top.number("seconds", 0.5, 20, top.raw.get("seconds", 3.0)), base=top.pose("base"), keys=keys,
        range_step=span.step(span.raw.get("step", 3)),
        range_angles=tuple(a for angle in span.texts("angles", moving) for a in span.sides("angles", angle)),
        steps=tuple(step.template("do") for step in tables), good=tuple(step.template("good") for step in tables),
        instruction=top.text("instruction"),
        faults={str(name): _fault(str(name), faults.table(name, _FAULT_KEYS)) for name in faults.raw},
    )  # fmt: skip


def _keys(table: _Table) -> tuple[tuple[float, dict[str, float]], ...]:
    keys: list[tuple[float, dict[str, float]]] = []
    for phase, pose in table.raw.items():
        at = table.number(phase, 0, 1, phase)
        table.insist(not keys or at > keys[-1][0], phase, "phases must rise")
        table.insist(pose != "hold" or bool(keys), phase, "there is nothing to hold yet")
        keys.append((at, keys[-1][1] if pose == "hold" else table.pose(phase)))
    ends = len(keys) >= 2 and keys[0][0] == 0 and keys[-1][0] == 1
    table.insist(ends, "", "must begin at 0 and end at 1")
    return tuple(keys)


def _fault(name: str, table: _Table) -> Fault:
    changes = table.table("change")
    change: dict[str, tuple[str, float]] = {}
    for angle, operation in changes.raw.items():
        parts = str(operation).split()
        changes.insist(len(parts) == 2 and parts[0] in "*+@", angle, "must read '* k', '+ d' or '@ d'")
        amount, sides = changes.number(angle, -360, 360, parts[1]), changes.sides(angle, angle)
        changes.insist(change.keys().isdisjoint(sides), angle, "is changed twice: one operation an angle")
        change |= dict.fromkeys(sides, (parts[0], amount))
    table.insist(bool(change), "change", "must change an angle")
    words = (tuple(table.texts(key)) for key in ("seen", "leads_to", "correct"))
    return Fault(name, table.step(table.raw.get("step")), change, *words)


class _Table:
    """Typed access to a table of the file; whatever is wrong becomes one InputError that names file and key.

    Methods take a key, and the value where it is not the one under the key.
    """

    def __init__(self, path: str | Path, prefix: str, raw: Any, allowed: set[str] | None = None):
        self.path, self.prefix = path, prefix
        self.insist(isinstance(raw, dict), "", "must be a table")
        unknown = sorted(str(key) for key in raw if allowed is not None and key not in allowed)
        self.insist(not unknown, "", f"has unknown keys: {', '.join(unknown)}")
        self.raw: dict[Any, Any] = raw

    def insist(self, good: bool, key: Any, rule: str) -> None:
        if not good:
            where = f"{self.prefix}{key}".rstrip(".") or "file"
            raise InputError(f"'{where}' {rule}", file=self.path, hint="see the schema at the top of formsim/schema.py")

    def table(self, key: Any, allowed: set[str] | None = None, default: Any = None) -> _Table:
        return _Table(self.path, f"{self.prefix}{key}.", self.raw.get(key, default), allowed)

    def listing(self, key: str, default: Any = None) -> list[Any]:
        value = self.raw.get(key, default)
        self.insist(isinstance(value, list), key, "must be a list")
        return value

    def texts(self, key: str, default: Any = None) -> list[str]:
        items = self.listing(key, default)
        self.insist(bool(items), key, "must not be empty")
        self.insist(all(isinstance(item, str) and item.strip() for item in items), key, "must hold texts")
        return [" ".join(item.split()) for item in items]

    def text(self, key: str) -> str:
        value = self.raw.get(key)
        self.insist(isinstance(value, str) and bool(value.strip()), key, "must be a text")
        return " ".join(str(value).split())

    def template(self, key: str) -> str:
        text = self.text(key)
        self.insist(not {"{", "}"} & set(text.replace("{range}", "")), key, "may hold '{range}' and no other brace")
        return text

    def number(self, key: Any, low: float, high: float, value: Any) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        self.insist(low <= number <= high, key, f"must be a number from {low:g} to {high:g}, not {value!r}")
        return number

    def step(self, value: Any) -> int:
        number = self.number("step", 1, 5, value)
        self.insist(number == int(number), "step", f"must be a whole number from 1 to 5, not {value!r}")
        return int(number)

    def choice(self, key: str, options: tuple[str, ...], value: Any = None) -> str:
        value = self.raw.get(key) if value is None else value
        self.insist(value in options, key, f"is {value!r}; it must be one of {', '.join(options)}")
        return str(value)

    def sides(self, key: Any, angle: Any) -> list[str]:
        """An angle's full names: 'thigh' is both 'thigh_l' and 'thigh_r'."""
        names = list(sided({str(angle): 0.0}))
        self.insist(all(name in ANGLES for name in names), key, f"names the unknown angle '{angle}'")
        return names

    def pose(self, key: Any) -> dict[str, float]:
        value = self.raw.get(key)
        table = _Table(self.path, f"{self.prefix}{key}.", {} if value is None else value)
        return {side: table.number(a, -720, 720, v) for a, v in table.raw.items() for side in table.sides(a, a)}
