"""Every compared system is made, trained and asked by the same code as EFA."""

import pandas as pd
import pytest
import tiny
import torch
from conftest import module_home

from efa.baselines import registry as systems
from efa.baselines.base import System
from efa.baselines.inputs import build_model, prepare
from efa.config import build
from efa.experiments import SYSTEM_SETTINGS, TABLES, select
from efa.model.assessor import EFAModel
from efa.model.base import VIDEO_PARTS, Adapter, Head
from efa.predict import EFA, predict
from efa.train import build_optimizer, fit
from efa.utils.errors import InputError

NAMES = tuple(systems.systems())
WRITERS = {"EFA", "C3DAVG", "MSCADC", "SwinBERT", "LAVENDER", "RICA2"}
each = pytest.mark.parametrize("name", NAMES)


def small(name: str, **changes):
    return tiny.config(system__name=name, data__size=64, training__epochs=1, **changes)


home = module_home


def test_every_system_is_known_and_stands_in_a_table():
    rows = {run.config.system.name for run in select("paper", "laptop", (0,))}
    assert set(NAMES) == rows
    with pytest.raises(InputError, match="TimeSformer"):
        systems.encoder_file(build("laptop", {"system.name": "Timesformer", "encoder.weights": "formsim"}))


def test_equal_rows_of_the_paper_are_one_run():
    runs = select("paper", "smoke", (0,))
    assert [len(TABLES[table].rows) for table in ("4", "5", "6", "7")] == [6, 7, 9, 5]
    assert (len(runs), len({run.key for run in runs})) == (27, 23)
    by_label = {f"{run.table}/{run.row}": run.key for run in runs}
    assert by_label["4/EFA"] == by_label["5/EFA"] == by_label["6/EFA"] == by_label["7/lambda = 3"]
    assert by_label["4/RICA2"] == by_label["5/RICA2"]


@each
def test_systems_take_their_clips_and_freeze_their_trunk(name):
    model = systems.build_system(small(name, encoder__frozen=True), 4, 40, 16, 4).eval()
    clips = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8)
    with torch.no_grad():
        output = model(model.encode_video(clips), torch.randn(2, 5, 16), torch.randn(2, 1, 16), None)
    assert (output.class_logits.shape, output.quality_logit.shape) == ((2, 4), (2,))
    assert (model.text_decoder is not None) == (name in WRITERS)
    assert not any(p.requires_grad for p in model.encoder.parameters())
    assert any(p.requires_grad for p in model.parameters())
    assert not model.train().encoder.training


@each
@pytest.mark.parametrize("frozen", [True, False])
def test_pretrained_parts_learn_at_their_own_rate(name, frozen):
    settings = small(name, encoder__frozen=frozen, training__lr=1e-5, training__head_lr=1e-3)
    model = systems.build_system(settings, 4, 40, 16, 4)
    groups = build_optimizer(model, settings.training).param_groups
    slow = {id(p) for group in groups if group["lr"] == 1e-5 for p in group["params"]}
    assert slow == {id(p) for p in model.pretrained_parameters() if p.requires_grad}
    names = {key for key, p in model.named_parameters() if id(p) in slow}
    assert frozen != any(key.startswith("encoder.") for key in names)
    assert (name in WRITERS) == any(key.endswith("word.weight") for key in names)
    assert not any(part in VIDEO_PARTS for key in names for part in key.split("."))


def test_systems_with_the_same_trunk_share_its_weights():
    same = {name: systems.find_system(small(name)).TRUNK for name in NAMES}
    assert sorted(n for n in NAMES if same[n] == "formsim") == ["EFA", "LAVENDER", "SwinBERT", "Video Swin"]
    for a, b in (("C3D", "C3DAVG"), ("I3D", "RICA2")):
        assert same[a] == same[b]
        state, other = (systems.trunk(systems.build_system(small(n), 4, 40, 16, 4)).state_dict() for n in (a, b))
        assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in other.items()}


@pytest.mark.slow
@each
def test_one_loop_trains_and_asks_every_system(name, home, tmp_path):
    settings = small(name)
    inputs = prepare(settings)
    model = fit(settings, inputs, tmp_path)
    assert isinstance(model, EFAModel if name == "EFA" else System)
    table = predict(model, inputs, settings)
    assert len(table) == len(inputs.rows("test"))
    assert table["quality_prob"].between(0, 1).all()
    assert table["explanation"].str.len().gt(0).any() == (name in WRITERS)
    EFA.from_material(model, settings, inputs).save_pretrained(tmp_path / "saved")
    again = EFA.from_pretrained(tmp_path / "saved")
    pd.testing.assert_frame_equal(predict(again.model, inputs, settings), table)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["EFA", "TSM", "RICA2"])
