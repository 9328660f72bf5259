"""The released model (GitHub MICLAB-BUPT/EFA, commit 69acb6a), re-created in our own code, so that it can be measured.

No checkpoint is released, so weights are random, and nothing is trained with these classes. What is kept is what the
audit counts or moves: which part reads which, how often, and at what size. Everything around it (Video Swin, the joint
transformer, the heads) is the book's own.
"""

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import BertConfig, BertModel

from efa.baselines.masked_lm import LAVENDER
from efa.model.base import mlp

LAYERS = HEADS = 8  # of each stack
STEPS = 5
SCALE = 1e-3  # where both scales start; the paper's sigma
LEARNT = 5  # learnt tokens before every prompt
ACTIONS = 141
VOCABULARY = 30522  # of bert-base-uncased
ROUNDS = tuple(range(STEPS))


class Layer(nn.Module):
    """Cross-attention and one linear layer, each followed by the layer's queries once more and the same LayerNorm."""

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.linear = (nn.Linear(dim, dim) for _ in range(4))
        self.norm = nn.LayerNorm(dim)

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        """Queries [B, n, D], memory [B, m, D] -> [B, n, D]."""
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # [B, heads, tokens, d]
            for part in (self.query(queries), self.key(memory), self.value(memory))
        )
        weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
        seen = self.norm((weights @ v).transpose(1, 2).flatten(2) + queries)
        return self.norm(self.linear(seen) + queries)


class Stack(nn.ModuleList):
    """Layers in a row: each reads the same memory again."""

    def __init__(self, dim: int, layers: int, heads: int):
        super().__init__(Layer(dim, heads) for _ in range(layers))

    def forward(self, queries: Tensor, memory: Tensor) -> Tensor:
        for layer in self:
            queries = layer(queries, memory)
        return queries


class ReleasedFusion(nn.Module):
    """What stands in the release where the paper has equations 1-10.

    Every clip reads the prompts of *all* clips of its batch: prompts are one sequence, repeated for each clip.

    Attributes:
        global_text, global_video: the pair of stacks of the global branch.
        verdict_text, verdict_video: a pair that `at_test` alone uses, so that it is never trained.
        step_text, step_video: the pair of the step branch; what the first of them returns is discarded.
        unused: a projection that no path reaches.
    """

    def __init__(self, dim: int = 768, layers: int = LAYERS, heads: int = HEADS):
        super().__init__()
        self.global_text, self.global_video = (Stack(dim, layers, heads) for _ in range(2))
        self.verdict_text, self.verdict_video = (Stack(dim, layers, heads) for _ in range(2))
        self.step_text, self.step_video = (Stack(dim, layers, heads) for _ in range(2))
        self.text_scale, self.video_scale = (nn.Parameter(torch.full((dim,), SCALE)) for _ in range(2))
        self.step_gate, self.merge_gate = (nn.Linear(2 * dim, dim) for _ in range(2))
        self.unused = nn.Sequential(nn.Linear(2 * dim, dim), nn.ReLU(), nn.LayerNorm(dim))

    def forward(self, video: Tensor, instruction: Tensor, steps: Tensor, order: Sequence[int] = ROUNDS) -> Tensor:
        """The path that is trained, and that captions are written from: fused video tokens [B, N, D].

        Args:
            video: [B, N, D].
            instruction: [B, D], one vector a clip. steps: [B, 5, D].
            order: in which the steps are read.
        """
        prompts = prompts_of_batch(instruction, video)
        prompts = prompts + self.text_scale * self.global_text(prompts, video)
        global_path = video + self.video_scale * self.global_video(video, prompts)
        step_path = video
        for step in order:
            prompts = prompts_of_batch(steps[:, step], video)
            self.step_text(prompts, step_path)  # computed and discarded, as in the release
            read = self.step_video(step_path, prompts)
            gate = self.step_gate(torch.cat([step_path, read], -1)).sigmoid()
            step_path = (1 - gate) * step_path + gate * read
        gate = self.merge_gate(torch.cat([global_path, step_path], -1)).sigmoid()
        return gate * global_path + (1 - gate) * step_path

    def at_test(self, video: Tensor, verdicts: Tensor) -> Tensor:
        """What class and verdict are read from at test time: [B, N, D] and two prompts [2, D] -> [B, N, D].

        The stacks of the global branch run as well, but their result is overwritten before it is used; left out here.
        """
        prompts = verdicts.expand(len(video), -1, -1)
        prompts = prompts + self.text_scale * self.verdict_text(prompts, video)
        return video + self.video_scale * self.verdict_video(video, prompts)


