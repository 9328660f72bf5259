"""Every example of a docstring and of `--help` is run, at the size of a test."""

import doctest
import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cot_afa_release
import pytest
import tiny
import typer.main

from efa import config
from efa.cli import app as cli
from efa.experiments import select
from efa.launch import grid

ROOT = Path(__file__).resolve().parents[1]
TRAINS_FOR_LONG = "a pre-training of minutes to hours; tests/test_pretrain.py runs both at the size of a test"
NOT_RUN = {
    "pretrain encoder": TRAINS_FOR_LONG,
    "pretrain decoder": TRAINS_FOR_LONG,
    "data ui-prmd": "needs UI-PRMD's files; tests/test_ui_prmd.py runs the command on made-up ones",
    "leave-one-subject-out": "one training for each row, seed and person; tests/test_loso.py runs the command on three",
}
PACKAGES = ("efa", "formsim", "efa_datasets", "efa_cluster", "efa_book")


def commands(group: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(commands(typer.main.get_command(cli.app)))


def example(name: str) -> list[str]:
    """The words of a command's example, without 'efa'."""
    (line,) = re.findall(r"Example: efa (.+?)(?:\s\s|$)", " ".join((COMMANDS[name].help or "").split("\n")))
    return shlex.split(line)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A project folder with everything that the examples name; presets have the size of a test."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "_toc.yml").touch()
    with pytest.MonkeyPatch.context() as patch, tiny.home(folder):
        patch.chdir(folder)
        small = config.PRESETS["laptop"] | tiny.SETTINGS | {"training.epochs": 1}
        patch.setitem(config.PRESETS, "laptop", small)
        patch.setattr(grid, "default_jobs", lambda runs: 1)
        run(patch, "data", "formsim", "my-data", "--clips", "60", "--size", "32", "--actions", "4")
        shutil.copy(sorted((folder / "my-data").rglob("*.mp4"))[0], folder / "squat.mp4")
        cot_afa_release.videos(cot_afa_release.release(folder / "CoT-AFA"))
        for run_ in select("6/EFA", "laptop", (0, 1, 2)) + select("standards/EFA", "laptop", (0, 1, 2)):
            run_.execute()
        shutil.copytree(select("6/EFA", "laptop", (0,))[0].folder, folder / "my-checkpoint")
        published = Path("results", "formsim-laptop", "predictions", "6-EFA-0.parquet")
        (folder / published).parent.mkdir(parents=True)
        shutil.copy(ROOT / published, folder / published)
        yield folder


def run(patch: pytest.MonkeyPatch, *arguments: str) -> None:
    patch.setattr("sys.argv", ["efa", *arguments])
    with pytest.raises(SystemExit) as stopped:
        cli.main()
    assert not stopped.value.code


@pytest.mark.parametrize("name", COMMANDS)
def test_example_is_valid(name):
    """Every command has one, and it names options and arguments that exist."""
    words = example(name)
    assert " ".join(words).startswith(name)
    rest = words[len(name.split()) :]
    COMMANDS[name].make_context(name, rest, resilient_parsing=False)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - NOT_RUN.keys(), key=lambda name: not name.startswith("data")))
def test_example_runs(name, place, monkeypatch):
    run(monkeypatch, *example(name))


MODULES = [
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for package in PACKAGES
    for file in sorted((ROOT / package).rglob("*.py"))
    if ">>> " in file.read_text(encoding="utf-8")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODULES)
def test_docstring_examples(name, place):
    importlib.import_module(name)
    found = doctest.testmod(sys.modules[name], optionflags=doctest.ELLIPSIS)
    assert found.attempted
    assert not found.failed