def test_a_prediction_does_not_depend_on_the_batch(name, home):
    inputs = prepare(small(name))
    model = build_model(small(name), inputs).eval()
    together, alone = (predict(model, inputs, config) for config in (small(name), small(name, prediction__batch=1)))
    assert together["explanation"].tolist() == alone["explanation"].tolist()
    assert (together["quality_prob"] - alone["quality_prob"]).abs().max() < 1e-5


@pytest.mark.parametrize("preset", ["laptop", "smoke", "gpu", "paper"])
def test_every_row_has_the_presets_epochs(preset):
    rows = {run.row: run.config.training for run in select("paper", preset, (0,))}
    assert {row.epochs for row in rows.values()} == {build(preset).training.epochs}
    own = SYSTEM_SETTINGS.get(preset, {}).get("MSCADC", {})  # of the search
    assert rows["MSCADC"].text_share == own.get("training.text_share", build(preset).training.text_share)
    given = select("4/MSCADC", preset, (0,), {"training.text_share": 0.7})[0]
    assert given.config.training.text_share == 0.7  # what a user sets, wins


@pytest.mark.parametrize("tokens", [6, 24, 9, 1])
def test_adapter_reads_the_whole_clip(tokens):
    torch.manual_seed(0)
    adapter = Adapter((tokens, 8), groups=6, hidden=16).eval()
    x = torch.randn(3, tokens, 8)
    moved = torch.cat([x[:, :-1], x[:, -1:] + 1], 1)
    change = (adapter(moved) - adapter(x)).abs().amax((0, 2))  # of each token
    assert adapter(x).shape == x.shape
    assert (change > 0).all()


def test_adapter_standardises_over_clips():
    out = Adapter((6, 8), groups=6, hidden=16).train().standardise(torch.randn(64, 6, 8) * 0.01 + 5)
    assert out.mean(0).abs().max() < 1e-2
    assert (out.std(0, unbiased=False) - 1).abs().max() < 0.1


@pytest.mark.parametrize("name", ["EFA", "C3D", "Video Swin", "RICA2"])
def test_adapter_serves_form_and_not_the_action(name):
    torch.manual_seed(0)
    sizes = {"actions": 4, "vocabulary_size": 20, "text_dim": 8}
    model = systems.build_system(build("laptop", {"system.name": name}), **sizes).eval()
    trained = systems.build_system(build("laptop", {"system.name": name, "encoder.frozen": False}), **sizes)
    assert isinstance(trained.adapter, torch.nn.Identity)
    frames = torch.randint(0, 256, (2, 6, 3, 64, 64), dtype=torch.uint8)
    features = model.encode_video(frames)
    steps, instruction = torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    before = model(features, steps, instruction)
    with torch.no_grad():
        model.adapter.up.bias += torch.randn_like(model.adapter.up.bias)
    after = model(features, steps, instruction)
    assert torch.equal(before.class_logits, after.class_logits)
    assert torch.equal(after.class_logits, model.classify(features))
    assert not torch.allclose(before.quality_logit, after.quality_logit)


@each
def test_every_system_has_the_same_heads(name):
    settings = build("laptop", {"system.name": name, "fusion.pool_dropout": 0.25})
    model = systems.build_system(settings, 7, 40, 16, 4).train()
    read: dict[str, torch.Tensor] = {}
    for part, sizes in (("class_head", [256, 128, 7]), ("quality_head", [128, 32, 1])):
        norm, dropout, *layers = getattr(model, part)
        assert isinstance(norm, torch.nn.BatchNorm1d)
        assert dropout.p == 0.25
        assert [layer.out_features for layer in layers if isinstance(layer, torch.nn.Linear)] == sizes
        getattr(model, part).register_forward_hook(lambda _, given, out, part=part: read.update({part: given[0]}))
    with torch.no_grad():
        model(model.encode_video(torch.zeros(2, 6, 3, 64, 64, dtype=torch.uint8)), None, None)
    moments = {part: getattr(model, part).moments for part in read}
    assert all(tokens.ndim == 3 and tokens.shape[1] % moments[part] == 0 for part, tokens in read.items())
    several = {"EFA": 6, "Video Swin": 6, "SwinBERT": 6, "TSM": 6, "RICA2": 5, "MSCADC": 2}
    assert moments["class_head"] == several.get(name, 1)
    assert moments["quality_head"] == {"RICA2": 1}.get(name, several.get(name, 1))


def test_heads_read_moments_in_order():
    tokens = torch.arange(24.0).view(1, 6, 4)
    whole, frames = (
        Head(build("laptop", {"fusion.pool": pool}).fusion, (3, 4), 2).eval() for pool in ("mean", "frames")
    )
    for head, pooled in (
        (whole, tokens.mean(1)),
        (frames, torch.cat([tokens[:, i : i + 2].mean(1) for i in (0, 2, 4)], 1)),
    ):
        assert torch.equal(head(tokens), torch.nn.Sequential(*head)(pooled))
    torch.testing.assert_close(whole(tokens), whole(tokens.flip(1)))
    assert not torch.allclose(frames(tokens), frames(tokens.flip(1)))
