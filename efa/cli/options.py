"""Options that several commands share, and what is read from them."""

from importlib.metadata import entry_points
from typing import Annotated, Any

import typer

from efa.utils.errors import InputError
from efa.utils.seeds import seeds_of as seeds_of

Preset = Annotated[str, typer.Option(help="laptop, pose, short (minutes), short-pose, smoke (a try), gpu or paper")]
Settings = Annotated[list[str] | None, typer.Option("--set", help="override one setting: training.epochs=2")]
Jobs = Annotated[int, typer.Option(help="runs at a time; 0: as many as suits preset and machine", min=0)]
Retries = Annotated[int, typer.Option(help="how often a run whose process died is started again", min=0)]
Executor = Annotated[str, typer.Option(help="local: this machine; ray: a Ray cluster (extra 'cluster')")]
RayAddress = Annotated[str | None, typer.Option(help="a running cluster, or auto; default: $RAY_ADDRESS or a new one")]
Cpus = Annotated[float | None, typer.Option(help="ray: cores a run; default 1", min=0.01)]
Gpus = Annotated[
    float | None, typer.Option(help="ray: GPUs a run, 0.25 for four on one; default 1 if there are any", min=0)
]
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document on stdout and nothing else")]


def settings_of(items: list[str] | None) -> dict[str, Any]:
    pairs = [item.partition("=") for item in items or []]
    for key, equals, _ in pairs:
        if not equals:
            raise InputError(f"'--set {key}' has no value", hint="write --set section.name=value")
    return {key: value for key, _, value in pairs}


def register_commands(group: str, to: typer.Typer) -> None:
    """Adds what packages register under an entry point group: a Typer app as sub-commands, a function as a command."""
    for entry in sorted(entry_points(group=group), key=lambda entry: entry.name):
        value = entry.load()
        if isinstance(value, typer.Typer):
            to.add_typer(value, name=entry.name)
        else:
            to.command(entry.name)(value)
