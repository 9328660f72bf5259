"""Pre-training: mirror images keep picture and targets together, and a run leaves an encoder with its log."""

import csv
import json
import re

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.baselines import pretrain, pretrain_text
from efa.model.swin import VideoSwin, load_encoder
from formsim.body import Subject
from formsim.motion import ANCHORS, ANGLES, INDEX, JOINTS, joints


def batch(clips: int = 3, size: int = 24):
    chosen = [formsim.stream_clip(i, 5) for i in range(clips)]
    frames = torch.from_numpy(np.stack([formsim.render_clip(clip, size, 2) for clip in chosen]))
    targets = zip(*(formsim.pose_target(clip, 2) for clip in chosen), strict=True)
    return frames.permute(0, 1, 4, 2, 3), *(torch.from_numpy(np.stack(part)) for part in targets)


def test_sideways_angles_are_exactly_those_that_a_mirror_turns_round():
    wanted = {"yaw", "pelvis.roll", "pelvis.twist", "trunk.side", "trunk.side_upper", "trunk.twist", "neck.side"}
    assert {ANGLES[i] for i in pretrain._SIDEWAYS} == wanted


def test_every_sided_name_has_its_partner_and_the_others_stay():
    for names, swap in ((JOINTS, pretrain._SWAP), (ANGLES, pretrain._SWAP_ANGLES)):
        assert sorted(swap) == list(range(len(names)))
        for i, name in enumerate(names):
            assert swap[swap[i]] == i
            assert (swap[i] != i) == bool(re.search(r"_[lr](\.|$)", name)), name


def test_a_mirrored_batch_mirrored_again_is_the_batch():
    old, everyone = batch(), torch.ones(3, dtype=torch.bool)
    new = pretrain.mirrored(*old, everyone)
    assert all(not torch.equal(a, b) for a, b in zip(new, old, strict=True))
    for a, b in zip(pretrain.mirrored(*new, everyone), old, strict=True):
        assert torch.allclose(a.double(), b.double(), atol=1e-6)


def test_only_the_marked_clips_are_mirrored():
    old = batch()
    new = pretrain.mirrored(*old, torch.tensor([True, False, True]))
    for a, b in zip(new, old, strict=True):
        assert torch.equal(a[1], b[1])
        assert not torch.equal(a[0], b[0])


