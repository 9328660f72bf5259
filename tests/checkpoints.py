"""Published weights made up by their names and shapes, and commands that load them: for the tests of checkpoints."""

import math
import sys
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from efa.cli import app as cli
from efa.config import EncoderConfig
from efa.model.swin import relative_position_index

DEPTHS = (2, 2, 18, 2)
SMALL = EncoderConfig(dim=16, heads=(1, 2, 4, 8))  # Swin-B but for its width
Shapes = dict[str, tuple[int, ...]]


def official_shapes(dim: int, heads: tuple[int, ...], window: tuple[int, int, int], classes: int) -> Shapes:
    """Name -> shape of each tensor of the official `swin_base_patch244_window*.pth`."""
    positions, offsets = math.prod(window), math.prod(2 * n - 1 for n in window)
    shapes: Shapes = {f"backbone.patch_embed.{name}": (dim,) for name in ("proj.bias", "norm.weight", "norm.bias")}
    shapes["backbone.patch_embed.proj.weight"] = (dim, 3, 2, 4, 4)
    for stage, depth in enumerate(DEPTHS):
        d = dim * 2**stage
        for block in range(depth):
            parts: Shapes = {
                "norm1.weight": (d,), "norm1.bias": (d,), "attn.relative_position_bias_table": (offsets, heads[stage]),
                "attn.relative_position_index": (positions, positions), "attn.qkv.weight": (3 * d, d),
                "attn.qkv.bias": (3 * d,), "attn.proj.weight": (d, d), "attn.proj.bias": (d,), "norm2.weight": (d,),
                "norm2.bias": (d,), "mlp.fc1.weight": (4 * d, d), "mlp.fc1.bias": (4 * d,),
                "mlp.fc2.weight": (d, 4 * d), "mlp.fc2.bias": (d,),
            }  # fmt: skip
            shapes |= {f"backbone.layers.{stage}.blocks.{block}.{name}": shape for name, shape in parts.items()}
        if stage < 3:
            merging = {"reduction.weight": (2 * d, 4 * d), "norm.weight": (4 * d,), "norm.bias": (4 * d,)}
            shapes |= {f"backbone.layers.{stage}.downsample.{name}": shape for name, shape in merging.items()}
    last = {"backbone.norm.weight": (8 * dim,), "backbone.norm.bias": (8 * dim,)}
    return shapes | last | {"cls_head.fc_cls.weight": (classes, 8 * dim), "cls_head.fc_cls.bias": (classes,)}


def official_state(config: EncoderConfig = SMALL, classes: int = 600) -> "OrderedDict[str, torch.Tensor]":
    """Random values under the official names; the index buffers are what the official code computes."""
    draw = torch.Generator().manual_seed(1)
    state: OrderedDict[str, torch.Tensor] = OrderedDict()
    for name, shape in official_shapes(config.dim, config.heads, config.window, classes).items():
        known = name.endswith("relative_position_index")
        state[name] = relative_position_index(config.window) if known else torch.randn(shape, generator=draw) * 0.05
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]  # torch leaves it there
    return state


def saved(path: Path, state: dict[str, torch.Tensor], **meta: object) -> Path:
    """As mmaction saves it: the training's record beside the weights."""
    record = {"epoch": 30, "iter": 88170, "mmaction_version": "0.15.0", "config": "model = dict(\n", "seed": None}
    torch.save({"meta": record | meta, "state_dict": state}, path)
    return path


def make_bert(folder: Path) -> Path:
    """A BERT with its head for words, saved as transformers saves it, and with vocab.txt as on the hub."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,:;'-"
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    (folder / "vocab.txt").write_text("\n".join([*pieces, "squat", "the"]) + "\n")
    BertTokenizer.from_pretrained(str(folder)).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    config = BertConfig(vocab_size=len(pieces) + 2, max_position_embeddings=64, **sizes)
    model = BertForMaskedLM(config)
    for name, parameter in model.named_parameters():  # biases and norms, too: a copy of zeros would prove nothing
        torch.nn.init.normal_(parameter, float(name.endswith("LayerNorm.weight")), 0.1)
    save_file({n: v.contiguous().clone() for n, v in model.state_dict().items()}, folder / "model.safetensors")
    config.save_pretrained(folder)
    return folder


def paper(bert: Path, **changes: object) -> tuple[str, ...]:
    """`efa run 6/EFA --preset paper` in a size for tests; Swin-B's depths, patch and window stay."""
    settings: dict[str, object] = {
        "data.clips": 6, "data.size": 32, "encoder.dim": 16, "encoder.heads": "1,2,4,8", "encoder.weights": "",
        "text.model": bert, "fusion.dim": 16, "fusion.heads": 2, "decoder.dim": 32, "decoder.depth": 2,
        "decoder.heads": 2, "decoder.weights": "",
        "decoder.max_tokens": 32, "training.epochs": 1, "training.batch": 4, "prediction.max_tokens": 4,
    }  # fmt: skip
    settings |= {key.replace("__", "."): value for key, value in changes.items()}
    words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
    return ("run", "6/EFA", "--preset", "paper", *words)


def call(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Runs `efa` with these arguments; -> (exit status, stdout, stderr)."""
    monkeypatch.setattr(sys, "argv", ["efa", *arguments])
    capfd.readouterr()
    with pytest.raises(SystemExit) as done:
        cli.main()
    out, err = capfd.readouterr()
    return int(done.value.code or 0), out, err


def said(err: str) -> str:
    """The one line that a mistake is answered with."""
    (line,) = (line for line in err.splitlines() if line.startswith("efa: "))
    assert "Traceback" not in err
    return line
