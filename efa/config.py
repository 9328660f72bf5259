"""Every setting of the project, typed and validated, and the presets that override them.

The defaults are the paper's reading, or the release's where the paper's was not to be had. A preset, a table row and a
user's ``--set`` are the same thing: a dictionary of dotted keys over these defaults.

    >>> config = build("laptop", {"fusion.merge": "add"})
    >>> config.fusion.merge
    'add'
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from efa.config_checks import check
from efa.utils.errors import InputError

# Part of every run's key. Raise it when a change of the code may change a result; tests/test_golden.py guards it.
RESULTS_VERSION = 1


@dataclass(frozen=True)
class DataConfig:
    """Which clips, and how a clip becomes six frames."""

    source: str = "formsim"  # 'formsim', or a folder with manifest.parquet (or .csv) and steps.json
    # FormSim only. 'standards': one action under several standards; 'unseen': the test split holds whole actions
    benchmark: Literal["main", "standards", "unseen"] = "main"
    clips: int = 3392  # formsim only; train + val + test, the size of CoT-AFA
    actions: int = 0  # formsim only: so many of its actions, of varied types; 0: all
    seed: int = 0  # formsim only: the data set's own seed, not a run's
    clutter: float = 1.0  # formsim only; 0: plain rooms, 1: gyms full of things (a knob of difficulty)
    size: int = 224  # pixels, height and width of a frame
    frames: int = 6  # paper: six frames a clip
    sampling: Literal["uniform", "release"] = "uniform"  # 'release': frames 0, 18, ..., 90 of the first 108
    flip: float = 0.5  # probability of a mirror image, drawn once a clip (the release draws it per frame)
    crop: float = 0.1  # largest share of each side that one crop a clip may cut away


System = Literal[
    "EFA", "C3D", "TSM", "I3D", "TimeSformer", "Video Swin", "C3DAVG", "MSCADC", "SwinBERT", "LAVENDER", "RICA2"
]


@dataclass(frozen=True)
class SystemConfig:
    """Which of the compared systems a run trains, and at which size."""

    name: System = "EFA"
    small: bool = False  # a compared system of a size that suits a laptop; EFA's size stands in the other sections


@dataclass(frozen=True)
class EncoderConfig:
    """Video Swin Transformer. The defaults are Swin-B, the paper's."""

    patch: tuple[int, int, int] = (2, 4, 4)  # frames, pixels, pixels
    temporal_stride: Literal[1, 2] = 1  # 1 as released: six frames give six temporal positions; stock Video Swin: 2
    window: tuple[int, int, int] = (8, 7, 7)
    dim: int = 128
    depths: tuple[int, ...] = (2, 2, 18, 2)
    heads: tuple[int, ...] = (4, 8, 16, 32)
    drop_path: float = 0.2
    pool: int = 1  # k: the last stage's tokens are averaged in squares of k x k, which makes everything after cheaper
    weights: str = ""  # '' random, 'formsim' the system's shipped trunk, or a file (.safetensors, official .pth)
    frozen: bool = False  # features are then computed once and shared by every run; holds for every system's trunk
    adapter: int = 0  # hidden units of a perceptron on frozen features, which stands in for fine-tuning; 0: none


@dataclass(frozen=True)
class TextConfig:
    """The encoder of the five steps and the instruction: one vector a sentence."""

    model: str = "bert-base-uncased"  # 'minilm' (from a PyPI package), or any BERT: a hub id or a folder
    pooling: Literal["mean", "cls"] = "mean"  # over the real tokens only
    max_tokens: int = 128
    frozen: bool = True  # embeddings are then computed once


@dataclass(frozen=True)
class FusionConfig:
    """Equations 1-10 and every variant of Table VI."""

    dim: int = 768
    global_branch: bool = True  # eq. 1-4
    step_branch: bool = True  # eq. 5-8
    query: Literal["both", "text", "video"] = "both"  # 'text', 'video': one direction only (Q-text, Q-video)
    merge: Literal["gate", "concatenate", "add"] = "gate"  # eq. 9-10
    text: Literal["right", "none", "shuffled"] = "right"  # 'none': learnt vectors; 'shuffled': a random other action's
    residual: Literal["printed", "released"] = "printed"  # attention + sigma * input, or input + sigma * attention
    sigma: float = 1e-3  # where sigma starts
    learn_sigma: bool = True
    pool: Literal["mean", "frames"] = "mean"  # what the heads see: the mean of all tokens, or of each frame's, in order
    pool_norm: bool = False  # what the heads see gets mean 0, deviation 1: a mean over tokens varies little among clips
    text_dropout: float = 0.0  # share of training clips that see no text, so that protocol 'none' is defined
    dropout: float = 0.0


