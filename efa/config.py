"""All settings, typed and validated, and the presets that override them.

The defaults are the paper's values, or the release's where the paper gives none. A preset, a row of a table and a
user's ``--set`` are all dictionaries of dotted keys that override them.

    >>> config = build("laptop", {"fusion.merge": "add"})
    >>> config.fusion.merge
    'add'
"""

from __future__ import annotations

import contextlib
from operator import attrgetter
from typing import Annotated, Any, ClassVar, Literal, Self

import pydantic
from pydantic import BaseModel, Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from efa.utils.errors import InputError, did_you_mean

# Part of every run's key. Raise it when a change of the code may change a result; tests/test_golden.py guards it.
RESULTS_VERSION = 3

Fraction = Annotated[float, Field(ge=0, lt=1)]
Stages = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]  # one number per stage
RULES = {"int_type": "it must be a whole number", "bool_type": "it must be true or false", "missing": "it is too short"}


class Section(BaseModel, frozen=True, strict=True, extra="forbid", allow_inf_nan=False):
    """One group of settings; instances are hashable, and a value is checked when it is given."""


class ClipSettings(Section):
    """How a clip becomes frames, whatever the source."""

    source: str  # 'formsim', or a folder with manifest.parquet (or .csv) and steps.json
    size: PositiveInt = 224  # pixels, height and width of a frame
    frames: PositiveInt = 6  # paper: six frames per clip
    sampling: Literal["uniform", "release"] = "uniform"  # 'release': frames 0, 18, ..., 90 of the first 108
    flip: Fraction = 0.5  # probability of mirroring, drawn once per clip (the release draws it per frame)
    crop: Fraction = 0.1  # largest fraction of each side that the one crop per clip may remove


class FormSimData(ClipSettings):
    """Clips that FormSim renders; also has the fields of `ClipSettings`."""

    source: Literal["formsim"] = "formsim"
    # 'standards': one action under several standards; 'unseen': the test split holds whole actions
    benchmark: Literal["main", "standards", "unseen"] = "main"
    clips: Annotated[int, Field(ge=3)] = 3392  # train + val + test, the size of CoT-AFA; one per split at least
    actions: Annotated[int, Field(ge=0, le=50)] = 0  # how many of its actions, of varied types; 0: all
    seed: int = 0  # the data set's own seed, not a run's
    clutter: Annotated[float, Field(ge=0, le=1)] = 1.0  # difficulty; 0: plain rooms, 1: gyms full of things
    sealed: NonNegativeInt = 0  # clips of a test split that only finished runs are scored on; 0: the split of `clips`
    sealed_seed: NonNegativeInt = 0  # of those clips
    others: NonNegativeInt = 0  # performances of exercises it does not have, a class of their own; skeletons only
    people: bool = False  # train on other ways to do exercises, more of an estimator's errors; skeletons only


class FolderData(ClipSettings):
    """Clips of a folder with a manifest; the fields are those of `ClipSettings`, and `source` is the folder."""


DataConfig = FormSimData | FolderData


class SystemConfig(Section):
    """Which of the compared systems a run trains, and at which size."""

    name: str = "EFA"  # or a name that a module of efa.baselines registers
    small: bool = False  # a compared system at a laptop's size; the size of EFA is set in the other sections


class EncoderConfig(Section):
    """Video Swin Transformer. The defaults are Swin-B, the paper's."""

    kind: Literal["swin"] = "swin"
    patch: tuple[PositiveInt, PositiveInt, PositiveInt] = (2, 4, 4)  # frames, pixels, pixels
    temporal_stride: Annotated[int, Field(ge=1, le=2)] = 1  # 1 as released: six temporal positions; stock Video Swin: 2
    window: tuple[PositiveInt, PositiveInt, PositiveInt] = (8, 7, 7)  # of an attention: frames, patches, patches
    dim: PositiveInt = 128  # width of the first stage; each stage doubles it
    depths: Stages = (2, 2, 18, 2)  # blocks of each stage
    heads: Stages = (4, 8, 16, 32)  # of each stage; must divide its width
    drop_path: Fraction = 0.2  # stochastic depth of the last block; earlier blocks have less
    pool: PositiveInt = 1  # k: the last stage's tokens are averaged in squares of k x k, so later layers are cheaper
    # '' random, 'formsim' the system's shipped trunk, 'kinetics600' the official Swin-B, or a file (.safetensors, .pth)
    weights: str = "kinetics600"
    frozen: bool = False  # features are then computed once and shared by every run; holds for every system's trunk
    adapter: NonNegativeInt = 0  # hidden units of an MLP on frozen features, in place of fine-tuning; 0: none


