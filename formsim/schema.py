"""Actions as data: what a YAML file in ``actions/`` may say, read and checked.

One file is one action. A coach adds one without touching Python; ``efa data preview NAME`` draws it.

    name: Squat                      # the class; unique
    mode: manual                     # manual or apparatus
    type: squat                      # workout type
    equipment: [mat]                 # names of body.EQUIPMENT
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
from formsim.motion import ANCHORS, ANGLES, SIDED

FOLDER = Path(__file__).parent / "actions"
VIEWS = ("front", "side", "back")
_KEYS = {"name", "mode", "type", "equipment", "anchor", "arms", "views", "seconds", "base", "keys", "range", "steps"}
_KEYS |= {"instruction", "faults"}


@dataclass(frozen=True)
class Fault:
    """One way to do an action wrong: operations on angles, and the words for it.

    `change` maps an angle of `ANGLES` to (operator, amount): ``*`` scales the excursion from the base pose,
    ``+`` adds degrees while the movement is on, ``@`` adds degrees throughout.
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
    read = _Reader(path)
    raw = read.table(raw, "file", _KEYS)
    keys = _keys(read, raw.get("keys"))
    span = read.table(raw.get("range", {}), "range", {"step", "angles"})
    moving = tuple(dict.fromkeys(angle for _, pose in keys for angle in pose))
    angles = read.listing(span.get("angles", list(moving)), "range.angles", text=True)
    steps = [
        read.table(item, f"steps[{i}]", {"do", "good"})
        for i, item in enumerate(read.listing(raw.get("steps"), "steps"))
    ]
    read.insist(len(steps) == 5, "steps", f"must be five, not {len(steps)}")
    faults = read.table(raw.get("faults"), "faults")
    read.insist(len(faults) >= 3, "faults", "must be at least three")
    return Action(
        name=read.text(raw.get("name"), "name"),
        mode=read.choice(raw.get("mode"), "mode", ("manual", "apparatus")),
        type=read.text(raw.get("type"), "type"),
        equipment=tuple(
            read.choice(e, "equipment", EQUIPMENT) for e in read.listing(raw.get("equipment", []), "equipment")
        ),
        anchor=read.choice(raw.get("anchor"), "anchor", tuple(ANCHORS)),
        arms=read.choice(raw.get("arms", "world"), "arms", ("trunk", "world")),
        views=tuple(
            read.choice(v, "views", VIEWS) for v in read.listing(raw.get("views", list(VIEWS)), "views", text=True)
        ),
        seconds=read.number(raw.get("seconds", 3.0), "seconds", 0.5, 20),
        base=read.pose(raw.get("base", {}), "base"),
        keys=keys,
        range_step=read.step(span.get("step", 3), "range.step"),
        range_angles=tuple(a for angle in angles for a in read.sides(angle, "range.angles")),
        steps=tuple(read.template(step.get("do"), f"steps[{i}].do") for i, step in enumerate(steps)),
        good=tuple(read.template(step.get("good"), f"steps[{i}].good") for i, step in enumerate(steps)),
        instruction=read.text(raw.get("instruction"), "instruction"),
        faults={str(name): _fault(read, str(name), fault) for name, fault in faults.items()},
    )


def _keys(read: _Reader, raw: Any) -> tuple[tuple[float, dict[str, float]], ...]:
    table = read.table(raw, "keys")
    keys: list[tuple[float, dict[str, float]]] = []
    for phase, pose in table.items():
        at = read.number(phase, "keys", 0, 1)
        read.insist(not keys or at > keys[-1][0], f"keys.{phase}", "phases must rise")
        read.insist(pose != "hold" or bool(keys), f"keys.{phase}", "there is nothing to hold yet")
        keys.append((at, keys[-1][1] if pose == "hold" else read.pose(pose, f"keys.{phase}")))
    read.insist(len(keys) >= 2 and keys[0][0] == 0 and keys[-1][0] == 1, "keys", "must begin at 0 and end at 1")
    return tuple(keys)


