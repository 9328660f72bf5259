"""Bad and odd input for `test_bad_input`: what goes to which command and what it must say."""

import json
import os
import pickle
import struct
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
from cot_afa_release import release
from input_makers import (
    NOTE,
    Checkpoints,
    Harmful,
    Make,
    a_folder,
    absent,
    actions,
    cell,
    changed,
    clips,
    cut,
    data_bytes,
    edited,
    film,
    holding,
    huge_picture,
    locked,
    making,
    note,
    pictures,
    predictions,
    video,
)
from test_video import grey, sound

from efa_book.predictions import COLUMNS

CHECKPOINTS = Checkpoints()
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


def cases(command: tuple[str, ...], rows: list[tuple[str, Make, str]]) -> list[Case]:
    """Rows of (name, maker, answer), all given to one command."""
    return [(name, make, command, answer) for name, make, answer in rows]


NOTHING = absent()
CSV, PARQUET, MAGIC = "manifest.csv", "manifest.parquet", b"PAR1"
PICKLE = pickle.dumps({"weights": Harmful()})
MISNAMED = changed(clips(), lambda path: (path / CSV).rename(path / PARQUET))
CLUSTER = b"\x1f\x43\xb6\x75"  # with which the frames of a Matroska file begin
SIZE, HUGE = struct.pack(">HH", 48, 32), struct.pack(">HH", 60000, 60000)
HUGE_HEADER = edited(  # an uncompressed film of 10 GB a frame, if its header were right
    video("huge.mov", grey(2), "rawvideo", "rgb24"), "", lambda raw: raw.replace(SIZE, HUGE)
)

VIDEOS = cases(ASSESS, [
    ("absent", absent("absent.mp4"), "no such file"), ("empty", holding("empty.mp4", b""), "the file is empty"),
    ("cut in the first box", cut(film(), 0.002), "not a video"), ("pipe", making("clip.mp4", os.mkfifo), "not a file"),
    ("cut in the middle, index lost", cut(film(), 0.5), "not a video"),
    ("cut before the last byte of the index", cut(film(), 0.9), "not a video"),
    ("Matroska cut in its header", cut(film("clip.mkv"), 0.05), "not a video"),
    ("no frames", edited(film("none.mkv"), "", lambda raw: raw.partition(CLUSTER)[0]), "not a video"),
    ("audio only", lambda folder: sound(folder / "sound.mp4"), "audio only"),
    ("text called .mp4", holding("text.mp4", "this is no video\n" * 40), "not a video"),
    ("playlist called .mp4", holding("list.mp4", "#EXTM3U\n#EXTINF:1,\nhttp://localhost:9/a.ts\n"), "not a"),
    ("picture of 60000 pixels in a header", HUGE_HEADER, "no frame can be decoded"),
    ("frame of 60000 pixels in a header", huge_picture, "no image in this folder"),
    ("folder without pictures", a_folder(), "without jpg or png"), ("unreadable", locked(film()), "cannot be opened"),
    ("folder of broken pictures", pictures([(32, 32)] * 3, [0, 1, 2]), "no image in this folder"),
    ("link to nothing", making("clip.mp4", lambda path: path.symlink_to(path.with_name("gone"))), "no such file"),
    ("link to itself", making("clip.mp4", lambda path: path.symlink_to(path)), "clip.mp4"),
    ("name of 300 letters", absent("x" * 300), "cannot be opened"),
    ("line break in the name", holding("two\nlines.mp4", b"x"), "two lines.mp4"),
    ("escape sequence in the name", holding("\x1b[31mred\x07.mp4", b"x"), "red"),
    ("name that is not UTF-8", holding(os.fsdecode(b"\xff\xfe.mp4"), b"x"), ".mp4"),
    ("git-lfs pointer", holding("p.mp4", "version https://git-lfs.github.com/spec/v1\nsize 9\n"), "git lfs"),
    ("array file", holding("clip.npy", b"\x93NUMPY\x01\x00"), "not a video"),
])  # fmt: skip

