"""Examples of docstrings and of `--help` and the commands of all pages are run, as small as a test, or say why not."""

import doctest
import importlib
import json
import re
import runpy
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import partial
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
NEEDS_A_PERSON = "needs a video of a person, which a rendered one is not; tests/test_pose_data.py runs it on landmarks"
NOT_RUN = {
    "pretrain encoder": TRAINS_FOR_LONG,
    "pretrain decoder": TRAINS_FOR_LONG,
    "pretrain pose": TRAINS_FOR_LONG,
    "pose": NEEDS_A_PERSON,
    "data pose": NEEDS_A_PERSON,
    "data ui-prmd": "needs UI-PRMD's files; tests/test_ui_prmd.py runs the command on made-up ones",
    "leave-one-subject-out": "one training for each row, seed and person; tests/test_loso.py runs the command on three",
}
NEEDS_A_CLUSTER = "needs a scheduler, machines or GPUs; test_grid_ray.py and test_distributed.py run it locally"
INSTALLS = "installs or builds something; .ci/run does it in a fresh clone"
FETCHES = "fetches files from other hosts"
NOT_RUN_ON_PAGES = {  # how a command begins, or what it contains -> why it is not run
    "make reproduce": "trains for ten minutes; .ci/run builds the book from what is published",
    "make bench": "half an hour on an idle machine",
    "make pdf": "needs Chromium or Chrome; nothing but the book's own build is behind it",
    "make examples": "is the run of this test", "make ": INSTALLS,
    ".ci/run": "is the run of which this test is a part",
    "conda ": INSTALLS, "pre-commit ": INSTALLS,
    "python -m pip": INSTALLS, "python -m venv": INSTALLS,
    "curl ": FETCHES, "hf ": FETCHES, "accelerate ": NEEDS_A_CLUSTER,
    "srun ": NEEDS_A_CLUSTER, "cd ": NEEDS_A_CLUSTER, "export ": NEEDS_A_CLUSTER, "first=": NEEDS_A_CLUSTER,
    "--executor ray": NEEDS_A_CLUSTER, "--preset gpu": "trains for hours without a GPU",
    "--preset paper": "needs weights that cannot be shipped; tests/test_readings.py tries its --dry-run",
    "--set data.source=my-poses": NEEDS_A_PERSON,
    "papermill ": "runs a whole notebook; tests/test_notebooks.py does",
    "efa search all": "twelve trainings of every system; tests/test_search.py runs a small search",
}  # fmt: skip
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
        for video in cot_afa_release.videos(cot_afa_release.release(folder / "CoT-AFA")).rglob("*.mp4"):
            shutil.copy(folder / "squat.mp4", video)
        for run_ in select("6/EFA", "laptop", (0, 1, 2)) + select("standards/EFA", "laptop", (0, 1, 2)):
            run_.execute()
        for name in ("my_video.mp4", "one.mp4", "two.mp4"):
            shutil.copy(folder / "squat.mp4", folder / name)
        page = (ROOT / "book" / "assess.md").read_text("utf-8")
        (folder / "lunge.json").write_text(page.split("```json\n")[1].split("```")[0])
        shutil.copytree(select("6/EFA", "laptop", (0,))[0].folder, folder / "my-checkpoint")
        published = Path("results", "formsim-laptop", "predictions", "6-EFA-0.parquet")
        (folder / published).parent.mkdir(parents=True)
        shutil.copy(ROOT / published, folder / published)
        yield folder


def run(patch: pytest.MonkeyPatch, *arguments: str, program: Callable[[], object] = cli.main) -> None:
    patch.setattr("sys.argv", ["efa", *arguments])
    code: object = 0
    try:
        program()
    except SystemExit as stopped:
        code = stopped.code
    assert not code


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


def documented() -> list[tuple[str, str]]:
    """Page and command: of shell blocks, and of tables and sentences that give a whole command."""
    found = []
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "book").glob("*.md"))]
    for file in [*pages, *sorted((ROOT / "notebooks").glob("*.ipynb"))]:
        text = file.read_text("utf-8")
        if file.suffix == ".ipynb":
            cells = json.loads(text)["cells"]
            text = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
        lines = [
            line for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
            for line in block.replace("\\\n", " ").splitlines()
        ]  # fmt: skip
        lines += re.findall(r"(?:\| |From a terminal: )`((?:\.venv/bin/|papermill |make )[^`]+)`", text)
        commands = (" ".join(line.split("  #")[0].split()) for line in lines if not line.startswith("#"))
        found += [(file.name, command.replace(".venv/bin/", "")) for command in commands if command]
    return found


DOCUMENTED = documented()


def why_not(command: str) -> str:
    """Why a documented command is not run; '' if it is."""
    if command.endswith("--help"):
        return ""
    known = NOT_RUN_ON_PAGES | {f"efa {name}": reason for name, reason in NOT_RUN.items()}
    starts = (
        reason for start, reason in known.items() if command.startswith(start) or (start[0] == "-" and start in command)
    )
    return next(starts, "")


def test_reasons_name_tests_that_exist():
    for reason in (NOT_RUN | NOT_RUN_ON_PAGES).values():
        assert all((ROOT / "tests" / name).is_file() for name in re.findall(r"test_\w+\.py", reason)), reason


def words_of(command: str) -> list[str]:
    """The words behind 'efa' and the command's name."""
    return shlex.split(command)[1:]


def test_documented_commands_are_valid_or_not_ours():
    """Whatever cannot be run here names options and arguments that exist."""
    for page, command in DOCUMENTED:
        if command.startswith("efa ") and "--help" not in command:
            words = words_of(command.replace("<key>", "0").replace("$SLURM_ARRAY_TASK_ID", "0"))
            name = next(
                name for name in sorted(COMMANDS, key=len, reverse=True) if words[: len(name.split())] == name.split()
            )
            assert COMMANDS[name].make_context(name, words[len(name.split()) :]), (page, command)
        else:
            assert why_not(command) or command.startswith(("efa ", "python -m formsim ")), (page, command)


@pytest.mark.slow
@pytest.mark.parametrize("page", dict.fromkeys(page for page, _ in DOCUMENTED))
def test_the_commands_of_a_page_run(page, place, monkeypatch, capsys):
    """In their order, as one may need another's output."""
    ran, skipped = [], {}
    for command in [command for one, command in DOCUMENTED if one == page]:
        if reason := why_not(command):
            skipped[command] = reason
        elif command.startswith("python -m formsim "):
            formsim = partial(runpy.run_module, "formsim", run_name="__main__")
            run(monkeypatch, *shlex.split(command)[3:], program=formsim)
            ran.append(command)
        else:
            key = select("6/EFA", "laptop", (0,))[0].key
            run(monkeypatch, *words_of(command.replace("<key>", key)))
            ran.append(command)
    with capsys.disabled():
        print(f"\n{page}: {len(ran)} commands run, {len(skipped)} not")
        for command, reason in skipped.items():
            print(f"  not run: {command[:60]}: {reason}")


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
