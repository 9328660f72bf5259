"""The FormSim data set: which clips there are, and each clip from its specification to frames.

Three benchmarks. In ``main`` every action has one standard, as in CoT-AFA. In ``standards`` the same motion is judged
by one of three standards stated in the steps, so that only the text says whether it is right. ``unseen`` is
like ``main``, but its test split shows actions that training and validation never do.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, cast

import numpy as np
from numpy.random import RandomState

from formsim import motion
from formsim.body import Subject, primitives
from formsim.errors import InputError
from formsim.raycast import turn
from formsim.render import Camera, Scene, render
from formsim.schema import Action, Fault, load_actions
from formsim.tables import TABLES

Array = np.ndarray
Benchmark = Literal["main", "standards", "unseen", "stream"]

# How far a movement must go: factor on the excursion of an action's range angles, the words for it in an explanation,
# and the step that asks for it in the standards benchmark.
STANDARDS: dict[str, tuple[float, str, str]] = {
    "short": (0.50, "through a short range", "Stop early: only a small, partial movement is asked for."),
    "medium": (0.78, "through a medium range", "Stop midway: a medium movement is asked for."),
    "full": (1.06, "through the full range", "Go all the way: the largest, complete movement is asked for."),
}
SPLITS = {"train": 0.70, "val": 0.15, "test": 0.15}  # as the paper divides CoT-AFA
SUBJECTS = {"train": 140, "val": 30, "test": 30}  # nobody appears in two splits
SEALED_SUBJECTS = 280
STANDARD_SHARE = {"main": 2 / 3, "standards": 1 / 2, "unseen": 2 / 3, "stream": 1 / 3}
GENERIC_SHARE = 0.3  # standards benchmark: non-standard clips whose fault is one of the action's own, not its range
SEVERITY = (0.9, 1.5)  # magnitude of a fault, 1 = as its file says
TOLERATED = 0.2  # magnitude that a standard clip may show, so that form is a matter of degree
STYLE = 2.2  # degrees, standard deviation of a performer's own offset of every angle
_SENTENCES: dict[str, list[str]] = TABLES["sentences"]
_MIN_WORDS = 60  # words; what would be shorter gets one more sentence: most texts of CoT-AFA have 60 words or more
_ORDINALS = ("one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Clip:
    """One performance, fully specified: rendering it again gives the same bytes."""

    clip_id: str
    action: str
    split: str
    subject: str
    view: str
    standard: str  # key of STANDARDS in the standards benchmark, else ''
    executed: float  # factor on the range of the movement
    fault: str  # '' where the form is standard
    severity: float  # magnitude of the fault
    onset: float  # phase at which it sets in
    extra: tuple[tuple[str, float], ...]  # tolerated deviations: (fault, magnitude)
    seed: int  # of everything else: style, tempo, clothing, room, camera, words

    @property
    def quality(self) -> int:
        """0 standard, 1 non-standard."""
        return int(bool(self.fault))


def seed_of(*parts: object) -> int:
    """A 32-bit seed from any names and numbers, the same on every machine."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "little")


def all_faults(action: Action) -> dict[str, Fault]:
    """The faults of an action and, for the standards benchmark, a range too short or too long."""
    words = {name: map(tuple, texts.values()) for name, texts in TABLES["range_faults"].items()}
    return action.faults | {name: Fault(name, action.range_step, {}, *texts) for name, texts in words.items()}


@cache
def clips(
    benchmark: Benchmark = "main", count: int = 3392, seed: int = 0, names: tuple[str, ...] = ()
) -> tuple[Clip, ...]:
    """The clips of a benchmark: 70/15/15 by subject, a split's actions and views in equal shares.

    `count` clips in all splits together, of the actions `names` (default: all).

    Raises:
        InputError: `unseen` with fewer than four actions, none of which would be held out.
    """
    actions = [load_actions()[name] for name in names] or list(load_actions().values())
    shown = new = actions
    if benchmark == "unseen":
        if len(actions) < 4:
            raise InputError("with fewer than four actions none can be held out", hint="set data.actions to 4 or more")
        new = unseen_actions(actions)
        shown = [action for action in actions if action not in new]
    held_out = {split: max(1, round(count * SPLITS[split])) for split in ("val", "test")}
    sizes = {"train": count - sum(held_out.values())} | held_out
    offered = {"train": shown, "val": shown, "test": new}
    rng = RandomState()  # seeded anew for each clip: making one takes 60 times as long
    return tuple(_clip(offered[split], benchmark, split, i, seed, rng) for split in sizes for i in range(sizes[split]))


