"""Makers of bad and odd input for `bad_inputs` and the fuzz tests: each writes under a folder and returns the path."""

import json
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from manifests import STEPS, records, steps_document, write
from PIL import Image
from safetensors.torch import load_file, save_file
from test_video import encode, grey

from efa.baselines.registry import build_system
from efa.data.tokenizer import SPECIAL, Tokenizer
from efa.predict import EFA
from efa_book.predictions import COLUMNS

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
    """What `inner` makes, with other bytes in one file of the folder, or in the file itself if `name` is empty."""
    return changed(inner, lambda path: (path / name).write_bytes(change((path / name).read_bytes())))


def cut(inner: Make, share: float) -> Make:
    """The first part of a file."""
    return edited(inner, "", lambda raw: raw[: int(share * len(raw))])


def video(name: str, frames: np.ndarray, *codec: str, **setup: Any) -> Make:
    """A video as `test_video.encode` writes it."""
    return lambda folder: encode(folder / name, frames, *codec, **setup)


def film(name: str = "clip.mp4", count: int = 12, **setup: Any) -> Make:
    """`count` grey frames, each of another grey."""
    return video(name, grey(count, 32, 32), **setup)


def huge_picture(folder: Path) -> Path:
    """A folder of one PNG whose header announces 60000 x 60000 pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    (folder / "frames").mkdir()
    (folder / "frames" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    return folder / "frames"


def pictures(sizes: Sequence[tuple[int, int]], broken: Sequence[int] = ()) -> Make:
    """A folder of PNG frames of these widths and heights, of which some are cut in the middle."""

    def write_all(place: Path) -> None:
        place.mkdir()
        for i, size in enumerate(sizes):
            Image.effect_noise(size, 60).convert("RGB").save(place / f"{i}.png")
        for i in broken:
            os.truncate(place / f"{i}.png", 80)

    return making("frames", write_all)


def clips(change: Callable[[list[dict[str, Any]]], object] = lambda rows: None, kind: str = "csv") -> Make:
    """The data set of `manifests`, its rows changed."""

    def make(folder: Path) -> Path:
        rows = records()
        change(rows)
        return write(folder / "data", rows, kind)

    return make


def cell(column: str, value: Any, kind: str = "csv", everywhere: bool = False) -> Make:
    """The data set with another value in one cell, or in the whole column."""

    return clips(lambda rows: [row.update({column: value}) for row in (rows if everywhere else rows[2:3])], kind)


def data_bytes(name: str, change: Callable[[bytes], bytes]) -> Make:
    """The data set with other bytes in one file."""
    return edited(clips(kind="parquet" if name.endswith("parquet") else "csv"), name, change)


def actions(change: Callable[[dict[str, Any]], object]) -> Make:
    """The data set with a changed steps.json."""
    document = steps_document()
    change(document)
    return lambda folder: write(folder / "data", steps=document)


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
            change(meta := json.loads(raw))
            return json.dumps(meta).encode()

        return self.file("config.json", edit)

    def weights(self, change: Callable[[torch.Tensor], torch.Tensor], only: str = "") -> Make:
        """Every tensor whose name starts with `only`, changed."""

        def edit(folder: Path) -> None:
            state = load_file(folder / "model.safetensors")
            chosen = {n: v for n, v in state.items() if n.startswith(only) and v.is_floating_point()}
            state |= {name: change(value).contiguous() for name, value in chosen.items()}
            save_file(state, folder / "model.safetensors")

        return changed(self.copy, edit)


class Harmful:
    """Unpickling this would make the folder `harm`."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("harm",)


def predictions(kind: str = "parquet", **columns: Any) -> Make:
    """Four predictions of a system that writes no text; a column that is None is left out."""
    table = {name: ["x"] * 4 for name in COLUMNS} | {
        "clip_id": list("abcd"), "action": ["squat", "lunge"] * 2, "predicted_action": ["squat"] * 4,
        "top5": [["squat", "lunge"]] * 4, "quality": [0, 1, 0, 1], "quality_prob": [0.1, 0.9, 0.6, 0.4],
        "explanation": [""] * 4, "fault": [""] * 4, "fault_step": [np.nan] * 4, "protocol": ["predicted"] * 4,
    }  # fmt: skip

    def write_table(path: Path) -> None:
        frame = pd.DataFrame({name: values for name, values in (table | columns).items() if values is not None})
        if kind == "parquet":
            frame.to_parquet(path)
        else:
            frame.assign(top5=frame["top5"].map(json.dumps)).to_csv(path, index=False)

    return making(f"predictions.{kind}", write_table)
