"""Pre-training on poses: augmentation keeps pictures and targets together, and a run saves weights and their log."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from efa.model.swin import VideoSwin, load_encoder
from formsim import pretrain, streams
from formsim.body import Subject
from formsim.motion import ANCHORS, ANGLES, INDEX, JOINTS, joints
from formsim.pretrain_cli import pretrain_app


@pytest.fixture(scope="module")
def batch(tmp_path_factory) -> streams.Batch:
    clips = streams.read_clips(3, 5, tmp_path_factory.mktemp("stream"), frames=2, size=24)
    return streams.tensors(clips, slice(None))


def test_a_mirror_swaps_sided_names_and_negates_sideways_angles():
    wanted = {"yaw", "pelvis.roll", "pelvis.twist", "trunk.side", "trunk.side_upper", "trunk.twist", "neck.side"}
    assert {ANGLES[i] for i in streams.NEGATED_ANGLES} == wanted
    for names, swap in ((JOINTS, streams.SWAPPED_JOINTS), (ANGLES, streams.SWAPPED_ANGLES)):
        assert [swap[i] for i in swap] == list(range(len(names)))
        for i, name in enumerate(names):
            assert (swap[i] != i) == bool(re.search(r"_[lr](\.|$)", name)), name


def test_marked_clips_are_mirrored_and_twice_gives_them_back(batch):
    marked = torch.tensor([True, False, True])
    once = streams.mirror(*batch, marked)
    for new, old, again in zip(once, batch, streams.mirror(*once, marked), strict=True):
        assert torch.equal(new[1], old[1])
        assert not torch.equal(new[0], old[0])
        assert torch.allclose(again.double(), old.double(), atol=1e-6)


@given(
    st.fixed_dictionaries({name: st.floats(-60, 60) for name in ANGLES}),
    st.sampled_from(["stand", "hands_and_toes", "supine"]),
    st.sampled_from(["world", "trunk"]),
)
@settings(deadline=None, max_examples=30)
def test_mirrored_targets_match_the_mirrored_body(pose, anchor, arms):
    who = Subject.sample(np.random.RandomState(1))

    def target(angles: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """As the camera in front sees it: right is the subject's left."""
        body = joints(dict(zip(ANGLES, angles[:, None], strict=True)), who, ANCHORS[anchor], arms)[0]
        local = np.stack([body[:, 1], -body[:, 2], -body[:, 0]], axis=-1)
        turn = np.deg2rad(angles)
        return torch.from_numpy(local - local[0]), torch.from_numpy(np.stack([np.sin(turn), np.cos(turn)], axis=-1))

    angles = np.array([pose[name] for name in ANGLES])
    other = angles[streams.SWAPPED_ANGLES]
    other[streams.NEGATED_ANGLES] *= -1
    given, wanted = ((*target(turn), torch.from_numpy(np.deg2rad(turn))) for turn in (angles, other))
    body, sines, turns = (part[None, None] for part in given)
    frames, places = torch.zeros(1, 1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, 1, 20, 2)
    new = streams.mirror(frames, body, sines, places, turns, torch.ones(1, dtype=torch.bool))
    for found, right, tolerance in zip((new[1], new[2], new[4]), wanted, (1e-4, 1e-6, 1e-6), strict=True):
        assert torch.allclose(found[0, 0], right, atol=tolerance)


def test_heads_and_cells_agree_on_places():
    grid, fine = 4, pretrain.CELLS // 4
    heads = pretrain.GridHeads(8, grid)
    with torch.no_grad():
        heads.place.weight.zero_()
        heads.place.bias.zero_()
        # feature 0 switches on cell (1, 2) of a token for the head joint
        heads.place.weight[(1 * fine + 2) * len(JOINTS) + INDEX["head"], 0] = 9.0
    features = torch.zeros(1, 1, grid, grid, 8)
    features[0, 0, 3, 1, 0] = 1.0  # row 3, column 1
    _, _, cells, _ = heads(features)
    assert cells.shape == (1, 1, 20, pretrain.CELLS**2)
    place = torch.tensor([(1 * fine + 2 + 0.5) / pretrain.CELLS, (3 * fine + 1 + 0.5) / pretrain.CELLS])
    assert int(cells[0, 0, INDEX["head"]].argmax()) == int(pretrain.cell_index(place))


