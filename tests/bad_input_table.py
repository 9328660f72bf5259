"""What `test_bad_input` hands to the command line: name, maker, command, and what the answer must say."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import bad_inputs as bad
import numpy as np
from bad_inputs import Make
from cot_afa_release import release

CHECKPOINTS = bad.Checkpoints()
ASSESS = ("assess", "{in}", "{good}", "--checkpoint", "{checkpoint}", "--json")
DESCRIBED = ("assess", "{good}", "--action", "Juggling", "--steps", "{in}", "--checkpoint", "{checkpoint}")
LOAD = ("assess", "{good}", "--checkpoint", "{in}")
DATA = ("status", "6/EFA", "--set", "data.source={in}")
LOOK = ("assess", "{in}", "--checkpoint", "{checkpoint}")
DATA_CHECK = ("data", "check", "{in}")
COUNT = ("data", "statistics", "{in}")
SCORE = ("score", "{in}", "--json")
COT_AFA = ("data", "cot-afa", "{in}", "{out}")
UI_PRMD = ("data", "ui-prmd", "{in}", "{out}")
Case = tuple[str, Make, tuple[str, ...], str]


def setting(*words: str) -> tuple[str, ...]:
    return ("status", "6/EFA", *(part for word in words for part in ("--set", word)))


NOTHING = bad.absent()
MAGIC = b"PAR1"

VIDEOS: list[Case] = [
    ("absent", bad.absent("absent.mp4"), ASSESS, "no such file"),
    ("empty", bad.holding("empty.mp4", b""), ASSESS, "the file is empty"),
    ("cut in the first box", bad.cut(bad.film(), 0.002), ASSESS, "not a video"),
    ("cut in the middle, index lost", bad.cut(bad.film(), 0.5), ASSESS, "not a video"),
    ("cut before the last byte of the index", bad.cut(bad.film(), 0.9), ASSESS, "not a video"),
    ("Matroska cut in its header", bad.cut(bad.film("clip.mkv"), 0.05), ASSESS, "not a video"),
    ("no frames", bad.no_frames, ASSESS, "not a video"),
    ("audio only", bad.audio_only, ASSESS, "audio only"),
    ("text called .mp4", bad.holding("text.mp4", "this is no video\n" * 40), ASSESS, "not a video"),
    ("playlist called .mp4", bad.holding("list.mp4", "#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/a.ts\n"), ASSESS,
     "not a"),
    ("picture of 60000 pixels in a header", bad.huge_header, ASSESS, "no frame can be decoded"),
    ("frame of 60000 pixels in a header", bad.huge_picture, ASSESS, "no image in this folder"),
    ("folder without pictures", bad.a_folder(), ASSESS, "without jpg or png"),
    ("folder of broken pictures", bad.pictures([(32, 32)] * 3, [0, 1, 2]), ASSESS, "no image in this folder"),
    ("link to nothing", bad.dangling("clip.mp4"), ASSESS, "no such file"),
    ("link to itself", bad.loop("clip.mp4"), ASSESS, "clip.mp4"),
    ("pipe", bad.fifo("clip.mp4"), ASSESS, "not a file"),
    ("unreadable", bad.locked(bad.film()), ASSESS, "cannot be opened"),
    ("name of 300 letters", bad.absent("x" * 300), ASSESS, "cannot be opened"),
    ("line break in the name", bad.holding("two\nlines.mp4", b"x"), ASSESS, "two lines.mp4"),
    ("escape sequence in the name", bad.holding("\x1b[31mred\x07.mp4", b"x"), ASSESS, "red"),
    ("name that is not UTF-8", bad.holding(os.fsdecode(b"\xff\xfe.mp4"), b"x"), ASSESS, ".mp4"),
    ("git-lfs pointer", bad.holding("p.mp4", "version https://git-lfs.github.com/spec/v1\nsize 9\n"), ASSESS,
     "git lfs"),
    ("array file", bad.holding("clip.npy", b"\x93NUMPY\x01\x00"), ASSESS, "not a video"),
]  # fmt: skip

MANIFESTS: list[Case] = [
    ("no folder", NOTHING, DATA, "no such folder"),
    ("file for a folder", bad.holding("data", "x"), DATA, "no such folder"),
    ("empty folder", bad.a_folder(), DATA, "neither manifest.parquet nor manifest.csv"),
    ("folder's name of 300 letters", bad.absent("x" * 300), DATA, "cannot be opened"),
    ("no folder to count", NOTHING, COUNT, "no such folder"),
    ("folder to count, name of 300 letters", bad.absent("x" * 300), COUNT, "name too long"),
    ("no column", bad.clips(lambda rows: [row.pop("quality") for row in rows]), DATA, "quality: the column is missing"),
    ("misspelt column", bad.csv_bytes(lambda raw: raw.replace(b"split", b"spilt", 1)), DATA, "did you mean 'spilt'?"),
    ("column twice", bad.csv_bytes(lambda raw: raw.replace(b"subject", b"split", 1)), DATA,
     "the column is there twice"),
    ("id twice", bad.cell("clip_id", "c0"), DATA, "row 4 (c0): clip_id: 'c0' is in row 2 already"),
    ("absolute path", bad.cell("path", "/etc/passwd"), DATA, "is absolute"),
    ("Windows path", bad.cell("path", "C:\\clips\\a.mp4"), DATA, "is absolute"),
    ("path out of the folder", bad.cell("path", "videos/../../c.mp4"), DATA, "leaves the data set's folder"),
    ("no such video", bad.cell("path", "videos/none.mp4"), DATA, "no such file"),
    ("text for a label", bad.cell("quality", "good"), DATA, "'good' is not a number"),
    ("list for a label", bad.cell("quality", [1], "parquet", True), DATA, "list instead of a number"),
    ("bytes for a name", bad.cell("action", b"squat", "parquet", True), DATA, "bytes instead of text"),
    ("no label", bad.cell("quality", float("nan")), DATA, "row 4 (c2): quality: empty"),
    ("label 2", bad.cell("quality", 2), DATA, "2 is neither 0 nor 1"),
    ("unknown action", bad.cell("action", "sqat"), DATA, "did you mean 'squat'?"),
    ("split in capitals and another word", bad.cell("split", "Validation"), DATA, "none of train, val, test"),
    ("file of no bytes", bad.csv_bytes(lambda raw: b""), DATA, "the column is missing"),
    ("header alone", bad.csv_bytes(lambda raw: raw.split(b"\n")[0] + b"\n"), DATA, "no clips"),
    ("quote without an end", bad.csv_bytes(lambda raw: raw + b'"c9,videos/c0.mp4,'), DATA, "not CSV"),
    ("row of two cells", bad.csv_bytes(lambda raw: raw + b"c9,videos/c0.mp4\n"), DATA, "row 8: 2 cells under"),
    ("UTF-16", bad.csv_bytes(lambda raw: raw.decode().encode("utf-16")), DATA, "UTF-16"),
    ("Latin-1", bad.csv_bytes(lambda raw: raw.replace(b"Fine", b"\xc4rm", 1)), DATA, "not UTF-8"),
    ("null bytes", bad.csv_bytes(lambda raw: raw.replace(b"squat", b"\0\0", 1)), DATA, "manifest.csv"),
    ("escape sequence in a cell", bad.cell("split", "\x1b[2Jtrain"), DATA, "none of"),
    ("parquet cut short", bad.parquet_bytes(lambda raw: raw[: len(raw) // 2]), DATA, "not a parquet file"),
    ("parquet without its end", bad.parquet_bytes(lambda raw: raw[:-4]), DATA, "not a parquet file"),
    ("parquet of zeros", bad.parquet_bytes(lambda raw: MAGIC + bytes(len(raw)) + MAGIC), DATA, "not a parquet file"),
    ("CSV called parquet", bad.named_parquet, DATA, "not a parquet file"),
    ("CSV called parquet, counted", bad.named_parquet, COUNT, "not a parquet file"),
]  # fmt: skip

ACTIONS: list[Case] = [
    ("four steps", bad.actions(lambda d: d["squat"]["steps"].pop()), DATA, "row squat: steps: 4 steps"),
    ("six steps", bad.actions(lambda d: d["squat"]["steps"].append("x")), DATA, "row squat: steps: 6 steps"),
    ("no instruction", bad.actions(lambda d: d["squat"].pop("instruction")), DATA, "row squat: not an object with"),
    ("step that is a number", bad.actions(lambda d: d["squat"].update(steps=[1] * 5)), DATA, "int instead of text"),
    ("step without words", bad.actions(lambda d: d["squat"].update(steps=[" "] * 5)), DATA, "steps[0]: empty"),
    ("list of actions", bad.actions_bytes(b"[]"), DATA, "not a JSON object of actions"),
    ("steps.json of no bytes", bad.actions_bytes(b""), DATA, "not JSON"),
    ("action twice", bad.actions_bytes(b'{"squat": 1, "squat": 2}'), DATA, "the key is there twice"),
    ("brackets without an end", bad.actions_bytes(b"[" * 100_000), DATA, "not JSON"),
]

STEPS: list[Case] = [
    ("no file", NOTHING, DESCRIBED, "absent: "),
    ("folder", bad.a_folder(), DESCRIBED, "folder: "),
    ("no bytes", bad.holding("steps.json", b""), DESCRIBED, "not JSON"),
    ("broken", bad.holding("steps.json", b'{"steps": ['), DESCRIBED, "not JSON"),
    ("not UTF-8", bad.holding("steps.json", b'{"steps": "\xff"}'), DESCRIBED, "not JSON"),
    ("brackets without an end", bad.holding("steps.json", b"[" * 100_000), DESCRIBED, "not JSON"),
    ("list", bad.holding("steps.json", b"[1, 2]"), DESCRIBED, "not an object with steps and instruction"),
    ("four", bad.note(steps=["x"] * 4), DESCRIBED, "4 steps"),
    ("six", bad.note(steps=["x"] * 6), DESCRIBED, "6 steps"),
    ("none", bad.note(steps=[]), DESCRIBED, "0 steps"),
    ("word for a list", bad.note(steps="squat"), DESCRIBED, "not an object with steps"),
    ("table for a list", bad.note(steps=dict.fromkeys("abcde", "x")), DESCRIBED, "not an object with steps"),
    ("number for a step", bad.note(steps=["x", 2, "x", "x", "x"]), DESCRIBED, "steps[1]: int instead of text"),
    ("step without words", bad.note(steps=["x", "x", " ", "x", "x"]), DESCRIBED, "steps[2]: empty"),
    ("invisible step", bad.note(steps=["x", "x", "\u200b", "x", "x"]), DESCRIBED, "steps[2]: empty"),
    ("instruction without words", bad.note(instruction=""), DESCRIBED, "instruction: empty"),
    ("no instruction", bad.note(instruction=None), DESCRIBED, "not an object with steps and instruction"),
    ("key twice", bad.holding("s.json", json.dumps(bad.NOTE)[:-1] + ', "steps": []}'), DESCRIBED, "there twice"),
]

CONFIGS: list[Case] = [
    ("unknown key", NOTHING, setting("training.epoch=3"), "did you mean 'training.epochs'"),
    ("unknown section", NOTHING, setting("trainig.epochs=3"), "did you mean 'training.epochs'"),
    ("negative", NOTHING, setting("training.lr=-1"), "it must be greater than 0"),
    ("negative number of epochs", NOTHING, setting("training.epochs=-1"), "it must be greater than 0"),
    ("word for a number", NOTHING, setting("training.epochs=many"), "a whole number"),
    ("fraction for a whole number", NOTHING, setting("training.epochs=1.5"), "a whole number"),
    ("NaN", NOTHING, setting("training.lr=nan"), "cannot be 'nan'"),
    ("too large for a number", NOTHING, setting("training.lr=1e999"), "a finite number"),
    ("no value", NOTHING, setting("training.epochs"), "section.name=value"),
    ("empty value", NOTHING, setting("training.epochs="), "a whole number"),
    ("no key", NOTHING, setting("=3"), "unknown setting ''"),
    ("list of the wrong length", NOTHING, setting("encoder.patch=1,8"), "cannot be '1,8'"),
    ("lists of different lengths", NOTHING, setting("encoder.heads=3"), "one number a stage"),
    ("width that the heads do not divide", NOTHING, setting("decoder.heads=3"), "it must divide decoder.dim"),
    ("yes for true", NOTHING, setting("fusion.global_branch=yes"), "true or false"),
    ("unknown choice", NOTHING, setting("fusion.merge=sum"), "'gate', 'concatenate' or 'add'"),
    ("escape sequence for a key", NOTHING, setting("\x1b[2J=1"), "unknown setting"),
    ("no weights", NOTHING, setting("encoder.weights={in}"), "no such file of encoder weights"),
    ("preset", NOTHING, ("run", "6", "--preset", "labtop"), "did you mean 'laptop'"),
    ("table", NOTHING, ("run", "9"), "one of all"),
    ("row", NOTHING, ("run", "6/Q-txt"), "Q-text"),
    ("seed that is a word", NOTHING, ("run", "6/EFA", "--seeds", "one"), "--seeds 0,1,2"),
    ("no seed", NOTHING, ("run", "6/EFA", "--seeds", ""), "--seeds 0,1,2"),
    ("seed below 0", NOTHING, ("run", "6/EFA", "--seeds", "0,-1"), "negative"),
    ("seed of 30 digits", NOTHING, ("status", "6/EFA", "--seeds", "9" * 30), "below 4294967296"),
    ("action", NOTHING, ("assess", "{good}", "--action", "sqat", "--checkpoint", "{checkpoint}"),
     "did you mean 'squat'"),
]  # fmt: skip

LOADED: list[Case] = [
    ("no folder", NOTHING, LOAD, "no checkpoint folder or hub id"),
    ("folder's name of 300 letters", bad.absent("x" * 300), LOAD, "x" * 300),
    ("file for a folder", bad.holding("checkpoint", "x"), LOAD, "no checkpoint folder"),
    ("empty folder", bad.a_folder(), LOAD, "lacks config.json"),
    ("no config.json", CHECKPOINTS.without("config.json"), LOAD, "lacks config.json"),
    ("no vocab.txt", CHECKPOINTS.without("vocab.txt"), LOAD, "lacks vocab.txt"),
    ("no weights", CHECKPOINTS.without("model.safetensors"), LOAD, "lacks model.safetensors"),
    ("broken config.json", CHECKPOINTS.file("config.json", lambda raw: raw[:100]), LOAD, "cannot be read"),
    ("unknown setting", CHECKPOINTS.config(lambda m: m["config"]["fusion"].update(colour=1)), LOAD, "fusion.colour"),
    ("list for settings", CHECKPOINTS.config(lambda m: m.update(config=[])), LOAD, "cannot be read"),
    ("width of infinity", CHECKPOINTS.config(lambda m: m.update(text_dim=float("inf"))), LOAD, "cannot be read"),
    ("four steps", CHECKPOINTS.config(lambda m: m["steps"]["squat"]["steps"].pop()), LOAD, "squat"),
    ("numbers for steps", CHECKPOINTS.config(lambda m: m["steps"]["squat"].update(steps=[1] * 5)), LOAD, "squat"),
    ("other actions", CHECKPOINTS.config(lambda m: m.update(actions=["hop", "skip"])), LOAD, "hop"),
    ("an action less", CHECKPOINTS.config(lambda m: m["actions"].pop()), LOAD, "size mismatch"),
    ("weights cut", CHECKPOINTS.file("model.safetensors", lambda raw: raw[: len(raw) // 2]), LOAD, "cannot be read"),
    ("header cut", CHECKPOINTS.file("model.safetensors", lambda raw: raw[:60]), LOAD, "cannot be read"),
    ("header of 2^60 bytes", CHECKPOINTS.file("model.safetensors", lambda raw: bytes(7) + b"\x10" + raw), LOAD,
     "cannot"),
    ("weights of another shape", CHECKPOINTS.weights(lambda v: v[..., :1], "quality_head.5.weight"), LOAD,
     "size mismatch"),
    ("pickle", CHECKPOINTS.file("model.safetensors", bad.pickled), LOAD, "cannot be read"),
    ("weights that are NaN", CHECKPOINTS.weights(lambda v: v * float("nan")), LOAD, "no finite"),
    ("vocabulary cut", CHECKPOINTS.file("vocab.txt", lambda raw: raw[:10]), LOAD, "the vocabulary lacks"),
]  # fmt: skip

SCORED: list[Case] = [
    ("no file", bad.absent("absent.parquet"), SCORE, "no such file"),
    ("name of 300 letters", bad.absent("x" * 300 + ".csv"), SCORE, "xxx.csv: "),
    ("folder", bad.a_folder("folder.parquet"), SCORE, "no such file"),
    ("another kind", bad.holding("predictions.json", "[]"), SCORE, ".parquet or .csv"),
    ("no bytes", bad.holding("predictions.parquet", b""), SCORE, "cannot be read"),
    ("no bytes, CSV", bad.holding("predictions.csv", b""), SCORE, "cannot be read"),
    ("cut short", bad.cut(bad.predictions(), 0.7), SCORE, "cannot be read"),
    ("no column", bad.predictions(quality=None), SCORE, "missing column quality"),
    ("no rows", bad.predictions(**{name: [] for name in bad.COLUMNS}), SCORE, "no rows"),
    ("id twice", bad.predictions(clip_id=list("aacd")), SCORE, "row 2 (clip a): duplicate clip_id"),
    ("no label", bad.predictions(quality=[0, 1, np.nan, 1]), SCORE, "row 3 (clip c): quality is not"),
    ("label 2", bad.predictions(quality=[0, 1, 2, 1]), SCORE, "row 3 (clip c): quality is not"),
    ("word for a label", bad.predictions("csv", quality=["good", 1, 2, 1]), SCORE, "quality is not a number"),
    ("list for a label", bad.predictions(quality=[[0], [1], [0], [1]]), SCORE, "quality is not a number"),
    ("probability missing in a row", bad.predictions(quality_prob=[0.1, np.nan, 0.3, 0.4]), SCORE, "quality_prob is"),
    ("probability of 1.5", bad.predictions(quality_prob=[0.1, 1.5, 0.3, 0.4]), SCORE, "quality_prob is not in 0 to 1"),
    ("number for a text", bad.predictions(explanation=[1.0] * 4), SCORE, "explanation is not text"),
    ("word for a list", bad.predictions(top5=["squat"] * 4), SCORE, "top5 is not a list"),
    ("unknown fault", bad.predictions(fault=["round back"] * 4), SCORE, "fault is not of the form"),
    ("one cell too many a row", bad.holding("p.csv", ",".join(bad.COLUMNS) + "\n" + "x," * 12 + "x\n"), SCORE, "p.csv"),
]


def released(change: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> Path:
        change(release(folder / "release"))
        return folder / "release"

    return make


def misplaced(folder: Path) -> Path:
    """UI-PRMD's two folders where there should be one more level, and a file where a folder should be."""
    for name in ("Segmented Movements", "Incorrect Segmented Movements"):
        (folder / "ui" / name / "Vicon").mkdir(parents=True)
        (folder / "ui" / name / "Vicon" / "Positions").write_text("x")
    return folder / "ui"


