"""Single clips for the notebooks: which ones, what they look like, and a model to open up."""

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import formsim
from efa.baselines.inputs import text_vectors, word_pieces
from efa.config import Config, DataConfig, FormSimData, build
from efa.data.loader import formsim_clips, open_dataset
from efa.data.manifest import StepText
from efa.experiments import Overrides
from efa.model.assessor import EFAModel
from efa.model.fusion import Attention
from efa.model.text import TextEncoder
from efa.predict import EFA
from efa.utils.errors import InputError
from efa_book import figures, html
from efa_book.assess_cli import trained_efa
from efa_book.collect import Results
from efa_book.html import Cell, Html, escape

VERDICTS = ("standard", "non-standard")
SHARED = 3  # words in a row that count as the same phrase
RULE = (
    "Chosen by rule, not by eye: the first standard clip of the test split, its first non-standard clip, and the first "
    "other clip with a wrong verdict, in the order of clip ids."
)


def pick_clips(clips: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """(why, row of the predictions) of the clips that `RULE` names; fewer where there is no such clip."""
    ordered = clips.sort_values("clip_id", ignore_index=True)
    wrong = ((ordered["quality_prob"] >= 0.5) != (ordered["quality"] == 1)) & (ordered["quality"] >= 0)
    found = {f"first {name} clip": ordered[ordered["quality"] == q].head(1) for q, name in enumerate(VERDICTS)}
    shown = [part.index[0] for part in found.values() if len(part)]
    found["first other clip with a wrong verdict"] = ordered[wrong].drop(shown, errors="ignore").head(1)
    return [(why, part.iloc[0]) for why, part in found.items() if len(part)]


def find_clip(clip: pd.Series, data: DataConfig) -> formsim.Clip | None:
    """FormSim's clip behind one of the predictions; None where it is not FormSim's, or FormSim has come to have another
    clip of that id: older predictions show it by their reference."""
    if not isinstance(data, FormSimData):
        return None
    known = (one for final in (True, False) for one in open_dataset(data, final).clips)
    same = (one for one in known if one.clip_id == clip["clip_id"])
    return next((one for one in same if formsim.record(one)["explanation"] == clip["reference"]), None)


def render_frames(clip: pd.Series, preset: str, overrides: Overrides | None = None) -> np.ndarray | None:
    """The frames of a clip of the predictions, uint8 [T, 128, 128, 3]; None where `find_clip` finds none."""
    data = build(preset, overrides).data
    found = find_clip(clip, data)
    return None if found is None else formsim.render_clip(found, 128, data.frames, getattr(data, "clutter", 0.0))


def gallery(results: Results, row: str = "EFA") -> Html:
    """Three clips: frames, reference, what the model writes, its verdict and the truth."""
    seed = next((seed for seed in results.seeds if results.clips(row, seed) is not None), None)
    clips = None if seed is None else results.clips(row, seed)
    if clips is None:
        return html.note("No predictions to show yet.")
    out = html.note(f"{RULE} Model: {row}, seed {seed}, protocol {results.protocol(row)}.")
    for why, clip in pick_clips(clips):
        out += html.note(f"{clip['clip_id']}: {why}.") + show_clip(results, clip)
    return out


def verdict_text(probability: float) -> str:
    """A verdict with the probability of non-standard form behind it."""
    return f"{VERDICTS[int(probability >= 0.5)]} (probability of non-standard {probability:.2f})"


def mark_shared(first: str, second: str) -> tuple[str, str]:
    """Both texts as HTML; phrases of `SHARED` words or more that stand in both, in the same order, are marked."""
    a, b = (re.findall(r"\S+", text) for text in (first, second))
    plain = [[re.sub(r"\W+", "", word).casefold() for word in words] for words in (a, b)]
    blocks = difflib.SequenceMatcher(None, plain[0], plain[1], autojunk=False).get_matching_blocks()
    kept = [block for block in blocks if block.size >= SHARED]
    return _mark(a, {block.a: block.size for block in kept}), _mark(b, {block.b: block.size for block in kept})


def _mark(words: Sequence[str], spans: Mapping[int, int]) -> str:
    """Words as HTML; `spans`: first word of a marked phrase -> how many words it has."""
    out = [escape(word) for word in words]
    for at, size in spans.items():
        out[at] = "<mark>" + out[at]
        out[at + size - 1] += "</mark>"
    return " ".join(out)


def show_clip(results: Results, clip: pd.Series) -> Html:
    """The six frames of a clip where they can be drawn, and `clip_facts`."""
    frames = render_frames(clip, results.preset, results.overrides)
    alt = f"Six frames of the clip {clip['clip_id']}: {clip['action']}."
    return (Html("") if frames is None else html.show(figures.film(frames), alt, kind="png")) + clip_facts(clip)


def clip_facts(clip: pd.Series) -> Html:
    """Truth and model side by side: action, verdict and explanation, shared phrases marked."""
    reference, written = mark_shared(clip["reference"], clip["explanation"])
    truth = VERDICTS[int(clip["quality"])] if clip["quality"] >= 0 else "unknown"
    if clip["fault"]:
        truth += f": {figures.fault_name(clip['fault'])}, step {clip['fault_step']:.0f}"
    verdict = verdict_text(clip["quality_prob"])
    rows = [
        ("action", escape(clip["action"]), escape(clip["predicted_action"])),
        ("verdict", escape(truth), escape(verdict)),
        ("explanation", reference, written),
    ]
    body = "".join(f'<tr><th scope="row">{name}</th><td>{a}</td><td>{b}</td></tr>' for name, a, b in rows)
    head = "<tr><td></td><th scope='col'>truth</th><th scope='col'>model</th></tr>"
    source = html.wide(f"<thead>{head}</thead><tbody>{body}</tbody>", f"{clip['clip_id']}: truth and model")
    plain = [f"action: {clip['action']} | {clip['predicted_action']}", f"verdict: {truth} | {verdict}"]
    return Html(source, "\n".join([*plain, f"reference: {clip['reference']}", f"model: {clip['explanation']}"]))


@dataclass(frozen=True)
class OpenedModel:
    """A model, one clip, and a plain sentence on what the model is."""

    efa: EFA
    about: str
    trained: bool  # False for random weights
    clip: formsim.Clip
    frames: np.ndarray  # uint8 [T, S, S, 3]

    @property
    def batch(self) -> Tensor:
        """uint8 [1, T, 3, S, S]."""
        return torch.from_numpy(self.frames).permute(0, 3, 1, 2)[None]

    def text(self, action: str) -> StepText:
        """The five steps and the instruction of an action; of its full range, where there are several standards."""
        return self.efa.steps[action] if action in self.efa.steps else self.efa.steps[f"{action} [full]"]

    def vectors(self, action: str) -> tuple[Tensor, Tensor]:
        """F_t^s [1, 5, E] and F_t^g [1, 1, E] before they are brought to the width of the fusion."""
        text = self.text(action)
        with torch.no_grad():
            both = TextEncoder(self.efa.config.text).encode([*text.steps, text.instruction])  # [6, E]
        return both[None, :5], both[None, 5:]


def answer_rows(opened: OpenedModel, answer: dict[str, Any]) -> list[list[str]]:
    """Truth beside what `EFA.assess` returns, as rows of a table."""
    clip = opened.clip
    return [
        ["action", clip.action, answer["action"]],
        ["verdict", VERDICTS[clip.quality], verdict_text(answer["quality_probability"])],
        ["explanation", str(formsim.record(clip)["explanation"]), answer["explanation"]],
    ]


def open_model(checkpoint: str = "", preset: str = "laptop") -> OpenedModel:
    """The checkpoint, or the published or a finished run of EFA, or else random weights of a preset's sizes; and the
    first non-standard clip of FormSim's test split."""
    try:
        folder = checkpoint or trained_efa(preset)
        efa = EFA.from_pretrained(folder)
        training = efa.config.training
        data = efa.config.data
        clips = f"{data.clips} clips" if isinstance(data, FormSimData) else data.source
        about = f"A trained model: {training.epochs} epochs on {clips}, seed {training.seed} "
        about += f"({'/'.join(Path(folder).parts[-2:])})."
        trained = True
    except InputError:
        if checkpoint:
            raise
        efa, trained = _random_model(preset), False
        about = "RANDOM WEIGHTS: there is no trained model here, so shapes are right and answers mean nothing."
    data = next(data for data in (efa.config.data, build(preset).data) if isinstance(data, FormSimData))
    clip = next(one for one in formsim_clips(data) if one.split == "test" and one.fault)
    return OpenedModel(efa, about, trained, clip, formsim.render_clip(clip, data.size, data.frames, data.clutter))


def _random_model(preset: str) -> EFA:
    bare = {"encoder.weights": "", "decoder.weights": "", "decoder.frozen": False, "decoder.vocabulary": "full"}
    config = build(preset, bare | {"text.model": "minilm"})  # what is here: random weights are not worth a download
    dataset = open_dataset(config.data)
    tokenizer = word_pieces(config.text).pruned(list(dataset.table["explanation"][:200]))
    width = text_vectors(dataset, config.text)[0].shape[-1]
    torch.manual_seed(0)
    model = EFAModel(config, len(dataset.actions), len(tokenizer), width)
    return EFA(model, config, tokenizer, dataset.steps, dataset.actions, width)


def parameter_table(model: EFAModel) -> list[tuple[str, int]]:
    """(part, parameters) in the order of the data flow; the last row is the total, the sum of the others."""
    attentions = torch.nn.ModuleList(part for part in model.fusion.modules() if isinstance(part, Attention))
    parts = {
        "video encoder": model.encoder,
        "adapter": model.adapter,
        "fusion: attentions": attentions,
        "fusion: merge": model.fusion.merge or torch.nn.Identity(),
        "class head": model.class_head,
        "quality head": model.quality_head,
        "decoder": model.decoder,
    }
    rows = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    total = sum(p.numel() for p in model.parameters())
    rows["fusion: inputs, positions, null vectors, sigma"] = total - sum(rows.values())
    return [*rows.items(), ("total", total)]


RELEASED_SIZES = {
    "video encoder": "Swin-B, the same",
    "fusion: attentions": "113.5 M in six stacks of eight layers; the paper has four multi-head attentions, no count",
    "total": "665.6 M, with three BERT text encoders",
}


def paper_sizes_table() -> Html:
    """Parameters of the model at the paper's sizes, counted without allocating them, beside the release's."""
    with torch.device("meta"):
        model = EFAModel(Config(), actions=141, vocabulary_size=30522, text_dim=768)
    rows: list[list[str | Cell]] = [
        [name, Cell(f"{count / 1e6:.1f} M", number=True), RELEASED_SIZES.get(name, "")]
        for name, count in parameter_table(model)
    ]
    notes = [
        "Ours: Swin-B, BERT-base widths, 141 actions, a vocabulary of 30,522; without the text encoder, which runs "
        "apart. The release: counted from its code with random weights, 665.6 M, of which 166.8 M get no gradient.",
    ]
    return html.table("Parameters at the paper's size", ["part", "ours", "the released code"], rows, notes)