@given(
    st.fixed_dictionaries({name: st.floats(-60, 60) for name in ANGLES}),
    st.sampled_from(["stand", "hands_and_toes", "supine"]),
    st.sampled_from(["world", "trunk"]),
)
@settings(deadline=None, max_examples=30)
def test_mirrored_targets_are_those_of_the_mirrored_body(pose, anchor, arms):
    who = Subject.sample(np.random.RandomState(1))

    def target(angles: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """As the camera in front sees it: right is the subject's left."""
        body = joints(dict(zip(ANGLES, angles[:, None], strict=True)), who, ANCHORS[anchor], arms)[0]
        local = np.stack([body[:, 1], -body[:, 2], -body[:, 0]], axis=-1)
        turn = np.deg2rad(angles)
        return torch.from_numpy(local - local[0]), torch.from_numpy(np.stack([np.sin(turn), np.cos(turn)], axis=-1))

    angles = np.array([pose[name] for name in ANGLES])
    other = angles[pretrain._SWAP_ANGLES]
    other[pretrain._SIDEWAYS] *= -1
    a, b = target(angles), target(other)
    frames, places = torch.zeros(1, 1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, 1, 20, 2)
    turns = torch.from_numpy(np.deg2rad(angles))[None, None]
    everyone = torch.ones(1, dtype=torch.bool)
    new = pretrain.mirrored(frames, a[0][None, None], a[1][None, None], places, turns, everyone)
    assert torch.allclose(new[4][0, 0], torch.from_numpy(np.deg2rad(other)), atol=1e-6)
    assert torch.allclose(new[1][0, 0], b[0], atol=1e-4)
    assert torch.allclose(new[2][0, 0], b[1], atol=1e-6)


def test_cells_and_heads_agree_on_where_a_place_is():
    grid, fine = 4, pretrain.CELLS // 4
    heads = pretrain.PoseHeads(8, grid)
    with torch.no_grad():
        heads.place.weight.zero_()
        heads.place.bias.zero_()
        for y in range(fine):
            for x in range(fine):  # feature 0 switches on cell (1, 2) of a token for the head joint
                if (y, x) == (1, 2):
                    heads.place.weight[(y * fine + x) * len(JOINTS) + INDEX["head"], 0] = 9.0
    features = torch.zeros(1, 1, grid, grid, 8)
    features[0, 0, 3, 1, 0] = 1.0  # row 3, column 1
    _, _, cells, _ = heads(features)
    assert cells.shape == (1, 1, 20, pretrain.CELLS**2)
    place = torch.tensor([(1 * fine + 2 + 0.5) / pretrain.CELLS, (3 * fine + 1 + 0.5) / pretrain.CELLS])
    assert int(cells[0, 0, INDEX["head"]].argmax()) == int(pretrain._cell(place))


@pytest.mark.slow
def test_a_small_pre_training_leaves_an_encoder_its_log_and_its_provenance(tmp_path):
    config = tiny.config()
    out = tmp_path / "encoder.safetensors"
    rows: list[dict[str, float]] = []
    scores = pretrain.pretrain(config, clips=32, passes=2, batch=8, out=out, report=rows.append)
    assert set(scores) == {"joint_error", "angle_error", "place_hit", "deviation_explained"}
    assert all(np.isfinite(value) for value in scores.values())
    assert rows[-1]["step"] == 8
    with out.with_suffix(".csv").open() as file:
        assert len(list(csv.DictReader(file))) == len(rows)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["stages"][-1]["held_out"] == scores
    encoder = VideoSwin(config.encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    load_encoder(encoder, out)
    assert facts["stages"][-1]["encoder"] == config.to_dict()["encoder"]
    assert any(not torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_zooming_moves_the_places_with_the_picture():
    frames = torch.zeros(4, 2, 3, 64, 64)
    places = torch.full((4, 2, 20, 2), 0.5)
    places[..., 0] = 0.6
    frames[:, :, :, 30:34, 36:41] = 255.0  # a blob at (0.6, 0.5)
    seen, moved = pretrain.zoomed(frames, places, np.random.RandomState(0))
    weight = seen[:, 0, 0] / seen[:, 0, 0].sum((1, 2), keepdim=True)
    middle = (torch.arange(64) + 0.5) / 64
    found = torch.stack([(weight.sum(1) * middle).sum(1), (weight.sum(2) * middle).sum(1)], -1)
    assert torch.allclose(found, moved[:, 0, 0], atol=0.01)
    assert (found - places[:, 0, 0]).abs().max() > 0.02  # it did move


def test_recolouring_exchanges_and_scales_channels_of_a_whole_clip():
    frames = torch.rand(3, 2, 3, 8, 8) * 200
    seen = pretrain.recoloured(frames, np.random.RandomState(1))
    for before, after in zip(frames, seen, strict=True):
        for c in range(3):  # each new channel is one of the old ones, times one number for all frames
            ratios = [after[:, c] / before[:, k] for k in range(3)]
            assert any(r.max() - r.min() < 1e-3 or after[:, c].max() == 255 for r in ratios)


@pytest.mark.slow
def test_a_small_pre_training_leaves_a_decoder_that_knows_the_words(tmp_path):
    config = tiny.config(decoder__max_tokens=128)
    out = tmp_path / "words.safetensors"
    scores = pretrain_text.pretrain_text(config, texts=256, passes=4, batch=16, out=out)
    assert scores["loss"] < 5.0 < np.log(len(out.with_suffix(".txt").read_text().splitlines()))
    assert json.loads(out.with_suffix(".json").read_text())["held_out"] == scores