def without_sequences(folder: Path) -> Path:
    for name in ("Segmented Movements", "Incorrect Segmented Movements"):
        (folder / "ui" / name / "Vicon" / "Positions").mkdir(parents=True)
    return folder / "ui"


TREES: list[Case] = [
    ("CoT-AFA: empty folder", bad.a_folder(), COT_AFA, "no such file"),
    ("CoT-AFA: file", bad.holding("release", "x"), COT_AFA, "no such folder"),
    ("CoT-AFA: name of 300 letters", bad.absent("x" * 300), COT_AFA, "name too long"),
    ("CoT-AFA: file for comments", released(lambda f: [shutil.rmtree(f / "comment"), (f / "comment").touch()]),
     COT_AFA, "comment: "),
    ("CoT-AFA: folder for the sheet", released(lambda f: [(f / "GYM88.xlsx").unlink(), (f / "GYM88.xlsx").mkdir()]),
     COT_AFA, "GYM88.xlsx: "),
    ("CoT-AFA: folder to count, empty", bad.a_folder(), ("audit", "cuts", "{in}", "--to", "{out}"), "no such file"),
    ("CoT-AFA: folder to audit, empty", bad.a_folder(), ("audit", "annotations", "{in}", "--to", "{out}"), "neither"),
    ("UI-PRMD: empty folder", bad.a_folder(), UI_PRMD, "Segmented Movements"),
    ("UI-PRMD: file", bad.holding("ui", "x"), UI_PRMD, "Segmented Movements"),
    ("UI-PRMD: name of 300 letters", bad.absent("x" * 300), UI_PRMD, "Segmented Movements"),
    ("UI-PRMD: file for a folder inside", misplaced, UI_PRMD, "no such folder"),
    ("UI-PRMD: no sequence", without_sequences, UI_PRMD, "no sequence under this folder"),
    ("people: nobody named", bad.clips(lambda rows: [row.pop("subject") for row in rows]),
     ("leave-one-subject-out", "{in}", "--to", "{out}"), "every clip needs a subject"),
    ("people: empty folder", bad.a_folder(), ("leave-one-subject-out", "{in}", "--to", "{out}"), "neither manifest"),
]  # fmt: skip

