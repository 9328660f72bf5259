"""Makers of bad and odd input for tests/test_bad_input.py: each writes under a folder and returns the path."""

import io
import json
import os
import pickle
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from manifests import STEPS, records, steps_document, write
from PIL import Image
from safetensors.torch import load_file, save_file
from test_video import encode, grey, sound

from efa.baselines.registry import build_system
from efa.data.tokenizer import SPECIAL, Tokenizer
from efa.metrics import COLUMNS
from efa.predict import EFA

Make = Callable[[Path], Path]
NOTE = {"steps": [f"Do part {i}." for i in range(1, 6)], "instruction": "Breathe."}  # what --steps takes


def making(name: str, write: Callable[[Path], object]) -> Make:
    """`write` makes the file or folder of this name."""

    def make(folder: Path) -> Path:
        write(folder / name)
        return folder / name

    return make


def holding(name: str, content: bytes | str) -> Make:
    return making(name, lambda path: path.write_bytes(content.encode() if isinstance(content, str) else content))


def absent(name: str = "absent") -> Make:
    return making(name, lambda path: None)


def a_folder(name: str = "folder") -> Make:
    return making(name, Path.mkdir)


def dangling(name: str) -> Make:
    """A symbolic link to nothing."""
    return making(name, lambda path: path.symlink_to(path.with_name("gone")))


def loop(name: str) -> Make:
    """A symbolic link to itself."""
    return making(name, lambda path: path.symlink_to(path))


def fifo(name: str) -> Make:
    """A pipe that nobody writes to: opening it would wait for ever."""
    return making(name, os.mkfifo)


def changed(inner: Make, change: Callable[[Path], object]) -> Make:
    """What `inner` makes, changed."""

    def make(folder: Path) -> Path:
        path = inner(folder)
        change(path)
        return path

    return make


def locked(inner: Make) -> Make:
    """The same file, which nobody may read (the superuser still may: the test stands in for the refusal)."""
    return changed(inner, lambda path: path.chmod(0))


def edited(inner: Make, name: str, change: Callable[[bytes], bytes]) -> Make:
    """The folder that `inner` makes, with other bytes in one file."""
    return changed(inner, lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())))


def cut(inner: Make, share: float) -> Make:
    """The first part of a file."""
    return changed(inner, lambda path: path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)]))


def film(name: str = "clip.mp4", count: int = 12, side: int = 32, **setup: Any) -> Make:
    """`count` grey frames, each of another grey; `setup` as `test_video.encode` takes it."""
    return lambda folder: encode(folder / name, grey(count, side, side), **setup)


def no_frames(folder: Path) -> Path:
    """A Matroska file that ends where its first cluster of frames would begin."""
    path = film("none.mkv")(folder)
    path.write_bytes(path.read_bytes().partition(b"\x1f\x43\xb6\x75")[0])
    return path


def pixel(folder: Path) -> Path:
    """One pixel in each direction."""
    return encode(folder / "pixel.mov", np.full((6, 1, 1, 3), 200, np.uint8), "png", "rgb24")


def jumpy(folder: Path) -> Path:
    """Ten frames in ten ticks, then two in a hundred."""
    return encode(folder / "vfr.mkv", grey(12), times=[*range(10), 60, 110])


def rotated(folder: Path) -> Path:
    """As a telephone held upright records it."""
    return encode(folder / "turned.mp4", grey(12, 32, 48), rotation=-90)


def odd_pixels(folder: Path) -> Path:
    """Pixels nine times as wide as high."""
    return encode(folder / "wide.mkv", grey(6), aspect=Fraction(9))


def audio_only(folder: Path) -> Path:
    return sound(folder / "sound.mp4")


def huge_header(folder: Path) -> Path:
    """An uncompressed film whose header announces 60000 x 60000 pixels: 10 GB a frame."""
    path = encode(folder / "huge.mov", grey(2), "rawvideo", "rgb24")
    raw = path.read_bytes()
    size = struct.pack(">HH", 48, 32)
    assert size in raw
    path.write_bytes(raw.replace(size, struct.pack(">HH", 60000, 60000)))
    return path