def prompts_of_batch(prompts: Tensor, video: Tensor) -> Tensor:
    """One prompt a clip, [B, D] -> what each clip reads, [B, B, D]."""
    return prompts.expand(len(video), -1, -1)


class Released(nn.Module):
    """The whole model at its own size, for counting on 'meta': LAVENDER, on which it is built, and what was added.

    Attributes:
        base: Video Swin, the joint transformer and its masked-LM head.
        texts: three BERTs: of the instruction, of the words for the verdict (used at test time only), of the steps.
        learnt: the learnt tokens before every prompt of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.base = LAVENDER(VOCABULARY, mask_id=103)
        dim = self.base.bert.config.dim
        self.texts = nn.ModuleList(BertModel(BertConfig(), add_pooling_layer=False) for _ in range(3))
        self.learnt = nn.ParameterList(torch.randn(1, LEARNT, dim) for _ in range(3))
        self.fusion = ReleasedFusion(dim)
        self.class_head = mlp(dim, 256, 128, ACTIONS)
        self.quality_head = mlp(dim, 128, 32, 1)

    def embed_video(self, frames: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W] -> Swin's tokens and one more a frame, with places, [B, T (1 + H' W'), D]."""
        x = self.base.video_in(self.base.encode_video(frames)).unflatten(1, (self.base.grid[0], -1))
        x = torch.cat([self.base.frame_token.expand(*x.shape[:2], 1, -1), x], 2)
        return self.base.video_norm(x + self.base.place_position + self.base.frame_position).flatten(1, 2)

    def embed_text(self, which: int, ids: Tensor) -> Tensor:
        """Prompts [B, L] -> [B, D]: the mean over learnt tokens, words and padding, none of them masked."""
        bert = cast(Any, self.texts[which])
        x = torch.cat([self.learnt[which].expand(len(ids), -1, -1), bert.embeddings(input_ids=ids)], 1)
        return bert.encoder(x).last_hidden_state.mean(1)

    def fuse(self, frames: Tensor, instruction: Tensor, steps: Tensor) -> Tensor:
        """Frames [B, T, 3, H, W], ids [B, L] and [B, 5, L] -> fused video tokens [B, N, D]."""
        vectors = torch.stack([self.embed_text(2, steps[:, i]) for i in range(STEPS)], 1)
        return self.fusion(self.embed_video(frames), self.embed_text(0, instruction), vectors)

    def write(self, fused: Tensor, tokens: Tensor) -> Tensor:
        """One pass of the joint transformer over video and text: [B, N, D], ids [B, L] -> logits [B, L, V].

        Video sees video, text is causal and sees all video.
        """
        n, length = fused.shape[1], tokens.shape[1]
        place = torch.arange(n + length, device=tokens.device)
        mask = (place[None] < n) | (place[:, None] >= place[None])
        words = self.base.bert.embed(tokens)
        states, _ = self.base.bert.run(torch.cat([fused, words], 1), None, mask)
        return self.base.bert.head(states[:, n:])

    def forward(
        self, frames: Tensor, instruction: Tensor, steps: Tensor, tokens: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Class logits [B, A], quality logits [B] and text logits [B, L, V], as in training."""
        fused = self.fuse(frames, instruction, steps)
        pooled = fused.mean(1)
        return self.class_head(pooled), self.quality_head(pooled)[:, 0], self.write(fused, tokens)