MADE: list[Case] = [
    ("folder that is a file", bad.holding("out", "x"), ("data", "formsim", "{in}", "--clips", "3", "--size", "16"), ""),
    ("no frames a second", NOTHING, ("data", "formsim", "{out}", "--clips", "3", "--size", "16", "--fps", "0"),
     "above 0"),
    ("pictures of one pixel", NOTHING, ("data", "formsim", "{out}", "--clips", "3", "--size", "1"), "16 to 4096"),
    ("preview of one pixel", NOTHING, ("data", "preview", "Squat", "--size", "1"), "16 to 4096"),
    ("preview in no folder", NOTHING, ("data", "preview", "Squat", "--size", "16", "--to", "{in}/a.png"),
     "absent/a.png: "),
    ("preview of no kind", NOTHING, ("data", "preview", "Squat", "--size", "16", "--to", "{in}.txt"), ".png"),
]  # fmt: skip

FILMS: list[Case] = [  # what is read as it is meant needs no warning
    ("10 bits a colour", bad.film("ten.mp4", pix_fmt="yuv420p10le"), LOOK, ""),
    ("turned by its header", bad.rotated, LOOK, ""),
    ("variable frame rate", bad.jumpy, LOOK, ""),
    ("one pixel", bad.pixel, LOOK, ""),
    ("one frame", bad.film("one.mp4", 1), LOOK, "1 frame for 6"),
    ("three pictures", bad.pictures([(32, 32)] * 3), LOOK, "3 frames for 6"),
    ("one broken picture of seven", bad.pictures([(32, 32)] * 7, [2]), LOOK, "2.png cannot be read and was left out"),
    ("pictures of two sizes", bad.pictures([(32, 32), (64, 32)] * 3), LOOK, "1.png has another size"),
    ("Matroska cut in the middle", bad.cut(bad.film("clip.mkv", 30), 0.7), LOOK, ""),
    ("pixels nine times as wide", bad.odd_pixels, LOOK, "pixel aspect ratio 9 ignored"),
    ("escape sequence in a good name", bad.film("\x1b[31mred.mp4"), LOOK, ""),
]

