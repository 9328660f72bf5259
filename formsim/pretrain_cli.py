"""`efa pretrain`: train the parts again that ship with the package; an entry point of the group `efa.commands`."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeElapsedColumn, TimeRemainingColumn

pretrain_app = typer.Typer(no_args_is_help=True, help="Pre-train the parts again that ship with the package.")
Preset = Annotated[str, typer.Option(help="smoke, laptop, gpu or paper")]
Passes = Annotated[int, typer.Option(help="how often each is seen")]
Rate = Annotated[float, typer.Option("--lr", help="the highest learning rate")]
Target = Annotated[Path | None, typer.Option(help="file; default: the one in the package")]


@pretrain_app.command("encoder")
def encoder(
    clips: Annotated[int, typer.Option(help="fresh clips of the endless stream")] = 20000,
    passes: Passes = 3,
    preset: Preset = "laptop",
    lr: Rate = 1e-3,
    seed: Annotated[int, typer.Option(help="of weights, order and the clips themselves")] = 0,
    start: Annotated[Path | None, typer.Option(help="continue from these weights")] = None,
    to: Target = None,
    system: Annotated[str, typer.Option(help="whose trunk: EFA, C3D, TSM, I3D, TimeSformer or MSCADC")] = "EFA",
) -> None:
    """Pre-train a visual trunk on FormSim's stream.   Example: efa pretrain encoder --system TSM --clips 20000"""
    from formsim.pretrain import build, pretrain_encoder

    untrained = {"encoder.weights": "", "encoder.pool": 1, "encoder.frozen": False}
    config = build(preset, {"system.name": system} | untrained)
    with _progress() as report:
        scores = pretrain_encoder(config, clips, passes, lr=lr, out=to, report=report, seed=seed, start=start)
    print(scores)


@pretrain_app.command("pose")
def pose(
    clips: Annotated[int, typer.Option(help="fresh performances of the endless stream")] = 24000,
    passes: Passes = 12,
    lr: Rate = 2e-3,
    seed: Annotated[int, typer.Option(help="of weights, order and the performances themselves")] = 0,
    others: Annotated[int, typer.Option(help="performances of exercises that FormSim does not have")] = 0,
    people: Annotated[bool, typer.Option(help="people's other ways of moving, more of an estimator's errors")] = False,
    to: Target = None,
) -> None:
    """Pre-train the pose encoder on FormSim's performances.   Example: efa pretrain pose --clips 24000"""
    from formsim.pretrain import build
    from formsim.pretrain_pose import pretrain_pose

    with _progress() as report:
        scores = pretrain_pose(build("pose"), clips, passes, 128, lr, to, report, seed, others=others, people=people)
    print(scores)


@pretrain_app.command("decoder")
def decoder(
    texts: Annotated[int, typer.Option(help="explanations of clips that no benchmark holds")] = 40000,
    passes: Passes = 1,
    preset: Preset = "laptop",
    lr: Rate = 2e-3,
    seed: Annotated[int, typer.Option(help="of weights, order and the texts themselves")] = 0,
    to: Target = None,
    part: Annotated[str, typer.Option(help="decoder (EFA's and RICA2's), s2vt, swinbert or lavender")] = "decoder",
) -> None:
    """Pre-train a part that writes on FormSim's texts alone.   Example: efa pretrain decoder --part s2vt"""
    from formsim.pretrain import build, pretrain_decoder

    config = build(preset, {"decoder.weights": "", "decoder.frozen": False})
    with _progress() as report:
        scores = pretrain_decoder(config, texts, passes, lr=lr, out=to, report=report, seed=seed, part=part)
    print(scores)


@contextlib.contextmanager
def _progress() -> Iterator[Callable[[dict[str, float]], None]]:
    """A progress bar and a line of figures now and then, on stderr; yields the `report` of a pre-training."""
    columns = (BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress("pre-training", *columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("", total=1)

        def report(row: dict[str, float]) -> None:
            bar.update(task, completed=row["share"])
            bar.console.print(" ".join(f"{name} {value:.4g}" for name, value in row.items()), highlight=False)

        yield report