def sealed_clips(known: Sequence[Clip], count: int, seed: int) -> tuple[Clip, ...]:
    """`count` clips in place of the test split of `known`: the same actions, other people, and a seed of their own."""
    test = [clip for clip in known if clip.split == "test"]
    benchmark = cast(Benchmark, test[0].clip_id.partition("-")[0])
    actions = [load_actions()[name] for name in dict.fromkeys(clip.action for clip in test)]
    rng = RandomState()
    return tuple(_clip(actions, benchmark, "sealed", i, seed, rng) for i in range(count))


def some_actions(count: int) -> tuple[str, ...]:
    """Names of so many actions of varied types: evenly spaced in the order of type and name; 0: all, in file order."""
    known = list(load_actions().values())
    ordered = sorted(known, key=lambda action: (action.type, action.name)) if count else known
    share = len(known) / (count or len(known))
    return tuple(ordered[int(i * share)].name for i in range(count or len(known)))


def unseen_actions(actions: Sequence[Action]) -> list[Action]:
    """Those that `unseen` holds out: in order of workout type and name, the fourth of every six, so of varied types."""
    return sorted(actions, key=lambda action: (action.type, action.name))[3::6]


def _clip(actions: list[Action], benchmark: Benchmark, split: str, i: int, seed: int, rng: RandomState) -> Clip:
    own = seed_of("formsim", benchmark, seed, split, i)
    rng.seed(own)
    action = actions[i % len(actions)]
    view = action.views[(i // len(actions)) % len(action.views)]
    people = SUBJECTS.get(split, SEALED_SUBJECTS)
    subject = f"stream{seed}-{i}" if benchmark == "stream" else f"{split}{rng.randint(people):03d}"
    names = list(action.faults)
    wrong = rng.random_sample() >= STANDARD_SHARE[benchmark]
    fault = names[rng.randint(len(names))] if wrong else ""
    severity, onset = _uniform(rng, *SEVERITY), _uniform(rng, 0.05, 0.3) if rng.random_sample() < 0.3 else 0.0
    standard, executed = "", _uniform(rng, 0.95, 1.05)
    if benchmark == "standards":
        levels = list(STANDARDS)
        done = levels[rng.randint(3)]  # drawn first: how far somebody goes says nothing about right or wrong
        generic = rng.random_sample() < GENERIC_SHARE
        executed = STANDARDS[done][0] * executed
        others = [level for level in levels if level != done]
        standard = done if not wrong or generic else others[rng.randint(2)]
        if wrong and not generic:
            fault = "range_short" if STANDARDS[done][0] < STANDARDS[standard][0] else "range_long"
            onset, severity = 0.0, abs(STANDARDS[done][0] - STANDARDS[standard][0])
    if benchmark == "stream":
        executed = _uniform(rng, 0.35, 1.2)
    extra: tuple[tuple[str, float], ...] = ()
    if not fault and rng.random_sample() < 0.5:
        extra = ((names[rng.randint(len(names))], _uniform(rng, 0.0, TOLERATED)),)
    if benchmark == "stream":
        extra = tuple((name, _uniform(rng, -0.2, 1.0)) for name in names if rng.random_sample() < 0.3)
    severity, onset = (severity, onset) if fault else (0.0, 0.0)
    name = f"{benchmark}-{split}-{i:05d}"
    split = "test" if split == "sealed" else split
    return Clip(name, action.name, split, subject, view, standard, executed, fault, severity, onset, extra, own)


def _uniform(rng: RandomState, low: float, high: float) -> float:
    return float(low + (high - low) * rng.random_sample())


def form_angles(clip: Clip, phase: Array, action: Action | None = None) -> dict[str, Array]:
    """Angles in degrees [T] each at the phases [T]: the action, how far it goes and its faults, nobody's style."""
    action = action or load_actions()[clip.action]
    faults = all_faults(action)
    done = [(faults[clip.fault], clip.severity, clip.onset)] if clip.fault and faults[clip.fault].change else []
    done += [(faults[name], magnitude, 0.0) for name, magnitude in clip.extra]
    return motion.angles(action, _performer_phase(clip, phase), tuple(done), clip.executed)


def performance(clip: Clip, phase: Array, action: Action | None = None) -> tuple[Array, dict[str, Array], Subject]:
    """Joints float64 [T, 20, 3] in metres, angles in degrees [T], who performs; `action`: the clip's in another way."""
    action = action or load_actions()[clip.action]
    subject = Subject.sample(RandomState(seed_of("subject", clip.subject)))
    rng = RandomState(seed_of("style", clip.seed))
    wide = 5.0 if clip.clip_id.startswith("stream") else STYLE  # pre-training sees poses that no action file holds
    pose = form_angles(clip, phase, action)
    for angle in motion.ANGLES:
        offset, sway, at = rng.normal() * wide, rng.normal() * 0.8, rng.random_sample()
        if angle not in ("lift", "yaw"):
            own = 0.3 if angle.startswith(("pelvis", "trunk", "shoulder")) and wide < 5 else 1.0
            pose[angle] = pose[angle] + own * (offset + sway * np.sin(2 * np.pi * (phase + at)))
    return motion.joints(pose, subject, motion.ANCHORS[action.anchor], action.arms), pose, subject


def _performer_phase(clip: Clip, phase: Array) -> Array:
    """Where in the movement the performer is at each phase of the clip: early or late, fast or slow."""
    rng = RandomState(seed_of("tempo", clip.seed))
    shift, tempo = _uniform(rng, -0.03, 0.03), _uniform(rng, 0.94, 1.06)
    return np.clip(0.5 + (phase - 0.5 + shift) * tempo, 0, 1)


def sample_phases(frames: int) -> Array:
    """The middle of each of `frames` equal parts of a clip, as `video.load_clip` samples a file by rule 'uniform'."""
    return (np.arange(frames) + 0.5) / frames


def camera_of(clip: Clip) -> Camera:
    """The clip's camera: it frames body and equipment over the whole movement and does not move."""
    whole, _, subject = performance(clip, np.linspace(0, 1, 9))
    solids = primitives(whole, subject, load_actions()[clip.action].equipment)
    return Camera.sample(clip.view, solids.points(), RandomState(seed_of("camera", clip.seed)))


def render_clip(clip: Clip, size: int = 64, frames: int = 6, clutter: float = 1.0) -> Array:
    """uint8 [T, size, size, 3]; the same bytes on every machine. `clutter`: see `Scene.sample`."""
    joints, _, subject = performance(clip, sample_phases(frames))
    solids = primitives(joints, subject, load_actions()[clip.action].equipment)
    scene = Scene.sample(RandomState(seed_of("scene", clip.seed)), clutter)
    return render(solids, scene, camera_of(clip), size)


def pose_target(clip: Clip, frames: int = 6) -> tuple[Array, Array, Array, Array]:
    """What pre-training learns from a clip.

    Returns:
        joints: relative to the pelvis, in camera axes (right, down, away) and body heights, float32 [T, 20, 3].
        angles: sine and cosine of each, float32 [T, 35, 2].
        places: where each joint is in the picture, float32 [T, 20, 2], (0, 0) top left, (1, 1) bottom right.
        deviation: of each angle from the action as its file says, at the same moment and without the performer's own
            style, which no picture shows: radians, float32 [T, 35].
    """
    phase = sample_phases(frames)
    joints, pose, subject = performance(clip, phase)
    camera = camera_of(clip)
    local, seen = (  # in camera axes; + 0.0: no negative zeros
        np.stack(turn(camera.rotation, joints - origin), axis=-1) + 0.0 for origin in (joints[:, :1], camera.position)
    )
    places = camera.centre + camera.focal * seen[..., :2] / seen[..., 2:]
    radians = np.deg2rad(np.stack([pose[a] for a in motion.ANGLES], axis=1))
    angles = np.stack([np.sin(radians), np.cos(radians)], axis=-1)
    done, model = form_angles(clip, phase), motion.angles(load_actions()[clip.action], _performer_phase(clip, phase))
    deviation = np.deg2rad(np.stack([done[a] - model[a] for a in motion.ANGLES], axis=1))
    return tuple(part.astype(np.float32) for part in (local / subject.height, angles, places, deviation))  # type: ignore[return-value]


def record(clip: Clip, words: RandomState | None = None) -> dict[str, object]:
    """One row of the manifest (DESIGN: one manifest for every source). `words` is seeded anew: one will do for all."""
    action = load_actions()[clip.action]
    fault = all_faults(action)[clip.fault] if clip.fault else None
    phrase = STANDARDS[clip.standard or "full"][1]
    words = words or RandomState()
    words.seed(seed_of("words", clip.seed))
    return {
        "clip_id": clip.clip_id, "path": f"videos/{clip.clip_id}.mp4", "action": clip.action, "mode": action.mode,
        "type": action.type, "quality": clip.quality, "view": clip.view,
        "explanation": explain(action, fault, phrase, words), "split": clip.split, "subject": clip.subject,
        "fault": f"{clip.action}/{clip.fault}" if fault else "", "fault_step": fault.step if fault else None,
        "onset": clip.onset if fault else None, "severity": clip.severity if fault else None, "standard": clip.standard,
    }  # fmt: skip


def step_texts(action: Action, range_phrase: str, stated: str = "") -> tuple[tuple[str, ...], str]:
    """The five steps and the instruction of an action, with what its standard asks for filled in.

    `stated` takes the place of the step that speaks of the range: one sentence for all actions, because models
    overlook a phrase inside a longer step (0.4 % of the variance between step vectors).
    """
    steps = [step.format(range=range_phrase) for step in action.steps]
    if stated:
        steps[action.range_step - 1] = stated
    return tuple(steps), action.instruction


def explain(action: Action, fault: Fault | None, range_phrase: str, rng: RandomState) -> str:
    """A reference explanation, 60 to 110 words in five or six sentences; `fault` None means standard form. The sixth
    sentence comes last, so that the third always states what goes wrong.
    """

    def pick(options: Sequence[str]) -> str:
        return options[rng.randint(len(options))]

    def right(step: int, kind: str = "right") -> str:
        good = action.good[step].format(range=range_phrase)
        return pick(_SENTENCES[kind]).format(step=_ORDINALS[step], good=good)

    order = [int(step) for step in rng.permutation(5) if fault is None or step != fault.step - 1]
    if fault is None:
        first, second, *_ = (_SENTENCES["closing"][i] for i in rng.permutation(len(_SENTENCES["closing"])))
        parts, extra = [pick(_SENTENCES["good"]), *map(right, sorted(order[:3])), first], second
    else:
        parts = [
            pick(_SENTENCES["bad"]),
            right(order[0]),
            pick(_SENTENCES["wrong"]).format(step=_ORDINALS[fault.step - 1], seen=pick(fault.seen)),
            pick(_SENTENCES["effect"]).format(leads_to=pick(fault.leads_to)),
            pick(_SENTENCES["correction"]).format(correct=pick(fault.correct)),
        ]
        extra = right(order[1], "rest")
    parts[0] = parts[0].format(name=action.name.lower())
    text = " ".join(parts)
    return f"{text} {extra}" if len(text.split()) < _MIN_WORDS else text


def step_table(chosen: Sequence[Clip]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Steps and instruction for each key that these clips need: the action, or 'action [standard]'."""
    table = {}
    for action, standard in {(clip.action, clip.standard) for clip in chosen}:
        _, phrase, stated = STANDARDS[standard or "full"]
        key = f"{action} [{standard}]" if standard else action
        table[key] = step_texts(load_actions()[action], phrase, stated if standard else "")
    return dict(sorted(table.items()))


def fault_phrases(part: str = "seen") -> dict[str, dict[str, tuple[str, ...]]]:
    """action -> fault -> the clauses that name it: the ground truth of the fault parser. `part`: or 'leads_to', what
    follows from it, or 'correct', how to correct it."""
    return {a.name: {f.name: getattr(f, part) for f in all_faults(a).values()} for a in load_actions().values()}


def stream_clip(i: int, seed: int) -> Clip:
    """Clip i of the endless stream that the visual encoder is pre-trained on."""
    return _clip(list(load_actions().values()), "stream", "train", i, seed, RandomState())
