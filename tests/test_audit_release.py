"""The re-created release and its measurements: what it shares among clips, what it never trains, what it costs."""

import pytest
import torch
from tiny import config

from efa.config import DecoderConfig
from efa.model.assessor import EFAModel
from efa.model.decoder import Decoder
from efa_book.audit import costs, measures
from efa_book.audit.release import LAYERS, ReleasedFusion, prompts_of_batch

D = 32
LINEAR = 768 * 768 + 768  # parameters of a layer at the paper's width


@pytest.fixture
def fusion() -> ReleasedFusion:
    torch.manual_seed(0)
    return ReleasedFusion(D, layers=2, heads=4)


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Video, instruction and steps of three clips."""
    torch.manual_seed(1)
    return torch.randn(3, 7, D), torch.randn(3, D), torch.randn(3, 5, D)


# the fusion -----------------------------------------------------------------------------------------------------------


def test_every_clip_reads_all_prompts(fusion, inputs):
    video, instruction, steps = inputs
    assert torch.equal(prompts_of_batch(instruction, video), instruction[None].repeat(3, 1, 1))
    before = fusion(video, instruction, steps)
    assert before.shape == video.shape
    other = torch.cat([steps[:2], steps[2:] + 1])
    assert measures.change(before[0], fusion(video, instruction, other)[0]) > 1e-3  # clip 2's steps move clip 0
    assert measures.change(before[0], fusion(video[:1], instruction[:1], steps[:1])[0]) > 1e-3
    again = fusion(torch.cat([video[:1], video[1:] + 1]), instruction, steps)
    torch.testing.assert_close(again[0], before[0])  # the mates' videos do not matter, their prompts do


def test_parts_without_a_gradient(fusion, inputs):
    fusion(*inputs).sum().backward()
    idle = {name.split(".")[0] for name, p in fusion.named_parameters() if p.grad is None}
    assert idle == {"verdict_text", "verdict_video", "step_text", "unused"}


def test_test_path_is_nearly_the_video(fusion, inputs):
    video, verdicts = inputs[0], torch.randn(2, D)
    with torch.no_grad():
        small = fusion.at_test(video, verdicts) - video
        fusion.video_scale.fill_(1.0)
        large = fusion.at_test(video, verdicts) - video
    assert small.norm() < 0.01 * video.norm()
    torch.testing.assert_close(1000 * small, large, rtol=1e-2, atol=1e-3)


def test_order_of_steps_matters_in_the_release(fusion, inputs):
    video, instruction, steps = inputs
    backwards = fusion(video, instruction, steps, (4, 3, 2, 1, 0))
    assert measures.change(fusion(*inputs), backwards) > 1e-3
    torch.testing.assert_close(backwards, fusion(video, instruction, steps.flip(1)))


# measurements ---------------------------------------------------------------------------------------------------------


def test_heads_at_test_barely_differ_from_video_heads():
    found = measures.heads_at_test()
    assert all(1e-5 < found.value(row) < 0.01 for row in ("features, each token", "action", "verdict"))


def test_padding_matters_only_without_a_mask():
    found = measures.padding()
    assert all(found.value(row[0], 2) < 1e-5 for row in found.rows)
    moved = [found.value(row[0], 3) for row in found.rows]
    assert moved == sorted(moved, reverse=True)  # the shorter, the more padding
    assert moved[-1] > 0.1


def test_action_does_not_depend_on_the_text():
    torch.manual_seed(0)
    model = EFAModel(config(), actions=5, vocabulary_size=40, text_dim=24)
    features = torch.randn(1, model.grid[0] * model.grid[1] * model.grid[2], model.encoder.out_dim)
    found = measures.class_moves(model, features, torch.randn(3, 6, 24))
    assert found.value("probability of an action, largest") == 0
    assert found.value("probability of non-standard form") > 0
    assert found.value("logits of the explanation's words, relative") > 0
    same = measures.class_moves(model, features, torch.randn(1, 6, 24).expand(3, -1, -1))
    assert same.value("probability of non-standard form") == 0


# counts ---------------------------------------------------------------------------------------------------------------


def test_parameters_without_gradient():
    found = costs.without_gradient()
    assert found.value("all without gradient", 2) == pytest.approx(costs.RELEASE["without gradient"], rel=1e-3)
    assert found.value("all without gradient", 1) == 0
    assert found.value("the rest", 2) < 1e4
    assert found.value("text side of the step branch", 2) == LAYERS * (4 * LINEAR + 2 * 768)


def test_single_attentions():
    found = costs.single_attentions()
    assert found.value("parameters", 1) == 4 * 3 * LINEAR
    assert found.value("parameters", 2) == 6 * 8 * (4 * LINEAR + 2 * 768)
    for row, key in (("parameters", "attentions: parameters"), ("forward pass of a clip", "attentions: forward")):
        assert found.value(row, 2) == pytest.approx(costs.RELEASE[key], rel=1e-3)
    tokens = costs.CLIP_TOKENS
    products = sum(3 * (tokens + text) * 768 * 768 + 4 * tokens * text * 768 for text in (1, 5))
    assert found.value("forward pass of a clip", 1) == 2 * products


def test_release_costs_match_its_measurements():
    found = costs.release_costs()
    first = ["parameters", "training step, batch 2", "forward, batch 1", "of which Video Swin"]
    assert [row[0] for row in found.rows] == [*first, *(f"caption of {length}" for length in costs.LENGTHS)]
    assert found.value("parameters") == pytest.approx(costs.RELEASE["parameters"], rel=1e-3)
    for row, *_ in found.rows:
        assert found.value(row, 1) == pytest.approx(found.value(row, 2), rel=0.02), row


def test_temporal_stride_halves_the_tokens():
    found = costs.temporal_stride()
    assert (found.value("stride 1", 2), found.value("stride 2", 2)) == (6 * 49, 3 * 49)
    assert found.value("stride 1", 3) > 2 * found.value("stride 2", 3)


@pytest.mark.parametrize("term", [lambda i: 7, lambda i: 3 * i + 2, lambda i: 5 * i * i - i + 4])
def test_series(term):
    assert costs.series(term, 2, 40) == sum(term(i) for i in range(2, 41))


def test_pass_is_quadratic_and_step_linear():
    a, b, c = (costs.joint_flops(tokens) for tokens in (2, 3, 4))
    assert costs.joint_flops(20) == a + 18 * (b - a) + 18 * 17 // 2 * (c - 2 * b + a)
    assert c - 2 * b + a > 0
    first, second, late = (costs.word_flops(costs.CLIP_TOKENS, i) for i in (0, 1, 100))
    assert late == first + 100 * (second - first) > first


def test_captions_grow_faster_without_a_cache():
    found = costs.decoding()
    assert found.value("256 against 64", 1) < 4 < 5 < found.value("256 against 64", 2)


def test_decoding_is_linear_only_with_a_cache():
    """The same on our decoder as it runs, with real numbers."""
    torch.manual_seed(0)
    size = DecoderConfig(dim=D, depth=1, heads=2, dropout=0.0, max_tokens=64)
    decoder, memory = Decoder(size, 11, D).eval(), torch.randn(1, 2, D)

    def cached(length: int) -> None:
        (written,) = decoder.generate(memory, 1, -1, length)  # no word has the number -1: it never ends
        assert len(written) == length

    def uncached(length: int) -> None:
        for words in range(1, length + 1):
            decoder(torch.ones(1, words, dtype=torch.long), memory)

    assert costs.flops(lambda: cached(64)) / costs.flops(lambda: cached(16)) < 5
    assert costs.flops(lambda: uncached(64)) / costs.flops(lambda: uncached(16)) > 12
