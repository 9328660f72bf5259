"""CoT-AFA as released -> manifest: on a made-up release of the same layout and, where it is there, on the true one."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from checkpoints import call
from cot_afa_release import TEXT, noted, release, sheet_rows, videos, write_json
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.data.manifest import ANNOTATIONS_ONLY, check_dataset, load_dataset
from efa.utils.errors import InputError
from efa_datasets.cot_afa import Conversion, convert, draw_splits, find_videos, read_release, written_verdict
from efa_datasets.cot_afa_files import COLUMNS, REFERENCES, SHEET, STEP_FILE, Notes


def test_a_release_becomes_a_data_set(tmp_path: Path) -> None:
    root, out = videos(release(tmp_path / "root")), tmp_path / "out"
    made = convert(root, out)
    assert [p for p in check_dataset(out) if p.severity == "error"] == []
    dataset = load_dataset(out)
    pd.testing.assert_frame_equal(dataset.table, made.dataset.table)
    assert dataset.steps == made.dataset.steps
    assert dataset.fingerprint() == made.dataset.fingerprint()
    assert dataset.actions == ["Dcline Hop", "Hop", "Sword Stir", "Taiji Stir"]
    assert (dataset.steps["Hop"].steps[1], dataset.steps["Hop"].instruction) == ("Do 2.", "Do it.")
    table = dataset.table.set_index("clip_id")
    row = table.loc["00_10", ["mode", "type", "quality", "view", "split"]]
    assert row.tolist() == ["manual", "Warm-up", 1, "front", "test"]
    assert table.loc["01_05", ["mode", "type", "action"]].tolist() == ["apparatus", "Cable Machine", "Dcline Hop"]
    assert table.loc["03_05", ["mode", "type", "action"]].tolist() == ["apparatus", "Taiji Sword", "Taiji Stir"]
    for clip in ("00_10", "00_11"):  # from its reference, from its comment
        assert table.loc[clip, "explanation"].endswith(f"clip {clip}.")
    assert table["split"].value_counts().to_dict() == {"train": 56, "val": 12, "test": 12}
    extra = pd.read_csv(out / "released.csv", dtype=str, keep_default_na=False).set_index("clip_id")
    assert extra.loc["00_10"].tolist() == ["1", "正面", "腿", "slow", "1.5", "reference"]
    assert {what for what, _ in made.oddities.counts()} == USUAL


def first_path(folder: Path) -> str:
    return load_dataset(folder).table.loc[0, "path"]


def test_videos_are_linked_and_never_copied(tmp_path: Path) -> None:
    release(tmp_path / "notes")
    place, out = videos(tmp_path / "videos"), tmp_path / "deep" / "out"
    convert(tmp_path / "absent", out, tmp_path / "notes", place)
    assert (out / "videos").is_symlink()
    assert not Path(os.readlink(out / "videos")).is_absolute()
    assert first_path(out) == "videos/workout_ori/00/00_00.mp4"
    moved = videos(tmp_path / "elsewhere") / "workout_ori"
    convert(tmp_path / "notes", out, videos=moved)  # again, with the folders of classes themselves
    assert (out / "videos").resolve() == moved.resolve()
    assert first_path(out) == "videos/00/00_00.mp4"


def test_videos_inside_the_data_set_need_no_link(tmp_path: Path) -> None:
    root = videos(release(tmp_path))
    convert(root, root)
    assert first_path(root) == "workout_ori/00/00_00.mp4"
    assert not (root / "videos").exists()
    out, notes = tmp_path / "out", Notes()
    videos(out / "videos")
    assert (len(find_videos(root, out, notes)), list(notes)) == (80, [])  # the output folder is not searched
    with pytest.raises(InputError, match="there already"):
        convert(root, out)
    convert(root, out, videos=out / "videos")
    assert first_path(out) == "videos/workout_ori/00/00_00.mp4"


def test_frames_instead_of_videos(tmp_path: Path) -> None:
    root = videos(release(tmp_path / "root"), leave_out=("00_03", "00_04"))
    for clip in ("00_03", "00_05"):
        (root / "frames" / clip).mkdir(parents=True)
        (root / "frames" / clip / "0001.jpg").write_bytes(b"picture")
    (root / "frames" / "00_04").mkdir()  # holds no frame
    made = convert(root, tmp_path / "out")
    table = load_dataset(tmp_path / "out").table.set_index("clip_id")
    paths = table.loc[["00_03", "00_05"], "path"].tolist()
    assert paths == ["videos/frames/00_03", "videos/workout_ori/00/00_05.mp4"]
    assert "00_04" not in table.index
    assert len(noted(made.oddities, "unusable video")) == len(noted(made.oddities, "missing video")) == 1


def test_missing_and_unusable_videos_are_listed(tmp_path: Path) -> None:
    root = videos(release(tmp_path / "root"), leave_out=("00_03",))
    (root / "copy").mkdir()
    for file, content in (("00_05", b""), ("00_77", b"video"), ("../../copy/00_06", b"video")):
        (root / "workout_ori" / "00" / f"{file}.mp4").write_bytes(content)
    whole = read_release(root)
    made = convert(root, tmp_path / "out")
    assert set(whole.dataset.table["clip_id"]) - set(made.dataset.table["clip_id"]) == {"00_03", "00_05"}
    assert [row[1:3] for row in noted(made.oddities, "missing video")] == [(5, "00_03"), (7, "00_05")]
    whats = ("unusable video: the file is empty", "video without a row", "another video of a clip")
    assert [noted(made.oddities, what)[0][2] for what in whats] == ["00_05", "00_77", "00_06"]
    before, after = (one.dataset.table.set_index("clip_id")["split"] for one in (whole, made))
    assert (before[after.index] == after).all()  # the splits do not depend on which videos are there
    listed = pd.read_csv(tmp_path / "out" / "oddities.csv")
    assert list(listed.columns) == ["file", "row", "clip_id", "what", "done"]
    assert len(listed) == len(made.oddities)


def test_clips_without_videos_are_kept_and_marked(tmp_path: Path, capfd, monkeypatch) -> None:
    """As in the authors' repository: the videos are elsewhere."""
    root, out = release(tmp_path / "root"), tmp_path / "out"
    for options in ({"with_videos": False}, {}):
        table = convert(root, out, **options).dataset.table
        assert (len(table), table["path"][0]) == (80, "videos/workout_ori/00/00_00.mp4")
        assert (out / "manifest.parquet").exists()
        assert not (out / "videos").exists()
    assert (out / ANNOTATIONS_ONLY).is_file()
    with pytest.raises(InputError, match="--no-videos"):
        convert(root, tmp_path / "out2", videos=root)
    assert not (tmp_path / "out2").exists()
    status, printed, _ = call(monkeypatch, capfd, "data", "check", str(out))
    assert status == 0
    assert "80 clips have no video" in printed
    assert "0 errors" in printed
    convert(videos(root), out)  # now they are there
    assert not (out / ANNOTATIONS_ONLY).exists()