COUNTED: list[Case] = [
    ("no folder to count", NOTHING, COUNT, "no such folder"),
    ("folder to count, name of 300 letters", absent("x" * 300), COUNT, "name too long"),
    ("CSV called parquet, counted", MISNAMED, COUNT, "not a parquet file"),
]
CELLS = [
    ("id twice", ("clip_id", "c0"), "row 4 (c0): clip_id: 'c0' is in row 2 already"),
    ("absolute path", ("path", "/etc/passwd"), "is absolute"), ("label 2", ("quality", 2), "2 is neither 0 nor 1"),
    ("Windows path", ("path", "C:\\clips\\a.mp4"), "is absolute"),
    ("path out of the folder", ("path", "videos/../../c.mp4"), "leaves the data set's folder"),
    ("no such video", ("path", "videos/none.mp4"), "no such file"),
    ("text for a label", ("quality", "good"), "'good' is not a number"),
    ("list for a label", ("quality", [1], "parquet", True), "list instead of a number"),
    ("bytes for a name", ("action", b"squat", "parquet", True), "bytes instead of text"),
    ("no label", ("quality", float("nan")), "row 4 (c2): quality: empty"),
    ("unknown action", ("action", "sqat"), "did you mean 'squat'?"),
    ("split in capitals and another word", ("split", "Validation"), "none of train, val, test"),
    ("escape sequence in a cell", ("split", "\x1b[2Jtrain"), "none of"),
]  # fmt: skip
MANIFESTS = COUNTED + cases(DATA, [
    *((name, cell(*given), answer) for name, given, answer in CELLS),
    ("no folder", NOTHING, "no such folder"), ("file for a folder", holding("data", "x"), "no such folder"),
    ("empty folder", a_folder(), "neither manifest.parquet nor manifest.csv"),
    ("folder's name of 300 letters", absent("x" * 300), "cannot be opened"),
    ("no column", clips(lambda rows: [row.pop("quality") for row in rows]), "quality: the column is missing"),
    ("misspelt column", data_bytes(CSV, lambda raw: raw.replace(b"split", b"spilt", 1)), "did you mean 'spilt'?"),
    ("column twice", data_bytes(CSV, lambda raw: raw.replace(b"subject", b"split", 1)), "there twice"),
    ("file of no bytes", data_bytes(CSV, lambda raw: b""), "the column is missing"),
    ("header alone", data_bytes(CSV, lambda raw: raw.split(b"\n")[0] + b"\n"), "no clips"),
    ("quote without an end", data_bytes(CSV, lambda raw: raw + b'"c9,videos/c0.mp4,'), "not CSV"),
    ("row of two cells", data_bytes(CSV, lambda raw: raw + b"c9,videos/c0.mp4\n"), "row 8: 2 cells under"),
    ("UTF-16", data_bytes(CSV, lambda raw: raw.decode().encode("utf-16")), "UTF-16"),
    ("Latin-1", data_bytes(CSV, lambda raw: raw.replace(b"Fine", b"\xc4rm", 1)), "not UTF-8"),
    ("null bytes", data_bytes(CSV, lambda raw: raw.replace(b"squat", b"\0\0", 1)), "manifest.csv"),
    ("parquet cut short", data_bytes(PARQUET, lambda raw: raw[: len(raw) // 2]), "not a parquet file"),
    ("parquet without its end", data_bytes(PARQUET, lambda raw: raw[:-4]), "not a parquet file"),
    ("parquet of zeros", data_bytes(PARQUET, lambda raw: MAGIC + bytes(len(raw)) + MAGIC), "not a parquet file"),
    ("CSV called parquet", MISNAMED, "not a parquet file"),
])  # fmt: skip

ACTIONS = cases(DATA, [
    ("four steps", actions(lambda d: d["squat"]["steps"].pop()), "row squat: steps: 4 steps"),
    ("six steps", actions(lambda d: d["squat"]["steps"].append("x")), "row squat: steps: 6 steps"),
    ("no instruction", actions(lambda d: d["squat"].pop("instruction")), "row squat: not an object with"),
    ("step that is a number", actions(lambda d: d["squat"].update(steps=[1] * 5)), "int instead of text"),
    ("step without words", actions(lambda d: d["squat"].update(steps=[" "] * 5)), "steps[0]: empty"),
    ("list of actions", data_bytes("steps.json", lambda raw: b"[]"), "not a JSON object of actions"),
    ("steps.json of no bytes", data_bytes("steps.json", lambda raw: b""), "not JSON"),
    ("action twice", data_bytes("steps.json", lambda raw: b'{"squat": 1, "squat": 2}'), "the key is there twice"),
    ("brackets without an end", data_bytes("steps.json", lambda raw: b"[" * 100_000), "not JSON"),
])  # fmt: skip

STEP_FILES = cases(DESCRIBED, [
    ("no file", NOTHING, "absent: "), ("folder", a_folder(), "folder: "), ("four", note(steps=["x"] * 4), "4 steps"),
    ("no bytes", holding("steps.json", b""), "not JSON"), ("broken", holding("steps.json", b'{"steps": ['), "not JSON"),
    ("not UTF-8", holding("steps.json", b'{"steps": "\xff"}'), "not JSON"), ("six", note(steps=["x"] * 6), "6 steps"),
    ("brackets without an end", holding("steps.json", b"[" * 100_000), "not JSON"), ("none", note(steps=[]), "0 steps"),
    ("list", holding("steps.json", b"[1, 2]"), "not an object with steps and instruction"),
    ("word for a list", note(steps="squat"), "not an object with steps"),
    ("table for a list", note(steps=dict.fromkeys("abcde", "x")), "not an object with steps"),
    ("number for a step", note(steps=["x", 2, "x", "x", "x"]), "steps[1]: int instead of text"),
    ("step without words", note(steps=["x", "x", " ", "x", "x"]), "steps[2]: empty"),
    ("invisible step", note(steps=["x", "x", "\u200b", "x", "x"]), "steps[2]: empty"),
    ("instruction without words", note(instruction=""), "instruction: empty"),
    ("no instruction", note(instruction=None), "not an object with steps and instruction"),
    ("key twice", holding("s.json", json.dumps(NOTE)[:-1] + ', "steps": []}'), "there twice"),
])  # fmt: skip

SETTINGS = [
    ("unknown key", "training.epoch=3", "did you mean 'training.epochs'"),
    ("unknown section", "trainig.epochs=3", "did you mean 'training.epochs'"),
    ("negative", "training.lr=-1", "it must be greater than 0"),
    ("negative number of epochs", "training.epochs=-1", "it must be greater than 0"),
    ("word for a number", "training.epochs=many", "a whole number"),
    ("fraction for a whole number", "training.epochs=1.5", "a whole number"),
    ("NaN", "training.lr=nan", "cannot be 'nan'"), ("too large for a number", "training.lr=1e999", "a finite number"),
    ("no value", "training.epochs", "section.name=value"), ("empty value", "training.epochs=", "a whole number"),
    ("no key", "=3", "unknown setting ''"), ("list of the wrong length", "encoder.patch=1,8", "cannot be '1,8'"),
    ("lists of different lengths", "encoder.heads=3", "one number a stage"),
    ("width that the heads do not divide", "decoder.heads=3", "it must divide decoder.dim"),
    ("yes for true", "fusion.global_branch=yes", "true or false"),
    ("unknown choice", "fusion.merge=sum", "'gate', 'concatenate' or 'add'"),
    ("escape sequence for a key", "\x1b[2J=1", "unknown setting"),
    ("no weights", "encoder.weights={in}", "no such file of encoder weights"),
]  # fmt: skip
CONFIGS: list[Case] = [
    *((name, NOTHING, ("status", "6/EFA", "--set", word), answer) for name, word, answer in SETTINGS),
    ("preset", NOTHING, ("run", "6", "--preset", "labtop"), "did you mean 'laptop'"),
    ("table", NOTHING, ("run", "9"), "one of all"),
    ("row", NOTHING, ("run", "6/Q-txt"), "Q-text"),
    ("seed that is a word", NOTHING, ("run", "6/EFA", "--seeds", "one"), "--seeds 0,1,2"),
    ("no seed", NOTHING, ("run", "6/EFA", "--seeds", ""), "--seeds 0,1,2"),
    ("seed below 0", NOTHING, ("run", "6/EFA", "--seeds", "0,-1"), "negative"),
    ("seed of 30 digits", NOTHING, ("status", "6/EFA", "--seeds", "9" * 30), "below 4294967296"),
    ("action", NOTHING, ("assess", "{good}", "--action", "sqat", "--checkpoint", "{checkpoint}"), "'squat'"),
]  # fmt: skip

LOADED = cases(LOAD, [
    ("no folder", NOTHING, "no checkpoint folder or hub id"), ("empty folder", a_folder(), "lacks config.json"),
    ("folder's name of 300 letters", absent("x" * 300), "x" * 300),
    ("file for a folder", holding("checkpoint", "x"), "no checkpoint folder"),
    ("no config.json", CHECKPOINTS.without("config.json"), "lacks config.json"),
    ("no vocab.txt", CHECKPOINTS.without("vocab.txt"), "lacks vocab.txt"),
    ("no weights", CHECKPOINTS.without("model.safetensors"), "lacks model.safetensors"),
    ("broken config.json", CHECKPOINTS.file("config.json", lambda raw: raw[:100]), "cannot be read"),
    ("unknown setting", CHECKPOINTS.config(lambda m: m["config"]["fusion"].update(colour=1)), "fusion.colour"),
    ("list for settings", CHECKPOINTS.config(lambda m: m.update(config=[])), "cannot be read"),
    ("width of infinity", CHECKPOINTS.config(lambda m: m.update(text_dim=float("inf"))), "cannot be read"),
    ("four steps", CHECKPOINTS.config(lambda m: m["steps"]["squat"]["steps"].pop()), "squat"),
    ("numbers for steps", CHECKPOINTS.config(lambda m: m["steps"]["squat"].update(steps=[1] * 5)), "squat"),
    ("other actions", CHECKPOINTS.config(lambda m: m.update(actions=["hop", "skip"])), "hop"),
    ("an action less", CHECKPOINTS.config(lambda m: m["actions"].pop()), "size mismatch"),
    ("weights cut", CHECKPOINTS.file("model.safetensors", lambda raw: raw[: len(raw) // 2]), "cannot be read"),
    ("header cut", CHECKPOINTS.file("model.safetensors", lambda raw: raw[:60]), "cannot be read"),
    ("header of 2^60 bytes", CHECKPOINTS.file("model.safetensors", lambda raw: bytes(7) + b"\x10" + raw), "cannot"),
    ("weights of another shape", CHECKPOINTS.weights(lambda v: v[..., :1], "quality_head.5.weight"), "size mismatch"),
    ("pickle", CHECKPOINTS.file("model.safetensors", lambda raw: PICKLE), "cannot be read"),
    ("weights that are NaN", CHECKPOINTS.weights(lambda v: v * float("nan")), "no finite"),
    ("vocabulary cut", CHECKPOINTS.file("vocab.txt", lambda raw: raw[:10]), "the vocabulary lacks"),
])  # fmt: skip

SCORED = cases(SCORE, [
    ("no file", absent("absent.parquet"), "no such file"), ("folder", a_folder("folder.parquet"), "no such file"),
    ("name of 300 letters", absent("x" * 300 + ".csv"), "xxx.csv: "),
    ("another kind", holding("predictions.json", "[]"), ".parquet or .csv"),
    ("no bytes", holding("predictions.parquet", b""), "cannot be read"),
    ("no bytes, CSV", holding("predictions.csv", b""), "cannot be read"),
    ("cut short", cut(predictions(), 0.7), "cannot be read"),
    ("no column", predictions(clip_id=None), "needed: clip_id"),
    ("no rows", predictions(**{name: [] for name in COLUMNS}), "no rows"),
    ("id twice", predictions(clip_id=list("aacd")), "row 2 (clip a): duplicate clip_id"),
    ("no label", predictions(quality=[0, 1, np.nan, 1]), "row 3 (clip c): quality is not"),
    ("label 2", predictions(quality=[0, 1, 2, 1]), "row 3 (clip c): quality is not"),
    ("word for a label", predictions("csv", quality=["good", 1, 2, 1]), "quality is not a number"),
    ("list for a label", predictions(quality=[[0], [1], [0], [1]]), "quality is not a number"),
    ("probability missing in a row", predictions(quality_prob=[0.1, np.nan, 0.3, 0.4]), "quality_prob is"),
    ("probability of 1.5", predictions(quality_prob=[0.1, 1.5, 0.3, 0.4]), "quality_prob is not in 0 to 1"),
    ("number for a text", predictions(explanation=[1.0] * 4), "explanation is not text"),
    ("word for a list", predictions(top5=["squat"] * 4), "top5 is not a list"),
    ("unknown fault", predictions(fault=["round back"] * 4), "fault is not of the form"),
    ("one cell too many a row", holding("p.csv", ",".join(COLUMNS) + "\n" + "x," * 12 + "x\n"), "p.csv"),
])  # fmt: skip


def replaced(name: str, make_other: Callable[[Path], object]) -> Make:
    """CoT-AFA's release with a file where a folder should be, or the other way round."""

    def make(folder: Path) -> Path:
        root = release(folder / "release")
        (root / name).rename(folder / "gone")
        make_other(root / name)
        return root

    return make


def ui_prmd(file_inside: bool) -> Make:
    """UI-PRMD's two folders without a sequence, or with a file where a folder should be."""

    def write_both(root: Path) -> None:
        for name in ("Segmented Movements", "Incorrect Segmented Movements"):
            place = root / name / "Vicon" / "Positions"
            place.parent.mkdir(parents=True)
            Path.touch(place) if file_inside else place.mkdir()

    return making("ui", write_both)


POSE = ("pose", "{in}", "--to", "{out}")
NOBODY = cases(POSE, [
    ("nobody", video("grey.mp4", grey(12, 90, 160)), "nobody was found in 6 frames"),
    ("black", video("black.mp4", np.zeros((3, 64, 64, 3), np.uint8)), "nobody was found in 2 frames"),
    ("one frame of nobody", film("one.mp4", 1), "nobody was found in 1 frame"),
    ("a picture of one pixel", pictures([(1, 1)]), "nobody was found in 1 frame"),
    ("absent", absent("absent.mp4"), "no such file"), ("text", holding("text.mp4", "no video\n" * 40), "not a video"),
    ("broken pictures", pictures([(32, 32)] * 3, [0, 1, 2]), "no image in this folder"),
    ("no frames", edited(film("none.mkv"), "", lambda raw: raw.partition(CLUSTER)[0]), "not a video"),
])  # fmt: skip

LOSO = ("leave-one-subject-out", "{in}", "--to", "{out}")
TREES = [
    *cases(COT_AFA, [
        ("CoT-AFA: empty folder", a_folder(), "no such file"),
        ("CoT-AFA: file", holding("release", "x"), "no such folder"),
        ("CoT-AFA: name of 300 letters", absent("x" * 300), "name too long"),
        ("CoT-AFA: file for comments", replaced("comment", Path.touch), "comment: "),
        ("CoT-AFA: folder for the sheet", replaced("GYM88.xlsx", Path.mkdir), "GYM88.xlsx: "),
    ]),
    *cases(UI_PRMD, [
        ("UI-PRMD: empty folder", a_folder(), "Segmented Movements"),
        ("UI-PRMD: file", holding("ui", "x"), "Segmented Movements"),
        ("UI-PRMD: name of 300 letters", absent("x" * 300), "Segmented Movements"),
        ("UI-PRMD: file for a folder inside", ui_prmd(True), "no such folder"),
        ("UI-PRMD: no sequence", ui_prmd(False), "no sequence under this folder"),
    ]),
    ("CoT-AFA: folder to count, empty", a_folder(), ("audit", "cuts", "{in}", "--to", "{out}"), "no such file"),
    ("CoT-AFA: folder to audit, empty", a_folder(), ("audit", "annotations", "{in}", "--to", "{out}"), "neither"),
    ("people: nobody named", clips(lambda rows: [row.pop("subject") for row in rows]), LOSO, "needs a subject"),
    ("people: empty folder", a_folder(), LOSO, "neither manifest"),
]  # fmt: skip

MADE: list[Case] = [
    ("folder that is a file", holding("out", "x"), ("data", "formsim", "{in}", "--clips", "3", "--size", "16"), ""),
    ("no frames a second", NOTHING, ("data", "formsim", "{out}", "--clips", "3", "--size", "16", "--fps", "0"),
     "above 0"),
    ("pictures of one pixel", NOTHING, ("data", "formsim", "{out}", "--clips", "3", "--size", "1"), "16 to 4096"),
    ("preview of one pixel", NOTHING, ("data", "preview", "Squat", "--size", "1"), "16 to 4096"),
    ("preview in no folder", NOTHING, ("data", "preview", "Squat", "--size", "16", "--to", "{in}/a.png"),
     "absent/a.png: "),
    ("preview of no kind", NOTHING, ("data", "preview", "Squat", "--size", "16", "--to", "{in}.txt"), ".png"),
]  # fmt: skip

FILMS = cases(LOOK, [  # what is read as it is meant needs no warning
    ("10 bits a colour", film("ten.mp4", pix_fmt="yuv420p10le"), ""),
    ("turned by its header", video("turned.mp4", grey(12, 32, 48), rotation=-90), ""),
    ("variable frame rate", video("vfr.mkv", grey(12), times=[*range(10), 60, 110]), ""),
    ("one pixel", video("pixel.mov", np.full((6, 1, 1, 3), 200, np.uint8), "png", "rgb24"), ""),
    ("one frame", film("one.mp4", 1), "1 frame for 6"), ("three pictures", pictures([(32, 32)] * 3), "3 frames for 6"),
    ("one broken picture of seven", pictures([(32, 32)] * 7, [2]), "2.png cannot be read and was left out"),
    ("pictures of two sizes", pictures([(32, 32), (64, 32)] * 3), "1.png has another size"),
    ("Matroska cut in the middle", cut(film("clip.mkv", 30), 0.7), ""),
    ("pixels nine times as wide", video("wide.mkv", grey(6), aspect=Fraction(9)), "pixel aspect ratio 9 ignored"),
    ("escape sequence in a good name", film("\x1b[31mred.mp4"), ""),
])  # fmt: skip

TABLES = cases(DATA_CHECK, [
    ("byte order mark", data_bytes(CSV, lambda raw: b"\xef\xbb\xbf" + raw), "byte order mark"),
    ("Windows line ends", data_bytes(CSV, lambda raw: raw.replace(b"\n", b"\r\n")), "Windows line ends"),
    ("semicolons", data_bytes(CSV, lambda raw: raw.replace(b"Fine, ", b"").replace(b",", b";")), "';'"),
    ("one more column", cell("colour", "red", everywhere=True), "colour: unknown column"),
    ("text of 100000 letters", cell("explanation", "x" * 100_000), "100000 characters"),
    ("invisible characters", cell("explanation", "a\u200bb\u202e"), "2 control or invisible"),
    ("invisible characters in a name", cell("action", "squat\u200b"), "normalised"),
    ("no clip to validate", clips(lambda rows: [rows.pop(4), rows.pop(1)]), "no clip in split val"),
    ("unknown view", cell("view", "above"), "'above' is none of"), ("label 1.0", cell("quality", "1.0"), ""),
    ("split in capitals", cell("split", "TEST"), "'TEST' in capitals"),
    ("a video in two splits", cell("path", "videos/c1.mp4"), "same video in"),
    ("action without a clip", actions(lambda d: d.update(plank=d["squat"])), "no clip of this action"),
    ("step of 20000 letters", actions(lambda d: d["squat"].update(steps=["x" * 20_000] * 5)), "20000 characters"),
])  # fmt: skip

NOTES = cases(DESCRIBED, [
    ("byte order mark", holding("steps.json", b"\xef\xbb\xbf" + json.dumps(NOTE).encode()), ""),
    ("one more key", note(author="me"), ""),
    ("invisible characters", note(instruction="Bre\u200bathe."), "1 control or invisible characters"),
    ("half a character", note(instruction="Breathe\ud800."), "1 control or invisible characters"),
])  # fmt: skip

PREDICTIONS = cases(SCORE, [
    ("one more column", predictions(colour=["red"] * 4), ""),
    ("CSV", predictions("csv"), ""),
    ("no head for form", predictions(quality_prob=[np.nan] * 4), ""),
])  # fmt: skip

KINDS = {
    "video": VIDEOS, "data set": MANIFESTS, "its actions": ACTIONS, "steps file": STEP_FILES, "settings": CONFIGS,
    "checkpoint": LOADED, "predictions": SCORED, "release": TREES, "output": MADE, "pose": NOBODY,
}  # fmt: skip
ODD_KINDS = {"video": FILMS, "data set": TABLES, "steps file": NOTES, "predictions": PREDICTIONS}
CASES = {f"{kind}: {case[0]}": case[1:] for kind, rows in KINDS.items() for case in rows}
ODD = {f"odd {kind}: {case[0]}": case[1:] for kind, rows in ODD_KINDS.items() for case in rows}
