"""The manifest: what is read, what is refused, that every problem names its row, and files as users have them."""

import contextlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from manifests import STEPS, found, records, steps_document, write

from efa.data import checks
from efa.data.checks import clean_text, step_key
from efa.data.manifest import check_dataset, load_dataset, make_dataset
from efa.utils.errors import InputError
from efa_datasets.writing import save_dataset


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_round_trip(tmp_path: Path, kind: Any) -> None:
    made = make_dataset(records(), STEPS)
    write(tmp_path)
    (tmp_path / "manifest.csv").unlink()
    save_dataset(made, tmp_path, kind)
    assert check_dataset(tmp_path) == []
    back = load_dataset(tmp_path)
    pd.testing.assert_frame_equal(back.table, made.table)
    assert (back.steps, back.folder) == (STEPS, tmp_path)
    assert back.table.loc[2, ["severity", "fault_step"]].tolist() == [1 / 3, 3]
    assert back.table["fault_step"].isna().sum() == 5
    assert back.table.loc[0, "standard"] == ""


def test_a_table_of_the_required_columns_is_enough(tmp_path: Path) -> None:
    rows = [{k: row[k] for k in checks.REQUIRED} for row in records()]
    dataset = load_dataset(write(tmp_path, rows))
    assert list(dataset.table.columns) == list(checks.COLUMNS)
    assert set(dataset.table["view"]) == {""}
    assert found(check_dataset(tmp_path)) == [("warning", 1, name, "") for name in checks.USUAL]


def test_actions_splits_and_keys() -> None:
    dataset = make_dataset(records(), STEPS)
    assert dataset.actions == ["lunge", "squat"]
    only_squats = [row for row in records() if row["action"] == "squat"]
    assert make_dataset(only_squats, STEPS).actions == dataset.actions  # a part has the classes of the whole


def test_standards() -> None:
    steps = {f"{k} [{s}]": text for k, text in STEPS.items() for s in ("deep", "short")} | {
        "plank [easy]": STEPS["squat"]
    }
    rows = [row | {"standard": ("deep", "short")[i % 2]} for i, row in enumerate(records())]
    dataset = make_dataset(rows, steps)
    assert dataset.actions == ["lunge", "plank", "squat"]
    keys = [step_key(*row) for row in dataset.table[["action", "standard"]].itertuples(index=False)]
    assert keys[:2] == ["squat [deep]", "lunge [short]"]
    assert keys[0] in dataset.steps
    with pytest.raises(InputError, match=r"squat \[depe\]' is not in steps.json .*did you mean 'squat \[deep\]'"):
        make_dataset([rows[0] | {"standard": "depe"}], steps)
    plain = {"push-up [wide]": STEPS["squat"], "squat": STEPS["squat"], "lunge": STEPS["lunge"]}
    assert make_dataset(records(), plain).actions == ["lunge", "push-up [wide]", "squat"]


def test_fingerprint(tmp_path: Path) -> None:
    first = load_dataset(write(tmp_path / "a")).fingerprint()
    os.utime(tmp_path / "a" / "videos" / "c0.mp4", (1, 1))
    for folder in (write(tmp_path / "b"), tmp_path / "a"):  # neither place nor time count
        assert load_dataset(folder).fingerprint() == first
    (tmp_path / "a" / "videos" / "c0.mp4").write_bytes(b"video 9")
    assert load_dataset(tmp_path / "a").fingerprint() != first
    made = make_dataset(records(), STEPS).fingerprint()
    assert make_dataset(records(), dict(reversed(STEPS.items()))).fingerprint() == made
    assert make_dataset([row | {"quality": 1} for row in records()], STEPS).fingerprint() != made
    assert make_dataset(records(), STEPS | {"plank": STEPS["squat"]}).fingerprint() != made


