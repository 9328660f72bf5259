"""Predictions over a split, and the assessment of one video.

>>> from efa import EFA
>>> assessment = EFA.from_pretrained("my-checkpoint").assess("squat.mp4")  # a folder of save_pretrained
>>> assessment["quality"] in ("standard", "non-standard")
True
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from efa.baselines.inputs import TrainingInputs, randomise
from efa.baselines.registry import Model, build_system
from efa.config import Config
from efa.data.checks import Log, StepText, near, parse_step_text
from efa.data.loader import pixels, text_keys
from efa.data.tokenizer import Tokenizer
from efa.model.assessor import EFAModel
from efa.model.text import TextEncoder
from efa.train import contiguous_state
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa.utils.memory import run_in_batches

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
        video = torch.from_numpy(inputs.observed[rows[part]]).to(device)
        finished = config.encoder.frozen and video.dtype != torch.uint8  # features of a frozen encoder
        features = video.float() if finished else model.encode_video(pixels({"video": video}))
        return features, model.classify(features)

    found = run_in_batches(recognize, len(rows), config.prediction.batch)
    features, logits = (torch.cat(parts) for parts in zip(*found, strict=True))  # [n, N, C], [n, A]
    guessed = list(dataset.table["action"])
    if protocol == "predicted":
        for row, number in zip(rows, logits.argmax(1).tolist(), strict=True):
            guessed[row] = actions[number]
    keys = text_keys(dataset, config, guessed, wrong=protocol == "wrong")[rows]
    if protocol == "none":
        keys = np.full(len(rows), -1)

    def explain(part: slice) -> tuple[list[list[int]], list[float], list[str]]:
        key, at = torch.as_tensor(keys[part], device=device), torch.as_tensor(rows[part], device=device)
        seen = (features[part], *inputs.embed(model, key, at), key >= 0)
        output = model(*seen)
        best = output.class_logits.softmax(1).topk(min(5, len(actions)), dim=1).indices.tolist()
        verdicts = output.quality_logit.sigmoid().tolist()
        if not generate:
            return best, verdicts, []
        ids = model.generate(*seen, inputs.tokenizer.begin, inputs.tokenizer.end, limit)
        return best, verdicts, [inputs.tokenizer.decode(line) for line in ids]

    answers = run_in_batches(explain, len(rows), config.prediction.batch)
    best, quality, texts = (list(chain.from_iterable(parts)) for parts in zip(*answers, strict=True))
    table = dataset.table.iloc[rows]
    columns = {
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
    return pd.DataFrame(columns)


@dataclass(eq=False, repr=False)
class EFA:
    """A trained assessor with all it needs: model, words, actions and their steps.

    Used as Hugging Face users expect: `from_pretrained`, `save_pretrained`, `assess`.
    """

    model: Model
    config: Config
    tokenizer: Tokenizer
    steps: dict[str, StepText]
    actions: list[str]
    text_dim: int

    def __post_init__(self) -> None:
        self.model.eval()

    @cached_property
    def _text(self) -> TextEncoder:
        return self.model.text_encoder or TextEncoder(self.config.text)

    @staticmethod
    def from_material(model: Model, config: Config, inputs: TrainingInputs) -> EFA:
        dataset, text_dim = inputs.dataset, inputs.steps.shape[-1]
        return EFA(model, config, inputs.tokenizer, dataset.steps, dataset.actions, text_dim)

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
        folder = Path(source) if Path(source).is_dir() else _download(str(source))
        train_again = "train it again with 'efa run'"
        try:
            meta = json.loads((folder / "config.json").read_text(encoding="utf-8"))
            config = Config.from_dict(meta["config"])
            log = Log(folder / "config.json")
            steps = {key: parse_step_text(key, text, train_again, log) for key, text in meta["steps"].items()}
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
            missing = Path(error.filename or "model.safetensors").name  # safetensors does not say which file
            raise InputError(f"this checkpoint lacks {missing}", file=folder, hint=train_again) from None
        except InputError as error:  # of a setting or a step, which do not know their file
            file = error.file or folder / "config.json"
            raise InputError(error.message, file=file, row=error.row, hint=error.hint) from None
        except Exception as error:  # each reader raises a dozen kinds of its own on a broken file
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"this checkpoint cannot be read: {reason}", file=folder, hint=train_again) from None
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
        data, notes = self.config.data, []
        if isinstance(video, np.ndarray):
            frames, shape = video, (data.frames, data.size, data.size, 3)
            if frames.shape != shape or frames.dtype != np.uint8:
                raise InputError(f"frames are {frames.dtype} {list(frames.shape)}", hint=f"give uint8 {list(shape)}")
        else:
            from efa.data.video import load_clip

            frames, length, warnings = load_clip(video, data.frames, data.size, data.sampling)
            notes = list(warnings)
            if length < data.frames:
                notes.append(f"{length} frame{'s' * (length > 1)} for {data.frames}: some are repeated")
        with torch.inference_mode():
            batch = torch.from_numpy(np.ascontiguousarray(frames)).permute(0, 3, 1, 2)[None]  # [1, T, 3, H, W]
            features = self.model.encode_video(batch)
            text = steps or self._steps_of(action or self.actions[int(self.model.classify(features).argmax())])
            vectors = self._encode(text)
            limit = min(self.config.prediction.max_tokens, self.config.decoder.max_tokens)
            output = self.model(features, *vectors, None)
            probability = output.class_logits.softmax(1)[0]
            order = probability.argsort(descending=True).tolist()
            tokens = self.model.generate(features, *vectors, None, self.tokenizer.begin, self.tokenizer.end, limit)
        attention: list[Any] = [None] * 5
        if isinstance(self.model, EFAModel) and output.fusion.step_attention is not None:  # [1, 5, N]
            per_frame = output.fusion.step_attention[0].unflatten(-1, (self.model.grid[0], -1)).sum(-1)  # [5, T]
            attention = [[round(float(weight), 6) for weight in row] for row in per_frame]
        wrong = float(output.quality_logit.sigmoid()[0])
        return {
            "video": None if isinstance(video, np.ndarray) else str(video),
            "action": action or self.actions[order[0]],
            "protocol": "oracle" if action or steps else "predicted",
            "top5": [{"action": self.actions[i], "probability": round(float(probability[i]), 6)} for i in order[:5]],
            "quality": "non-standard" if wrong >= 0.5 else "standard",
            "quality_probability": round(wrong, 6),
            "explanation": self.tokenizer.decode(tokens[0]),
            "steps": [{"text": step, "frames": row} for step, row in zip(text.steps, attention, strict=True)],
            "warnings": notes,
        }

    def _steps_of(self, name: str) -> StepText:
        for key in (name, f"{name} [full]"):
            if key in self.steps:
                return self.steps[key]
        known = sorted({key.split(" [")[0] for key in self.steps})
        hint = near(name, known) or f"one of: {', '.join(known)}"
        raise InputError(f"unknown action '{name}'", hint=f"{hint} Or describe it in a steps file")

    def _encode(self, text: StepText) -> tuple[Tensor | None, Tensor | None]:
        """Vectors of the steps [1, 5, C] and of the instruction [1, 1, C]; None for a model without text."""
        if self.config.fusion.text == "none":
            return None, None
        vectors = self._text.encode(list(text.sentences))  # [6, E]
        vectors = randomise(text, vectors) if self.config.fusion.text == "random" else vectors
        return vectors[None, :5], vectors[None, 5:]


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=["config.json", "vocab.txt", "model.safetensors"]))
    except Exception as error:  # the hub's own errors are many; each means that there is no checkpoint to load
        message = f"no checkpoint folder or hub id '{name}' ({type(error).__name__})"
        raise InputError(message, hint="train one: efa run 6/EFA") from None
