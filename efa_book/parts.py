"""Parts of a trained EFA switched off at test time, nothing trained again: does the model use what it has?

Table VI asks whether a model that is *trained* without a part is worse. That says little about the part of a model that
has it: another one may learn to do its work. Here the model stays as it was trained, and one part returns what it would
if it did not look: even attention weights, half a gate, nothing. Where no score moves, nothing that is read off that
part explains an answer.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from efa import metrics
from efa.baselines.inputs import prepare
from efa.experiments import TABLES, Overrides, select
from efa.model.assessor import EFAModel
from efa.model.base import Adapter
from efa.model.fusion import Attention
from efa.predict import EFA, predict
from efa.runs import Run, commit, parser_for, versions
from efa.utils.errors import InputError
from efa_book import html
from efa_book.attention import PROTOCOL, compute_attention, is_same_run
from efa_book.collect import Results
from efa_book.files import csv_text, read_json, read_table, write_json, write_text
from efa_book.html import Cell, Html
from efa_book.intervals import mean_interval
from efa_book.provenance import stamp
from efa_book.published import folder_of
from efa_book.table_specs import KNOWN

ROWS = ("6/EFA", "standards/EFA")
METRICS = ("quality_auc", "quality_balanced_acc", "fault_f1")
METRICS_SHOWN = ("quality_auc", "fault_f1")
COLUMNS = ("table", "row", "seed", "part", "metric", "value")
LOOK = "steps_on_frame_"  # and the frame's number: the steps' mean weight there, in percent, of the whole model
TOLERANCE = 1.0  # points: what results/README.md calls a difference that matters, declared before any of this
WHOLE = "nothing"
HINT = "efa explore parts writes it again"
Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]  # module, inputs, output -> the output in its place


def _even(module: nn.Module, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention that looks everywhere alike: the mean of the values."""
    result, weights = output
    assert isinstance(module, Attention)
    mean = module.value(inputs[1]).mean(1, keepdim=True)  # [B, 1, D]
    return mean.expand_as(result), torch.full_like(weights, 1 / weights.shape[-1])