# oddities ---------------------------------------------------------------------------------------------------------

USUAL = {"spelling", "spaces in an action's name", "empty comment file"}
ODD_CELLS = [
    ("label", 2, "unexplained label 2", {"quality": 1}), ("label", "1", "", {"quality": 1}),
    ("reason", "knees", "standard, but with a reason", {"quality": 0}), ("view", None, "no view", {"view": ""}),
    ("view", "侧面（左）", "view in full-width brackets", {"view": "side"}), ("view", "侧面(左)", "", {"view": "side"}),
    ("view", "天上", "unknown view", {"view": ""}), ("name", None, "no action name", {"action": "Hop"}),
    ("name", " Hop(跳）", "mixed brackets", {"action": "Hop"}),
    ("name", " Hop（跳）", "spaces or invisible characters in a cell", {"action": "Hop"}),
    ("name", "Skip", "action name is not in", {"action": "Hop"}),
    ("name", "Dcline Hop", "action name is another class's", {"action": "Hop"}),
    ("major", None, "no major and minor class", {"mode": "manual", "type": "Warm-up"}),
    ("major", "器械", "major and minor class differ", {"mode": "manual", "type": "Warm-up"}),
    ("seconds", None, "no length", {}), ("seconds", "long", "length is no number", {}),
    ("seconds", 0, "length of 0 seconds", {}),
]  # fmt: skip


@pytest.mark.parametrize(("column", "value", "what", "read"), ODD_CELLS)
def test_odd_cells_are_noted_and_read(tmp_path: Path, column: str, value: Any, what: str, read: dict[str, Any]) -> None:
    rows = sheet_rows()
    rows[5][list(COLUMNS).index(column)] = value
    made = read_release(release(tmp_path, rows))
    record = made.dataset.table.iloc[5]
    assert {key: record[key] for key in read} == read
    # where the label changes, its text still says good, and there is no reason
    usual = USUAL | ({"contradicting verdict", "non-standard without a reason"} if column == "label" else set())
    found = [one for one in made.oddities if one.what.split(": ")[0] not in usual]
    assert any(one.what.startswith(what) for one in found) == bool(what)
    assert all((one.file, one.row, one.clip_id) == (SHEET, 7, "00_05") and one.done for one in found)


