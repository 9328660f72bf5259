"""Builds the system that `system.name` means: EFA or a compared one.

>>> from efa.config import build
>>> model = build_system(build("laptop", {"system.name": "TSM"}), actions=50, vocabulary_size=900, text_dim=384)
"""

import functools
import inspect
import pkgutil
from importlib import import_module
from typing import Any, cast

import torch
from torch import nn

import efa.baselines
from efa.baselines.base import SYSTEMS, System, text_file
from efa.config import Config
from efa.model.assessor import EFAModel
from efa.model.base import Adapter
from efa.model.decoder import Decoder
from efa.model.text import TextEncoder
from efa.utils import paths
from efa.utils.errors import InputError, did_you_mean

Model = EFAModel | System
# Video Swin-B, pre-trained on Kinetics-600 by its authors.
KINETICS = "https://github.com/SwinTransformer/storage/releases/download/v1.0.4/"
KINETICS += "swin_base_patch244_window877_kinetics600_22k.pth"


def fetch_command(file: str) -> str:
    """The shell command that downloads the official Swin-B to `file`."""
    return f"curl --location --create-dirs --output '{file}' {KINETICS}"


@functools.cache
def systems() -> dict[str, type[Model]]:
    """EFA and the compared systems by name: all modules of `efa.baselines` register theirs."""
    for module in pkgutil.iter_modules(efa.baselines.__path__, "efa.baselines."):
        import_module(module.name)
    return {"EFA": EFAModel, **SYSTEMS}


def find_system(config: Config) -> type[Model]:
    """The class that `system.name` means; InputError for a name that nothing registers."""
    if (name := config.system.name) == "EFA":  # the others take seconds to load
        return EFAModel
    if name not in systems():
        raise InputError(f"setting 'system.name' cannot be '{name}'", hint=did_you_mean(name, list(systems())))
    return systems()[name]


def build_system(config: Config, actions: int, vocabulary_size: int, text_dim: int = 0, mask_id: int = 0) -> Model:
    """The system `system.name`, with random weights, for A `actions`, V words and text vectors of length E.

    With `encoder.frozen` the trunk gets no gradient and stays in eval mode, and `encoder.adapter` puts a perceptron
    behind it. InputError if `prediction.beams` > 1 for a system with greedy decoding only.
    """
    system: Any = find_system(config)
    given: dict[str, Any] = {"actions": actions, "vocabulary_size": vocabulary_size, "text_dim": text_dim}
    given |= {"mask_id": mask_id, "config": config, "encoder": config.encoder}
    given |= {"frames": config.data.frames, "size": config.data.size}
    wanted, small = inspect.signature(system).parameters, system.SMALL if config.system.small else {}
    model: Model = system(**small, **{name: value for name, value in given.items() if name in wanted})
    if isinstance(model, System):
        model.add_heads(config.fusion, actions, model.class_shape, model.form_shape)
    model.encoder.requires_grad_(not config.encoder.frozen)
    if model.READS_STEPS and not config.text.frozen and config.fusion.text != "none":
        model.text_encoder = TextEncoder(config.text)
    if isinstance(model.text_decoder, Decoder):
        model.text_decoder.beams = config.prediction.beams
    elif config.prediction.beams > 1 and model.text_decoder is not None:
        raise InputError(f"{config.system.name} writes word by word", hint="set prediction.beams to 1")
    if config.encoder.frozen and config.encoder.adapter:
        blank = torch.zeros(1, config.data.frames, 3, config.data.size, config.data.size)
        with torch.no_grad():
            tokens, channels = model.eval().encode_video(blank).shape[1:]
        model.train().adapter = Adapter((tokens, channels), config.data.frames, config.encoder.adapter)
    return model


def encoder_file(config: Config) -> str:
    """The file that `encoder.weights` names: '' for random weights, 'formsim' for the system's trunk in the package,
    'kinetics600' for the official Swin-B; with that, trunks other than Swin, which the paper leaves open, start random.
    """
    name = config.encoder.weights
    own = "pose" if config.encoder.kind == "pose" else find_system(config).TRUNK
    if name == "kinetics600":
        return str(paths.home() / "weights" / KINETICS.rpartition("/")[2]) if own == "formsim" else ""
    return str(paths.WEIGHTS / f"{own}.safetensors") if name == "formsim" else name


def decoder_file(config: Config) -> str:
    """The file that `decoder.weights` names; '' where nothing is read, and for 'text', the text encoder's own file."""
    kind, name = find_system(config).TEXT_WEIGHTS, config.decoder.weights
    return "" if not kind or name == "text" else str(text_file(kind)) if name == "formsim" else name


def trunk(model: Model) -> nn.Module:
    """The part that pre-trained weights are for: of systems that look at several short clips, what looks at one."""
    return cast(nn.Module, getattr(model.encoder, "trunk", model.encoder))