def huge_picture(folder: Path) -> Path:
    """A folder of one PNG whose header announces 60000 x 60000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    (folder / "frames").mkdir()
    (folder / "frames" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    return folder / "frames"


def pictures(sizes: Sequence[tuple[int, int]], broken: Sequence[int] = ()) -> Make:
    """A folder of PNG frames of these widths and heights, of which some are cut in the middle."""

    def make(folder: Path) -> Path:
        place = folder / "frames"
        place.mkdir()
        for i, size in enumerate(sizes):
            content = io.BytesIO()
            Image.effect_noise(size, 60).convert("RGB").save(content, "PNG")
            (place / f"{i}.png").write_bytes(content.getvalue()[: 80 if i in broken else None])
        return place

    return make


def clips(change: Callable[[list[dict[str, Any]]], object] = lambda rows: None, kind: str = "csv") -> Make:
    """The data set of `manifests`, its rows changed."""

    def make(folder: Path) -> Path:
        rows = records()
        change(rows)
        return write(folder / "data", rows, kind)

    return make


def cell(column: str, value: Any, kind: str = "csv", everywhere: bool = False) -> Make:
    """The data set with another value in one cell, or in the whole column."""

    def change(rows: list[dict[str, Any]]) -> None:
        for row in rows if everywhere else rows[2:3]:
            row[column] = value

    return clips(change, kind)


def csv_bytes(change: Callable[[bytes], bytes]) -> Make:
    """The data set with other bytes in its manifest.csv."""
    return edited(clips(), "manifest.csv", change)


def parquet_bytes(change: Callable[[bytes], bytes]) -> Make:
    """The same of manifest.parquet."""
    return edited(clips(kind="parquet"), "manifest.parquet", change)


def named_parquet(folder: Path) -> Path:
    """CSV under the name of the other kind."""
    return changed(clips(), lambda p: (p / "manifest.csv").rename(p / "manifest.parquet"))(folder)


def actions(change: Callable[[dict[str, Any]], object]) -> Make:
    """The data set with a changed steps.json."""
    document = steps_document()
    change(document)
    return lambda folder: write(folder / "data", steps=document)


def actions_bytes(content: bytes) -> Make:
    return edited(clips(), "steps.json", lambda raw: content)


def note(**changes: Any) -> Make:
    """A steps file with some entries changed; None takes one away."""
    document = {key: value for key, value in (NOTE | changes).items() if value is not None}
    return holding("steps.json", json.dumps(document))


def save_tiny(folder: Path, config: Any) -> Path:
    """A checkpoint of random weights, without training: two actions and a vocabulary of a few letters."""
    tokenizer = Tokenizer([*SPECIAL, *"abcdefgh"])
    torch.manual_seed(0)
    model = build_system(config, len(STEPS), len(tokenizer), 384, tokenizer.mask)
    EFA(model, config, tokenizer, dict(STEPS), sorted(STEPS), 384).save_pretrained(folder)
    return folder


class Checkpoints:
    """Damaged copies of one good checkpoint, whose place is known only when the tests run."""

    source: Path

    def copy(self, folder: Path) -> Path:
        return Path(shutil.copytree(self.source, folder / "checkpoint"))

    def file(self, name: str, change: Callable[[bytes], bytes]) -> Make:
        return edited(self.copy, name, change)

    def without(self, name: str) -> Make:
        return changed(self.copy, lambda folder: (folder / name).unlink())

    def config(self, change: Callable[[dict[str, Any]], object]) -> Make:
        """config.json changed as Python sees it."""

        def edit(raw: bytes) -> bytes:
            meta = json.loads(raw)
            change(meta)
            return json.dumps(meta).encode()

        return self.file("config.json", edit)

    def weights(self, change: Callable[[torch.Tensor], torch.Tensor], only: str = "") -> Make:
        """Every tensor whose name starts with `only`, changed."""

        def edit(folder: Path) -> None:
            state = load_file(folder / "model.safetensors")
            names = [name for name, value in state.items() if name.startswith(only) and value.is_floating_point()]
            assert names
            state |= {name: change(state[name]).contiguous() for name in names}
            save_file(state, folder / "model.safetensors")

        return changed(self.copy, edit)


class Harmful:
    """Unpickling this would make the folder `harm`."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def pickled(raw: bytes) -> bytes:
    return pickle.dumps({"weights": Harmful()})


def predictions(kind: str = "parquet", **columns: Any) -> Make:
    """Four predictions of a system that writes no text; a column that is None is left out."""
    table = {name: ["x"] * 4 for name in COLUMNS} | {
        "clip_id": list("abcd"),
        "action": ["squat", "lunge"] * 2,
        "predicted_action": ["squat"] * 4,
        "top5": [["squat", "lunge"]] * 4,
        "quality": [0, 1, 0, 1],
        "quality_prob": [0.1, 0.9, 0.6, 0.4],
        "explanation": [""] * 4,
        "fault": [""] * 4,
        "fault_step": [np.nan] * 4,
        "protocol": ["predicted"] * 4,
    }
    table |= columns

    def make(folder: Path) -> Path:
        frame = pd.DataFrame({name: values for name, values in table.items() if values is not None})
        path = folder / f"predictions.{kind}"
        if kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.assign(top5=frame["top5"].map(json.dumps)).to_csv(path, index=False)
        return path

    return make
