"""The page on many machines: every command on it parses, its files are well-formed, its versions the pinned ones."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import typer
import yaml

from efa.cli import app as cli
from efa.cli import grid as cli_grid
from efa.cli import options as cli_options

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "book" / "cluster.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", PAGE, flags=re.DOTALL)
PINNED = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints.txt").read_text(), flags=re.MULTILINE))


def commands() -> list[str]:
    """The arguments of `efa` in every block, one command each."""
    text = "\n".join(block for _, block in BLOCKS).replace("\\\n", " ")
    found = [re.search(r"(?:^|[ /])efa ((?:run|status) .+)$", line) for line in text.splitlines()]
    return [match[1] for match in found if match and not match.string.lstrip().startswith("#")]


def test_the_page_names_commands():
    said = commands()
    assert len(said) >= 5
    assert sum("--executor ray" in command for command in said) >= 3
    assert sum("accelerate launch" in line for line in PAGE.splitlines()) == 2


@pytest.mark.parametrize("command", commands())
def test_every_command_parses_and_asks_for_runs_that_exist(command):
    from efa.experiments import select

    name, *arguments = shlex.split(command.replace("$SLURM_ARRAY_TASK_ID", "0"))
    group = typer.main.get_command(cli.app)
    found = group.commands[name]  # type: ignore[attr-defined]
    with found.make_context(name, arguments) as context:
        asked = context.params
    for what in asked["what"]:
        assert select(what, asked["preset"], cli_options.seeds_of(asked["seeds"]))
    if asked.get("executor") == "ray":
        options = (asked["jobs"], asked["ray_address"], asked["cpus_per_run"], asked["gpus_per_run"])
        assert cli_grid.select_cluster("ray", *options)


def test_every_option_of_a_cluster_is_on_the_page():
    from efa.cli.app import app

    run = typer.main.get_command(app).commands["run"]  # type: ignore[attr-defined]
    options = {name for parameter in run.params for name in parameter.opts}
    named = set(re.findall(r"^\| `(--[a-z-]+)` \|", PAGE, flags=re.MULTILINE))
    assert named == {"--ray-address", "--jobs", "--cpus-per-run", "--gpus-per-run", "--retries"}
    assert named <= options


@pytest.mark.parametrize("script", [block for kind, block in BLOCKS if kind == "bash"])
def test_scripts_are_well_formed(script):
    done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_job_on_kubernetes_mounts_one_home_everywhere():
    (text,) = [block for kind, block in BLOCKS if kind == "yaml"]
    job = yaml.safe_load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    assert cluster["rayVersion"] == PINNED["ray"]
    pods = [group["template"]["spec"] for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"])]
    for pod in pods:
        (container,) = pod["containers"]
        home = {variable["name"]: variable["value"] for variable in container["env"]}["EFA_HOME"]
        (mount,) = container["volumeMounts"]
        (volume,) = pod["volumes"]
        assert mount["mountPath"] == home
        assert mount["name"] == volume["name"]
    assert len({str(pod["volumes"]) for pod in pods}) == 1


def test_versions_are_the_pinned_ones():
    named = set(re.findall(r"[Rr]ay[ :](\d+\.\d+\.\d+)", PAGE))
    assert named == {PINNED["ray"]}
    (base,) = re.findall(r"^FROM rayproject/ray:(\S+)$", PAGE, flags=re.MULTILINE)
    assert base == f"{PINNED['ray']}-py311"
