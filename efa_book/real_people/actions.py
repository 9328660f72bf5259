"""Which exercise is it? A checkpoint's zero-shot answers on real people, and how far to trust them.

    efa pretrain pose --clips 24000 --passes 12 --others 12000 --people --to trunk.safetensors
    efa run 6/EFA --preset pose --set data.others=4000 --set data.people=true --set encoder.weights=trunk.safetensors
    python -m efa_book.real_people.actions FOLDER CLIPS --run runs/KEY      # packs the run into the package, and fits

Groups of people (sessions, scenes, subjects, videos) are divided by a hash of their names. On one half, `validation`,
the probability that an answer is right is fitted, and the threshold below which the model abstains is chosen; the other
half, `test`, is scored with both as they are. Both go into MODEL/config.json.
"""

import dataclasses
import json
import shutil
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import typer
from scipy.ndimage import median_filter
from scipy.optimize import nnls
from sklearn.linear_model import LogisticRegression

from efa.cli.console import out
from efa.data.landmarks import INDEX, Landmarks
from efa.data.observation import observe_landmarks
from efa.data.skeleton import LENGTH
from efa.metrics.forms import auc, balanced_accuracy
from efa.predict import EFA
from efa.runs import commit
from efa.utils import paths
from efa_book.files import csv_text, read_json, write_json, write_text
from efa_datasets.real_people import read_real_people

SAME = {  # a skeleton does not show what is held in the hands
    "Squat": {"Squat", "Barbell Back Squat"},
    "Standing Barbell Curl": {"Standing Barbell Curl", "Alternating Dumbbell Curl"},
    "Barbell Overhead Press": {"Barbell Overhead Press", "Seated Dumbbell Shoulder Press"},
}
CLIPS = {  # the beginning of a video file's name -> FormSim's action; others show exercises that it does not have
    "squat": "Squat", "pull-up": "Pull Up", "pullup": "Pull Up", "deadlift": "Barbell Deadlift", "plank": "Plank",
    "bicep_curl": "Standing Barbell Curl", "curl": "Standing Barbell Curl", "pushup": "Push-Up",
    "lunges": "Dumbbell Lunge", "press": "Barbell Overhead Press", "russiantwist": "Russian Twist",
}  # fmt: skip
JUDGED = {"front_squat": ("Squat", "Barbell Back Squat"), "push_up": ("Push-Up",), "deadlift": ("Barbell Deadlift",)}
FAULTS = {"front_squat": {"not_deep_enough": "shallow"}, "deadlift": {"rounded_back": "rounded_back"}}  # theirs: ours
WRONG = 0.05  # of the answers given on the validation half may be wrong, at most
_RIGID = [
    *((f"shoulder_{s}", f"elbow_{s}", LENGTH["upper_arm"]) for s in "lr"),
    *((f"elbow_{s}", f"wrist_{s}", LENGTH["forearm"]) for s in "lr"),
    *((f"hip_{s}", f"knee_{s}", LENGTH["thigh"]) for s in "lr"),
    *((f"knee_{s}", f"ankle_{s}", LENGTH["shank"]) for s in "lr"),
    ("shoulder_l", "shoulder_r", 2 * LENGTH["shoulder_half_width"]),
    ("hip_l", "hip_r", 2 * LENGTH["hip_half_width"]),
]


def restored(landmarks: Landmarks) -> Landmarks:
    """Undoes the normalisation of each frame's box to 0..1: the scales of x, y and z with which limbs have the lengths
    of an average body, 200 pixels a metre. The lowest point stands still, or the hands where they are over the head.
    """
    ends = [[INDEX[name] for name in limb[:2]] for limb in _RIGID]
    lengths = np.array([limb[2] for limb in _RIGID])
    image = landmarks.image / (*landmarks.size, landmarks.size[0])
    scales = np.full((len(image), 3), np.nan)
    for i in np.flatnonzero(landmarks.found):
        limbs = (image[i, [b for _, b in ends]] - image[i, [a for a, _ in ends]]) / lengths[:, None]
        scales[i] = np.sqrt(nnls(limbs**2, np.ones(len(limbs)))[0])
    seen = landmarks.found
    scales[seen] = median_filter(scales[seen], (31, 1))
    image = (image * scales[:, None] * 200).astype(np.float32)
    wrists, nose = (image[seen][:, [INDEX[name] for name in names], 1] for names in (("wrist_l", "wrist_r"), ("nose",)))
    hangs = np.median(wrists.max(1) - nose[:, 0]) < 0  # y points down
    image[seen, :, 1] -= wrists.mean(1)[:, None] if hangs else image[seen, :, 1].max(1, keepdims=True)
    return landmarks._replace(image=image)


