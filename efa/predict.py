"""Predictions over a split, and the assessment of one video.

>>> from efa import EFA
>>> assessment = EFA.from_pretrained("my-checkpoint").assess("squat.mp4")  # a folder of save_pretrained
>>> assessment["quality"] in ("standard", "non-standard")
True
"""

from __future__ import annotations

import json
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from efa.baselines.inputs import TrainingInputs
from efa.baselines.registry import Model, build_system
from efa.config import Config
from efa.data.loader import text_keys
from efa.data.manifest import StepText
from efa.data.tokenizer import Tokenizer
from efa.model.assessor import EFAModel
from efa.model.text import TextEncoder
from efa.train import contiguous_state
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa.utils.memory import run_in_batches

BROKEN = (OSError, ValueError, ArithmeticError, LookupError, TypeError, AttributeError, RuntimeError)
PROTOCOLS = ("predicted", "oracle", "none", "wrong")


@torch.inference_mode()
def predict(
    model: Model, inputs: TrainingInputs, config: Config, split: str = "test", protocol: str = "", generate: bool = True
) -> pd.DataFrame:
    """One row a clip of `split`, with everything that scoring needs.

    Args:
        protocol: 'predicted': the model's own class picks the steps; 'oracle': the true one; 'none': no text;
            'wrong': another standard (or action) on purpose. Default: `config.prediction.protocol`.
        generate: write explanations; without, the column stays empty.

    Raises:
        InputError: the protocol is unknown, or memory does not hold a single clip. Where it does not hold
            `prediction.batch` clips, half as many are asked for at once.
    """
    protocol = protocol or config.prediction.protocol
    if protocol not in PROTOCOLS:
        raise InputError(f"unknown protocol '{protocol}'", hint=f"one of {', '.join(PROTOCOLS)}")
    model.eval()
    dataset, actions = inputs.dataset, inputs.dataset.actions
    rows = inputs.rows(split)
    limit = min(config.prediction.max_tokens, config.decoder.max_tokens)
    device = next(model.parameters()).device

    def recognize(part: slice) -> tuple[Tensor, Tensor]:
        features = _features(model, inputs.video, rows[part])
        return features, model.classify(features)

    found = run_in_batches(recognize, len(rows), config.prediction.batch)
    features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))  # [n, N, C], [n, A]
    probability = logits.softmax(1)  # [n, A]
    best = probability.topk(min(5, len(actions)), dim=1).indices.tolist()
    guessed = list(dataset.table["action"])
    if protocol == "predicted":
        for row, top in zip(rows, best, strict=True):
            guessed[row] = actions[top[0]]
    keys = text_keys(dataset, config, guessed, wrong=protocol == "wrong")[rows]
    if protocol == "none":
        keys = np.full(len(rows), -1)

    def explain(part: slice) -> tuple[list[float], list[str]]:
        key = torch.as_tensor(keys[part])
        steps, instruction = (v[key.clamp(min=0)].to(device) for v in (inputs.steps, inputs.instruction))
        seen = (features[part], steps, instruction, (key >= 0).to(device))
        verdicts = model(*seen).quality_logit.sigmoid().tolist()
        if not generate:
            return verdicts, []
        ids = model.generate(*seen, inputs.tokenizer.begin, inputs.tokenizer.end, limit)
        return verdicts, [inputs.tokenizer.decode(line) for line in ids]

    answers = run_in_batches(explain, len(rows), config.prediction.batch)
    quality, texts = (list(chain.from_iterable(parts)) for parts in zip(*answers, strict=True))
    table = dataset.table.iloc[rows]
    return pd.DataFrame(
        {
            "clip_id": table["clip_id"].to_numpy(),
            "action": table["action"].to_numpy(),
            "predicted_action": [actions[top[0]] for top in best],
            "top5": [[actions[i] for i in top] for top in best],
            "quality": table["quality"].to_numpy(np.int64),
            "quality_prob": quality,
            "reference": table["explanation"].to_numpy(),
            "explanation": texts if generate else [""] * len(rows),
            "protocol": protocol,
            "fault": table["fault"].to_numpy(),
            "fault_step": table["fault_step"].to_numpy(np.float64),
            "split": split,
        }
    )