@pytest.mark.slow
def test_encoder_pretraining_saves_weights_and_log(tmp_path):
    config = tiny.config()
    out = tmp_path / "encoder.safetensors"
    rows: list[dict[str, float]] = []
    scores = pretrain.pretrain_encoder(config, clips=32, passes=2, batch=8, out=out, report=rows.append)
    assert set(scores) == {"joint_error", "angle_error", "place_hit", "deviation_explained"}
    assert all(np.isfinite(value) for value in scores.values())
    assert rows[-1]["step"] == 8
    assert len(pd.read_csv(out.with_suffix(".csv"))) == len(rows)
    facts = json.loads(out.with_suffix(".json").read_text())
    assert facts["stages"][-1]["held_out"] == scores
    encoder = VideoSwin(config.encoder)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    load_encoder(encoder, out)
    assert facts["stages"][-1]["encoder"] == config.to_dict()["encoder"]
    assert any(not torch.equal(value, before[name]) for name, value in encoder.state_dict().items())


def test_zoom_moves_places_with_the_picture():
    frames = torch.zeros(4, 2, 3, 64, 64)
    places = torch.tensor([0.6, 0.5]).expand(4, 2, 20, 2)
    frames[:, :, :, 30:34, 36:41] = 255.0  # a blob at (0.6, 0.5)
    seen, moved = streams.zoom(frames, places, np.random.RandomState(0))
    weight = seen[:, 0, 0] / seen[:, 0, 0].sum((1, 2), keepdim=True)
    middle = (torch.arange(64) + 0.5) / 64
    found = torch.stack([(weight.sum(1) * middle).sum(1), (weight.sum(2) * middle).sum(1)], -1)
    assert torch.allclose(found, moved[:, 0, 0], atol=0.01)
    assert (found - places[:, 0, 0]).abs().max() > 0.02  # it did move


def test_recolor_swaps_and_scales_channels_of_a_clip():
    frames = torch.rand(3, 2, 3, 8, 8) * 200
    seen = streams.recolor(frames, np.random.RandomState(1))
    for before, after in zip(frames, seen, strict=True):
        for c in range(3):  # each new channel is one of the old ones, times one number for all frames
            ratios = [after[:, c] / before[:, k] for k in range(3)]
            assert any(r.max() - r.min() < 1e-3 or after[:, c].max() == 255 for r in ratios)


@pytest.mark.slow
def test_decoder_pretraining_learns_the_texts(tmp_path):
    config = tiny.config(decoder__max_tokens=128)
    out = tmp_path / "words.safetensors"
    scores = pretrain.pretrain_decoder(config, texts=256, passes=4, batch=16, out=out)
    assert scores["loss"] < 5.0 < np.log(len(out.with_suffix(".txt").read_text().splitlines()))
    assert json.loads(out.with_suffix(".json").read_text())["held_out"] == scores


def test_stream_clips_are_rendered_once(tmp_path):
    first = streams.read_clips(2, 5, tmp_path, frames=2, size=16)
    again = streams.read_clips(2, 5, tmp_path, frames=2, size=16, parallel_map=None)  # would fail to render
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], streams.read_clips(2, 6, tmp_path, frames=2, size=16)[0])


COMMANDS = [
    ("encoder --clips 9 --passes 2 --lr 0.5 --seed 3 --system TSM", ("TSM", 9, 2, None)),
    ("decoder --texts 9 --passes 2 --lr 0.5 --seed 3 --part s2vt", ("EFA", 9, 2, "s2vt")),
]


@pytest.mark.parametrize(("command", "expected"), COMMANDS)
def test_command_passes_its_options_on(command, expected, tmp_path, monkeypatch):
    calls = []

    def train(config, count, passes, *, lr, out, report, seed, part=None, start=None):
        report({"step": 1, "share": 1.0, "loss": 2.5})
        assert not (config.encoder.weights if part is None else config.decoder.weights)
        assert (lr, seed, out, start) == (0.5, 3, tmp_path / "w", None)
        calls.append((config.system.name, count, passes, part))
        return {"loss": 2.25}

    monkeypatch.setattr(pretrain, f"pretrain_{command.split()[0]}", train)
    result = CliRunner().invoke(pretrain_app, [*command.split(), "--to", str(tmp_path / "w"), "--preset", "smoke"])
    assert result.exit_code == 0, result.output
    assert calls == [expected]
    assert "2.25" in result.stdout
    assert "loss 2.5" in result.stderr
