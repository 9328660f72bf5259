"""Bytes that nobody wrote: whatever a reader gets, it gives a value or one line that names the file.

`test_manifest.py`, `test_config.py` and `test_formsim_text.py` feed cells, settings and parsed documents; here the
files themselves are noise, or sound files with noise in them.
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import input_makers as makers
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from manifests import write

from efa.config import Config, build
from efa.data.manifest import check_dataset, load_dataset
from efa.utils.errors import InputError
from efa_book.assess_cli import read_step_text
from efa_book.predictions import read_predictions
from formsim.schema import FOLDER, read_action

Reader = Callable[[Path], Any]
CONFIG = build("laptop").to_dict()


def data_set(file: Path) -> Any:
    """Both readers of a data set, and the list of its problems, agree on whether it can be used."""
    for problem in check_dataset(file.parent):
        str(problem)
    try:
        assert len(load_dataset(file.parent, videos=False).table)
    except InputError as error:
        check(error, file.parent)
    return load_dataset(file.parent)


def place_of(file: str) -> Callable[[Path], Path]:
    """A data set of which one file is damaged."""
    kind = "parquet" if file.endswith("parquet") else "csv"
    return lambda folder: write(folder / file.replace(".", "-"), kind=kind) / file


def copied(folder: Path) -> Path:
    (folder / "squat.yaml").write_bytes((FOLDER / "squat.yaml").read_bytes())
    return folder / "squat.yaml"


READERS: dict[str, tuple[Callable[[Path], Path], Reader]] = {
    "manifest.csv": (place_of("manifest.csv"), data_set), "manifest.parquet": (place_of("manifest.parquet"), data_set),
    "steps.json": (place_of("steps.json"), data_set), "steps file": (makers.note(), read_step_text),
    "action": (copied, read_action), "predictions.parquet": (makers.predictions(), read_predictions),
    "predictions.csv": (makers.predictions("csv"), read_predictions),
}  # fmt: skip


def check(error: InputError, place: Path | None = None) -> None:
    """One line that names the file, or at least the folder where it is."""
    line = str(error)
    assert line.isprintable(), repr(line)
    assert place is None or str(place) in line, line


def test_a_line_holds_nothing_that_a_terminal_obeys():
    line = str(InputError("no \x1b[2J such\x07 \x9b1m thing\u202e", file="\x00.csv", row="a\x7f\nb", hint="\x08"))
    assert line.isprintable()
    assert all(part in line for part in (r"\x1b[2J such\x07", r"\x9b1m", r"\x00.csv", r"a\x7f b", r"(\x08)"))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> dict[str, tuple[Path, bytes]]:
    """Reader -> a file that it reads, and its content."""
    found = {}
    for name, (make, read) in READERS.items():
        file = make(tmp_path_factory.mktemp("sound"))
        assert read(file) is not None
        found[name] = file, file.read_bytes()
    return found


# What means something in one of the formats, and bytes that mean nothing in any.
TOKENS = st.sampled_from(
    [
        *(b'"', b"'", b",", b";", b":", b"\n", b"\r", b"[", b"]", b"{", b"}", b"- ", b"&a ", b"*a", b"!!int ", b"<<: "),
        *(b"nan", b"null", b"true", b"1e999", b"-1", b"2", b"0x", b"1_0", b"2001-13-45", b"12:61", b"..", b"/", b"#"),
        *(b"\x00", b"\xff", b"\xc3", b"\xe2\x80\x8b", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\x1b[2J", b"\\u0000"),
        *(b"PAR1", b"9" * 30, b"9" * 5000, b"[" * 3000),
    ]
)
SHARES = st.floats(0, 1)


@st.composite
def damage(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Noise, or a few places of a file overwritten, cut out or filled in."""
    if draw(st.integers(0, 4)) == 0:
        noise = draw(st.binary(max_size=200))
        return lambda raw: noise
    changes = draw(
        st.lists(st.tuples(SHARES, TOKENS | st.binary(max_size=4), st.integers(0, 12)), min_size=1, max_size=4)
    )
    end = draw(st.sampled_from([1.0, 1.0, 1.0, 0.5, 0.99]))

    def change(raw: bytes) -> bytes:
        for share, token, gone in changes:
            at = int(share * len(raw))
            raw = raw[:at] + token + raw[at + gone :]
        return raw[: math.ceil(end * len(raw))]

    return change


@pytest.mark.parametrize("name", READERS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(change=damage())
def test_any_file_is_read_or_refused_in_a_line(sound, name, change):
    file, content = sound[name]
    file.write_bytes(change(content))
    try:
        READERS[name][1](file)
    except InputError as error:
        check(error, file.parent)


VALUES = ["note: 2001-13-45", "note: !!int x", "note: !!float x", "note: !!timestamp x", 'note: !!int ""']


@pytest.mark.parametrize("line", [*VALUES, "note: " + "9" * 5000, "a: " + "[" * 100_000])
def test_what_yaml_stumbles_over_is_a_line(tmp_path, line):
    file = copied(tmp_path)
    file.write_text(file.read_text(encoding="utf-8") + f"\n{line}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"squat\.yaml: cannot be read"):
        read_action(file)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6)
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner))
PLACES = [(section, name) for section, values in CONFIG.items() for name in values]


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from(PLACES), TREES), max_size=3),
    st.dictionaries(st.text(max_size=6), TREES, max_size=2),
)
def test_any_settings_are_a_config_or_a_line(changes, more):
    document = json.loads(json.dumps(CONFIG)) | more
    for (section, name), value in changes:
        document[section][name] = value
    try:
        assert isinstance(Config.from_dict(document), Config)
    except InputError as error:
        check(error)