def test_fingerprint_covers_file_ends_and_frame_folders(tmp_path: Path) -> None:
    video = write(tmp_path) / "videos" / "c0.mp4"
    prints = set()
    for content in (b"\1" + bytes(199_999), bytes(199_999) + b"\1"):
        video.write_bytes(content)
        prints.add(load_dataset(tmp_path).fingerprint())
    video.unlink()
    (video / "thumbnails").mkdir(parents=True)
    for content in (b"one", b"two"):
        (video / "0.jpg").write_bytes(content)
        prints.add(load_dataset(tmp_path).fingerprint())
    assert len(prints) == 4
    dataset = load_dataset(tmp_path)
    (tmp_path / "videos" / "c1.mp4").unlink()
    with pytest.raises(InputError, match=r"c1\.mp4"):
        dataset.fingerprint()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("column", "value", "message"), [
    ("clip_id", "c0", "'c0' is in row 2 already"), ("clip_id", "", "clip_id: empty"),
    ("clip_id", "x" * 201, "201 characters"), ("path", "/videos/c2.mp4", "absolute"),
    ("path", "C:\\videos\\c2.mp4", "absolute"), ("path", "../c2.mp4", "leaves the data set's folder"),
    ("path", "videos\\..\\..\\c2.mp4", "leaves the data set's folder"), ("path", "videos/none.mp4", "no such file"),
    ("path", "videos/" + "x" * 300, "cannot be opened"), ("path", "videos/\x01.mp4", "control characters"),
    ("action", "sqat", "'sqat' is not in steps.json (did you mean 'squat'?)"),
    ("action", "Squat", "did you mean 'squat'?"), ("action", "juggling", "add it to steps.json"),
    ("quality", 2, "neither 0 nor 1"), ("quality", 0.5, "neither 0 nor 1"), ("quality", float("nan"), "quality: empty"),
    ("quality", "good", "'good' is not a number"), ("quality", "1e999", "inf is neither 0 nor 1"),
    ("split", "validation", "none of train, val, test"), ("split", "tset", "did you mean 'test'?"),
    ("split", "NaN", "instead of a value"),
])  # fmt: skip
def test_errors_name_file_row_and_fix(tmp_path: Path, kind: str, column: str, value: Any, message: str) -> None:
    rows = records()
    rows[2][column] = value
    if kind == "parquet" and column == "quality" and isinstance(value, str):
        for row in rows:
            row["quality"] = str(row["quality"])  # a parquet column has one type
    write(tmp_path, rows, kind)
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path)
    line = str(caught.value)
    assert message in line
    assert line.startswith(f"{tmp_path / 'manifest'}.{kind}, row 4")
    assert "\n" not in line
    assert caught.value.hint
    errors = [p for p in check_dataset(tmp_path) if p.severity == "error"]
    assert [(p.row, p.column) for p in errors] == [(4, column)]


@pytest.mark.parametrize("kind", ["csv", "parquet"])
@pytest.mark.parametrize(("column", "value", "read"), [
    ("view", "left", ""), ("view", "Front", "front"), ("mode", "barbell", ""),
    ("explanation", "two\u200b  words\x07here\u2028now\ufeff", "two words here now"),
    ("explanation", "x" * 100_000, "x" * 100_000), ("explanation", "nan", ""), ("type", " leg ", "leg"),
    ("action", "squat\u200b", "squat"), ("path", "videos\\c2.mp4", "videos/c2.mp4"), ("subject", "\u200b", ""),
])  # fmt: skip
def test_warnings_say_what_was_done(tmp_path: Path, kind: str, column: str, value: Any, read: str) -> None:
    rows = records()
    rows[2][column] = value
    write(tmp_path, rows, kind)
    assert load_dataset(tmp_path).table.loc[2, column] == read
    problems = check_dataset(tmp_path)
    assert set(found(problems)) == {("warning", 4, column, "c2")}
    assert all(problem.action for problem in problems)
    assert "c2" in str(problems[0])


