"""Predictions over a split, and the assessment of one video.

>>> from efa import EFA
>>> assessment = EFA.from_pretrained("my-checkpoint").assess("squat.mp4")  # a folder of save_pretrained
>>> assessment["quality"] in ("standard", "non-standard")
True
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import formsim
from efa.baselines.inputs import TrainingInputs, randomise
from efa.baselines.registry import Model, build_system, encoder_file
from efa.config import RESULTS_VERSION, Config, FormSimData
from efa.data.checks import Log, StepText, parse_step_text
from efa.data.loader import Progress, pixels, text_keys
from efa.data.observation import Observation, observe
from efa.data.tokenizer import Tokenizer
from efa.model import load_encoder
from efa.model.assessor import EFAModel
from efa.model.text import TextEncoder
from efa.train import contiguous_state
from efa.utils import paths
from efa.utils.errors import InputError
from efa.utils.files import write_safely
from efa.utils.memory import run_in_batches
from formsim.faults import FaultParser, spaced_words
from formsim.names import find_action
from formsim.others import OTHER
from formsim.skeletons import ALIKE
from formsim.verdicts import verdict_in_text

AGREES = 0.7  # AUC from which verdicts are said to agree with people's
NEW_ACTION = "the exercise described"  # by steps without a name
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


@dataclass(frozen=True)
class Trust:
    """How far answers about people's videos can be trusted, as fitted on people whom no test holds.

    `efa_book.real_people.actions` fits it; without it the class probabilities count as they are.
    """

    weights: tuple[float, float] = (0.0, 1.0)  # of 1 and the best action's log-odds in a logistic regression
    least: float = 0.0  # probability of a right answer below which the model abstains
    forms: dict[str, Any] = field(default_factory=dict)  # action -> how well verdicts on it agree with people's labels

    def right(self, probability: float) -> float:
        """The probability that the best action is right, given its class probability."""
        odds = math.log(max(probability, 1e-4) / max(1 - probability, 1e-4))
        return 1 / (1 + math.exp(-self.weights[0] - self.weights[1] * odds))


def quality_of(probability: float) -> str:
    """The verdict at a probability of non-standard form."""
    return "non-standard" if probability >= 0.5 else "standard"


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
    trust: Trust = field(default_factory=Trust)
    vectors: dict[str, Tensor] = field(default_factory=dict)  # key of `steps` -> its sentences' vectors [6, E], if kept

    def __post_init__(self) -> None:
        self.model.eval()

    @cached_property
    def text_encoder(self) -> TextEncoder:
        return self.model.text_encoder or TextEncoder(self.config.text)

    @staticmethod
    def from_material(model: Model, config: Config, inputs: TrainingInputs) -> EFA:
        dataset, text_dim = inputs.dataset, inputs.steps.shape[-1]
        return EFA(model, config, inputs.tokenizer, dataset.steps, dataset.actions, text_dim)

    def save_pretrained(self, folder: str | Path) -> None:
        """config.json, vocab.txt, model.safetensors, and steps.safetensors of `vectors`: loading them runs no code."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        steps = {key: asdict(text) for key, text in self.steps.items()}
        meta = {"config": self.config.to_dict(), "actions": self.actions, "steps": steps, "text_dim": self.text_dim}
        meta |= {"trust": asdict(self.trust), "spelling": self.tokenizer.spelling}
        write_safely(folder / "config.json", lambda path: path.write_text(json.dumps(meta, indent=1), encoding="utf-8"))
        write_safely(folder / "vocab.txt", self.tokenizer.save)
        write_safely(folder / "model.safetensors", lambda path: save_file(contiguous_state(self.model), path))
        if self.vectors:
            write_safely(folder / "steps.safetensors", partial(save_file, self.vectors))

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
            actions, pieces = list(meta["actions"]), Tokenizer.from_file(folder / "vocab.txt").pieces
            tokenizer = Tokenizer(pieces, {word: str(form) for word, form in meta.get("spelling", {}).items()})
            trust = Trust(**meta.get("trust", {}))
            trust.right(0.5)  # or an error about its weights
            for name in actions:
                if not any(key == name or key.startswith(f"{name} [") for key in steps):
                    raise ValueError(f"no steps of the action {name!r}")
            (folder / "model.safetensors").open("rb").close()  # safetensors calls a file missing that may not be read
            state = load_file(folder / "model.safetensors")
            model = build_system(config, len(actions), len(tokenizer), int(meta["text_dim"]), tokenizer.mask)
            if config.encoder.frozen and not any(name.startswith("encoder.") for name in state):
                load_encoder(model.encoder, encoder_file(config))  # a published model leaves out what is shipped
                state |= {name: value for name, value in model.state_dict().items() if name.startswith("encoder.")}
            model.load_state_dict(state)
            kept = folder / "steps.safetensors"
            vectors = load_file(kept) if kept.is_file() else {}
            for value in (*model.state_dict().values(), *vectors.values()):
                if not value.isfinite().all():
                    raise ValueError("weights that are no finite numbers")
            for key, value in vectors.items():
                if key not in steps or value.shape != (6, meta["text_dim"]):
                    raise ValueError(f"vectors of {key!r} that do not fit")
        except PermissionError:
            raise
        except FileNotFoundError as error:
            missing = Path(error.filename).name
            raise InputError(f"this checkpoint lacks {missing}", file=folder, hint=train_again) from None
        except InputError as error:  # of a setting or a step, which do not know their file
            file = error.file or folder / "config.json"
            raise InputError(error.message, file=file, row=error.row, hint=error.hint) from None
        except Exception as error:  # each reader raises a dozen kinds of its own on a broken file
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"this checkpoint cannot be read: {reason}", file=folder, hint=train_again) from None
        return EFA(model, config, tokenizer, steps, actions, int(meta["text_dim"]), trust, vectors)

    def assess(
        self,
        video: str | Path | np.ndarray,
        action: str | None = None,
        steps: StepText | None = None,
        progress: Progress | None = None,
    ) -> dict[str, Any]:
        """One video -> action, verdict and explanation; for a model that reads poses, of each repetition, too.

        Args:
            video: a file, a folder of frames, or frames uint8 [T, H, W, 3] for a model that reads frames.
            action: which action it is; by default the model decides (protocol 'predicted').
            steps: five steps and an instruction of an action that the model has never seen; `action` is then its name.
                A text about an exercise that the model knows is no explanation of it and is left out.
            progress: called with the number of frames done and in all while the person's pose is estimated.

        Returns:
            action, action_probability (that it is right, as fitted on people; None where it was given), protocol, top5
            [{action, probability}] as the classes have it, abstained (why there is no answer, '' where there is one),
            quality ('standard' or 'non-standard'), quality_probability (of non-standard form), explanation, faults
            (names, where the model's data have some), steps [{text, frames: attention over the frames, sums to 1}],
            repetitions [{start, end, quality, quality_probability}], explained (which of them the explanation is
            about), validated (how well verdicts on this action agree with people's labels), warnings. With an
            abstention, action, quality and its probability are None, and the explanation is ''.
        """
        name = "" if isinstance(video, np.ndarray) else str(video)
        return self.answer(observe(video, self.config, progress), name, action, steps)

    @torch.inference_mode()
    def answer(
        self, seen: Observation, video: str = "", action: str | None = None, steps: StepText | None = None
    ) -> dict[str, Any]:
        """`assess` of what has been read of a video."""
        if action and not steps:  # else it is the name of a new action
            action = self.find_action(action)
        features = self._features(seen)
        guess, best, likely, other = self._name(features)
        text = steps or self._steps_of(action or self.actions[best])
        judged = features[: max(1, len(seen.spans))]  # [R, N, C], one for each repetition
        vectors = self._encode(text)
        output = self.model(judged, *(None if v is None else v.expand(len(judged), -1, -1) for v in vectors), None)
        if self.config.encoder.kind == "swin":
            guess = output.class_logits.softmax(1)[0]
        order = [] if seen.unusable else guess.argsort(descending=True).tolist()[:5]
        named, sure = action or (NEW_ACTION if steps else self.actions[best]), self.trust.right(likely)
        reason = seen.unusable
        if not reason and not action and not steps and (sure < self.trust.least or other > likely):
            reason = f"this may be none of the known exercises (the best guess is right with probability {sure:.2f})"
        wrong = output.quality_logit.sigmoid()  # [R]
        mean = float(wrong.mean())
        told = int(wrong.argmax() if mean >= 0.5 else wrong.argmin())  # the repetition that is explained
        limit = min(self.config.prediction.max_tokens, self.config.decoder.max_tokens)
        ends = self.tokenizer.begin, self.tokenizer.end
        tokens = self.model.generate(judged[told : told + 1], *vectors, None, *ends, limit)
        attention: list[Any] = [None] * 5
        if isinstance(self.model, EFAModel) and output.fusion.step_attention is not None:  # [R, 5, N]
            per_frame = output.fusion.step_attention[told].unflatten(-1, (self.model.grid[0], -1)).sum(-1)  # [5, T]
            attention = [[round(float(weight), 6) for weight in row] for row in per_frame]
        verdicts = [(span, round(float(p), 6)) for span, p in zip(seen.spans, wrong, strict=True)] if seen.spans else []
        explanation = "" if reason else self.tokenizer.decode(tokens[0])
        cautions = [] if reason else self._cautions(named, wrong, explanation)
        other_action = None if reason else self._named_in(explanation)
        if steps and other_action:  # a text of a trained exercise, which the video does not show
            cautions.append(f"no explanation: the model's text was about another exercise, '{other_action}'")
            explanation = ""
        elif other_action not in (None, named):
            cautions.append(f"the explanation is about another exercise, '{other_action}'")
        return {
            "video": video or None,
            "action": None if reason else named,
            "protocol": "oracle" if action or steps else "predicted",
            "top5": [{"action": self.actions[i], "probability": round(float(guess[i]), 6)} for i in order],
            "action_probability": None if reason or action or steps else round(sure, 6),
            "abstained": reason,
            "quality": None if reason else quality_of(mean),
            "quality_probability": None if reason else round(mean, 6),
            "explanation": explanation,
            "faults": self._faults(explanation, named),
            "steps": [{"text": step, "frames": row} for step, row in zip(text.steps, attention, strict=True)],
            "repetitions": [
                {"start": round(s.start, 2), "end": round(s.end, 2), "quality": quality_of(p), "quality_probability": p}
                for s, p in verdicts
                if not reason
            ],
            "explained": told if verdicts and not reason else None,
            "validated": None if reason else self.trust.forms.get(named),
            "model": {
                "encoder": self.config.encoder.kind,
                "data": self.config.data.source,
                "system": self.config.system.name,
                "results_version": RESULTS_VERSION,
            },
            "warnings": [*seen.notes, *cautions],
        }

    @torch.inference_mode()
    def name_action(self, seen: Observation) -> tuple[str, float, float]:
        """The best action for what has been read of a video, its probability, and that of another exercise."""
        _, best, likely, other = self._name(self._features(seen))
        return self.actions[best], likely, other

    def _features(self, seen: Observation) -> Tensor:
        clips = torch.from_numpy(np.ascontiguousarray(seen.clips))
        return self.model.encode_video(pixels({"video": clips}))

    def _name(self, features: Tensor) -> tuple[Tensor, int, float, float]:
        """Of the clips [W, N, C] of a video: probabilities [A] of the actions; the best one; its probability, with that
        of actions that look alike; and the probability of another exercise, which is no action."""
        guess, other = self.model.classify(features).softmax(1).mean(0), 0.0
        if OTHER in self.actions:
            at = self.actions.index(OTHER)
            other, guess[at] = float(guess[at]), 0.0
        together = guess.clone()
        for group in ALIKE if self.config.encoder.kind == "pose" else ():
            members = [self.actions.index(name) for name in group if name in self.actions]
            together[members] = guess[members].sum()
        best = max(range(len(guess)), key=lambda i: (float(together[i]), float(guess[i])))
        return guess, best, float(together[best]), other

    def _cautions(self, action: str, wrong: Tensor, explanation: str) -> list[str]:
        """What a reader of an answer should know."""
        cautions = []
        if isinstance(self.config.data, FormSimData):
            if self.config.encoder.kind == "swin":
                cautions.append("this model was trained on rendered figures and has never seen a person")
            elif not (tested := self.trust.forms.get(action)):
                cautions.append(f"untested: no verdict on '{action}' was ever compared with people's labels of form")
            else:
                agree = "agree with people's labels" if tested["auc"] >= AGREES else "cannot be relied on"
                tried = f"an AUC of {tested['auc']:.2f} on {tested['clips']} clips of people, where chance is 0.50"
                cautions.append(f"verdicts on '{action}' {agree}: {tried}")
        if verdict_in_text(explanation) not in (None, float(wrong.mean()) >= 0.5):
            cautions.append("the explanation contradicts the verdict; they come from different parts of the model")
        return cautions

    def _named_in(self, explanation: str) -> str | None:
        """The action that the first sentence names, the longest of several."""
        opening = spaced_words(explanation.split(".")[0])
        return max((name for name in self.actions if spaced_words(name) in opening), key=len, default=None)

    def _faults(self, explanation: str, action: str) -> list[str]:
        """Which of FormSim's faults the explanation names, for a model trained on it."""
        known = formsim.fault_phrases() if isinstance(self.config.data, FormSimData) else {}
        return sorted(FaultParser(known).faults(explanation, action)) if action in known else []

    def find_action(self, name: str) -> str:
        """The model's action that is meant by `name`, such as 'push ups'; InputError where it has no such action."""
        known = (action for action in self.actions if action != OTHER)
        return find_action(name, known, " Or describe it in a steps file")

    def _steps_of(self, action: str) -> StepText:
        return self.steps[action if action in self.steps else f"{action} [full]"]

    def _encode(self, text: StepText) -> tuple[Tensor | None, Tensor | None]:
        """Vectors of the steps [1, 5, C] and of the instruction [1, 1, C]; None for a model without text."""
        if self.config.fusion.text == "none":
            return None, None
        known = next((value for key, value in self.vectors.items() if self.steps[key] == text), None)
        vectors = self.text_encoder.encode(list(text.sentences)) if known is None else known  # [6, E]
        vectors = randomise(text, vectors) if self.config.fusion.text == "random" else vectors
        return vectors[None, :5], vectors[None, 5:]


def shipped_checkpoint() -> Path:
    """The folder of the pose model that comes with the package."""
    return paths.WEIGHTS / "assess"


def _download(name: str) -> Path:
    try:
        from huggingface_hub import snapshot_download

        return Path(snapshot_download(name, allow_patterns=["config.json", "vocab.txt", "*.safetensors"]))
    except Exception as error:  # the hub's own errors are many; each means that there is no checkpoint to load
        message = f"no checkpoint folder or hub id '{name}' ({type(error).__name__})"
        raise InputError(message, hint="train one: efa run 6/EFA") from None
