"""Single clips for the notebooks: which ones, what they look like, and a model to open up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

import formsim
from efa.config import FormSimData, build
from efa.data.loader import formsim_clips, open_dataset
from efa.data.manifest import StepText
from efa.experiments import Overrides
from efa.features import text_vectors
from efa.model.assessor import EFAModel
from efa.model.text import TextEncoder
from efa.predict import EFA
from efa.runs import default_checkpoint
from efa.train import word_pieces
from efa.utils.errors import InputError
from efa_book import figures, html
from efa_book.collect import Results
from efa_book.html import Html

RULE = (
    "Chosen by rule, not by eye: the first standard clip of the test split, its first non-standard clip, and the first "
    "other clip with a wrong verdict, in the order of clip ids."
)


def pick(clips: pd.DataFrame) -> list[tuple[str, pd.Series]]:
    """(why, row of the predictions) of the clips that `RULE` names; fewer where there is no such clip."""
    ordered = clips.sort_values("clip_id", ignore_index=True)
    wrong = ((ordered["quality_prob"] >= 0.5) != (ordered["quality"] == 1)) & (ordered["quality"] >= 0)
    found = {"first standard clip": ordered[ordered["quality"] == 0].head(1)}
    found["first non-standard clip"] = ordered[ordered["quality"] == 1].head(1)
    shown = [part.index[0] for part in found.values() if len(part)]
    found["first other clip with a wrong verdict"] = ordered[wrong].drop(shown, errors="ignore").head(1)
    return [(why, part.iloc[0]) for why, part in found.items() if len(part)]


def frames_of(clip_id: str, preset: str, overrides: Overrides | None = None, size: int = 128) -> np.ndarray | None:
    """The six frames of a FormSim clip, uint8 [T, size, size, 3]; None where it is not FormSim's."""
    data = build(preset, overrides).data
    if not isinstance(data, FormSimData):
        return None
    found = next((c for c in formsim_clips(data) if c.clip_id == clip_id), None)
    return None if found is None else formsim.render_clip(found, size, data.frames, data.clutter)


def gallery(results: Results, row: str = "EFA") -> Html:
    """Three clips: frames, reference, what the model writes, its verdict and the truth."""
    seed = next((seed for seed in results.seeds if results.clips(row, seed) is not None), None)
    clips = None if seed is None else results.clips(row, seed)
    if clips is None:
        return html.note("No predictions to show yet.")
    out = html.note(f"{RULE} Model: {row}, seed {seed}, protocol {results.protocol(row)}.")
    for why, clip in pick(clips):
        frames = frames_of(clip["clip_id"], results.preset, results.overrides)
        if frames is not None:
            alt = f"Six frames of the clip {clip['clip_id']}: {clip['action']}."
            out += html.show(figures.film(frames), alt, kind="png")
        out += html.table(f"{clip['clip_id']}: {why}", ["", "truth", "model"], _facts(clip))
    return out


def _facts(clip: pd.Series) -> list[list[str]]:
    truth = ("standard", "non-standard")[int(clip["quality"])] if clip["quality"] >= 0 else "unknown"
    said = "non-standard" if clip["quality_prob"] >= 0.5 else "standard"
    fault = f"{clip['fault'].split('/')[-1].replace('_', ' ')}, step {clip['fault_step']:.0f}" if clip["fault"] else ""
    return [
        ["action", clip["action"], clip["predicted_action"]],
        ["verdict", truth, f"{said} (probability of non-standard {clip['quality_prob']:.2f})"],
        ["fault", fault or "none", "see the explanation"],
        ["explanation", clip["reference"], clip["explanation"]],
    ]


def answer(opened: Opened, said: dict[str, Any]) -> list[list[str]]:
    """Truth beside what `EFA.assess` says, as rows of a table."""
    clip = opened.clip
    verdict = f"{said['quality']} (probability of non-standard {said['quality_probability']:.2f})"
    return [
        ["action", clip.action, said["action"]],
        ["verdict", ("standard", "non-standard")[clip.quality], verdict],
        ["explanation", str(formsim.record(clip)["explanation"]), said["explanation"]],
    ]


@dataclass(frozen=True)
class Opened:
    """A model, one clip, and a plain sentence on what the model is.

    Attributes:
        frames: uint8 [T, S, S, 3].
        trained: False for random weights.
    """

    efa: EFA
    about: str
    trained: bool
    clip: formsim.Clip
    frames: np.ndarray

    @property
    def batch(self) -> torch.Tensor:
        """uint8 [1, T, 3, S, S]."""
        return torch.from_numpy(self.frames).permute(0, 3, 1, 2)[None]

    def text(self, action: str) -> StepText:
        """The five steps and the instruction of an action; of its full range, where there are several standards."""
        return self.efa.steps[action] if action in self.efa.steps else self.efa.steps[f"{action} [full]"]

    def vectors(self, action: str) -> tuple[torch.Tensor, torch.Tensor]:
        """F_t^s [1, 5, E] and F_t^g [1, 1, E] before they are brought to the width of the fusion."""
        text = self.text(action)
        with torch.no_grad():
            both = TextEncoder(self.efa.config.text).encode([*text.steps, text.instruction])  # [6, E]
        return both[None, :5], both[None, 5:]


