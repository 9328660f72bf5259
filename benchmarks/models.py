"""What is compared: the same weights in our decoder, in transformers' BERT, in the release's way of decoding."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertLMHeadModel
from transformers.cache_utils import DynamicCache, EncoderDecoderCache

from efa.baselines.masked_lm import MaskedLM
from efa.config import Config, DecoderConfig
from efa.model.assessor import EFAModel
from efa.model.decoder import Decoder, load_bert
from efa_book.audit.costs import CLIP_TOKENS, empty, flops, series, token_ids
from efa_book.audit.release import Released

BEGIN, MASK, NEVER = 101, 103, -1  # of bert-base-uncased; no word has the number -1, so that no text ends early


@dataclass(frozen=True)
class Sizes:
    """How large everything is."""

    config: Config  # of the whole model; its decoder is the one that is timed
    vocabulary: int
    memory: int  # fused video tokens that ours and transformers' decoder read
    joint: int  # those of the release, which has one more token a frame
    lengths: tuple[int, ...]  # of captions, word pieces
    frames: tuple[int, ...]  # of a clip
    batches: tuple[int, ...]  # clips at once, or one after another
    caption: int  # word pieces of an explanation where pixels come first
    pixels: tuple[int, ...]  # side of FormSim's pictures
    clips: int  # that are rendered


PAPER = Sizes(
    Config(), 30522, 294, CLIP_TOKENS, (64, 128, 256), (3, 6, 12), (1, 2, 4), caption=32, pixels=(64, 96, 224), clips=20
)
_TINY: dict[str, Any] = {
    "data": {"size": 32},
    "encoder": {"dim": 16, "depths": (1, 1), "heads": (1, 2), "window": (2, 4, 4)},
    "fusion": {"dim": 24},
    "decoder": {"dim": 24, "depth": 2, "heads": 4, "max_tokens": 16},
}
_SETTINGS = {f"{section}.{name}": value for section, part in _TINY.items() for name, value in part.items()}
TINY = Sizes(Config().with_(_SETTINGS), 200, 10, 12, (4, 8, 16), (2, 4, 6), (1, 2), caption=4, pixels=(16, 24), clips=2)


def bert(sizes: Sizes, deviation: float = 0.02) -> BertLMHeadModel:
    """transformers' decoder with cross-attention, weights drawn from seed 0 with this standard deviation."""
    torch.manual_seed(0)
    size = sizes.config.decoder
    config = BertConfig(
        vocab_size=sizes.vocabulary,
        hidden_size=size.dim,
        num_hidden_layers=size.depth,
        num_attention_heads=size.heads,
        intermediate_size=4 * size.dim,
        max_position_embeddings=2 * size.max_tokens,
        initializer_range=deviation,
        is_decoder=True,
        add_cross_attention=True,
    )
    return BertLMHeadModel(config).eval()


def decoder(sizes: Sizes, theirs: BertLMHeadModel | None = None) -> Decoder:
    """Ours, with the weights of the BERT where one is given."""
    ours = Decoder(sizes.config.decoder, sizes.vocabulary, sizes.config.decoder.dim).eval()
    if theirs is not None:
        copied = load_bert(ours, theirs.state_dict())
        if set(copied) != set(ours.state_dict()):
            raise RuntimeError("the two decoders are not of one size, so their times would say nothing")
    return ours


def masked(sizes: Sizes, theirs: BertLMHeadModel | None = None) -> Released:
    """The re-created release, of which the joint transformer alone is real and has the BERT's self-attention.

    The rest stays on the device 'meta', without content: decoding from fused tokens does not touch it.
    """
    size = sizes.config.decoder
    with torch.device("meta"):
        model = Released().eval()
    joint = DecoderConfig(dim=size.dim, depth=size.depth, heads=size.heads, max_tokens=2 * size.max_tokens)
    real = MaskedLM(joint, sizes.vocabulary, MASK, share=0.15, mask_word=1.0, tied=False)
    if theirs is not None:
        load_bert(real, theirs.state_dict())
    model.base.bert = real.eval()
    return model


def whole(sizes: Sizes) -> EFAModel:
    """EFA with random weights."""
    text_dim = sizes.config.fusion.dim
    return EFAModel(sizes.config, actions=141, vocabulary_size=sizes.vocabulary, text_dim=text_dim).eval()


def explain(model: EFAModel, clips: int, length: int) -> None:
    """From pixels to text; sentence vectors are computed once an action, so they are given."""
    data = model.config.data
    texts = torch.zeros(clips, 6, model.config.fusion.dim)
    features = model.encode_video(torch.zeros(clips, data.frames, 3, data.size, data.size))
    model.generate(features, texts[:, 1:], texts[:, :1], None, BEGIN, NEVER, length)


def video_tokens(sizes: Sizes, tokens: int) -> Tensor:
    """Fused video tokens of one clip, [1, N, D], standard normal, seed 1."""
    return torch.randn(1, tokens, sizes.config.decoder.dim, generator=torch.Generator().manual_seed(1))


def write_ours(ours: Decoder, fused: Tensor, length: int) -> list[int]:
    """So many ids, greedily."""
    return ours.generate(fused, BEGIN, NEVER, length)[0]


@torch.no_grad()
def write_uncached(ours: Decoder, fused: Tensor, length: int) -> list[int]:
    """The same, running the whole text so far again for each word."""
    ids = torch.full((1, 1), BEGIN)
    for _ in range(length):
        ids = torch.cat([ids, ours(ids, fused)[:, -1:].argmax(-1)], 1)
    return list(ids[0, 1:].tolist())


@torch.no_grad()
def write_theirs(theirs: Any, fused: Tensor, length: int) -> list[int]:
    """The same by `generate` of transformers, its caches on.

    Both caches are handed in: with `encoder_hidden_states` alone it makes one that cross-attention cannot use.
    """
    written = theirs.generate(
        input_ids=torch.full((len(fused), 1), BEGIN),
        encoder_hidden_states=fused,
        past_key_values=EncoderDecoderCache(DynamicCache(), DynamicCache()),
        max_new_tokens=length,
        do_sample=False,
        use_cache=True,
        pad_token_id=0,
        eos_token_id=None,
    )
    return list(written[0, 1:].tolist())


@torch.no_grad()
def write_masked(model: Released, fused: Tensor, length: int) -> list[int]:
    """The release's way: for each word one pass over video, text so far and one [MASK], of which one word is kept."""
    ids = torch.full((1, 1), BEGIN)
    for _ in range(length):
        logits = model.write(fused, torch.cat([ids, torch.full((1, 1), MASK)], 1))[:, -1]
        ids = torch.cat([ids, logits.argmax(-1, keepdim=True)], 1)
    return list(ids[0, 1:].tolist())


def flops_uncached(sizes: Sizes, length: int) -> int:
    """FLOPs of `write_uncached`."""
    with torch.device("meta"):
        ours, fused = decoder(sizes), empty(1, sizes.memory, sizes.config.decoder.dim)
    return series(lambda tokens: flops(lambda: ours(token_ids(1, tokens), fused)), 1, length)


def flops_masked(sizes: Sizes, length: int) -> int:
    """FLOPs of `write_masked`."""
    with torch.device("meta"):
        model, fused = masked(sizes), empty(1, sizes.joint, sizes.config.decoder.dim)
    return series(lambda tokens: flops(lambda: model.write(fused, token_ids(1, tokens))), 2, length + 1)
