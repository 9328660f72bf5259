"""What the release cuts off: texts at 256 characters (finding 10), clips at 108 frames (finding 14).

`efa audit cuts COT_AFA` counts both on the released annotations and writes the aggregated numbers to
results/cot-afa/cuts.csv, which the book reads. FormSim's are computed where they are shown.
"""

from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

import formsim
from efa.config import FormSimData
from efa.data.loader import formsim_clips
from efa.data.manifest import StepText
from efa.data.video import RELEASE_SPAN, release_indices
from efa.model.text import locate
from efa.utils import paths
from efa.utils.errors import InputError
from efa_book.audit import Measurement, Quantity, Row
from efa_book.files import csv_text, read_table, write_text
from formsim.schema import load_actions

LIMIT = 256  # characters of a prompt
HEADINGS = tuple(f"action step {i}: " for i in range(1, 6))  # the release counts them; the data set is without
INSTRUCTION = "general instruction: "
RATES = (25, 30)  # frames a second; the release's annotations do not say
FRAMES = 6
REPEATS = "mean number of repeats among the six"


def prompts(steps: Iterable[StepText]) -> dict[str, list[str]]:
    """'steps' and 'instructions', each text with its heading, as the release feeds them."""
    texts = list(steps)
    return {
        "steps": [heading + step for text in texts for heading, step in zip(HEADINGS, text.steps, strict=True)],
        "instructions": [INSTRUCTION + text.instruction for text in texts],
    }


def cut_share(texts: Sequence[str], limit: int = LIMIT) -> tuple[float, float]:
    """Share of the texts that are longer than `limit` characters, and share of all characters behind it."""
    lengths = np.array([len(text) for text in texts])
    return float((lengths > limit).mean()), float(np.maximum(lengths - limit, 0).sum() / lengths.sum())


def unseen_share(frames: int) -> float:
    """Share of a clip's frames that lie behind the release's window of 108."""
    return max(0, frames - RELEASE_SPAN) / frames


def repeats(frames: int) -> int:
    """How many of the six sampled frames only repeat another one."""
    chosen = release_indices(frames, FRAMES)
    return len(chosen) - len(set(chosen))


def coverage(seconds: Sequence[float], rate: int) -> dict[str, float]:
    """Of clips of these lengths: the shares that are too long, too short, and of the time that is never seen."""
    frames = [max(1, round(one * rate)) for one in seconds]
    found: dict[str, list[float]] = {
        "clips longer than the window": [one > RELEASE_SPAN for one in frames],
        "mean share of a clip behind the window": [unseen_share(one) for one in frames],
        "clips that repeat frames": [repeats(one) > 0 for one in frames],
        REPEATS: [repeats(one) for one in frames],
    }
    return {name: float(np.mean(values)) for name, values in found.items()}


def mean_pieces(texts: Sequence[str], limit: int = LIMIT) -> float:
    """Mean number of word pieces of texts cut at `limit` characters (vocabulary of bert-base-uncased)."""
    tokenizer = Tokenizer.from_file(str(Path(locate("minilm")) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    encoded = tokenizer.encode_batch([text[:limit] for text in texts], add_special_tokens=False)
    return float(np.mean([len(one.ids) for one in encoded]))


def summary(steps: Iterable[StepText], seconds: Sequence[float]) -> dict[str, float]:
    """Everything that `results/cot-afa/cuts.csv` holds; shares between 0 and 1."""
    texts = prompts(steps)
    found: dict[str, float] = {}
    for kind, written in texts.items():
        share, lost = cut_share(written)
        found |= {kind: len(written), f"{kind}: share cut": share, f"{kind}: share of characters lost": lost}
    found["word pieces of a prompt"] = mean_pieces([*texts["steps"], *texts["instructions"]])
    found |= {"clips with a length": len(seconds), "seconds, median": float(np.median(seconds))}
    for rate in RATES:
        found |= {f"{name}, at {rate} frames a second": value for name, value in coverage(seconds, rate).items()}
    return found


def count(root: Path, out: Path) -> dict[str, float]:
    """Reads the released annotations in `root`, writes `out`; InputError: a file of them is missing or malformed."""
    from efa_datasets.cot_afa import read_release

    made = read_release(root)
    seconds = pd.to_numeric(made.released["seconds"], errors="coerce")
    found = summary(made.dataset.steps.values(), seconds[seconds > 0].tolist())
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(out, csv_text(pd.DataFrame(found.items(), columns=["what", "value"])))
    return found


def default() -> Path:
    return paths.results() / "cot-afa" / "cuts.csv"


def published(path: Path | None = None) -> dict[str, float]:
    """The numbers of `count` in results/; InputError: the file is missing or is not what `count` writes."""
    path, hint = path or default(), "write it again: efa audit cuts COT_AFA"
    if not path.is_file():
        raise InputError("no such file", file=path, hint=hint)
    table = read_table(path, ("what", "value"), hint)
    try:
        return dict(zip(table["what"], table["value"].astype(float), strict=True))
    except ValueError as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=hint) from None


@cache
def formsim_cuts() -> dict[str, float]:
    """The same numbers of FormSim's main benchmark; a clip lasts what its action's file says."""
    clips = formsim_clips(FormSimData())
    seconds = [load_actions()[clip.action].seconds for clip in clips]
    return summary([StepText(*text) for text in formsim.step_table(clips).values()], seconds)


def _table(units: dict[str, str], how: str) -> Measurement:
    real, ours = published(), formsim_cuts()
    rows: list[Row] = [
        (name, Quantity(real[name], unit), Quantity(ours[name], unit)) for name, unit in units.items() if name in real
    ]
    return Measurement(("", "CoT-AFA, as released", "FormSim"), rows, how)


def texts() -> Measurement:
    """Finding 10."""
    units: dict[str, str] = {}
    for kind in ("instructions", "steps"):
        units |= {kind: "count", f"{kind}: share cut": "%", f"{kind}: share of characters lost": "%"}
    return _table(units, f"Texts with their headings ('action step 1:' and so on), cut at {LIMIT} characters.")


def clips() -> Measurement:
    """Finding 14."""
    units = {"clips with a length": "count", "seconds, median": "s"}
    for rate in RATES:
        for name in coverage([1.0], 1):
            units[f"{name}, at {rate} frames a second"] = "mean" if name == REPEATS else "%"
    how = (
        f"Window: the first {RELEASE_SPAN} frames. Frame rates are assumed, lengths are those of the annotations, "
        "FormSim's those of one repetition. Ours takes the middle of each sixth of a clip, whatever its length."
    )
    return _table(units, how)
