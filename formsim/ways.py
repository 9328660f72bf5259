"""Other ways in which people do FormSim's movements (ways.yaml), for training on skeletons only."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from formsim.dataset import Clip, performance, sample_phases, seed_of
from formsim.motion import sided
from formsim.schema import Action, load_actions
from formsim.shapes import Array
from formsim.skeletons import PHASES

WAYS: dict[str, Any] = yaml.safe_load(Path(__file__).with_name("ways.yaml").read_text(encoding="utf-8"))
WIDE = 8.0  # degrees, deviation of each angle that a way names


def people_skeleton(clip: Clip) -> Array:
    """`skeletons.skeleton` as one of many people would do it: joints float32 [48, 20, 3]."""
    phase, action = sample_phases(PHASES), load_actions()[clip.action]
    rng = np.random.RandomState(seed_of("way", clip.seed))
    if clip.action in WAYS and clip.split == "train":  # validation and test stay as they are
        known = WAYS[clip.action]
        if rng.random_sample() < known["chance"]:
            action = _in_way(action, clip, known["ways"][rng.randint(len(known["ways"]))], rng)
        if rng.random_sample() < known.get("stays", 0):
            begin, held = 0.5 * rng.random_sample(), max(at for at, angles in action.keys if angles)
            phase = held * np.clip((phase - begin) / (1 - begin), 0, 1)
    return performance(clip, phase, action)[0].astype(np.float32)


def _in_way(action: Action, clip: Clip, way: dict[str, dict[str, float]], rng: np.random.RandomState) -> Action:
    """The action with a way's angles; as it is where they are those of one of the clip's faults."""
    base, keys = (
        {name: value + WIDE * rng.normal() for name, value in sided(way.get(part, {})).items()}
        for part in ("base", "keys")
    )
    faults = [action.faults[name] for name in (clip.fault, *dict(clip.extra)) if name in action.faults]
    if any(angle in base | keys for fault in faults for angle in fault.change):
        return action
    moments = tuple((at, angles | keys if angles else angles) for at, angles in action.keys)
    return dataclasses.replace(action, base=action.base | base, keys=moments)
