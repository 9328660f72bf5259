"""Performances of exercises that FormSim does not have, as skeletons: from them a model learns to know its limits.

Some are named in others.yaml. The rest are made from FormSim's actions: the arms of another one, limbs that move in
another plane or not at all, a few joints that move at random.
"""

from pathlib import Path

import numpy as np
import yaml

from formsim import motion
from formsim.body import Subject
from formsim.dataset import SUBJECTS, Array, form_angles, sample_phases, seed_of, stream_clip
from formsim.motion import ANGLES, sided
from formsim.schema import load_actions
from formsim.skeletons import PHASES

OTHER = "Another exercise"  # their class
STEPS = ("This exercise is none of those whose form is known.",) * 5, "Ask somebody who knows this exercise."
EXPLANATION = "This exercise is none of those whose form is known."
NAMED = yaml.safe_load(Path(__file__).with_name("others.yaml").read_text(encoding="utf-8"))
NAMED_SHARE = 0.5
APART = 0.35  # metres that some joint must be away from the action that a performance was made from
_ARM = ("upper_arm", "forearm", "shoulder")


def other_record(i: int, seed: int) -> dict[str, object]:
    """The row of the manifest of performance i; one in seven is for validation, none for a test."""
    split = "train" if i % 7 else "val"
    subject = f"{split}{seed_of('other subject', seed, i) % SUBJECTS[split]:03d}"
    return {
        "clip_id": f"other-{split}-{i:05d}", "path": f"videos/other-{i:05d}.mp4", "action": OTHER, "mode": "manual",
        "type": "other", "quality": 0, "view": "front", "explanation": EXPLANATION, "split": split, "subject": subject,
        "fault": "", "fault_step": None, "onset": None, "severity": None, "standard": "",
    }  # fmt: skip


def other_skeleton(i: int, seed: int) -> Array:
    """Joints float32 [48, 20, 3] of performance i, metres, x forward, y left, z up."""
    rng, phase = np.random.RandomState(seed_of("other", seed, i)), sample_phases(PHASES)
    subject = Subject.sample(rng)
    joints = _named(rng, phase, subject) if rng.random_sample() < NAMED_SHARE else None
    for _ in range(20):
        joints = _changed(rng, phase, subject) if joints is None else joints
    return (joints if joints is not None else _named(rng, phase, subject)).astype(np.float32)


def _named(rng: np.random.RandomState, phase: Array, subject: Subject) -> Array:
    exercise = NAMED[list(NAMED)[rng.randint(len(NAMED))]]
    action = load_actions()[exercise["like"]]
    rest = {name: action.base.get(name, 0.0) for name in ANGLES} | sided(exercise.get("base", {}))
    depth, held = 0.6 + 0.6 * rng.random_sample(), rng.random_sample() < 0.3
    on = np.clip(np.sin(np.pi * phase) * (2.5 if held else 1.0), 0, 1)
    end = sided(exercise["keys"])
    pose = {name: rest[name] + depth * (end.get(name, rest[name]) - rest[name]) * on for name in ANGLES}
    return _joints(rng, pose, subject, action.name)


def _changed(rng: np.random.RandomState, phase: Array, subject: Subject) -> Array | None:
    """A performance of FormSim changed into none of its own; None where it is still too much like it."""
    first, second = (stream_clip(rng.randint(10**6), rng.randint(10**6)) for _ in range(2))
    own = form_angles(first, phase)
    pose = {name: values.copy() for name, values in own.items()}
    kind, how = rng.randint(4), rng.randint(3)
    if kind == 0:  # the arms of another exercise
        pose |= {name: values for name, values in form_angles(second, phase).items() if name.startswith(_ARM)}
    elif kind == 3:  # a few joints move, nothing else
        pose = {name: np.full_like(values, values[0]) for name, values in own.items()}
        for k in rng.choice(len(ANGLES), 3, replace=False):
            if ANGLES[k] != "lift":
                pose[ANGLES[k]] = pose[ANGLES[k]] + rng.uniform(-90, 90) * np.sin(np.pi * phase) ** 2
    else:
        upper, lower = ("thigh", "shank") if kind == 1 else ("upper_arm", "forearm")
        for side in "lr":
            move = pose[f"{upper}_{side}"] - pose[f"{upper}_{side}"][0]
            if how == 0:  # sideways
                pose[f"{upper}_{side}"] = pose[f"{upper}_{side}"] - move
                pose[f"{upper}_{side}.out"] = pose[f"{upper}_{side}.out"] + np.abs(move) * rng.uniform(0.5, 1)
            elif how == 1:  # the other way
                pose[f"{upper}_{side}"] = pose[f"{upper}_{side}"] - 1.5 * move
            else:  # not at all
                for part in (upper, lower):
                    pose[f"{part}_{side}"] = np.full_like(move, pose[f"{part}_{side}"][0])
    state = rng.get_state()
    made = _joints(rng, pose, subject, first.action)
    rng.set_state(state)
    difference = (made - made[:, :1]) - (plain := _joints(rng, own, subject, first.action)) + plain[:, :1]
    return made if np.linalg.norm(difference, axis=-1).max() > APART else None


def _joints(rng: np.random.RandomState, pose: dict[str, Array], subject: Subject, action: str) -> Array:
    """With a style of the performer's own."""
    styled = {name: v + (0 if name in ("lift", "yaw") else 4 * rng.normal()) for name, v in pose.items()}
    like = load_actions()[action]
    return motion.joints(styled, subject, motion.ANCHORS[like.anchor], like.arms)