@dataclass(frozen=True)
class DecoderConfig:
    """A BERT-shaped causal decoder with cross-attention to the fused features."""

    dim: int = 768
    depth: int = 12
    heads: int = 12
    dropout: float = 0.1
    weights: str = "text"  # '' random, 'text' from the text encoder where sizes match, 'formsim' as shipped, or a file
    frozen: bool = False  # what came with the weights stays as it is; cross-attention learns
    vocabulary: Literal["full", "train"] = "full"  # 'train': only the word pieces of the training texts
    max_tokens: int = 256


@dataclass(frozen=True)
class TrainingConfig:
    """AdamW, linear warm-up and decay, and the three losses of eq. 11."""

    epochs: int = 10
    batch: int = 24
    lr: float = 2e-5
    head_lr: float = 5e-4  # everything that starts untrained
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 1e-3
    warmup: float = 0.1  # share of the updates
    clip: float = 1.0  # largest gradient norm
    label_smoothing: float = 0.1
    weight_class: float = 3.0  # lambda of eq. 11, the release's value; Algorithm 1 prints it on the quality loss
    weight_quality: float = 1.0
    weight_text: float = 1.0
    text_share: float = 1.0  # share of each batch whose explanation is trained; the heads learn from all of it
    text_faulty: float = 0.5  # of these, the share that belongs to faulty clips, if there are so many
    text_tokens: int = 0  # only the first so many word pieces of an explanation are trained; 0: all of them
    feature_noise: float = 0.0  # standard deviation of noise on frozen features, in units of their own
    balance: bool = False  # draw standard and non-standard clips equally often
    precision: Literal["fp32", "bf16"] = "fp32"
    select_every: int = 1  # epochs between two looks at the validation split
    micro_batch: int = 0  # clips of a batch that go through the model at once; 0: all, or as many as memory holds
    checkpointing: bool = False  # keep fewer activations of Swin blocks and decoder layers, and compute them again
    compile: bool = False  # torch.compile for the training step
    threads: int = 0  # of the CPU for one run; 0: as many as PyTorch likes. With 1, the cores' number changes nothing
    seed: int = 0


@dataclass(frozen=True)
class PredictionConfig:
    """How a trained model is asked."""

    protocol: Literal["predicted", "oracle", "none"] = "predicted"
    batch: int = 64
    max_tokens: int = 256
    beams: int = 1  # texts written side by side, of which the likeliest counts; 1: greedy


