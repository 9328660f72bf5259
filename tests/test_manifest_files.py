"""Files of a data set as users have them: dialects, damage, missing videos, steps."""

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


@pytest.mark.parametrize(
    ("content", "row", "said"),
    [
        (b"", 1, "column is missing"),
        (b"clip_id,path,action,quality\n", 1, "split: the column is missing"),
        (b"clip_id,path,action,quality,spilt\n", 1, "did you mean 'spilt'?"),
        (b"clip_id,path,action,quality,split,split\n", 1, "twice"),
        (b"clip_id,path,action,quality,split\n", None, "no clips"),
        (b"clip_id,path,action,quality,split\na,b\n", 2, "2 cells under 5 column names"),
        (b'clip_id,path,action,quality,split\n"a,b,squat,0,train\n', 2, "not CSV"),
        (b"clip_id,path,action,quality,split\na,\xff\n", 2, "not UTF-8"),
        ("clip_id,path".encode("utf-16"), None, "UTF-16"),
        (b"clip_id,path,action,quality,split\n" + b"a" * 200_000, 2, "not CSV"),
    ],
)
def test_broken_csv(tmp_path: Path, content: bytes, row: int | None, said: str) -> None:
    write(tmp_path)
    (tmp_path / "manifest.csv").write_bytes(content)
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path)
    assert said in str(caught.value)
    assert caught.value.row == row


def changed_steps(**changes: Any) -> Any:
    document = steps_document()
    document["squat"] |= changes
    return document


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ([], "not a JSON object of actions"),
        ({"squat": []}, "row squat: not an object with steps and instruction"),
        (changed_steps(steps=["a"] * 4), "row squat: steps: 4 steps"),
        (changed_steps(steps=["a"] * 6), "row squat: steps: 6 steps"),
        (changed_steps(steps=["a", "b", " ", "d", "e"]), "steps[2]: empty"),
        (changed_steps(steps=["a", "b", 3, "d", "e"]), "steps[2]: int instead of text"),
        (changed_steps(instruction=""), "instruction: empty"),
        (changed_steps(instruction=None), "not an object with steps and instruction"),
        (changed_steps() | {"squat ": changed_steps()["squat"]}, "row squat: the key is there twice"),
    ],
)
def test_broken_steps(tmp_path: Path, steps: Any, said: str) -> None:
    write(tmp_path, steps=steps)
    with pytest.raises(InputError) as caught:
        load_dataset(tmp_path)
    assert said in str(caught.value)
    assert "steps.json" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff", b"[" * 100_000, b'{"a": 1, "a": 2}', b'{"\\ud800": 1}'])
def test_broken_json(tmp_path: Path, content: bytes) -> None:
    write(tmp_path)
    (tmp_path / "steps.json").write_bytes(content)
    with pytest.raises(InputError, match=r"steps\.json"):
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