ODD_TEXTS = [
    (b"", "empty comment file", ""),
    (b" \n", "empty comment file", ""),
    (b"The hop action in this video is bad.", "contradicting verdict: bad, labelled standard", None),
    (b"The hop action in this video lasts.", "the text states no verdict", None),
    (b"The skip action in this video is good.", "the text does not name the action", None),
    (b"The hop action in this video is good. \xff", "not UTF-8 text", None),
    ("The hop action in this video is good.\u200b".encode(), "control or invisible", None),
    (TEXT.format("hop", "good", "00_06").encode(), "same text as another clip: 00_05", None),
]


@pytest.mark.parametrize(("content", "what", "read"), ODD_TEXTS)
def test_odd_texts_are_noted_and_kept(tmp_path: Path, content: bytes, what: str, read: str | None) -> None:
    (release(tmp_path) / "comment" / "00_05_with_label.txt").write_bytes(content)
    made = read_release(tmp_path)
    text = made.dataset.table.loc[5, "explanation"]
    assert text == read if read is not None else text
    assert len(made.dataset.table) == 80
    clip = "00_06" if what.startswith("same") else "00_05"
    assert (f"comment/{clip}_with_label.txt", clip) in [(file, who) for file, _, who, _ in noted(made.oddities, what)]


def test_odd_rows_and_files_are_noted(tmp_path: Path) -> None:
    twin = [*sheet_rows()[5][:4], 1, *sheet_rows()[5][5:]]
    comment = release(tmp_path, [*sheet_rows(), [None] * 9, twin]) / "comment"
    (comment / "00_05_with_label.txt").unlink()
    (comment / "00_99_with_label.txt").write_text("nobody's")
    (comment / "00_00_with_label.txt").write_text("The hop action in this video is good.")  # has a reference, too
    document = json.loads((tmp_path / REFERENCES).read_text(encoding="utf-8"))
    odd = {"77_00": "x", "00_00": "y", "00_07": ""}
    document["annotations"] += [{"image_id": clip, "caption": text} for clip, text in odd.items()]
    write_json(tmp_path / REFERENCES, document)
    made = read_release(tmp_path)
    table = made.dataset.table.set_index("clip_id")
    assert len(table) == 80
    assert table.loc["00_05", ["explanation", "quality"]].tolist() == ["", 0]
    assert table.loc["00_00", "explanation"].endswith("clip 00_00.")
    assert table.loc["00_07", "split"] == "test"
    assert table.loc["00_07", "explanation"].endswith("clip 00_07.")  # then the comment will do
    assert noted(made.oddities, "duplicate name")[0][:3] == (SHEET, 83, "00_05")
    assert noted(made.oddities, "empty row")[0][1] == 82
    clips = {
        "no comment file": "00_05", "file that belongs to no clip": "", "comment and test reference differ": "00_00",
        "test reference of an unknown clip": "77_00", "second test reference": "00_00", "empty test reference": "00_07",
    }  # fmt: skip
    for what, clip in clips.items():
        assert [who for _, _, who, _ in noted(made.oddities, what)] == [clip], what


@pytest.mark.parametrize("texts", [["action step 1: Do."], ["action step 1: "] * 6, []])
def test_actions_without_all_steps_are_left_out(tmp_path: Path, texts: list[str]) -> None:
    steps = json.loads((release(tmp_path) / STEP_FILE).read_text(encoding="utf-8"))
    write_json(tmp_path / STEP_FILE, steps | {"Hop": texts})
    made = read_release(tmp_path)
    assert made.dataset.actions == ["Dcline Hop", "Sword Stir", "Taiji Stir"]
    whats = ("clip of an action with missing steps: Hop", "missing steps")
    assert (len(made.dataset.table), *(len(noted(made.oddities, what)) for what in whats)) == (60, 20, 1)


def test_unknown_kinds_and_headings_and_missing_columns(tmp_path: Path) -> None:
    rows = [[row[0], "水球" if row[0].startswith("00") else row[1], *row[2:]] for row in sheet_rows()]
    steps = json.loads((release(tmp_path, rows) / STEP_FILE).read_text(encoding="utf-8"))
    steps["Hop"][2] = "step three: Do 3."
    write_json(tmp_path / STEP_FILE, steps)
    made = read_release(tmp_path)
    assert made.dataset.table.loc[0, ["mode", "type"]].tolist() == ["", "水球"]
    assert noted(made.oddities, "class 0 of unknown kind: 水球")
    assert made.dataset.steps["Hop"].steps[2] == "step three: Do 3."
    assert noted(made.oddities, "a text without its heading: number 3")
    rows = [[row[0], row[4]] for row in sheet_rows()]
    made = read_release(release(tmp_path, rows, [COLUMNS["clip_id"], COLUMNS["label"]]))
    assert (len(made.dataset.table), set(made.dataset.table["mode"])) == (80, {""})
    assert len(noted(made.oddities, "missing column")) == 7