@pytest.mark.parametrize(
    ("column", "value"), [("fault_step", "6"), ("fault_step", "1.5"), ("onset", "inf"), ("severity", "x")]
)
def test_optional_numbers_are_read_as_empty(tmp_path: Path, column: str, value: str) -> None:
    rows = records()
    rows[2][column] = value
    assert pd.isna(load_dataset(write(tmp_path, rows)).table.loc[2, column])
    assert found(check_dataset(tmp_path)) == [("warning", 4, column, "c2")]


@pytest.mark.parametrize("value", [True, b"squat", [1], {"a": 1}])
@pytest.mark.parametrize("column", ["action", "quality"])
def test_wrong_types(tmp_path: Path, column: str, value: Any) -> None:
    rows = [row | {column: value} for row in records()]
    with pytest.raises(InputError, match=f"{type(value).__name__} instead of"):
        load_dataset(write(tmp_path, rows, "parquet"))
    with pytest.raises(InputError, match="row 2"):
        make_dataset(rows, STEPS)


def test_every_problem_is_listed(tmp_path: Path) -> None:
    rows = records()
    rows[0]["quality"], rows[1]["split"] = 3, "dev"
    rows[4] |= {"action": "jump", "path": "videos/none.mp4"}
    write(tmp_path, rows)
    (tmp_path / "videos" / "c5.mp4").write_bytes(b"")
    rowed = [(p.row, p.column) for p in check_dataset(tmp_path)]
    assert rowed[:5] == [(2, "quality"), (3, "split"), (6, "action"), (6, "path"), (7, "path")]


def test_same_video_in_two_splits_and_empty_split(tmp_path: Path) -> None:
    rows = [row for row in records() if row["split"] != "val"]
    rows[1]["path"] = rows[0]["path"]
    problems = check_dataset(write(tmp_path, rows))
    assert [(p.severity, p.row, p.column) for p in problems] == [("warning", 3, "path"), ("warning", None, "split")]


def test_probe_opens_the_videos(tmp_path: Path) -> None:
    pytest.importorskip("av")
    from efa_datasets.mp4 import write_mp4

    write(tmp_path)
    for i in range(1, 6):
        write_mp4(tmp_path / "videos" / f"c{i}.mp4", np.zeros((2, 16, 16, 3), np.uint8))
    assert check_dataset(tmp_path) == []
    assert [(p.severity, p.row, p.column) for p in check_dataset(tmp_path, probe=True)] == [("error", 2, "path")]


def test_dialects_of_csv(tmp_path: Path) -> None:
    file = write(tmp_path) / "manifest.csv"
    text = file.read_text().replace("Fine, really", "Fine really").replace('"', "").replace("clip_id", "Clip_ID ")
    content = text.replace(",", ";").replace("\n", "\r\n").encode()
    file.write_bytes(b"\xef\xbb\xbf" + content + b"\r\n;;;\r\n")
    problems = check_dataset(tmp_path)
    assert [p.severity for p in problems] == ["warning"] * 4
    for problem, part in zip(problems, ("order mark", "Windows", "';'", "an empty row"), strict=True):
        assert part in problem.message
    assert problems[3].row == 9
    assert len(load_dataset(tmp_path).table) == 6


COLUMNS = b"clip_id,path,action,quality,split\n"


@pytest.mark.parametrize(("content", "row", "message"), [
    (b"", 1, "column is missing"), (COLUMNS, None, "no clips"), (COLUMNS + b"a,b\n", 2, "2 cells under 5 column names"),
    (COLUMNS + b'"a,b,squat,0,train\n', 2, "not CSV"), (COLUMNS + b"a,\xff\n", 2, "not UTF-8"),
    ("clip_id,path".encode("utf-16"), None, "UTF-16"), (COLUMNS + b"a" * 200_000, 2, "not CSV"),
])  # fmt: skip
def test_broken_csv_names_its_row(tmp_path: Path, content: bytes, row: int | None, message: str) -> None:
    """`test_bad_input` has every other kind."""
    write(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert caught.value.row == row


TWICE = json.dumps(steps_document() | {"squat ": steps_document()["squat"]}).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"\xff", ""), (b"{", ""), (b'{"squat": []}', ""), (b'{"\\ud800": 1}', ""), (TWICE, ".*the key is there twice")],
)
def test_broken_steps(tmp_path: Path, content: bytes, message: str) -> None:
    """`test_bad_input` has every other kind."""
    write(tmp_path)
    (tmp_path / "steps.json").write_bytes(content)
    with pytest.raises(InputError, match=rf"steps\.json{message}"):
        load_dataset(tmp_path)


