"""Equations 1-10, each against its formula written out, and every variant of Table VI."""

import pytest
import torch

from efa.config import FusionConfig
from efa.model.fusion import Branch, Fusion, Gate

D = 12
VARIANTS = {
    "full": {}, "without global": {"global_branch": False}, "without step": {"step_branch": False},
    "Q-text": {"query": "text"}, "Q-video": {"query": "video"}, "concatenate": {"merge": "concatenate"},
    "add": {"merge": "add"}, "no text": {"text": "none"}, "step positions": {"step_position": True},
    "one head": {"heads": 1}, "scalar sigma": {"sigma_shape": "scalar"},
    "released residual": {"residual": "released"}, "fixed sigma": {"learn_sigma": False},
}  # fmt: skip


def config(**changes):
    return FusionConfig(**({"dim": D, "heads": 3, "sigma": 0.5} | changes))


def inputs(b=3, n=7, c=10, e=8):
    torch.manual_seed(1)
    return torch.randn(b, n, c), torch.randn(b, 5, e), torch.randn(b, 1, e)


def attend(layer, queries, memory):
    """PyTorch's multi-head attention with the layer's weights and no output projection."""
    reference = torch.nn.MultiheadAttention(D, layer.heads, batch_first=True)
    parts = layer.query, layer.key, layer.value
    reference.in_proj_weight.data = torch.cat([part.weight for part in parts])
    reference.in_proj_bias.data = torch.cat([part.bias for part in parts])
    reference.out_proj.weight.data = torch.eye(D)
    return reference(queries, memory, memory)[0]


@pytest.mark.parametrize("heads", [1, 3])
@pytest.mark.parametrize("residual", ["printed", "released"])
def test_branch_is_equations_5_to_8(residual, heads):
    branch = Branch(config(residual=residual, heads=heads))
    video, text = torch.randn(2, 7, D), torch.randn(2, 5, D)
    result, to_video, to_text = branch(video, text)
    a = attend(branch.text_attention, text, video)  # eq. 6
    updated = a + 0.5 * text if residual == "printed" else text + 0.5 * a  # eq. 5
    a = attend(branch.video_attention, video, updated)  # eq. 8
    torch.testing.assert_close(result, a + 0.5 * video if residual == "printed" else video + 0.5 * a)  # eq. 7
    assert (to_video.shape, to_text.shape) == ((2, 5, 7), (2, 7, 5))
    torch.testing.assert_close(to_video.sum(-1), torch.ones(2, 5))


@pytest.mark.parametrize("query", ["video", "text"])
def test_one_direction_only(query):
    video, text = torch.randn(2, 7, D), torch.randn(2, 5, D)
    branch = Branch(config(query=query))
    result, to_video, to_text = branch(video, text)
    if query == "video":
        expected = attend(branch.video_attention, video, text)
    else:
        expected = (attend(branch.text_attention, text, video) + 0.5 * text).mean(1, keepdim=True)
    torch.testing.assert_close(result, expected + 0.5 * video)
    assert (to_video is None, to_text is None) == (query == "video", query == "text")
    assert hasattr(branch, "video_attention") != hasattr(branch, "text_attention")


def test_gate_is_equations_9_and_10():
    gate, a, b = Gate(D), torch.randn(2, 7, D), torch.randn(2, 7, D)
    fused, g = gate(a, b)
    torch.testing.assert_close(g, torch.sigmoid(torch.cat([a, b], 2) @ gate.linear.weight.T + gate.linear.bias))
    torch.testing.assert_close(fused, g * a + (1 - g) * b)
    torch.nn.init.constant_(gate.linear.bias, 100.0)
    torch.testing.assert_close(gate(a, b)[0], a)  # an open gate is the global branch


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_runs_and_learns(name):
    fusion = Fusion(config(**VARIANTS[name]), 10, 8)
    output = fusion(*inputs(), text_mask=torch.tensor([True, False, True]))
    assert output.fused.shape == (3, 7, D)
    assert (output.gate is not None) == (isinstance(fusion.merge, Gate))
    output.fused.square().sum().backward()
    assert all(p.grad is not None for p in fusion.parameters())
    sigmas = [key for key, _ in fusion.named_parameters() if "sigma" in key]
    assert len(sigmas) == (0 if name == "fixed sigma" else len([k for k in fusion.state_dict() if "sigma" in k]))


@pytest.mark.parametrize("name", [name for name in VARIANTS if name != "no text"])
def test_text_reaches_every_token_of_its_own_clip_only(name):
    fusion = Fusion(config(**VARIANTS[name]), 10, 8)
    video, steps, instruction = inputs()
    before = fusion(video, steps, instruction).fused
    after = fusion(video, steps.roll(1, 0), instruction.roll(1, 0)).fused
    assert (before - after).abs().amax((0, 2)).min() > 1e-5
    steps[1], instruction[1] = 0, 0
    changed = fusion(video, steps, instruction).fused
    torch.testing.assert_close(changed[[0, 2]], before[[0, 2]])


def test_no_text_means_learnt_vectors():
    video, steps, instruction = inputs()
    fusion = Fusion(config(), 10, 8)
    nobody = fusion(video, steps, instruction, torch.zeros(3, dtype=torch.bool)).fused
    torch.testing.assert_close(nobody, fusion(video, None, None).fused)
    mixed = fusion(video, steps, instruction, torch.tensor([True, False, True])).fused
    torch.testing.assert_close(mixed[1], nobody[1])
    assert (mixed[0] - nobody[0]).abs().max() > 1e-4
    blind = Fusion(config(text="none"), 10, 8)
    torch.testing.assert_close(blind(video, steps, instruction).fused, blind(video, None, None).fused)


def test_single_branch_is_the_result():
    video, steps, instruction = inputs()
    fusion = Fusion(config(step_branch=False), 10, 8)
    output = fusion(video, steps, instruction)
    expected = fusion.global_branch(fusion.video_in(video), fusion.text_in(instruction))[0]
    torch.testing.assert_close(output.fused, expected)
    assert output.gate is output.step_attention is None
    assert output.global_attention.shape == (3, 1, 7)


def test_length_of_a_text_vector_does_not_matter():
    video, steps, instruction = inputs(e=12)
    fusion = Fusion(config(), 10, 12)
    long = fusion(video, 10 * steps, 10 * instruction).fused
    torch.testing.assert_close(fusion(video, steps, instruction).fused, long, atol=1e-3, rtol=1e-3)