def test_written_verdict() -> None:
    verdicts = {
        "The hop action in this video is good.": 0, "The hop action in the video is classified as 'bad'.": 1,
        "THE HOP ACTION IN THIS VIDEO IS NOT GOOD.": 1, "The hop is good.": None, "": None,
    }  # fmt: skip
    assert {text: written_verdict(text) for text in verdicts} == verdicts


# splits -----------------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1), st.booleans()), min_size=1), st.integers(0, 2**32 - 1))
def test_splits(clips: list[tuple[int, int, bool]], seed: int) -> None:
    rows = [(f"{number:02}_{i:03}", number, quality) for i, (number, quality, _) in enumerate(clips)]
    test = {row[0] for row, clip in zip(rows, clips, strict=True) if clip[2]}
    splits = draw_splits(rows, test, seed)
    assert {name for name, split in splits.items() if split == "test"} == test
    assert splits == draw_splits(rows[::-1], test, seed)  # the order of the rows does not count
    assert Counter(splits.values())["val"] <= round(0.15 * len(rows))
    free = {(number, quality) for name, number, quality in rows if name not in test}
    assert free == {(number, quality) for name, number, quality in rows if splits[name] == "train"}


def test_splits_are_stratified_and_depend_on_the_seed(tmp_path: Path) -> None:
    rows = [(row[0], int(row[0][:2]), row[4]) for row in sheet_rows()]
    drawn = [draw_splits(rows, set(), seed) for seed in range(3)]
    assert drawn[0] != drawn[1] != drawn[2]
    for splits in drawn:
        counts = Counter((number, quality) for name, number, quality in rows if splits[name] == "val")
        assert sorted(counts.values()) == [1, 1, 1, 1, 2, 2, 2, 2]
    root = release(tmp_path)
    assert not read_release(root, 1).dataset.table["split"].equals(read_release(root).dataset.table["split"])


# the true annotations ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def true(shared: Path) -> Conversion:
    if not (shared / "cot-afa" / SHEET).exists():
        pytest.skip("no annotations of CoT-AFA beside this checkout")
    return read_release(shared / "cot-afa")


def test_counts_of_the_release(true: Conversion) -> None:
    table = true.dataset.table
    assert len(table) == 3392
    assert len(true.dataset.actions) == table["action"].nunique() == len(true.dataset.steps) == 141
    assert table["type"].nunique() == 28
    assert set(table["mode"]) == {"manual", "apparatus"}
    manual = table[table["mode"] == "manual"]
    assert (len(manual), manual["action"].nunique()) == (1949, 80)
    assert table["quality"].value_counts().to_dict() == {0: 2242, 1: 1150}
    assert (table["view"] == "").sum() == 2127
    assert table["split"].value_counts().to_dict() == {"train": 2373, "val": 509, "test": 510}
    assert (table["explanation"] != "").sum() == 1567
    usable = table[(table["explanation"] != "") & (table["split"] != "test")]
    assert (len(usable), usable["action"].nunique()) == (1057, 56)
    assert table["action"].str.isascii().sum() == 3392 - (table["action"] == "Child\u2019s Pose").sum()
    assert (true.released["reason"] != "").sum() == 248 + 7


def test_the_oddities_of_the_release(true: Conversion) -> None:
    counts = Counter(one.what.split(": ")[0] for one in true.oddities)
    assert counts["empty comment file"] == 2154
    assert counts["no major and minor class"] == 891
    assert counts["no length"] == counts["no view"] == 2127
    assert counts["non-standard without a reason"] == 1150 - 248
    assert [one.clip_id for one in true.oddities if one.what == "unexplained label 2"] == ["41_15"]
    contradicting = [one for one in true.oddities if one.what.startswith("contradicting verdict")]
    assert sum(one.file == REFERENCES for one in contradicting) == 54
    assert not {what for what in counts if "unknown" in what or "another class" in what or "is not in" in what}


def test_validation_split_of_the_release(true: Conversion) -> None:
    free = true.dataset.table[true.dataset.table["split"] != "test"]
    share = (free["split"] == "val").groupby([free["action"], free["quality"]]).agg(["sum", "size"])
    expected = share["size"] * 509 / len(free)
    assert ((share["sum"] - expected).abs() <= 1).all()
    assert (share["sum"] < share["size"]).all()
