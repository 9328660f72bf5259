"""Which module is meant by `system.name`: EFA and the ten compared systems, made from one configuration.

>>> from efa.config import build
>>> model = build_system(build("laptop", {"system.name": "TSM"}), actions=50, vocabulary_size=900, text_dim=384)
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

import torch
from torch import nn

from efa.baselines.base import Captioner, System, text_file
from efa.config import Config
from efa.model.adapter import Adapter
from efa.model.assessor import EFAModel
from efa.model.decoder import Decoder
from efa.model.swin import load_encoder, torchvision_names
from efa.utils import paths
from efa.utils.errors import InputError

Model = EFAModel | System


@dataclass(frozen=True)
class Spec:
    """Where a compared system is defined.

    Attributes:
        module: of `efa.baselines`; imported when it is asked for, so that a run depends on its own system's code alone.
        name: of the class; ``nameConfig`` and ``SMALL`` stand beside it.
        trunk: whose pre-trained weights its trunk takes: a file of `efa/model/weights`; 'formsim' is EFA's Video Swin.
        needs: what its constructor wants besides configuration, actions and vocabulary.
    """

    module: str
    name: str
    trunk: str = "formsim"
    needs: tuple[str, ...] = ()


SPECS: dict[str, Spec] = {
    "C3D": Spec("c3d", "C3D", "c3d"),
    "TSM": Spec("tsm", "TSM", "tsm"),
    "I3D": Spec("i3d", "I3D", "i3d"),
    "TimeSformer": Spec("timesformer", "TimeSformer", "timesformer"),
    "Video Swin": Spec("video_swin", "VideoSwinRecogniser"),
    "C3DAVG": Spec("c3davg", "C3DAVG", "c3d"),
    "MSCADC": Spec("mscadc", "MSCADC", "mscadc"),
    "SwinBERT": Spec("swinbert", "SwinBERT", needs=("mask_id",)),
    "LAVENDER": Spec("lavender", "LAVENDER", needs=("mask_id",)),
    "RICA2": Spec("rica2", "RICA2", "i3d", needs=("text_dim",)),
}


def build_system(config: Config, actions: int, vocabulary_size: int, text_dim: int = 0, mask_id: int = 0) -> Model:
    """An untrained system; everything in it is random.

    Args:
        config: `system.name` says which, `system.small` whether in a laptop's size; clips and a Swin trunk are sized
            by `data` and `encoder`. With `encoder.frozen` the trunk gets no gradient and stays in eval mode, and
            `encoder.adapter` puts a perceptron behind it.
        actions: A.
        vocabulary_size: V.
        text_dim: E, the length of a sentence's vector.
        mask_id: id of [MASK].

    Raises:
        InputError: `prediction.beams` of a system that writes word by word.
    """
    if config.system.name == "EFA":
        return _equipped(EFAModel(config, actions, vocabulary_size, text_dim), config)
    spec = SPECS[config.system.name]
    module, make = _module(config), system_class(config)
    sizes: type[Any] = getattr(module, f"{spec.name.removesuffix('Recogniser')}Config")
    given: dict[str, Any] = dict(module.SMALL) if config.system.small else {}
    known = {field.name for field in dataclasses.fields(sizes)}
    shared = {"frames": config.data.frames, "size": config.data.size, "encoder": config.encoder}
    given |= {name: value for name, value in shared.items() if name in known}
    more = {"text_dim": text_dim, "mask_id": mask_id}
    system = make(sizes(**given), actions, vocabulary_size, **{name: more[name] for name in spec.needs})
    system.encoder.requires_grad_(not config.encoder.frozen)
    return _equipped(system, config)


def _equipped(model: Model, config: Config) -> Model:
    """With the perceptron behind a frozen trunk, and as many beams as are asked for."""
    part, beams = writer(model), config.prediction.beams
    if isinstance(part, Decoder):
        part.beams = beams
    elif beams > 1 and part is not None:
        raise InputError(f"{config.system.name} writes word by word", hint="set prediction.beams to 1")
    if config.encoder.frozen and config.encoder.adapter:
        blank = torch.zeros(1, config.data.frames, 3, config.data.size, config.data.size)
        with torch.no_grad():
            tokens, channels = model.eval().encode_video(blank).shape[1:]
        model.train().adapter = Adapter((tokens, channels), config.data.frames, config.encoder.adapter)
    return model


def encoder_file(config: Config) -> str:
    """The file that `encoder.weights` names: '' for random weights, 'formsim' for the system's trunk in the package."""
    name = config.encoder.weights
    return str(paths.WEIGHTS / f"{trunk_name(config)}.safetensors") if name == "formsim" else name


def trunk_name(config: Config) -> str:
    """Systems with the same name here have the same trunk, and may share its weights."""
    return "formsim" if config.system.name == "EFA" else SPECS[config.system.name].trunk


def _module(config: Config) -> ModuleType:
    return import_module(f"efa.baselines.{SPECS[config.system.name].module}")


def system_class(config: Config) -> Callable[..., Any]:
    """The class of `system.name`."""
    return EFAModel if config.system.name == "EFA" else getattr(_module(config), SPECS[config.system.name].name)


def writer(model: Model) -> nn.Module | None:
    """The part that writes; None for a system that writes no text."""
    if isinstance(model, EFAModel):
        return model.decoder
    return model.writer if isinstance(model, Captioner) else None


def decoder_file(config: Config) -> str:
    """The file that `decoder.weights` names: 'formsim' is the one in the package that suits the system's writer.

    '' where nothing is pre-trained, where no text is written, and for 'text', whose file is the text encoder's own.
    """
    make, name = system_class(config), config.decoder.weights
    words = "decoder" if make is EFAModel else getattr(make, "WORDS", "")
    return "" if not words or name == "text" else str(text_file(words)) if name == "formsim" else name


def trunk(model: Model) -> nn.Module:
    """The part that pre-trained weights are for: of systems that look at several short clips, what looks at one."""
    inner = getattr(model.encoder, "trunk", None)
    return inner if isinstance(inner, nn.Module) else model.encoder


def load_trunk(model: Model, config: Config) -> None:
    """Fills the trunk from `encoder_file`, if there is one; InputError as `load_encoder`."""
    if file := encoder_file(config):
        swin = trunk_name(config) == "formsim"
        load_encoder(trunk(model), file, torchvision_names if swin else dict)
