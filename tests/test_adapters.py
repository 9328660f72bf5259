"""Commands that pyproject.toml registers: each loads, explains itself, and costs no heavy import."""

import importlib
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from efa import cli

GROUPS = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]["entry-points"]
COMMANDS = [(name, GROUPS[group][name]) for group in ("efa.datasets", "efa.commands") for name in GROUPS[group]]


@pytest.mark.parametrize(("name", "value"), COMMANDS)
def test_registered_commands_have_help(name, value):
    module, _, attribute = value.partition(":")
    command = getattr(importlib.import_module(module), attribute)
    app = command
    if not isinstance(command, typer.Typer):
        app = typer.Typer()
        app.command(name)(command)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_data_adds_every_registered_command():
    names = {command.name or command.callback.__name__ for command in cli.data.data_app.registered_commands}
    assert names == {"check", "preview", *GROUPS["efa.datasets"]}


def test_importing_adapters_is_cheap():
    modules = {value.partition(":")[0] for value in GROUPS["efa.datasets"].values()}
    heavy = "{'torch', 'transformers', 'openpyxl', 'av'}"
    code = f"import sys, efa.cli, {', '.join(sorted(modules))}; sys.exit(', '.join({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""