class PoseConfig(Section):
    """A small network over the skeletons that a pose estimator finds, in place of Video Swin; not in the paper."""

    kind: Literal["pose"] = "pose"
    dim: PositiveInt = 128  # width of its tokens, one a frame
    depth: PositiveInt = 3  # residual blocks over time
    dropout: Fraction = 0.0
    noise: NonNegativeFloat = 1.0  # in training, of FormSim's joints, in units of an ordinary estimator's
    weights: str = "formsim"  # '' random, 'formsim' the shipped trunk, or a file (.safetensors)
    frozen: ClassVar[bool] = False  # it is cheap enough to learn with the rest
    adapter: ClassVar[int] = 0


class TextConfig(Section):
    """The encoder of the five steps and the instruction: one vector per sentence."""

    model: str = "bert-base-uncased"  # 'minilm' (from a PyPI package), or any BERT: a hub id or a folder
    pooling: Literal["mean", "cls"] = "mean"  # over the real tokens only
    max_tokens: PositiveInt = 128  # longer sentences are cut
    frozen: bool = False  # embeddings are then computed once


class FusionConfig(Section):
    """Equations 1-10 and every variant of Table VI."""

    dim: PositiveInt = 768  # of the fused tokens
    global_branch: bool = True  # eq. 1-4
    step_branch: bool = True  # eq. 5-8
    query: Literal["both", "text", "video"] = "both"  # 'text', 'video': one direction only (Q-text, Q-video)
    merge: Literal["gate", "concatenate", "add"] = "gate"  # eq. 9-10
    # 'none': learnt vectors; 'shuffled': the action's own steps in a random order; 'wrong': another action's text;
    # 'random': a fixed random vector in place of each sentence of an action, so that only its identity is left
    text: Literal["right", "none", "shuffled", "wrong", "random"] = "right"
    heads: PositiveInt = 12  # of each attention (ours: BERT-base's; the paper says multi-head); must divide dim
    step_position: bool = False  # learnt vectors for the places of the five steps, which eq. 5-8 do not see
    # What the class is read from. 'video': F_v. 'two_pass': F_f without text picks the steps, F_f with them gives the
    # class. 'true_text': the same, but trained on F_f with the true class's text alone, as Algorithm 1 prints it.
    class_from: Literal["video", "two_pass", "true_text"] = "video"
    residual: Literal["printed", "released"] = "printed"  # attention + sigma * input, or input + sigma * attention
    sigma: float = 1e-3  # initial value of sigma_1 to sigma_4 (the paper gives that of 1 and 2)
    sigma_shape: Literal["vector", "scalar"] = "vector"  # 'vector': one value a channel
    learn_sigma: bool = True  # false: sigma stays at its initial value
    pool: Literal["mean", "frames"] = "mean"  # input of the heads: the mean of all tokens, or of each frame's, in order
    pool_norm: bool = False  # normalise the heads' input to mean 0, deviation 1: token means vary little between clips
    pool_dropout: Fraction = 0.0  # of the heads' input; like `pool` and `pool_norm`, in every compared system too
    text_dropout: Fraction = 0.0  # fraction of training clips without text, so that protocol 'none' is defined
    dropout: Fraction = 0.0  # on the result of each attention


class DecoderConfig(Section):
    """A BERT-shaped causal decoder with cross-attention to the fused features."""

    dim: PositiveInt = 768  # width of its layers
    depth: PositiveInt = 12  # layers
    heads: PositiveInt = 12  # of each attention; must divide dim
    dropout: Fraction = 0.1  # as in BERT
    weights: str = "text"  # '' random, 'text' from the text encoder where sizes match, 'formsim' as shipped, or a file
    frozen: bool = False  # loaded weights are not trained, cross-attention is
    vocabulary: Literal["full", "train"] = "full"  # 'train': only the word pieces of the training texts
    max_tokens: Annotated[int, Field(ge=3)] = 256  # longest explanation, with its begin and end


