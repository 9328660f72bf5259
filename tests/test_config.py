"""Settings: typed, checked, with a hint for a slip of the pen, and the same after a trip through JSON."""

import dataclasses
import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.config import PRESETS, Config, build
from efa.experiments import ABLATION, TABLES, select
from efa.model.assessor import EFAModel
from efa.runs import HOW, config_hash
from efa.utils.errors import InputError

KEYS = [f"{s.name}.{f.name}" for s in dataclasses.fields(Config) for f in dataclasses.fields(getattr(Config(), s.name))]


def test_an_unknown_key_is_refused_with_the_nearest():
    with pytest.raises(InputError, match=r"unknown setting 'training\.epoch'.*did you mean 'training\.epochs'"):
        Config().with_({"training.epoch": 3})
    with pytest.raises(InputError, match="did you mean 'laptop'"):
        build("labtop")
    with pytest.raises(InputError, match="unknown setting 'x'"):
        Config().with_({"x": 1})


WRONG = [
    ("training.epochs", "many"),
    ("training.epochs", 1.5),
    ("training.epochs", True),
    ("training.epochs", 0),
    ("training.epochs", None),
    ("training.lr", "nan"),
    ("training.lr", float("inf")),
    ("training.lr", 0),
    ("training.lr", [1]),
    ("training.warmup", 1.0),
    ("training.weight_text", -1),
    ("training.precision", "fp8"),
    ("fusion.merge", "sum"),
    ("fusion.global_branch", "yes"),
    ("fusion.global_branch", 1),
    ("text.model", 3),
    ("encoder.patch", (2, 4)),
    ("encoder.patch", "2,4"),
    ("encoder.patch", "2,four,4"),
    ("encoder.depths", ()),
    ("encoder.depths", (2, 0, 2, 2)),
    ("encoder.heads", (3, 8, 16, 32)),
    ("encoder.heads", (4, 8)),
    ("encoder.temporal_stride", 3),
    ("decoder.heads", 7),
    ("data.crop", 1.0),
    ("training.micro_batch", -1),
    ("training.checkpointing", 1),
    ("training.compile", "yes"),
]


@pytest.mark.parametrize(("key", "value"), WRONG)
def test_a_wrong_value_is_refused_by_name(key, value):
    with pytest.raises(InputError) as caught:
        Config().with_({key: value})
    assert f"'{key}'" in str(caught.value)


def test_one_branch_must_stay():
    with pytest.raises(InputError, match="one branch"):
        Config().with_({"fusion.global_branch": False, "fusion.step_branch": False})


READ = [
    ("training.epochs", "3", 3),
    ("training.lr", "1e-3", 1e-3),
    ("encoder.patch", "1,8,8", (1, 8, 8)),
    ("encoder.patch", [1, 8, 8], (1, 8, 8)),
    ("encoder.temporal_stride", "2", 2),
    ("fusion.global_branch", "False", False),
    ("data.source", "some/folder", "some/folder"),
]


@pytest.mark.parametrize(("key", "text", "value"), READ)
def test_values_from_the_command_line_are_read(key, text, value):
    section, _, name = key.partition(".")
    got = getattr(getattr(Config().with_({key: text}), section), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_survives_json_and_builds_a_model(preset):
    config = build(preset)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with torch.device("meta"):
        model = EFAModel(config, 31, 1000, 384)
    assert model.grid[0] == 6
    changed = build(preset, {"training.seed": 9})
    assert changed.training.seed == 9
    assert dataclasses.replace(changed, training=config.training) == config


def test_from_dict_refuses_what_it_does_not_know():
    settings_ = Config().to_dict()
    settings_["fusion"]["colour"] = 1
    with pytest.raises(InputError, match=r"fusion\.colour"):
        Config.from_dict(settings_)
    with pytest.raises(InputError, match="table of settings"):
        Config.from_dict({"fusion": 3})


VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(), st.text(max_size=8), st.binary(max_size=3),
    st.lists(st.one_of(st.integers(-3, 40), st.floats(), st.text(max_size=3)), max_size=4),
    st.sampled_from(["1,2,3", "gate", "true", "1e400", "1e308", "٣"]),
)  # fmt: skip


@given(st.dictionaries(st.one_of(st.sampled_from(KEYS), st.text(max_size=10)), VALUES, max_size=4))
@settings(deadline=None, max_examples=400)
def test_any_override_gives_a_config_or_an_input_error(overrides):
    try:
        config = Config().with_(overrides)
    except InputError:
        return
    assert isinstance(config, Config)
    assert Config.from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False))) == config


# What identifies a run's settings in published results, computed before there were settings that say only how to train.
HASHES = {"laptop": "448cfed2b3b17a35", "smoke": "6139f170286ab463"}


@pytest.mark.parametrize("preset", HASHES)
def test_settings_that_say_how_leave_the_hash_of_published_runs_alone(preset):
    (run,) = select("6/EFA", preset, (0,))
    assert config_hash(run.config) == HASHES[preset]
    others = {"training.micro_batch": 8, "training.checkpointing": True, "training.compile": True}
    assert set(HOW) == {key.removeprefix("training.") for key in others}
    changed = {config_hash(run.config.with_({key: value})) for key, value in others.items()}
    assert len(changed | {HASHES[preset]}) == 1 + len(others)


# --- tables as data ------------------------------------------------------------------------------------------------


def test_table_six_has_the_papers_nine_rows_and_each_is_another_model():
    assert len(ABLATION) == 9
    configs = [build("laptop", row) for row in ABLATION.values()]
    assert len(set(configs)) == 9
    assert configs[0] == build("laptop")


def test_runs_are_selected_by_table_row_and_seed():
    assert len(select("6", "smoke", (0, 1))) == 18
    assert len(select("all", "smoke", (0,))) == sum(len(table.rows) for table in TABLES.values())
    (one,) = select("6/Q-text", "smoke", (3,), {"training.epochs": 7})
    assert one.config.fusion.query == "text"
    assert (one.config.training.seed, one.config.training.epochs) == (3, 7)
    assert {run.config.data.benchmark for run in select("standards", "smoke", (0,))} == {"standards"}
    for what, hint in (("8", "one of all"), ("6/Q-texts", "Q-text"), ("", "one of all")):
        with pytest.raises(InputError, match=hint):
            select(what, "smoke", (0,))