TABLES: list[Case] = [
    ("byte order mark", bad.csv_bytes(lambda raw: b"\xef\xbb\xbf" + raw), DATA_CHECK, "byte order mark"),
    ("Windows line ends", bad.csv_bytes(lambda raw: raw.replace(b"\n", b"\r\n")), DATA_CHECK, "Windows line ends"),
    ("semicolons", bad.csv_bytes(lambda raw: raw.replace(b"Fine, ", b"").replace(b",", b";")), DATA_CHECK, "';'"),
    ("one more column", bad.cell("colour", "red", everywhere=True), DATA_CHECK, "colour: unknown column"),
    ("text of 100000 letters", bad.cell("explanation", "x" * 100_000), DATA_CHECK, "100000 characters"),
    ("invisible characters", bad.cell("explanation", "a\u200bb\u202e"), DATA_CHECK, "2 control or invisible"),
    ("invisible characters in a name", bad.cell("action", "squat\u200b"), DATA_CHECK, "normalised"),
    ("no clip to validate", bad.clips(lambda rows: [rows.pop(4), rows.pop(1)]), DATA_CHECK, "no clip in split val"),
    ("unknown view", bad.cell("view", "above"), DATA_CHECK, "'above' is none of"),
    ("split in capitals", bad.cell("split", "TEST"), DATA_CHECK, "'TEST' in capitals"),
    ("label 1.0", bad.cell("quality", "1.0"), DATA_CHECK, ""),
    ("a video in two splits", bad.cell("path", "videos/c1.mp4"), DATA_CHECK, "same video in"),
    ("action without a clip", bad.actions(lambda d: d.update(plank=d["squat"])), DATA_CHECK, "no clip of this action"),
    ("step of 20000 letters", bad.actions(lambda d: d["squat"]["steps"].__setitem__(0, "x" * 20_000)), DATA_CHECK,
     "steps[0]: 20000 characters"),
]  # fmt: skip