class TrainingConfig(Section):
    """AdamW, linear warm-up and decay, and the three losses of eq. 11."""

    epochs: PositiveInt = 300  # passes over the training split
    batch: PositiveInt = 24  # clips per update
    lr: PositiveFloat = 2e-5  # peak learning rate of pre-trained weights
    head_lr: PositiveFloat = 5e-4  # of everything that starts untrained
    betas: tuple[Fraction, Fraction] = (0.9, 0.98)  # of AdamW
    weight_decay: NonNegativeFloat = 1e-3  # of AdamW
    warmup: Fraction = 0.1  # fraction of the updates
    clip: PositiveFloat = 1.0  # largest gradient norm
    label_smoothing: Fraction = 0.1  # of the explanation's cross-entropy
    weight_class: NonNegativeFloat = 3.0  # lambda of eq. 11, the release's; Algorithm 1 puts it on the quality loss
    weight_quality: NonNegativeFloat = 1.0  # of the quality loss
    weight_text: NonNegativeFloat = 1.0  # of the explanation's loss
    text_share: Annotated[float, Field(gt=0, le=1)] = 1.0  # of a batch: clips whose explanation is trained; heads: all
    text_faulty: Annotated[float, Field(ge=0, le=1)] = 0.5  # of these, the share of faulty clips, if there are enough
    feature_noise: NonNegativeFloat = 0.0  # deviation of noise on frozen features, in units of their own deviation
    balance: bool = False  # draw standard and non-standard clips equally often
    precision: Literal["fp32", "bf16"] = "fp32"  # bf16: autocast
    select_every: PositiveInt = 1  # epochs between two validations
    micro_batch: NonNegativeInt = 0  # clips of a batch per forward pass; 0: all, or as many as memory holds
    checkpointing: bool = False  # recompute activations of Swin blocks and decoder layers to save memory
    compile: bool = False  # torch.compile for the training step
    threads: NonNegativeInt = 0  # CPU threads; 0: PyTorch's default. With 1, results do not depend on the cores
    seed: int = 0  # of weights, order, augmentation and dropout


class PredictionConfig(Section):
    """How a trained model predicts."""

    protocol: Literal["predicted", "oracle", "none"] = "predicted"  # whose steps it reads: its class's, the true, none
    batch: PositiveInt = 64  # clips at once
    max_tokens: PositiveInt = 256  # of a generated explanation
    beams: PositiveInt = 1  # of the beam search; 1: greedy


