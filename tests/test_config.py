"""Settings: typed, validated, with hints for typos, and unchanged by a round trip through JSON."""

import itertools
import json
import pickle
from dataclasses import replace
from operator import attrgetter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.config import PRESETS, Config, FolderData, FormSimData, build
from efa.experiments import ABLATION, TABLES, select, table_config
from efa.model.assessor import EFAModel
from efa.runs import HOW, config_hash
from efa.utils.errors import InputError

KEYS = [f"{section}.{name}" for section, values in Config().to_dict().items() for name in values]
WRONG = [
    ("training.epochs", "many", 1.5, True, 0, None),
    ("training.lr", "nan", float("inf"), 0, [1], 10**400),
    ("training.weight_text training.micro_batch data.clutter", -1),
    ("training.warmup data.crop fusion.dropout training.betas", 1.0, (0.9, 1)),
    ("training.text_share", 0, 1.5),
    ("training.checkpointing training.compile fusion.global_branch", 1, "yes"),
    ("training.precision fusion.merge", "fp8", "sum"),
    ("text.model data.source", 3, b"minilm"),
    ("fusion.heads", 0, 7),
    ("encoder.patch", (2, 4), "2,4", "2,four,4", "1,2,3,4", (1, 0, 1), 3),
    ("encoder.depths", (), (2, 0, 2, 2)),
    ("encoder.heads", (3, 8, 16, 32), (4, 8)),
    ("encoder.temporal_stride", 3, True),
    ("decoder.heads", 7),
    ("decoder.max_tokens data.clips", 2),
    ("data.clutter data.actions", 51, -1),
]


@pytest.mark.parametrize(("keys", "values"), [(row[0].split(), row[1:]) for row in WRONG])
def test_wrong_values_are_refused_by_name(keys, values):
    for key, value in itertools.product(keys, values):
        with pytest.raises(InputError) as caught:
            Config().with_({key: value})
        assert str(caught.value).startswith(f"setting '{key}' cannot be {value!r} (")


@pytest.mark.parametrize(
    ("make", "given", "message"),
    [
        (build, "labtop", "did you mean 'laptop'"),
        (Config.from_dict, {"fusion": {"colour": 1}}, "unknown setting 'fusion.colour'"),
        (Config.from_dict, {"fusion": 3}, "'fusion' must be a table of settings"),
        (Config().with_, {"training.epoch": 3}, "unknown setting 'training.epoch' .did you mean 'training.epochs'"),
        (Config().with_, {"x": 1}, "unknown setting 'x'"),
        (Config().with_, {"fusion.global_branch": False, "fusion.step_branch": False}, "one branch must stay"),
        (Config().with_, {"fusion.text": "random"}, "'text.frozen' cannot be False .*random vectors are not trained"),
        (Config().with_, {"decoder.frozen": True, "decoder.weights": ""}, "'decoder.frozen' .*needs decoder.weights"),
        (Config().with_, {"data.benchmark": "unseen", "data.actions": 3}, "'data.actions' cannot be 3 .*at least 4"),
    ],
)
def test_refusals_say_what_to_do(make, given, message):
    with pytest.raises(InputError, match=message):
        make(given)


@pytest.mark.parametrize(
    ("key", "texts", "value"),
    [
        ("training.epochs", ("3", "3e0", 3.0), 3),
        ("training.lr", ("1e-3", ".001"), 1e-3),
        ("encoder.patch", ("1,8,8", [1, 8, 8]), (1, 8, 8)),
        ("fusion.global_branch", ("False", "false"), False),
        ("data.source", ("some/folder",), "some/folder"),
    ],
)
def test_strings_are_read_by_type(key, texts, value):
    for found in (attrgetter(key)(Config().with_({key: text})) for text in texts):
        assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_survive_json_and_build_a_model(preset):
    config = build(preset)
    copies = (Config.from_dict(json.loads(json.dumps(config.to_dict()))), pickle.loads(pickle.dumps(config)))
    assert {config, *copies} == {config}
    with torch.device("meta"):
        assert EFAModel(config, 31, 1000, 384).grid[0] == config.data.frames
    assert build(preset, {"training.seed": 9}).model_copy(update={"training": config.training}) == config


def test_a_folder_drops_formsim_settings_and_back():
    config = build("laptop", {"data.source": "me"})
    assert config.data == FolderData(source="me", size=64)
    assert Config.from_dict(config.to_dict()) == table_config("standards", "laptop", {"data.source": "me"}) == config
    assert config.with_({"data.source": "formsim", "data.clips": "9"}).data == FormSimData(size=64, clips=9)


@pytest.mark.parametrize("key", ["data.benchmark", "data.clips", "data.actions", "data.seed", "data.clutter"])
def test_formsim_settings_beside_a_folder_are_errors(key):
    same = {key: attrgetter(key)(build("laptop"))}
    for config, more in ((build("laptop"), {"data.source": "me"}), (build("laptop", {"data.source": "me"}), {})):
        with pytest.raises(InputError, match=f"'{key}' is FormSim's, and the folder me ignores it .leave it out"):
            config.with_(same | more)


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8), st.binary(max_size=3),
    st.lists(st.one_of(st.integers(-3, 40), st.floats(), st.text(max_size=3)), max_size=4),
    st.sampled_from(["1,2,3", "gate", "true", "1e400", "1e308", "٣"]),
)  # fmt: skip


@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=10)), VALUES, max_size=4))
@settings(deadline=None, max_examples=400)
def test_overrides_give_a_config_or_an_input_error(overrides):
    try:
        config = Config().with_(overrides)
    except InputError:
        return
    assert Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config


# Of published results; settings that say only how to train leave them as they are.
@pytest.mark.parametrize(("preset", "expected"), [("laptop", "abcec5f28435f964"), ("smoke", "25c1ead53684b9e7")])
def test_published_hashes_stay(preset, expected):
    (run,) = select("6/EFA", preset, (0,))
    assert config_hash(run.config) == expected
    others = {"micro_batch": 8, "checkpointing": True, "compile": True}
    assert set(HOW) == set(others)
    changed = {config_hash(run.config.with_({f"training.{key}": value})) for key, value in others.items()}
    assert len(changed | {expected}) == 1 + len(others)


def test_table_six_has_nine_different_models():
    configs = [build("laptop", row) for row in ABLATION.values()]
    assert len(configs) == len(set(configs)) == 9
    assert configs[-1] == build("laptop")


def test_runs_are_selected_by_table_row_and_seed():
    assert len(select("6", "smoke", (0, 1))) == 18
    assert len(select("all", "smoke", (0,))) == sum(len(table.rows) for table in TABLES.values())
    (one,) = select("6/Q-text", "smoke", (3,), {"training.epochs": 7})
    assert (one.config.fusion.query, one.config.training.seed, one.config.training.epochs) == ("text", 3, 7)
    assert {run.config.data.benchmark for run in select("standards", "smoke", (0,))} == {"standards"}
    (one,) = select("6/EFA@pose", "smoke", (0,))
    assert [replace(one, preset="")] == select("6/EFA", "pose", (0,))
    assert one.label == "6/EFA@pose seed 0"
    for what, hint in (("8", "one of all"), ("6/Q-texts", "Q-text"), ("", "one of all"), ("6@poses", "mean 'pose'")):
        with pytest.raises(InputError, match=hint):
            select(what, "smoke", (0,))
