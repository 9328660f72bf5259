"""What the release cuts off: texts at 256 characters (finding 10), clips at 108 frames (finding 14).

`efa audit cuts COT_AFA` counts both on the released annotations and writes the aggregated numbers to
results/cot-afa/cuts.csv, which the book reads. FormSim's are computed where they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from tokenizers import Tokenizer

import formsim as procedural
from efa.config import FormSimData
from efa.data.loader import formsim_clips
from efa.data.manifest import StepText
from efa.data.sampling import RELEASE_SPAN, release_indices
from efa.model.text import locate
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa_book.audit.measured import Measured, Quantity, Row, Unit
from formsim.schema import load_actions

LIMIT = 256  # characters of a prompt
HEADINGS = tuple(f"action step {i}: " for i in range(1, 6))  # the release counts them; the data set is without
INSTRUCTION = "general instruction: "
RATES = (25, 30)  # frames a second; the release's annotations do not say
FRAMES = 6
COLUMNS = ("what", "value")
REPEATS = "mean number of repeats among the six"


def texts_of(steps: Iterable[StepText]) -> dict[str, list[str]]:
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


def repeated(frames: int) -> int:
    """How many of the six sampled frames only repeat another one."""
    chosen = release_indices(frames, FRAMES)
    return len(chosen) - len(set(chosen))


def coverage(seconds: Sequence[float], rate: int) -> dict[str, float]:
    """Of clips of these lengths: the shares that are too long, too short, and of the time that is never seen."""
    frames = [max(1, round(one * rate)) for one in seconds]
    return {
        "clips longer than the window": float(np.mean([one > RELEASE_SPAN for one in frames])),
        "mean share of a clip behind the window": float(np.mean([unseen_share(one) for one in frames])),
        "clips that repeat frames": float(np.mean([repeated(one) > 0 for one in frames])),
        REPEATS: float(np.mean([repeated(one) for one in frames])),
    }


def pieces(texts: Sequence[str], limit: int = LIMIT) -> float:
    """Mean number of word pieces of texts cut at `limit` characters (vocabulary of bert-base-uncased)."""
    tokenizer = Tokenizer.from_file(str(Path(locate("minilm")) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    found = tokenizer.encode_batch([text[:limit] for text in texts], add_special_tokens=False)
    return float(np.mean([len(one.ids) for one in found]))


def summary(steps: Iterable[StepText], seconds: Sequence[float]) -> dict[str, float]:
    """Everything that `results/cot-afa/cuts.csv` holds; shares between 0 and 1."""
    texts = texts_of(steps)
    found: dict[str, float] = {}
    for kind, written in texts.items():
        share, lost = cut_share(written)
        found |= {kind: len(written), f"{kind}: share cut": share, f"{kind}: share of characters lost": lost}
    found["word pieces of a prompt"] = pieces([text for written in texts.values() for text in written])
    found |= {"clips with a length": len(seconds), "seconds, median": float(np.median(seconds))}
    for rate in RATES:
        found |= {f"{name}, at {rate} frames a second": value for name, value in coverage(seconds, rate).items()}
    return found


def count(root: Path, out: Path) -> dict[str, float]:
    """Reads the released annotations in `root` and writes `out`.

    Raises:
        InputError: an annotation file is missing or malformed.
    """
    from efa_datasets.cot_afa import read_release

    made = read_release(root)
    seconds = pd.to_numeric(made.released["seconds"], errors="coerce")
    found = summary(made.dataset.steps.values(), seconds[seconds > 0].tolist())
    out.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(found.items(), columns=list(COLUMNS))
    write_safely(out, lambda path: table.to_csv(path, index=False, float_format="%.6g", lineterminator="\n"))
    return found


def default() -> Path:
    return paths.results() / "cot-afa" / "cuts.csv"


def published(path: Path | None = None) -> dict[str, float]:
    """The numbers of `count` as they stand in results/.

    Raises:
        InputError: the file is missing or is not what `count` writes.
    """
    path, hint = path or default(), "write it again: efa audit cuts COT_AFA"
    if not path.is_file():
        raise InputError("no such file", file=path, hint=hint)
    try:
        table = pd.read_csv(path)
        found: Mapping[str, float] = dict(zip(table["what"], table["value"].astype(float), strict=True))
    except (ValueError, KeyError) as error:
        raise InputError(f"cannot be read: {error}", file=path, hint=hint) from None
    return dict(found)


@cache
def formsim() -> dict[str, float]:
    """The same numbers of FormSim's main benchmark; a clip lasts what its action's file says."""
    clips = formsim_clips(FormSimData())
    seconds = [load_actions()[clip.action].seconds for clip in clips]
    return summary([StepText(*text) for text in procedural.step_table(clips).values()], seconds)


def _table(wanted: Iterable[tuple[str, Unit]]) -> tuple[Row, ...]:
    real, ours = published(), formsim()
    return tuple(
        (name, Quantity(real[name], unit), Quantity(ours[name], unit)) for name, unit in wanted if name in real
    )


def texts() -> Measured:
    """Finding 10."""
    kinds = ("instructions", "steps")
    wanted: list[tuple[str, Unit]] = [
        line
        for kind in kinds
        for line in ((kind, "count"), (f"{kind}: share cut", "%"), (f"{kind}: share of characters lost", "%"))
    ]
    how = f"Texts with their headings ('action step 1:' and so on), cut at {LIMIT} characters."
    return Measured(("", "CoT-AFA, as released", "FormSim"), _table(wanted), how)


def clips() -> Measured:
    """Finding 14."""
    units: dict[str, Unit] = dict.fromkeys(coverage([1.0], 1), "%")
    units[REPEATS] = "mean"
    wanted: list[tuple[str, Unit]] = [("clips with a length", "count"), ("seconds, median", "s")]
    wanted += [(f"{name}, at {rate} frames a second", unit) for rate in RATES for name, unit in units.items()]
    how = (
        f"Window: the first {RELEASE_SPAN} frames. Frame rates are assumed, lengths are those of the annotations, "
        "FormSim's those of one repetition. Ours takes the middle of each sixth of a clip, whatever its length."
    )
    return Measured(("", "CoT-AFA, as released", "FormSim"), _table(wanted), how)