class Config(Section):
    """All settings of one run."""

    data: Annotated[DataConfig, Field(union_mode="left_to_right")] = FormSimData()
    system: SystemConfig = SystemConfig()
    encoder: Annotated[EncoderConfig | PoseConfig, Field(discriminator="kind")] = EncoderConfig()
    text: TextConfig = TextConfig()
    fusion: FusionConfig = FusionConfig()
    decoder: DecoderConfig = DecoderConfig()
    training: TrainingConfig = TrainingConfig()
    prediction: PredictionConfig = PredictionConfig()

    @model_validator(mode="after")
    def _check_relations(self) -> Self:
        data, encoder, decoder = self.data, self.encoder, self.decoder
        swin = encoder if isinstance(encoder, EncoderConfig) else EncoderConfig()
        unseen = data.actions if isinstance(data, FormSimData) and data.benchmark == "unseen" else 0
        for valid, key, rule in (
            (not 0 < unseen < 4, "data.actions", "benchmark 'unseen' needs 0 (all) or at least 4"),
            (len(swin.heads) == len(swin.depths), "encoder.heads", "one number a stage, as in encoder.depths"),
            (not any(swin.dim * 2**i % n for i, n in enumerate(swin.heads)), "encoder.heads", "must divide its width"),
            (encoder.kind == "pose" or not getattr(data, "others", 0), "data.others", "they are skeletons, not frames"),
            (encoder.kind == "pose" or not getattr(data, "people", 0), "data.people", "it is about skeletons"),
            (encoder.kind == "swin" or self.system.name == "EFA", "system.name", "all others but EFA read frames"),
            (self.text.frozen or self.fusion.text != "random", "text.frozen", "random vectors are not trained"),
            (self.fusion.dim % self.fusion.heads == 0, "fusion.heads", "it must divide fusion.dim"),
            (self.fusion.global_branch or self.fusion.step_branch, "fusion.step_branch", "one branch must stay"),
            (decoder.dim % decoder.heads == 0, "decoder.heads", "it must divide decoder.dim"),
            (decoder.weights or not decoder.frozen, "decoder.frozen", "it needs decoder.weights"),
        ):
            if not valid:
                raise InputError(f"setting '{key}' cannot be {attrgetter(key)(self)!r}", hint=rule)
        return self

    def with_(self, overrides: dict[str, Any]) -> Config:
        """A copy with dotted keys replaced, for example ``{"fusion.merge": "add"}``; strings are read by type.

        A new `data.source` drops FormSim's own settings, a new `encoder.kind` those of the other encoder. InputError
        for unknown keys and values that are not allowed.
        """
        sections_known = [*Config(), *Config(encoder=PoseConfig())]
        known = list(dict.fromkeys(f"{section}.{name}" for section, values in sections_known for name, _ in values))
        if unknown := [key for key in overrides if key not in known]:
            raise InputError(f"unknown setting '{unknown[0]}'", hint=did_you_mean(unknown[0], known))
        sections: dict[str, Any] = {}
        for section, values in self:
            kind = type(values)
            if section == "data":
                kind = FormSimData if overrides.get("data.source", values.source) == "formsim" else FolderData
            elif section == "encoder":
                kind = PoseConfig if overrides.get("encoder.kind", values.kind) == "pose" else EncoderConfig
            kept = {} if section == "encoder" and kind is not type(values) else dict(values)
            kept = {name: value for name, value in kept.items() if name in kind.model_fields}
            new = {key.partition(".")[2]: value for key, value in overrides.items() if key.startswith(f"{section}.")}
            sections[section] = _validate(kind, section, kept | new)
        return Config(**sections)

    def to_dict(self) -> dict[str, Any]:
        """Nested plain dictionaries and lists, ready for JSON."""
        return self.model_dump(mode="json")

    @staticmethod
    def from_dict(settings: dict[str, Any]) -> Config:
        """The inverse of `to_dict`; unknown keys and wrong types raise InputError."""
        if wrong := [section for section, values in settings.items() if not isinstance(values, dict)]:
            raise InputError(f"section '{wrong[0]}' must be a table of settings, not {settings[wrong[0]]!r}")
        flat = {f"{section}.{name}": value for section, values in settings.items() for name, value in values.items()}
        return Config().with_(flat)


