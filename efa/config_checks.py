"""Ranges and relations of settings that types cannot express."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from efa.utils.errors import InputError

if TYPE_CHECKING:
    from efa.config import Config

_POSITIVE = {
    "data": ("clips", "size", "frames"),
    "encoder": ("dim", "pool"),
    "text": ("max_tokens",),
    "fusion": ("dim",),
    "decoder": ("dim", "depth", "heads", "max_tokens"),
    "training": ("epochs", "batch", "select_every"),
    "prediction": ("batch", "max_tokens", "beams"),
}
_SHARES = {
    "data": ("flip", "crop"),
    "encoder": ("drop_path",),
    "fusion": ("text_dropout", "dropout"),
    "decoder": ("dropout",),
    "training": ("warmup", "label_smoothing"),
}


def check(config: Config) -> None:
    """InputError for the first setting that cannot be, with its name and the rule."""

    def value(key: str) -> Any:
        section, _, name = key.partition(".")
        return getattr(getattr(config, section), name)

    def insist(good: bool, key: str, rule: str) -> None:
        if not good:
            raise InputError(f"setting '{key}' cannot be {value(key)!r}", hint=rule)

    for key in (f"{section}.{name}" for section, names in _POSITIVE.items() for name in names):
        insist(value(key) >= 1, key, "it must be at least 1")
    for key in (f"{section}.{name}" for section, names in _SHARES.items() for name in names):
        insist(0 <= value(key) < 1, key, "it must lie in [0, 1)")
    insist(0 <= config.training.text_faulty <= 1, "training.text_faulty", "it must lie in [0, 1]")
    insist(0 < config.training.text_share <= 1, "training.text_share", "it must lie in (0, 1]")
    insist(all(0 <= beta < 1 for beta in config.training.betas), "training.betas", "each must lie in [0, 1)")
    insist(min(config.encoder.patch) >= 1, "encoder.patch", "each must be at least 1")
    insist(min(config.encoder.window) >= 1, "encoder.window", "each must be at least 1")
    insist(config.encoder.adapter >= 0, "encoder.adapter", "it must not be negative")
    insist(config.text.frozen, "text.frozen", "the text encoder is not trained: its vectors are computed once")
    insist(config.data.clips >= 3, "data.clips", "it must be at least 3, one a split")
    insist(bool(config.decoder.weights) or not config.decoder.frozen, "decoder.frozen", "it needs decoder.weights")
    insist(config.decoder.max_tokens >= 3, "decoder.max_tokens", "it must be at least 3")
    for key in ("training.lr", "training.head_lr", "training.clip"):
        insist(value(key) > 0, key, "it must be positive")
    weights = ("training.weight_class", "training.weight_quality", "training.weight_text")
    for key in (
        *weights,
        "training.weight_decay",
        "training.feature_noise",
        "training.text_tokens",
        "training.threads",
        "training.micro_batch",
    ):
        insist(value(key) >= 0, key, "it must not be negative")
    held_out = config.data.benchmark != "unseen" or config.data.actions == 0 or config.data.actions >= 4
    insist(held_out, "data.actions", "with the benchmark 'unseen' it must be 0 or at least 4, or none can be held out")
    insist(0 <= config.data.actions <= 50, "data.actions", "it must be 0 for all, or at most 50")
    insist(0 <= config.data.clutter <= 1, "data.clutter", "it must lie in [0, 1]")
    insist(min(config.encoder.depths) >= 1, "encoder.depths", "every stage needs a block")
    insist(
        len(config.encoder.heads) == len(config.encoder.depths),
        "encoder.heads",
        "one number a stage, as in encoder.depths",
    )
    stages = zip(
        config.encoder.heads, (config.encoder.dim * 2**i for i in range(len(config.encoder.heads))), strict=True
    )
    insist(all(h >= 1 and d % h == 0 for h, d in stages), "encoder.heads", "each must divide its stage's width")
    insist(config.decoder.dim % config.decoder.heads == 0, "decoder.heads", "it must divide decoder.dim")
    fusion = config.fusion
    insist(fusion.global_branch or fusion.step_branch, "fusion.step_branch", "one branch must stay")