def test_steps_warnings(tmp_path: Path) -> None:
    steps = steps_document()
    steps["squat"]["steps"][1] = "b\u200b"
    write(tmp_path, steps=steps | {"plank": steps["lunge"]})
    assert found(check_dataset(tmp_path)) == [("warning", "squat", "steps[1]", ""), ("warning", "plank", None, "")]
    assert load_dataset(tmp_path).steps["squat"].steps[1] == "b"


def test_files_missing_or_too_many(tmp_path: Path) -> None:
    write(tmp_path)
    write(tmp_path, kind="parquet")
    assert found(check_dataset(tmp_path)) == [("warning", None, None, "")]
    with pytest.raises(InputError, match="another manifest"):
        save_dataset(make_dataset(records(), STEPS), tmp_path, "csv")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        save_dataset(make_dataset(records(), STEPS), tmp_path / "file" / "below")
    (tmp_path / "manifest.parquet").unlink()
    (tmp_path / "manifest.parquet").mkdir()
    with pytest.raises(InputError, match=r"manifest\.parquet"):
        load_dataset(tmp_path)


@given(st.text())
def test_clean_text_is_printable_and_stable(text: str) -> None:
    clean, odd = clean_text(text)
    assert clean == " ".join(clean.split())
    assert clean_text(clean) == (clean, 0)
    assert odd <= len(text)
    clean.encode()


def test_line_breaks_and_spaces_are_no_problem() -> None:
    assert clean_text("One  line.\n\tAnother. ") == ("One line. Another.", 0)


def check_or_load(folder: Path) -> None:
    """Either there are errors and loading raises one line, or the data set can be used."""
    problems = check_dataset(folder)
    json.dumps([str(problem) for problem in problems])
    if any(problem.severity == "error" for problem in problems):
        with pytest.raises(InputError) as caught:
            load_dataset(folder)
        assert "\n" not in str(caught.value)
        return
    dataset = load_dataset(folder)
    assert len(dataset.fingerprint()) == 64
    assert set(dataset.table["action"]) <= set(dataset.actions)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


HEADER = b"clip_id,path,action,quality,split,view,fault_step\n"
WORDS = ["squat", "0", "train", "videos/c0.mp4", '"', "\x00", "1e5", "nan"]
CELLS = st.text(max_size=8) | st.sampled_from(WORDS)


@settings(max_examples=60, deadline=None)
@given(st.lists(CELLS, max_size=16).map(lambda cells: HEADER + ",".join(cells).encode("utf-8")))
def test_any_csv(place: Path, content: bytes) -> None:
    write(place / "csv")
    (place / "csv" / "manifest.csv").write_bytes(content)
    check_or_load(place / "csv")


VALUES = st.none() | st.text(max_size=5) | st.floats() | st.sampled_from(["squat", "train", "videos/c0.mp4"])
KEYS = st.sampled_from(["squat", "lunge", "steps", "instruction", "x"])
TREES = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(KEYS, inner, max_size=4),
)


@settings(max_examples=60, deadline=None)
@given(TREES.map(json.dumps))
def test_any_json(place: Path, content: str) -> None:
    write(place / "json")
    (place / "json" / "steps.json").write_text(content)
    check_or_load(place / "json")


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.sampled_from([*checks.COLUMNS, "other"]), VALUES), max_size=3))
def test_any_records(rows: list[dict[str, Any]]) -> None:
    base = records()[0]
    with contextlib.suppress(InputError):
        assert len(make_dataset([base | row for row in rows], STEPS).table) == len(rows)