def clips_of(folder: Path, videos: Path | None) -> Iterator[tuple[str, str, str, str, Landmarks]]:
    """Set, clip, group, FormSim's action ('' where it has none) and landmarks of each clip."""
    for record in read_real_people(folder, ("front_squat", "push_up", "deadlift", "yoga", "repetitions")):
        assert record.landmarks is not None
        seen = restored(record.landmarks) if record.set == "repetitions" else record.landmarks
        yield f"{record.set}: {record.exercise}", record.clip, f"{record.set}/{record.group}", record.action, seen
    from efa.data.pose import landmarks_of

    files = [file for file in videos.rglob("*.*") if file.parent.name != "decoder"] if videos else []
    for video in sorted(file for file in files if file.suffix in (".mp4", ".webm", ".avi")):
        action = next((name for start, name in CLIPS.items() if video.stem.startswith(start)), "")
        yield "videos", video.stem, f"videos/{video.stem}", action, landmarks_of(video)


def answers(efa: EFA, folder: Path, videos: Path | None) -> pd.DataFrame:
    """One row a clip: what the model names, its probability and that of another exercise; nothing is held back."""
    plain = dataclasses.replace(efa, trust=dataclasses.replace(efa.trust, weights=(0.0, 1.0), least=0.0))
    rows = []
    for name, clip, group, action, landmarks in clips_of(folder, videos):
        seen = observe_landmarks(landmarks, efa.config.data.frames)
        best, probability, other = plain.name_action(seen)
        part = "test" if zlib.crc32(group.encode()) % 2 else "validation"
        rows.append({
            "set": name, "clip": clip, "group": group, "part": part, "action": action, "best": best,
            "probability": probability, "other": other, "unusable": seen.unusable,
            "right": best in SAME.get(action, {action}) and not seen.unusable,
        })  # fmt: skip
    return pd.DataFrame(rows)


def fit_trust(table: pd.DataFrame) -> tuple[tuple[float, float], float]:
    """Weights of `efa.predict.Trust` and its threshold, from the validation half; each set has the same weight.

    The threshold is the lowest one at which at most `WRONG` of the answers are wrong, each set with the same weight.
    """
    own = table[(table["part"] == "validation") & (table["unusable"] == "")]
    odds = np.log(own[["probability"]].clip(1e-4).to_numpy() / (1 - own[["probability"]]).clip(1e-4))
    weight = 1 / own.groupby("set")["set"].transform("count")
    model = LogisticRegression(C=1.0).fit(odds, own["right"], sample_weight=weight * len(own) / weight.sum())
    weights = (float(model.intercept_[0]), float(model.coef_[0, 0]))
    sure = pd.Series(model.predict_proba(odds)[:, 1], own.index).sort_values(ascending=False)
    weight = weight[sure.index]
    wrong = (weight * ~own["right"].astype(bool)[sure.index]).cumsum() / weight.cumsum()
    return weights, float(sure[wrong <= WRONG].min())


def scores(table: pd.DataFrame, efa: EFA) -> pd.DataFrame:
    """part, metric, value in per cent, low, high (95 %, bootstrap over groups), n.

    Top-1 of the clips whose action FormSim has; their mean over actions; the share that is answered, of known and of
    other exercises; and how many of the answers are wrong, among known ones, also at 70 % of them answered.
    """
    table = table.assign(sure=[efa.trust.right(p) for p in table["probability"]])
    known = (table["unusable"] == "") & (table["other"] < table["probability"])
    table["answered"] = known & (table["sure"] >= efa.trust.least)
    rows = []
    for part in ("validation", "test", "all"):
        own = table if part == "all" else table[table["part"] == part]
        for metric, function in METRICS.items():
            value = function(own)
            low, high = bootstrap_groups(own, function)
            rows.append({"part": part, "metric": metric, "value": value, "low": low, "high": high, "n": len(own)})
    return pd.DataFrame(rows)


def bootstrap_groups(table: pd.DataFrame, function: Callable[[pd.DataFrame], float]) -> tuple[float, float]:
    """The 95 % interval of a figure when whole groups are drawn."""
    draw = np.random.default_rng(0)
    parts = [part for _, part in table.groupby("group")]
    drawn = [pd.concat([parts[i] for i in draw.integers(len(parts), size=len(parts))]) for _ in range(200)]
    low, high = np.nanpercentile([function(one) for one in drawn], (2.5, 97.5))
    return float(low), float(high)


def _wrong_at(table: pd.DataFrame, coverage: float) -> float:
    known = table[table["action"] != ""].sort_values("sure", ascending=False)
    return 100 * float(1 - known["right"].head(round(coverage * len(known))).mean())