def _nothing(module: nn.Module, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Attention that returns zeros, so that only the residual is left."""
    return torch.zeros_like(output[0]), output[1]


def _gate(
    module: nn.Module, inputs: tuple[Tensor, Tensor], output: tuple[Tensor, Tensor], share: float
) -> tuple[Tensor, Tensor]:
    """Equation 10 with the same g for every channel of every token."""
    return share * inputs[0] + (1 - share) * inputs[1], torch.full_like(output[1], share)


def _plain(module: nn.Module, inputs: tuple[Tensor], output: Tensor) -> Tensor:
    """The features as the adapter standardises them, without what it adds."""
    assert isinstance(module, Adapter)
    return module.standardise(inputs[0])


STEPS, BACK = "fusion.step_branch.text_attention", "fusion.step_branch.video_attention"
INSTRUCTION, INSTRUCTED = "fusion.global_branch.text_attention", "fusion.global_branch.video_attention"
PARTS: dict[str, dict[str, Hook]] = {
    WHOLE: {},
    "eq. 6: steps look evenly": {STEPS: _even},
    "eq. 2: instruction looks evenly": {INSTRUCTION: _even},
    "eq. 8: video reads all steps alike": {BACK: _even},
    "eq. 2 + 6 + 8: all of these": {STEPS: _even, INSTRUCTION: _even, BACK: _even},
    "eq. 6: steps see nothing": {STEPS: _nothing},
    "eq. 8: video reads no steps": {BACK: _nothing},
    "eq. 4: video reads no instruction": {INSTRUCTED: _nothing},
    "eq. 9: gate one half": {"fusion.merge": partial(_gate, share=0.5)},
    "eq. 9: global branch alone": {"fusion.merge": partial(_gate, share=1.0)},
    "eq. 9: step branch alone": {"fusion.merge": partial(_gate, share=0.0)},
    "adapter adds nothing": {"adapter": _plain},
}
"""What is switched off -> module of `EFAModel` -> what replaces its output."""


@contextlib.contextmanager
def switched_off(model: EFAModel, part: str) -> Iterator[EFAModel]:
    """The model without a part for as long as the context lasts. InputError: it has none, or it is not in `PARTS`."""
    if part not in PARTS:
        raise InputError(f"there is no part '{part}'", hint=f"one of {'; '.join(PARTS)}")
    if lacking := _lacking(model, part):
        raise InputError(f"this model has no {', '.join(lacking)}", hint=f"take {' or '.join(ROWS)}")
    modules = dict(model.named_modules())
    with contextlib.ExitStack() as stack:
        for name, hook in PARTS[part].items():
            stack.callback(modules[name].register_forward_hook(hook).remove)
        yield model


def _lacking(model: EFAModel, part: str) -> list[str]:
    """The modules that would have to be switched off and are not there."""
    modules = dict(model.named_modules())
    return [name for name in PARTS[part] if type(modules.get(name)) in (type(None), nn.Identity, nn.Linear)]


def score_parts(run: Run, parts: Sequence[str] = (), split: str = "test") -> pd.DataFrame:
    """Scores of a finished run's model with each of the parts switched off, columns `COLUMNS`, in percent.

    `parts`: by default all that the model has; the pose encoder has no adapter.

    With `WHOLE` among the parts also where its steps look. Protocol 'predicted': the model's own answer picks the
    steps, which no part has a say in. InputError where the run is not finished, or its model lacks a part.
    """
    if not run.finished:
        raise InputError(f"{run.label} is not finished", hint=f"efa run {run.table}/{run.row}")
    model, inputs = EFA.from_pretrained(run.folder).model.eval(), prepare(run.config, final=True)
    if not isinstance(model, EFAModel):
        raise InputError(f"{run.label} is another system", hint=f"take {' or '.join(ROWS)}")
    lines: list[tuple[str, str, float]] = []
    for part in parts or [part for part in PARTS if not _lacking(model, part)]:
        with switched_off(model, part):
            predictions = predict(model, inputs, run.config, split, PROTOCOL)
        # without references: no caption metrics, which take minutes
        scores = metrics.score(predictions.assign(reference=""), parser_for(run.config))
        lines += [(part, name, value) for name in METRICS if (value := scores[name]) is not None]
        if part == WHOLE:
            weights = compute_attention(run, split).groupby("frame")["weight"].mean()
            lines += [(part, f"{LOOK}{frame}", 100 * share) for frame, share in weights.items()]
    return pd.DataFrame([(run.table, run.row, run.seed, *line) for line in lines], columns=list(COLUMNS))


def publish(
    preset: str,
    seeds: Sequence[int],
    overrides: Overrides | None = None,
    out: Path | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    rows: Sequence[str] = ROWS,
) -> Path:
    """Writes parts.csv, whose path it returns, and parts.json of finished runs of `ROWS` to results/<data>-<preset>/.

    What is there of other rows and seeds stays. `rows`: some of `ROWS`. `progress` is called with the runs done, and
    the number of all runs. InputError where a run is not finished.
    """
    runs = [run for row in rows for run in select(row, preset, tuple(seeds), overrides)]
    if one := next((run for run in runs if not run.finished), None):  # before minutes of work for the others
        hint = f"efa run {one.table}/{one.row} --preset {preset} --seeds {one.seed}"
        raise InputError(f"{one.label} is not finished", hint=hint)
    folder = out or folder_of(preset, overrides)
    path = folder / "parts.csv"
    old = read_table(path, COLUMNS, HINT, dtype={"table": str})
    made = [(run.table, run.row, run.seed) for run in runs]
    tables = [old[[cell not in made for cell in zip(old["table"], old["row"], old["seed"], strict=True)]]]
    known = read_json(path.with_suffix(".json"), HINT).get("runs", {})
    for done, run in enumerate(runs):
        progress(done, len(runs))
        tables.append(score_parts(run))
        facts = read_json(run.folder / "provenance.json", f"efa run {run.table}/{run.row}")
        known[run.label] = {name: facts.get(name) for name in ("key", "finished", "commit", "device")}
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "columns": ", ".join(COLUMNS),
        "protocol": PROTOCOL,
        "split": "test",
        "command": f"efa explore parts --preset {preset} --seeds {','.join(map(str, seeds))}",
        "read_with": {"commit": commit(), "versions": versions()},
        "runs": known,
    }
    write_text(path, csv_text(pd.concat(tables), "%.4f"))
    write_json(path.with_suffix(".json"), about)
    return path


def read_published(results: Results, row: str = "EFA") -> pd.DataFrame:
    """What is published of a table's row, for the seeds whose runs are the very ones behind these results. InputError
    where parts.csv or parts.json cannot be read."""
    path = folder_of(results.preset, results.overrides) / "parts.csv"
    entries = read_json(path.with_suffix(".json"), HINT).get("runs", {})
    table = read_table(path, COLUMNS, HINT, dtype={"table": str})[list(COLUMNS)]
    known = {seed: entries.get(f"{results.table}/{row} seed {seed}", {}) for seed in results.seeds}
    facts = {seed: results.facts.get((row, seed), {}) for seed in results.seeds}
    same = [seed for seed in results.seeds if known[seed] and is_same_run(known[seed], facts[seed])]
    return table[(table["table"] == results.table) & (table["row"] == row) & table["seed"].isin(same)]


@dataclass(frozen=True)
class Change:
    """A metric without a part: its mean over seeds, and what it lost against the whole model, paired by seed."""

    value: float
    loss: float
    low: float
    high: float

    @property
    def outcome(self) -> str:
        """'used': at least `TOLERANCE` is lost, and the interval lies above 0; 'not used': it lies within that."""
        if self.low > 0 and self.loss >= TOLERANCE:
            return "used"
        if self.low > -TOLERANCE and self.high < TOLERANCE:
            return "not used"
        return "in the way" if self.high < 0 and self.loss <= -TOLERANCE else "inconclusive"


def estimate_change(table: pd.DataFrame, part: str, metric: str) -> Change:
    """Of a `read_published` table; NaN where the metric is not there."""
    by_seed = table[table["metric"] == metric].pivot(index="seed", columns="part", values="value")
    if part not in by_seed or WHOLE not in by_seed:
        return Change(*[math.nan] * 4)
    both = by_seed[[part, WHOLE]].dropna() if part != WHOLE else by_seed
    return Change(float(both[part].mean()), *mean_interval((both[WHOLE] - both[part]).to_numpy()))


def parts_table(results: Results) -> Html:
    """Scores with each part switched off; under each the loss with its interval over seeds, and what follows."""
    published = read_published(results)
    if published.empty:
        return html.note("What the model uses is not known for these results: efa explore parts publishes it.")
    shown = [name for name in METRICS_SHOWN if name in set(published["metric"])]
    seeds = sorted(set(published["seed"]))

    def cell(part: str, name: str) -> Cell:
        found = estimate_change(published, part, name)
        if part == WHOLE or math.isnan(found.loss):
            return Cell(f"{found.value:.1f}", number=True)
        interval = "" if math.isnan(found.low) else f" ({found.low:+.1f} to {found.high:+.1f})"
        return Cell(f"{found.value:.1f}", f"{found.loss:+.1f}{interval} {found.outcome}", number=True)

    there = set(published["part"])
    rows: list[list[str | Cell]] = [[part, *(cell(part, name) for name in shown)] for part in PARTS if part in there]
    notes = [
        "Nothing is trained again. Test split, protocol predicted, mean over seeds "
        f"{', '.join(map(str, seeds))}. Below: what is lost, with its 95 % interval over seeds (Student's t, paired). "
        f"'used': at least {TOLERANCE:g} point is lost and the interval lies above 0; 'not used': the interval lies "
        f"within {TOLERANCE:g} point of 0; 'in the way': it is better without. Of so many intervals one or two "
        "miss their mark by chance."
    ]
    title = f"A trained EFA, parts of it switched off: {TABLES[results.table].title}"
    head = ["switched off", *(KNOWN[name].title for name in shown)]
    return html.table(title, head, rows, notes) + _stamp(results, seeds)


def frames_table(results: Results) -> Html:
    """Where the steps of each seed look."""
    published = read_published(results)
    published = published[published["metric"].str.startswith(LOOK)]
    if published.empty:
        return html.note("Where the steps look is not known for these results: efa explore parts publishes it.")
    shares = published.assign(frame=published["metric"].str.removeprefix(LOOK).astype(int))
    wide = shares.pivot(index="seed", columns="frame", values="value")
    rows: list[list[str | Cell]] = [
        [f"seed {seed}", *(Cell(f"{share:.0f} %", number=True) for share in found)]
        for seed, found in zip(wide.index, wide.to_numpy(), strict=True)
    ]
    notes = ["The weights of equation 6, mean over the clips of the test split and the five steps."]
    head = ["", *(f"frame {frame}" for frame in wide.columns)]
    return html.table("Where the steps look, seed by seed", head, rows, notes) + _stamp(results, list(wide.index))


def _stamp(results: Results, seeds: Sequence[int], row: str = "EFA") -> Html:
    cells = [(row, seed) for seed in seeds]
    states, facts = {cell: results.states[cell] for cell in cells}, {cell: results.facts[cell] for cell in cells}
    mine = replace(results, seeds=tuple(seeds), states=states, facts=facts)
    given = f"--preset {results.preset} --seeds {','.join(map(str, seeds))}"
    return stamp(mine, " && ".join([*(f"efa run {one} {given}" for one in ROWS), f"efa explore parts {given}"]))