NOTES: list[Case] = [
    ("byte order mark", bad.holding("steps.json", b"\xef\xbb\xbf" + json.dumps(bad.NOTE).encode()), DESCRIBED, ""),
    ("one more key", bad.note(author="me"), DESCRIBED, ""),
    ("invisible characters", bad.note(instruction="Bre\u200bathe."), DESCRIBED, "1 control or invisible characters"),
    ("half a character", bad.note(instruction="Breathe\ud800."), DESCRIBED, "1 control or invisible characters"),
]

PREDICTIONS: list[Case] = [
    ("one more column", bad.predictions(colour=["red"] * 4), SCORE, ""),
    ("CSV", bad.predictions("csv"), SCORE, ""),
    ("no head for form", bad.predictions(quality_prob=[np.nan] * 4), SCORE, ""),
]

KINDS = {
    "video": VIDEOS, "data set": MANIFESTS, "its actions": ACTIONS, "steps file": STEPS, "settings": CONFIGS,
    "checkpoint": LOADED, "predictions": SCORED, "release": TREES, "output": MADE,
}  # fmt: skip
ODD_KINDS = {"video": FILMS, "data set": TABLES, "steps file": NOTES, "predictions": PREDICTIONS}
CASES = {f"{kind}: {case[0]}": case[1:] for kind, cases in KINDS.items() for case in cases}
ODD = {f"odd {kind}: {case[0]}": case[1:] for kind, cases in ODD_KINDS.items() for case in cases}