def _fault(read: _Reader, name: str, raw: Any) -> Fault:
    where = f"faults.{name}"
    raw = read.table(raw, where, {"step", "change", "seen", "leads_to", "correct"})
    change: dict[str, tuple[str, float]] = {}
    for angle, operation in read.table(raw.get("change"), f"{where}.change").items():
        parts = str(operation).split()
        rule = "must read '* k', '+ d' or '@ d'"
        read.insist(len(parts) == 2 and parts[0] in "*+@", f"{where}.change.{angle}", rule)
        amount = read.number(parts[1], f"{where}.change.{angle}", -360, 360)
        twice = [side for side in read.sides(angle, f"{where}.change") if side in change]
        read.insist(not twice, f"{where}.change.{angle}", "is changed twice: one operation an angle")
        change |= dict.fromkeys(read.sides(angle, f"{where}.change"), (parts[0], amount))
    read.insist(bool(change), f"{where}.change", "must change an angle")
    words = {
        key: tuple(read.listing(raw.get(key), f"{where}.{key}", text=True)) for key in ("seen", "leads_to", "correct")
    }
    return Fault(name, read.step(raw.get("step"), f"{where}.step"), change, **words)


class _Reader:
    """Typed access to parsed YAML; whatever is wrong becomes one InputError that names file and key."""

    def __init__(self, path: str | Path):
        self.path = path

    def insist(self, good: bool, key: str, rule: str) -> None:
        if not good:
            raise InputError(f"'{key}' {rule}", file=self.path, hint="see the schema at the top of formsim/schema.py")

    def table(self, value: Any, key: str, allowed: set[str] | None = None) -> dict[Any, Any]:
        self.insist(isinstance(value, dict), key, "must be a table")
        unknown = sorted(str(k) for k in value if allowed is not None and k not in allowed)
        self.insist(not unknown, key, f"has unknown keys: {', '.join(unknown)}")
        return dict(value)

    def listing(self, value: Any, key: str, text: bool = False) -> list[Any]:
        self.insist(isinstance(value, list), key, "must be a list")
        if text:
            self.insist(bool(value), key, "must not be empty")
            return [self.text(item, key) for item in value]
        return list(value)

    def text(self, value: Any, key: str) -> str:
        self.insist(isinstance(value, str) and bool(value.strip()), key, "must be a text")
        return " ".join(str(value).split())

    def template(self, value: Any, key: str) -> str:
        text = self.text(value, key)
        self.insist(not {"{", "}"} & set(text.replace("{range}", "")), key, "may hold '{range}' and no other brace")
        return text

    def number(self, value: Any, key: str, low: float, high: float) -> float:
        try:
            number = float(value) if not isinstance(value, bool) else float("nan")
        except (TypeError, ValueError, OverflowError):
            number = float("nan")
        self.insist(low <= number <= high, key, f"must be a number from {low:g} to {high:g}, not {value!r}")
        return number

    def step(self, value: Any, key: str) -> int:
        number = self.number(value, key, 1, 5)
        self.insist(number == int(number), key, f"must be a whole number from 1 to 5, not {value!r}")
        return int(number)

    def choice(self, value: Any, key: str, options: tuple[str, ...]) -> str:
        self.insist(value in options, key, f"is {value!r}; it must be one of {', '.join(options)}")
        return str(value)

    def sides(self, angle: Any, key: str) -> list[str]:
        """An angle's full names: 'thigh' is both 'thigh_l' and 'thigh_r'."""
        part, dot, rest = str(angle).partition(".")
        names = [f"{part}_l{dot}{rest}", f"{part}_r{dot}{rest}"] if part in SIDED else [str(angle)]
        self.insist(all(name in ANGLES for name in names), key, f"names the unknown angle '{angle}'")
        return names

    def pose(self, value: Any, key: str) -> dict[str, float]:
        table = self.table(value if value is not None else {}, key)
        return {side: self.number(v, f"{key}.{a}", -720, 720) for a, v in table.items() for side in self.sides(a, key)}