def _features(model: Model, video: np.ndarray, rows: np.ndarray) -> Tensor:
    device = next(model.parameters()).device
    if video.dtype == np.uint8:
        return model.encode_video(torch.from_numpy(video[rows]).to(device).permute(0, 1, 4, 2, 3))
    return torch.from_numpy(video[rows]).to(device).float()


class EFA:
    """A trained assessor with all it needs: model, words, actions and their steps.

    Used as Hugging Face users expect: `from_pretrained`, `save_pretrained`, `assess`.
    """

    def __init__(
        self,
        model: Model,
        config: Config,
        tokenizer: Tokenizer,
        steps: dict[str, StepText],
        actions: list[str],
        text_dim: int,
    ):
        self.model, self.config, self.tokenizer = model.eval(), config, tokenizer
        self.steps, self.actions, self.text_dim = steps, actions, text_dim
        self._text: TextEncoder | None = None
        self._vectors: dict[str, tuple[Tensor, Tensor]] = {}

    @staticmethod
    def from_material(model: Model, config: Config, inputs: TrainingInputs) -> EFA:
        return EFA(
            model,
            config,
            inputs.tokenizer,
            inputs.dataset.steps,
            inputs.dataset.actions,
            inputs.steps.shape[-1],
        )

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json, vocab.txt, model.safetensors: nothing that runs code when it is loaded."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        steps = {key: asdict(text) for key, text in self.steps.items()}
        meta = {"config": self.config.to_dict(), "actions": self.actions, "steps": steps, "text_dim": self.text_dim}
        write_safely(folder / "config.json", lambda path: path.write_text(json.dumps(meta, indent=1), encoding="utf-8"))
        write_safely(folder / "vocab.txt", self.tokenizer.save)
        write_safely(folder / "model.safetensors", lambda path: save_file(contiguous_state(self.model), path))

    @staticmethod
    def from_pretrained(source: str | Path) -> EFA:
        """A folder that `save_pretrained` or a run has left, or the id of such a folder on the Hugging Face hub."""
        folder = Path(source)
        if not folder.is_dir():
            folder = _download(str(source))
        try:
            meta = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config = Config.from_dict(meta["config"])
            steps = {key: _step_text(key, text) for key, text in meta["steps"].items()}
            actions, tokenizer = list(meta["actions"]), Tokenizer.from_file(folder / "vocab.txt")
            for name in actions:
                if not any(key == name or key.startswith(f"{name} [") for key in steps):
                    raise ValueError(f"no steps of the action {name!r}")
            state = load_file(folder / "model.safetensors")
            model = build_system(config, len(actions), len(tokenizer), int(meta["text_dim"]), tokenizer.mask)
            model.load_state_dict(state)
            if not all(bool(value.isfinite().all()) for value in model.state_dict().values()):
                raise ValueError("weights that are no finite numbers")
        except FileNotFoundError as error:
            lacking = Path(error.filename or "model.safetensors").name  # safetensors does not say which file
            raise InputError(
                f"this checkpoint lacks {lacking}", file=folder, hint="train it again with 'efa run'"
            ) from None
        except InputError as error:  # of a setting, which does not know its file
            raise InputError(error.message, file=error.file or folder / "config.json", hint=error.hint) from None
        except (*BROKEN, SafetensorError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"this checkpoint cannot be read: {reason}", file=folder, hint="train it again with 'efa run'"
            ) from None
        return EFA(model, config, tokenizer, steps, actions, int(meta["text_dim"]))

    def assess(
        self, video: str | Path | np.ndarray, action: str | None = None, steps: StepText | None = None
    ) -> dict[str, Any]:
        """One video -> action, verdict and explanation.

        Args:
            video: a file, a folder of frames, or frames uint8 [T, H, W, 3].
            action: which action it is; by default the model decides (protocol 'predicted').
            steps: five steps and an instruction of an action that the model has never seen.

        Returns:
            action, protocol, top5 [{action, probability}], quality ('standard' or 'non-standard'), quality_probability
            (of non-standard form), explanation, steps [{text, frames: attention over the frames, sums to 1}], warnings.
        """
        data = self.config.data
        warnings: list[str] = []
        if isinstance(video, np.ndarray):
            frames, shape = video, (data.frames, data.size, data.size, 3)
            if frames.shape != shape or frames.dtype != np.uint8:
                raise InputError(f"frames are {frames.dtype} {list(frames.shape)}", hint=f"give uint8 {list(shape)}")
        else:
            from efa.data.video import load_clip

            clip = load_clip(video, data.frames, data.size, data.sampling)
            frames, warnings = clip.frames, list(clip.info.warnings)
            if (count := clip.info.frames) < data.frames:
                warnings.append(f"{count} frame{'s' * (count > 1)} for {data.frames}: some are repeated")
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)[None]  # [1, T, 3, H, W]
            features = self.model.encode_video(batch)
            probability = self.model.classify(features).softmax(1)[0]
        order = probability.argsort(descending=True).tolist()
        name = action or self.actions[order[0]]
        text = steps or self._steps_of(name)
        vectors = self._encode(text)
        limit = min(self.config.prediction.max_tokens, self.config.decoder.max_tokens)
        with torch.inference_mode():
            output = self.model(features, *vectors, None)
            tokens = self.model.generate(features, *vectors, None, self.tokenizer.begin, self.tokenizer.end, limit)
        attention = getattr(getattr(output, "fusion", None), "step_attention", None)  # [1, 5, N], of EFA alone
        wrong = float(output.quality_logit.sigmoid()[0])
        return {
            "video": None if isinstance(video, np.ndarray) else str(video),
            "action": name,
            "protocol": "oracle" if action or steps else "predicted",
            "top5": [{"action": self.actions[i], "probability": round(float(probability[i]), 6)} for i in order[:5]],
            "quality": "non-standard" if wrong >= 0.5 else "standard",
            "quality_probability": round(wrong, 6),
            "explanation": self.tokenizer.decode(tokens[0]),
            "steps": [
                {"text": sentence, "frames": weights}
                for sentence, weights in zip(text.steps, self._over_frames(attention), strict=True)
            ],
            "warnings": warnings,
        }

    def _over_frames(self, attention: Tensor | None) -> list[list[float] | None]:
        """Attention of each step over the frames: [1, 5, N] summed over places -> 5 x T."""
        if attention is None or not isinstance(self.model, EFAModel):
            return [None] * 5
        per_frame = attention[0].unflatten(-1, (self.model.grid[0], -1)).sum(-1)  # [5, T]
        return [[round(float(w), 6) for w in row] for row in per_frame]

    def _steps_of(self, name: str) -> StepText:
        key = next((k for k in (name, f"{name} [full]") if k in self.steps), None)
        if key is None:
            import difflib

            plain = sorted({k.split(" [")[0] for k in self.steps})
            close = difflib.get_close_matches(name, plain, n=1, cutoff=0.5)
            hint = f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(plain)}"
            raise InputError(f"unknown action '{name}'", hint=f"{hint} Or describe it in a steps file")
        return self.steps[key]

    def _encode(self, text: StepText) -> tuple[Tensor | None, Tensor | None]:
        if self.config.fusion.text == "none":
            return None, None
        key = json.dumps(asdict(text))
        if key not in self._vectors:
            self._text = self._text or TextEncoder(self.config.text)
            with torch.inference_mode():
                vectors = self._text.encode([*text.steps, text.instruction])
            self._vectors[key] = vectors[None, :5], vectors[None, 5:]
        return self._vectors[key]


def _step_text(key: str, text: dict[str, Any]) -> StepText:
    """One entry of a checkpoint's steps; ValueError where it is no such thing."""
    steps, instruction = text["steps"], text["instruction"]
    texts = [*steps, instruction] if isinstance(steps, list) else []
    if len(texts) != 6 or not all(isinstance(part, str) and part.strip() for part in texts):
        raise ValueError(f"the steps of {key!r} are not five texts and an instruction")
    return StepText(tuple(steps), instruction)


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=["config.json", "vocab.txt", "model.safetensors"]))
    except Exception as error:  # the hub's own errors are many; each means that there is no checkpoint to load
        reason = type(error).__name__
        raise InputError(
            f"no checkpoint folder or hub id '{name}' ({reason})", hint="train one: efa run 6/EFA"
        ) from None


__all__ = ["EFA", "PROTOCOLS", "predict"]
