"""Fixtures that several test files share."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny

import formsim
from efa.baselines.inputs import TrainingInputs, prepare
from efa.data.blazepose import network_files
from efa.utils.errors import InputError
from formsim.dataset import pose_target
from formsim.preview import specimen

gc.disable()  # while test files are imported: a quarter of that time
CORPUS = {"malformed": "test_bad_input.py::test_bad[", "odd but readable": "test_bad_input.py::test_odd["}


@pytest.fixture(scope="module", autouse=True)
def frozen_heap() -> None:
    """accelerate collects garbage before each fit and prediction: half a second, were all imported code looked at."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Third-party inputs that lies beside some checkouts; a test that needs it is skipped elsewhere."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("no ../shared beside this checkout")
    return folder


@pytest.fixture(scope="session")
def networks() -> tuple[Path, Path]:
    try:
        return network_files()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def squat() -> tuple[np.ndarray, np.ndarray]:
    """A rendered squat from the front, uint8 [T, 320, 320, 3], and where its joints are in it [T, 20, 2]."""
    clip = specimen("Squat", view="front")
    return formsim.render_clip(clip, 320, 6, 0.0), pose_target(clip, 6)[2] * 320


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Runs and caches of a test go to a folder of its own."""
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def module_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same for all tests of a file."""
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> TrainingInputs:
    """What a tiny run starts from; tests change copies of it."""
    with tiny.home(tmp_path_factory.mktemp("home")):
        return prepare(tiny.config())


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many bad inputs there were, and how many of them were answered as they should be."""
    for kind, test in CORPUS.items():
        passed, failed = (
            sum(test in report.nodeid for report in terminalreporter.stats.get(outcome, []) if report.when == "call")
            for outcome in ("passed", "failed")
        )
        if passed + failed:
            terminalreporter.write_line(f"{kind} inputs: {passed} of {passed + failed} answered")