LAPTOP: dict[str, Any] = (
    # With all fifty actions, these clips hold seven faulty training clips per fault: too few to learn from.
    # Thirty-four include the seated cable row and the barbell bent-over row of the paper's Figure 7.
    {"data.clips": 6600, "data.actions": 34, "data.size": 64, "data.clutter": 0.0}
    | {"data.sealed": 9300, "data.sealed_seed": 2443283269}  # 32 bits of the SHA-256 of book/protocol.md
    | {"system.small": True, "text.model": "minilm", "text.frozen": True}
    | {"encoder.patch": (1, 8, 8), "encoder.window": (6, 4, 4), "encoder.dim": 96, "encoder.depths": (2, 6)}
    | {"encoder.heads": (3, 6), "encoder.drop_path": 0.0, "encoder.pool": 2, "encoder.adapter": 256}
    | {"encoder.weights": "formsim", "encoder.frozen": True, "decoder.weights": "formsim", "decoder.frozen": False}
    | {"fusion.sigma": 1.0}  # as printed, 1e-3 all but removes the input: see the audit of eq. 1
    | {"fusion.pool": "frames"}  # one mean over six frames hides a fault that shows in two of them
    | {"fusion.dim": 128, "fusion.heads": 4, "fusion.text_dropout": 0.1, "fusion.pool_norm": True}
    | {"decoder.dim": 128, "decoder.depth": 1, "decoder.heads": 4, "decoder.dropout": 0.0, "decoder.max_tokens": 128}
    | {"decoder.vocabulary": "train", "prediction.max_tokens": 128}
    | {"training.epochs": 8, "training.batch": 64, "training.select_every": 3, "training.threads": 1}
    | {"training.lr": 2e-3, "training.head_lr": 2e-3, "training.weight_decay": 1e-2, "training.feature_noise": 0.3}
    | {"training.label_smoothing": 0.0}  # as released
    | {"training.text_share": 0.3, "training.text_faulty": 0.8, "training.balance": True}
    | {"training.weight_text": 5.0}  # with 1, a text that has begun well does not end well
)
POSE: dict[str, Any] = (
    {key: value for key, value in LAPTOP.items() if not key.startswith("encoder.")}
    | {"encoder.kind": "pose", "data.clips": 12000, "data.actions": 0, "data.frames": 16}
    | {"training.feature_noise": 0.0}
    | {"training.weight_text": 15.0, "training.text_share": 0.7}  # what limits the texts is how the decoder reads
    | {"training.weight_quality": 3.0}
)
# What `make reproduce` trains: the same rows on fewer clips, judged on test clips of their own, in minutes.
FEWER = {"data.clips": 1200, "data.sealed": 800, "data.sealed_seed": 1}
SHORT_OF = {"short": "laptop", "short-pose": "pose"}  # the rows have the settings that were searched for these
PRESETS: dict[str, dict[str, Any]] = {
    "pose": POSE,
    "short": LAPTOP | FEWER,
    "short-pose": POSE | FEWER | {"data.clips": 2400},
    "paper": {},
    "laptop": LAPTOP,
    "smoke": LAPTOP
    | {"data.clips": 120, "data.sealed": 0, "training.epochs": 1, "training.batch": 16, "prediction.max_tokens": 24},
    "gpu": LAPTOP
    | {"data.clips": 3392, "data.size": 96, "data.actions": 0, "training.epochs": 30, "decoder.weights": ""}
    | {"fusion.dim": 384, "fusion.heads": 6, "decoder.dim": 384, "decoder.depth": 4, "decoder.heads": 6},
}


def build(preset: str = "laptop", overrides: dict[str, Any] | None = None) -> Config:
    """The preset's settings with `overrides` on top, as `Config.with_`; an unknown preset raises InputError."""
    if preset not in PRESETS:
        raise InputError(f"unknown preset '{preset}'", hint=did_you_mean(preset, list(PRESETS)))
    return Config().with_(PRESETS[preset]).with_(overrides or {})


def _parse(value: Any, default: Any) -> Any:
    """A command line's string or JSON's list as the type of `default`; pydantic judges whatever cannot be read."""
    if isinstance(default, tuple):
        items = value.split(",") if isinstance(value, str) else value
        return tuple(_parse(item, default[0]) for item in items) if isinstance(items, list | tuple) else value
    if isinstance(default, bool):
        return {"true": True, "false": False}.get(value.lower(), value) if isinstance(value, str) else value
    if isinstance(default, int | float) and isinstance(value, int | float | str) and not isinstance(value, bool):
        with contextlib.suppress(ValueError, OverflowError):
            number = float(value)
            return int(number) if isinstance(default, int) and number.is_integer() else number
    return value


def _validate(kind: type[Section], section: str, values: dict[str, Any]) -> Section:
    """A section of the configuration; InputError for its first wrong setting, with the value and the rule."""
    defaults = {name: field.default for name, field in kind.model_fields.items()}
    try:
        return kind(**{name: _parse(value, defaults.get(name)) for name, value in values.items()})
    except pydantic.ValidationError as error:
        fault = error.errors(include_url=False)[0]
    name = str(fault["loc"][0])
    if fault["type"] == "extra_forbidden" and section == "encoder":
        own, other = ("pose", "swin") if kind is PoseConfig else ("swin", "pose")
        hint = f"leave it out, or set encoder.kind to {other}"
        raise InputError(f"setting 'encoder.{name}' is the {other} encoder's, not the {own} encoder's", hint=hint)
    if fault["type"] == "extra_forbidden":
        hint = "leave it out, or set data.source to formsim"
        raise InputError(f"setting 'data.{name}' is FormSim's, and the folder {values['source']} ignores it", hint=hint)
    rule = RULES.get(fault["type"], fault["msg"].replace("Input should be", "it must be"))
    raise InputError(f"setting '{section}.{name}' cannot be {values[name]!r}", hint=rule)
