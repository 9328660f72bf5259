"""Made-up poses of people: skeletons whose knees bend as deep as asked, as records and as a folder of seven sets."""

from pathlib import Path

import numpy as np
import pandas as pd

from efa.data.landmarks import INDEX as BLAZEPOSE
from efa_datasets.real_people import Record
from formsim.motion import JOINTS

UPRIGHT = {  # x forward, z up, metres; y follows from the side
    "pelvis": (0, 0.95), "chest": (0, 1.2), "neck": (0, 1.45), "head": (0, 1.75), "shoulder": (0, 1.4),
    "elbow": (0, 1.1), "wrist": (0.1, 0.85), "hand": (0.15, 0.8), "hip": (0, 0.9), "knee": (0.02, 0.5),
    "ankle": (0, 0.08), "toe": (0.2, 0.02),
}  # fmt: skip
MOVING = ("pelvis", "chest", "neck", "head", "shoulder", "elbow", "wrist", "hand", "hip")


def squat(depth: float, frames: int = 12, random: np.random.RandomState | None = None) -> np.ndarray:
    """Joints [T, 20, 3]: all above the knees sinks by `depth` metres and comes up again."""
    sunk = depth * np.sin(np.linspace(0, np.pi, frames))
    joints = np.zeros((frames, 20, 3))
    for i, name in enumerate(JOINTS):
        part, _, side = name.partition("_")
        x, z = UPRIGHT[part]
        joints[:, i] = x, {"l": 0.15, "r": -0.15}.get(side, 0.0), z
        if part in MOVING:
            joints[:, i, 2] -= sunk
        if part == "knee":
            joints[:, i, 0] += 0.6 * sunk
    return joints if random is None else joints + random.normal(0, 0.01, joints.shape)


def squatters(groups: int = 6, each: int = 6, seed: int = 0, shuffled: bool = False) -> list[Record]:
    """Records of people who squat deep (0) or not (1); `shuffled`: the labels have nothing to do with it."""
    random, records = np.random.RandomState(seed), []
    for group in range(groups):
        for i in range(each):
            label = i % 2
            joints = squat(0.15 + 0.1 * random.rand() if label else 0.35 + 0.1 * random.rand(), random=random)
            told = int(random.randint(2)) if shuffled else label
            records.append(Record("front_squat", f"{group}-{i}", f"g{group}", "squat", "Squat", told, joints=joints))
    return records


def blazepose(joints: np.ndarray, visibility: bool = True) -> np.ndarray:
    """[T, 33, 4 or 3] as a camera in front sees the joints, in metres: x to the right, y down, z away."""
    image = np.zeros((len(joints), 33, 3))
    for name, i in BLAZEPOSE.items():
        part, _, side = name.rpartition("_")
        part = {"pinky": "hand", "index": "hand", "thumb": "hand", "heel": "ankle"}.get(part, part)
        here = JOINTS.index(f"{part}_{side}") if f"{part}_{side}" in JOINTS else JOINTS.index("head")
        image[:, i] = joints[:, here][:, [1, 2, 0]] * (1, -1, -1)
    return np.concatenate([image, np.ones_like(image[..., :1])], -1) if visibility else image


def write_folder(place: Path) -> Path:
    """The seven sets, a few clips each, in the layout of the real ones."""
    place.mkdir(parents=True, exist_ok=True)
    random = np.random.RandomState(0)
    pixels = (100 * blazepose(squat(0.4)) + [320, 240, 0, 0]).astype(np.float32)
    metres = blazepose(squat(0.4), visibility=False).astype(np.float16)
    shares = (0.2 * blazepose(squat(0.4)) + [0.5, 0.5, 0, 0]).astype(np.float16)
    shares[0] = 0  # nobody
    tables: dict[str, list[dict]] = {name: [] for name in ("front_squat", "push_up", "deadlift", "plank", "boxing")}
    tables |= {"yoga": [], "repetitions": []}
    arrays: dict[str, dict[str, np.ndarray]] = {name: {} for name in tables}
    for i in range(12):
        label = ("correct", "incorrect")[i % 2]
        clip, group = f"clip{i}", f"{i // 4}"
        fault = ("rounded_back", "no_lockout")[i // 2 % 2] if i % 2 else ""
        depth = 0.1 if i % 2 else 0.4
        tables["front_squat"].append({"clip": clip, "label": label, "fault": "not_deep" * (i % 2), "session": group})
        arrays["front_squat"][clip] = shares
        sized = {"width": 640, "height": 480}
        tables["push_up"].append({"clip": clip, "label": label, "scene": group, "kaggle": i % 2, "fps": 12.5} | sized)
        tables["deadlift"].append({"clip": clip, "label": label, "fault": fault, "subject": group, "view": "v"} | sized)
        for name in ("push_up", "deadlift"):
            noise = random.normal(0, 0.02, metres.shape)
            arrays[name] |= {
                f"{clip}/image": pixels,
                f"{clip}/world": (metres * (1 + depth) + noise).astype(np.float16),
            }
        tables["plank"].append({"index": i, "label": label, "fault": "back_too_high" * (i % 2), "group": group})
        said = "Keep your guard up. || Your hips aren't rotating." if i % 2 else "Keep your chin down."
        row = {"file": f"joints/box{i}.npy", "action": "boxing_jab", "label": "with_coach_comment", "subject": group}
        tables["boxing"].append(row | {"view": 1.0, "comments": said})
        arrays["boxing"][f"box{i}"] = random.normal(0, 0.1, (9, 22, 3)).astype(np.float16) + np.eye(22, 3)
        tables["yoga"].append({"clip": clip, "action": ("chair", "tree")[i % 2], "subject": f"P{group}", "view": "v1"})
        arrays["yoga"][clip] = shares
        tables["repetitions"].append({"file": clip, "action": "push_up", "label": "", "subject": group, "reps": i})
        arrays["repetitions"][clip] = shares[..., :3]
    tables["boxing"].append({"file": "joints/std.npy", "action": "boxing_none", "label": "standard"})
    arrays["boxing"]["std"] = arrays["boxing"]["box0"]
    arrays["plank"]["keypoints"] = random.uniform(0, 200, (12, 18, 2)).astype(np.float32)
    for name, rows in tables.items():
        pd.DataFrame(rows).to_csv(place / f"{name}.csv", index=False)
        np.savez(place / f"{name}.npz", **arrays[name])
    return place
