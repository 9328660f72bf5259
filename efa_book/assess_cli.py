"""The command `efa assess`: a video in, an answer out, and how far to trust it."""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from efa.cli import options
from efa.cli.console import bar, err, out, printable
from efa.data.checks import Log, StepText, parse_step_text, read_json
from efa.utils import paths
from efa.utils.errors import InputError

if TYPE_CHECKING:
    from efa.data.observation import Observation

ONE_STEP_TEXT = 'write {"steps": [5 strings], "instruction": string}'


def assess(
    videos: Annotated[list[Path], typer.Argument(help="video files, or folders of frames")],
    action: Annotated[str | None, typer.Option(help="which action it is; by default the model decides")] = None,
    steps: Annotated[
        Path | None,
        typer.Option(
            help="JSON file {steps: [5 texts], instruction: text} of a new action, by default named as the file"
        ),
    ] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="folder or hub id; default: the pose model that comes with the package")
    ] = None,
    rgb: Annotated[bool, typer.Option("--rgb", help="the pixel model of Table VI in place of the pose model")] = False,
    picture: Annotated[Path | None, typer.Option(help="draw the answer: a PNG, or a folder for several videos")] = None,
    as_json: options.AsJson = False,
) -> None:
    """Action, verdict and explanation of a video.   Example: efa assess squat.mp4 --picture answer.png"""
    from efa.data.observation import observe
    from efa.predict import EFA, shipped_checkpoint

    text, odd = read_step_text(steps) if steps else (None, [])
    source = checkpoint or (trained_efa() if rgb else shipped_checkpoint())
    efa = EFA.from_pretrained(source)
    answers = []
    for video in videos:
        try:
            if re.match(r"(https?|ftp):/", str(video)):
                raise InputError("this is an address, not a file", file=video, hint="download it and give the file")
            with bar(printable(video.name)) as progress:
                seen = observe(video, efa.config, progress)
            answer = efa.answer(seen, str(video), action or (steps.stem if steps else None), text)
            answer["model"]["checkpoint"] = str(source)
            answer["warnings"] += odd
            if picture:
                answer["picture"] = _draw(video, seen, answer, picture, len(videos) > 1)
        except InputError as error:
            err.print(f"efa: {error}", soft_wrap=True)
            answers.append({"video": str(video), "error": str(error)})
            continue
        answers.append(answer)
        if not as_json:
            _print(answer)
    if as_json:
        print(json.dumps(answers[0] if len(answers) == 1 else answers, indent=1, ensure_ascii=False, allow_nan=False))
    if any("error" in answer for answer in answers):
        raise typer.Exit(2)


def trained_efa(preset: str = "laptop") -> Path:
    """The EFA of Table VI, seed 0, as published or as it ran here; InputError, which says where it was looked for."""
    from efa.experiments import select

    (run,) = select("6/EFA", preset, (0,))
    if (published := paths.results() / f"formsim-{preset}" / "model").is_dir():
        return published
    if not run.finished:
        hint = f"efa run 6/EFA --preset {preset}; or set EFA_HOME to the project's folder, or give --checkpoint FOLDER"
        raise InputError(
            f"no finished run of EFA with preset {preset} and seed 0, and no {published}", file=run.folder, hint=hint
        )
    return run.folder


def read_step_text(path: Path) -> tuple[StepText, list[str]]:
    """The file that `efa assess --steps` takes: the text of one action, and a line for everything odd in it.
    InputError where it is not such a file, or a text is missing or empty."""
    log, text = Log(path), None
    with log.catch():
        text = parse_step_text(None, read_json(log, ONE_STEP_TEXT), ONE_STEP_TEXT, log)
    if text is None or log.errors:
        raise InputError(f"not a steps file: {log.errors[0].message}", file=path, hint=log.errors[0].action)
    return text, [str(problem.error()) for problem in log.problems if problem.column]  # a byte order mark is common


def _draw(video: Path, seen: "Observation", answer: dict[str, Any], picture: Path, several: bool) -> dict[str, str]:
    """Draws the answer; -> the file and its alt text."""
    from efa_book.pictures import draw_answer

    if seen.landmarks is None:
        raise InputError("pictures are drawn of poses", file=video, hint="leave out --rgb or --picture")
    if several or picture.is_dir():
        picture.mkdir(parents=True, exist_ok=True)
        picture = picture / f"{video.resolve().stem}-answer.png"
    return {"file": str(picture), "text": draw_answer(video, seen.landmarks, answer, picture)}


def _print(answer: dict[str, Any]) -> None:
    best = ", ".join(f"{top['action']} {top['probability']:.0%}" for top in answer["top5"][:3])
    out.print(printable(answer["video"]), style="bold")
    if answer["abstained"]:
        out.print(f"  no answer: {answer['abstained']}" + (f"   (best guesses: {best})" if best else ""))
    else:
        looks = f"looks most like {best}" if answer["protocol"] == "oracle" else best
        out.print(f"  action   {printable(answer['action'])}   ({looks})")
        wrong = answer["quality_probability"]
        out.print(f"  form     {answer['quality']}   (non-standard with probability {wrong:.2f})")
        for i, one in enumerate(answer["repetitions"]):
            told = "   explained below" if i == answer["explained"] and len(answer["repetitions"]) > 1 else ""
            times = f"{one['start']:6.1f} to {one['end']:.1f} s"
            out.print(f"    {times}   {one['quality']} {one['quality_probability']:.2f}{told}", highlight=False)
        if answer["explanation"]:
            out.print(f"  why      {answer['explanation']}")
    for warning in answer["warnings"]:
        out.print(f"  note     {warning}")
    if "picture" in answer:
        out.print(f"  picture  {printable(answer['picture']['file'])}")
    model = answer["model"]
    out.print(f"  model    {model['encoder']} encoder, trained on {model['data']}: {printable(model['checkpoint'])}")