def forms(efa: EFA, folder: Path) -> dict[str, dict[str, Any]]:
    """How well zero-shot verdicts agree with people's labels of form, for each action for which there are some: AUC,
    balanced accuracy (both 0 to 1), clips and, where people name a fault, how often the explanation names it.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, actions in JUDGED.items():
        records = read_real_people(folder, (name,))
        seen = [observe_landmarks(record.landmarks, efa.config.data.frames) for record in records if record.landmarks]
        truth = np.array([record.label for record in records])
        for action in actions:
            told = [efa.answer(one, "", action) for one in seen]
            wrong = np.array([0.5 if one["abstained"] else one["quality_probability"] for one in told])
            found[action] = {
                "set": name, "clips": len(records), "auc": auc(truth, wrong),
                "balanced": balanced_accuracy(truth, wrong >= 0.5),
            }  # fmt: skip
            for theirs, ours in FAULTS.get(name, {}).items():
                names = np.array([f"{action}/{ours}" in one["faults"] for one in told])
                which = np.array([record.fault == theirs for record in records])
                found[action] |= {
                    f"{ours} named": names[which].mean(),
                    f"{ours} named of correct": names[truth == 0].mean(),
                }
    return found


METRICS = {
    "top1": lambda t: 100 * float(t[t["action"] != ""]["right"].mean()),
    "top1_mean_over_actions": lambda t: 100 * float(t[t["action"] != ""].groupby("action")["right"].mean().mean()),
    "answered_known": lambda t: 100 * float(t[t["action"] != ""]["answered"].mean()),
    "answered_other": lambda t: 100 * float(t[t["action"] == ""]["answered"].mean()),
    "wrong_of_answered_known": lambda t: 100 * float(1 - t[(t["action"] != "") & t["answered"]]["right"].mean()),
    "wrong_of_answered": lambda t: 100 * float(1 - t[t["answered"]]["right"].mean()),
    "wrong_at_70": lambda t: _wrong_at(t, 0.7),
}


def pack(run: Path, to: Path) -> None:
    """A run's checkpoint in half precision, with its steps' vectors, log and provenance; no paths of its machine."""
    efa = EFA.from_pretrained(run)
    efa.config = efa.config.with_({"encoder.weights": ""})
    efa.model.half()
    efa.vectors = {key: efa.text_encoder.encode(list(text.sentences)) for key, text in efa.steps.items()}
    efa.save_pretrained(to)
    shutil.copyfile(run / "history.csv", to / "history.csv")
    lines = (__doc__ or "").split("\n\n")[1].splitlines()
    facts = read_json(run / "provenance.json", "give a finished run") | {"commands": [line.strip() for line in lines]}
    write_json(to / "provenance.json", facts)


def command(
    folder: Annotated[Path, typer.Argument(help="holds push_up.npz, push_up.csv and the other sets")],
    videos: Annotated[Path | None, typer.Argument(help="folder of videos, the action in their names")] = None,
    checkpoint: Annotated[Path | None, typer.Option(help="default: the model that comes with the package")] = None,
    run: Annotated[Path | None, typer.Option(help="a finished run, packed into the checkpoint's folder first")] = None,
    to: Annotated[Path | None, typer.Option(help="folder; default: results/real-people")] = None,
) -> None:
    """Fit how far a pose model's answers can be trusted, and score them.   Example: see the module's first lines"""
    from efa.predict import shipped_checkpoint

    checkpoint, to = checkpoint or shipped_checkpoint(), to or paths.results() / "real-people"
    if run:
        pack(run, checkpoint)
    efa = EFA.from_pretrained(checkpoint)
    table = answers(efa, folder, videos)
    weights, least = fit_trust(table)
    tested = forms(efa, folder)
    kept = {
        action: {k: round(v, 3) if isinstance(v, float) else v for k, v in one.items()}
        for action, one in tested.items()
    }
    efa.trust = dataclasses.replace(efa.trust, weights=weights, least=least, forms=kept)
    found = scores(table, efa)
    write_text(to / "actions.csv", csv_text(table.drop(columns="unusable"), "%.4f"))
    write_text(to / "action_scores.csv", csv_text(found, "%.2f"))
    meta: dict[str, Any] = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    meta["trust"] = dataclasses.asdict(efa.trust)
    write_text(checkpoint / "config.json", json.dumps(meta, indent=1))
    facts = {"command": "python -m efa_book.real_people.actions FOLDER CLIPS", "commit": commit() or "no commit"}
    write_json(to / "actions.json", facts | {"weights": weights, "least": least, "forms": kept})
    out.print(found.round(1).to_string(index=False))
    out.print(pd.DataFrame(kept).T.to_string())


if __name__ == "__main__":
    typer.run(command)
