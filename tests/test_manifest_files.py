"""Files of a data set as users have them: dialects, damage, missing videos, steps."""

import json
from pathlib import Path
from typing import Any

import pytest
from manifests import STEPS, found, records, steps_document, write

from efa.data.manifest import check_dataset, load_dataset, make_dataset, save_dataset
from efa.utils.errors import InputError


def test_dialects_of_csv(tmp_path: Path) -> None:
    write(tmp_path)
    text = (tmp_path / "manifest.csv").read_text().replace("Fine, really", "Fine really").replace('"', "")
    (tmp_path / "manifest.csv").write_bytes(
        b"\xef\xbb\xbf"
        + text.replace("clip_id", "Clip_ID ").replace(",", ";").replace("\n", "\r\n").encode()
        + b"\r\n;;;\r\n"
    )
    problems = check_dataset(tmp_path)
    assert [p.severity for p in problems] == ["warning"] * 4
    for problem, part in zip(problems, ("order mark", "Windows", "';'", "an empty row"), strict=True):
        assert part in problem.message
    assert problems[3].row == 9
    assert len(load_dataset(tmp_path).table) == 6


HEADER = b"clip_id,path,action,quality,split\n"


@pytest.mark.parametrize(("content", "row", "message"), [
    (b"", 1, "column is missing"), (HEADER, None, "no clips"), (HEADER + b"a,b\n", 2, "2 cells under 5 column names"),
    (HEADER + b'"a,b,squat,0,train\n', 2, "not CSV"), (HEADER + b"a,\xff\n", 2, "not UTF-8"),
    ("clip_id,path".encode("utf-16"), None, "UTF-16"), (HEADER + b"a" * 200_000, 2, "not CSV"),
])  # fmt: skip
def test_broken_csv_names_its_row(tmp_path: Path, content: bytes, row: int | None, message: str) -> None:
    """`test_bad_input` has every other kind."""
    write(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        load_dataset(tmp_path)
    assert caught.value.row == row


def changed_steps(**changes: Any) -> Any:
    document = steps_document()
    document["squat"] |= changes
    return document


TWICE = changed_steps() | {"squat ": changed_steps()["squat"]}


@pytest.mark.parametrize("content", [b"\xff", b"{", b'{"squat": []}', b'{"\\ud800": 1}', json.dumps(TWICE).encode()])
def test_broken_steps(tmp_path: Path, content: bytes) -> None:
    """`test_bad_input` has every other kind."""
    write(tmp_path)
    (tmp_path / "steps.json").write_bytes(content)
    with pytest.raises(
        InputError, match=r"steps\.json.*the key is there twice" if b"squat " in content else r"steps\.json"
    ):
        load_dataset(tmp_path)


def test_steps_warnings(tmp_path: Path) -> None:
    steps = changed_steps(steps=["a", "b\u200b", "c", "d", "e"]) | {"plank": changed_steps()["squat"]}
    write(tmp_path, steps=steps)
    assert found(check_dataset(tmp_path)) == [("warning", "squat", "steps[1]", ""), ("warning", "plank", None, "")]
    assert load_dataset(tmp_path).steps["squat"].steps[1] == "b"


def test_files_missing_or_too_many(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such folder"):
        load_dataset(tmp_path / "none")
    with pytest.raises(InputError, match=r"neither manifest\.parquet nor manifest\.csv"):
        load_dataset(tmp_path)
    write(tmp_path)
    (tmp_path / "steps.json").unlink()
    with pytest.raises(InputError, match=r"steps\.json: no such file"):
        load_dataset(tmp_path)
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