@dataclass(frozen=True)
class Config:
    """All settings of one run."""

    data: DataConfig = field(default_factory=DataConfig)
    system: SystemConfig = field(default_factory=SystemConfig)
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    decoder: DecoderConfig = field(default_factory=DecoderConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    prediction: PredictionConfig = field(default_factory=PredictionConfig)

    def with_(self, overrides: dict[str, Any]) -> Config:
        """A copy with dotted keys replaced, for example ``{"fusion.merge": "add"}``."""
        config = self
        for key, value in overrides.items():
            section, _, name = key.partition(".")
            known = [
                f"{s.name}.{f.name}"
                for s in dataclasses.fields(Config)
                for f in dataclasses.fields(getattr(self, s.name))
            ]
            if key not in known:
                raise InputError(f"unknown setting '{key}'", hint=_did_you_mean(key, known))
            part = getattr(config, section)
            hint = get_type_hints(type(part))[name]
            part = dataclasses.replace(part, **{name: _coerce(key, value, hint)})
            config = dataclasses.replace(config, **{section: part})
        check(config)
        return config

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists, ready for JSON."""
        return {s.name: _plain(dataclasses.asdict(getattr(self, s.name))) for s in dataclasses.fields(self)}

    @staticmethod
    def from_dict(settings: dict[str, Any]) -> Config:
        """The inverse of `to_dict`; unknown keys and wrong types raise InputError."""
        flat: dict[str, Any] = {}
        for section, values in settings.items():
            if not isinstance(values, dict):
                raise InputError(f"section '{section}' must be a table of settings, not {values!r}")
            flat |= {f"{section}.{name}": value for name, value in values.items()}
        return Config().with_(flat)


LAPTOP: dict[str, Any] = {
    "data.clips": 6200,
    "data.actions": 32,  # with fifty, these clips hold seven faulty training clips a fault: too few to learn from
    "data.size": 64,
    "data.clutter": 0.0,
    "system.small": True,
    "encoder.patch": (1, 8, 8),
    "encoder.window": (6, 4, 4),
    "encoder.dim": 96,
    "encoder.depths": (2, 6),
    "encoder.heads": (3, 6),
    "encoder.drop_path": 0.0,
    "encoder.weights": "formsim",
    "encoder.frozen": True,
    "encoder.pool": 2,
    "encoder.adapter": 256,
    "text.model": "minilm",
    "fusion.dim": 128,
    "fusion.sigma": 1.0,  # as printed, 1e-3 all but removes the input: see the audit of eq. 1
    "fusion.text_dropout": 0.1,
    "fusion.pool_norm": True,
    "fusion.pool": "frames",  # one mean over six frames hides a fault that shows in two of them
    "decoder.dim": 128,
    "decoder.depth": 1,
    "decoder.heads": 4,
    "decoder.dropout": 0.0,
    "decoder.weights": "formsim",
    "decoder.frozen": True,
    "decoder.vocabulary": "train",
    "decoder.max_tokens": 128,
    "training.epochs": 8,
    "training.text_share": 0.4,
    "training.text_faulty": 0.8,
    "training.text_tokens": 56,  # verdict, a step and the fault; what follows from it the language model knows
    "training.label_smoothing": 0.0,  # as released
    "training.batch": 64,
    "training.lr": 2e-3,
    "training.head_lr": 2e-3,
    "training.weight_decay": 1e-2,
    "training.feature_noise": 0.3,
    "training.balance": True,
    "training.select_every": 3,
    "training.threads": 1,
    "prediction.max_tokens": 128,
}

PRESETS: dict[str, dict[str, Any]] = {
    "paper": {},
    "laptop": LAPTOP,
    "smoke": LAPTOP | {"data.clips": 120, "training.epochs": 1, "training.batch": 16, "prediction.max_tokens": 24},
    "gpu": LAPTOP
    | {
        "data.clips": 3392,
        "data.size": 96,
        "data.actions": 0,
        "decoder.weights": "",
        "decoder.frozen": False,
        "training.text_tokens": 0,
        "decoder.depth": 4,
        "fusion.dim": 384,
        "decoder.dim": 384,
        "decoder.heads": 6,
        "training.epochs": 30,
    },
}


def build(preset: str = "laptop", overrides: dict[str, Any] | None = None) -> Config:
    """The preset's settings with `overrides` on top; an unknown preset or key raises InputError."""
    if preset not in PRESETS:
        raise InputError(f"unknown preset '{preset}'", hint=_did_you_mean(preset, list(PRESETS)))
    return Config().with_(PRESETS[preset] | (overrides or {}))


def _did_you_mean(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"did you mean '{close[0]}'?" if close else f"one of: {', '.join(known)}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return list(value) if isinstance(value, tuple) else value


def _coerce(key: str, value: Any, hint: Any) -> Any:
    """`value` as the annotated type; strings from a command line are read, anything doubtful is refused."""
    origin = get_origin(hint)
    wrong = InputError(f"setting '{key}' cannot be {value!r}", hint=f"it must be {_spell(hint)}")
    if origin is Literal:
        options = get_args(hint)
        by_text = {str(option): option for option in options}
        if isinstance(value, bool) or str(value) not in by_text:
            raise wrong
        return by_text[str(value)]
    if origin is tuple:
        items = value.split(",") if isinstance(value, str) else value
        kinds = get_args(hint)
        if not isinstance(items, (list, tuple)) or not items or (kinds[-1] is not ... and len(items) != len(kinds)):
            raise wrong
        return tuple(_coerce(key, item, kinds[0]) for item in items)
    if hint is bool:
        if isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if not isinstance(value, bool):
            raise wrong
        return value
    if hint is str:
        if not isinstance(value, str):
            raise wrong
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise wrong
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise wrong from None
    if number != number or number in (float("inf"), float("-inf")) or (hint is int and number != int(number)):
        raise wrong
    return int(number) if hint is int else number


def _spell(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(repr(option) for option in get_args(hint))
    if get_origin(hint) is tuple:
        return "numbers separated by commas"
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(_spell(part) for part in get_args(hint))
    return {int: "a whole number", float: "a number", bool: "true or false", str: "text"}.get(hint, str(hint))