def open_up(checkpoint: str = "", preset: str = "laptop", overrides: Overrides | None = None) -> Opened:
    """The checkpoint, or the newest finished run of EFA, or else random weights of a preset's sizes; and one test clip.

    The clip is the first non-standard one of FormSim's test split.
    """
    try:
        folder = checkpoint or default_checkpoint()
        efa = EFA.from_pretrained(folder)
        training = efa.config.training
        data = efa.config.data
        clips = f"{data.clips} clips" if isinstance(data, FormSimData) else data.source
        about = f"A trained model: {training.epochs} epochs on {clips}, seed {training.seed}."
        trained = True
    except InputError:
        if checkpoint:
            raise
        efa, trained = _random(preset, overrides or {}), False
        about = "RANDOM WEIGHTS: there is no trained model here, so shapes are right and answers mean nothing."
    data = next(data for data in (efa.config.data, build(preset).data) if isinstance(data, FormSimData))
    chosen = formsim_clips(data)
    clip = next(c for c in chosen if c.split == "test" and c.fault)
    return Opened(efa, about, trained, clip, formsim.render_clip(clip, data.size, data.frames, data.clutter))


def _random(preset: str, overrides: Overrides) -> EFA:
    bare = {"encoder.weights": "", "decoder.weights": "", "decoder.frozen": False, "decoder.vocabulary": "full"}
    config = build(preset, bare | {"text.model": "minilm"})  # what is here: random weights are not worth a download
    dataset = open_dataset(config.data)
    tokenizer = word_pieces(config.text).pruned(list(dataset.table["explanation"][:200]))
    width = text_vectors(dataset, config.text)[0].shape[-1]
    torch.manual_seed(0)
    model = EFAModel(config, len(dataset.actions), len(tokenizer), width)
    return EFA(model, config, tokenizer, dataset.steps, dataset.actions, width)


def sizes_at_paper_size() -> Html:
    """Parameters of the model at the paper's sizes, counted without making them, beside the release's."""
    from efa.config import Config
    from efa.model.assessor import parameter_table

    with torch.device("meta"):
        model = EFAModel(Config(), actions=141, vocabulary_size=30522, text_dim=768)
    rows: list[list[str | html.Cell]] = [
        [name, html.Cell(f"{count / 1e6:.1f} M", number=True), _RELEASE.get(name, "")]
        for name, count in parameter_table(model)
    ]
    notes = [
        "Ours: Swin-B, BERT-base widths, 141 actions, a vocabulary of 30,522; without the text encoder, which runs "
        "apart. The release: counted from its code with random weights, 665.6 M, of which 166.8 M get no gradient.",
    ]
    return html.table("Parameters at the paper's size", ["part", "ours", "the released code"], rows, notes)


_RELEASE = {
    "video encoder": "Swin-B, the same",
    "fusion: attentions": "113.5 M in six stacks of eight layers; the paper says four single attentions, 7.1 M",
    "total": "665.6 M, with three BERT text encoders",
}


def eq4_gradients(model: EFAModel, features: torch.Tensor, steps: torch.Tensor, instruction: torch.Tensor) -> Html:
    """Largest gradient of each weight of eq. 4 and eq. 8 after one backward pass through verdict and text.

    Args:
        features: F_v [B, N, C]. steps: [B, 5, E]. instruction: [B, 1, E].
    """
    model.zero_grad()
    tokens = torch.arange(1, 9).expand(len(features), -1)  # any word pieces do
    output = model(features, steps, instruction, None, tokens)
    assert output.text_logits is not None
    (output.quality_logit.sum() + output.text_logits.logsumexp(-1).sum()).backward()
    rows: list[list[str | html.Cell]] = []
    for branch, keys in (("global_branch", 1), ("step_branch", 5)):
        attention = getattr(model.fusion, branch).video_attention
        equation = "eq. 4, one key" if keys == 1 else "eq. 8, five keys"
        for part in ("query", "key", "value"):
            largest = getattr(attention, part).weight.grad.abs().max().item()
            rows.append([f"{equation}: {part} weights", html.Cell(f"{largest:.1e}", number=True)])
    model.zero_grad()
    return html.table("Largest gradient after one backward pass", ["weights", "largest |gradient|"], rows)
