"""The training loop: repeatable to the bit, resumable, honest about NaN, blind to the test split."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from efa.baselines.base import SystemOutput
from efa.baselines.inputs import TrainingInputs, build_model, prepare, vocabulary
from efa.config import Config, TrainingConfig
from efa.data.batches import order_for_text_loss
from efa.data.loader import open_dataset, text_keys
from efa.experiments import ABLATION
from efa.model.assessor import losses
from efa.predict import predict
from efa.train import build_optimizer, fit
from efa.utils.errors import InputError


def history(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


def train(config: Config, inputs: TrainingInputs, folder: Path, **callbacks):
    folder.mkdir(exist_ok=True)
    return fit(config, inputs, folder, **callbacks)


@pytest.fixture(scope="module")
def undisturbed(inputs, tmp_path_factory) -> tuple[torch.nn.Module, Path]:
    """A run without interruption: its model and its folder."""
    folder = tmp_path_factory.mktemp("undisturbed")
    return train(tiny.config(), inputs, folder), folder


def check_same_run(inputs: TrainingInputs, *runs: tuple[torch.nn.Module, Path]) -> None:
    (first, here), (second, there) = runs
    pd.testing.assert_frame_equal(history(here), history(there))
    assert tiny.same_weights(first, second)
    pd.testing.assert_frame_equal(*(predict(model, inputs, tiny.config()) for model in (first, second)))


def test_history_tells_losses_and_validation(undisturbed):
    rows = history(undisturbed[1])
    assert rows["epoch"].tolist() == [1, 2]
    weighted = 3 * rows["train_class"] + rows["train_quality"] + rows["train_text"]
    assert rows["train_total"].tolist() == pytest.approx(weighted.tolist(), rel=1e-4)
    assert rows["val_top1"].between(0, 100).all()
    assert rows["train_total"].is_monotonic_decreasing


def test_one_seed_gives_one_run_and_another_seed_another(inputs, undisturbed, tmp_path):
    again = train(tiny.config(), inputs, tmp_path / "again")
    check_same_run(inputs, undisturbed, (again, tmp_path / "again"))
    other = train(tiny.config(training__seed=1), inputs, tmp_path / "other")
    assert not history(tmp_path / "other").equals(history(tmp_path / "again"))
    assert not tiny.same_weights(other, again)


@pytest.mark.parametrize("when", ["between epochs", "inside an epoch"])
def test_an_interrupted_run_goes_on_as_if_nothing_had_happened(inputs, undisturbed, tmp_path, when):
    class StopError(Exception):
        pass

    def report(line: str) -> None:
        if when == "between epochs" and line.startswith("{"):
            raise StopError

    def progress(done: int, total: int) -> None:
        if when == "inside an epoch" and done == total - 1:
            raise StopError

    with pytest.raises(StopError):
        train(tiny.config(), inputs, tmp_path, progress=progress, report=report)
    assert len(history(tmp_path)) == 1
    lines: list[str] = []
    resumed = train(tiny.config(), inputs, tmp_path, report=lines.append)
    assert lines[0] == "resumed after epoch 1"
    check_same_run(inputs, undisturbed, (resumed, tmp_path))


@pytest.mark.parametrize("row", ABLATION)
def test_every_row_of_the_ablation_trains(row, inputs, tmp_path):
    config = tiny.config(training__epochs=1, **ABLATION[row])
    model = train(config, inputs, tmp_path)
    assert not tiny.same_weights(model, build_model(config, inputs))
    predictions = predict(model, inputs, config)
    assert len(predictions) == len(inputs.rows("test"))
    assert predictions["quality_prob"].between(0, 1).all()


def test_frames_train_an_encoder_that_is_not_frozen(inputs, tmp_path, tmp_path_factory):
    config = tiny.config(encoder__frozen=False, training__epochs=1, data__clips=24)
    with tiny.home(tmp_path_factory.mktemp("frames")):
        raw = prepare(config)
    assert raw.video.dtype == np.uint8
    model, fresh = train(config, raw, tmp_path), build_model(config, raw)
    assert not torch.equal(next(model.encoder.parameters()), next(fresh.encoder.parameters()))
    frozen = train(tiny.config(training__epochs=1), inputs, tmp_path / "frozen")
    assert tiny.same_weights(frozen.encoder, build_model(tiny.config(), inputs).encoder)
    with pytest.raises(InputError, match="absent"):
        build_model(tiny.config(encoder__weights=str(tmp_path / "absent.safetensors")), inputs)


def test_training_and_selection_never_look_at_the_test_split(inputs, tmp_path):
    config = tiny.config(training__feature_noise=0.1)
    hidden = np.array(inputs.video)
    hidden[inputs.rows("test")] = np.nan
    table = inputs.dataset.table
    test = table["split"] == "test"
    texts, quality = table["explanation"].mask(test, "zebra"), table["quality"].mask(test, 1 - table["quality"])
    other = dataclasses.replace(tiny.with_columns(inputs, explanation=texts, quality=quality), video=hidden)
    seen, blind = (train(config, one, tmp_path / name) for name, one in (("seen", inputs), ("blind", other)))
    pd.testing.assert_frame_equal(history(tmp_path / "seen"), history(tmp_path / "blind"))
    assert tiny.same_weights(seen, blind)


def test_the_vocabulary_is_that_of_the_training_texts(inputs):
    table, tokenizer = inputs.dataset.table, inputs.tokenizer
    train_texts = table["explanation"][table["split"] == "train"]
    assert all(tokenizer.unknown not in tokenizer.encode(text, 500) for text in train_texts)
    assert len(tokenizer) == len(tokenizer.pruned(list(train_texts)))


def test_learning_rates_and_decay_go_to_the_right_parameters(inputs):
    config = tiny.config(encoder__frozen=False, training__lr=1e-5, training__head_lr=1e-3)
    model = build_model(config, inputs)
    names = {id(p): name for name, p in model.named_parameters()}
    seen = set()
    for group in build_optimizer(model, config.training).param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            learnt = name.startswith(("encoder.", "decoder.")) and ".cross." not in name  # which starts untrained
            assert group["lr"] == (1e-5 if learnt else 1e-3), name
            assert (group["weight_decay"] > 0) == (parameter.ndim >= 2), name
            seen.add(name)
    assert seen == set(names.values())


# --- which text a clip sees ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def standards():
    return open_dataset(tiny.config(data__benchmark="standards", data__clips=700).data)


def names_of(dataset, keys: np.ndarray) -> list[str]:
    names = list(dataset.steps)
    return [names[key] if key >= 0 else "" for key in keys]


def test_text_is_right_or_never_right(inputs, standards):
    actions, levels = standards.table["action"], standards.table["standard"]
    wanted = [f"{action} [{level}]" for action, level in zip(actions, levels, strict=True)]
    other_text = tiny.config(fusion__text="wrong")
    for dataset, names in ((inputs.dataset, list(inputs.dataset.table["action"])), (standards, wanted)):
        right = text_keys(dataset, tiny.config())
        assert names_of(dataset, right) == names
        for keys in (text_keys(dataset, other_text), text_keys(dataset, tiny.config(), wrong=True)):
            assert (keys >= 0).all()
            assert (keys != right).all()
            assert len(set(keys)) > 5
    wrong = names_of(standards, text_keys(standards, tiny.config(), wrong=True))
    other = names_of(standards, text_keys(standards, other_text))
    assert [name.split(" [")[0] for name in wrong] == list(actions)
    assert np.mean([name.split(" [")[0] == action for name, action in zip(other, actions, strict=True)]) < 0.2


def test_the_guessed_action_picks_the_text_and_none_has_no_key(inputs):
    dataset, guessed = inputs.dataset, inputs.dataset.actions[0]
    count = len(dataset.table)
    assert (text_keys(dataset, tiny.config(fusion__text="none")) == -1).all()
    assert (text_keys(dataset, tiny.config(), ["Juggling"] * count) == -1).all()
    assert set(names_of(dataset, text_keys(dataset, tiny.config(), [guessed] * count))) == {guessed}


def test_a_frozen_decoder_keeps_its_words_and_reads_the_video(inputs, tmp_path):
    source = build_model(tiny.config(), inputs).decoder
    kept = {n: p for n, p in source.state_dict().items() if ".cross." not in n and not n.startswith("memory_in.")}
    save_file(kept, tmp_path / "words.safetensors")
    inputs.tokenizer.save(tmp_path / "words.txt")
    weights = {"decoder.weights": str(tmp_path / "words.safetensors"), "decoder.frozen": True}
    config = tiny.config(training__epochs=1).with_(weights)
    before = build_model(config, inputs).decoder.state_dict()
    after = train(config, inputs, tmp_path / "run").decoder.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed
    assert all(".cross." in name for name in changed)
    with pytest.raises(InputError, match=r"needs decoder\.weights"):
        tiny.config(decoder__frozen=True)


@given(st.lists(st.booleans(), min_size=1, max_size=40), st.floats(0.05, 1), st.floats(0, 1), st.integers(0, 5))
def test_the_texts_that_are_trained_stand_for_the_batch(faulty, share, preferred, silent):
    """`silent` further clips have no text: they come last, and are none of those that are trained."""
    size = len(faulty) + silent
    tokens = torch.tensor([[2, 7, 3]] * len(faulty) + [[0, 0, 0]] * silent)
    batch = {"quality": torch.tensor([*faulty, *[True] * silent]).float(), "row": torch.arange(size), "tokens": tokens}
    shuffled = torch.randperm(size, generator=torch.Generator().manual_seed(size))
    batch = {name: value[shuffled] for name, value in batch.items()}
    new = order_for_text_loss(batch, TrainingConfig(text_share=share, text_faulty=preferred))
    if share == 1 or max(1, round(share * len(faulty))) == size:
        assert new is batch
        return
    batch = {name: value[batch["row"].argsort()] for name, value in batch.items()}
    assert (new["row"][: len(new["text_weight"])] < len(faulty)).all()
    keep = new["row"] < len(faulty)
    assert keep[: len(faulty)].all()
    new |= {"row": new["row"][keep], "quality": new["quality"][keep]}
    batch |= {"quality": batch["quality"][: len(faulty)]}
    assert sorted(new["row"].tolist()) == list(range(len(faulty)))
    assert torch.equal(new["quality"], batch["quality"][new["row"]])  # every clip kept what is its own
    count = max(1, round(share * len(faulty)))
    weight, wrong = new["text_weight"], new["quality"][:count] > 0.5
    assert len(weight) == count
    for group, size in ((wrong, sum(faulty)), (~wrong, len(faulty) - sum(faulty))):
        if group.any():
            assert weight[group].sum().item() == pytest.approx(size, rel=1e-4)
    least = min(sum(faulty), round(preferred * count))
    assert wrong.sum() >= least


def test_weighted_texts_have_the_loss_of_their_weights():
    torch.manual_seed(0)
    logits, tokens = torch.randn(2, 4, 9), torch.tensor([[2, 5, 6, 3], [2, 7, 3, 0]])
    output = SystemOutput(torch.randn(2, 3), torch.randn(2), logits)
    batch = {"action": torch.tensor([0, 1]), "quality": torch.tensor([0.0, 1.0]), "tokens": tokens}

    def text_loss(**weights: torch.Tensor) -> torch.Tensor:
        return losses(output, batch | weights, TrainingConfig(label_smoothing=0.0))["text"]

    assert torch.allclose(text_loss(text_weight=torch.full((2,), 3.0)), text_loss())
    first = text_loss(text_weight=torch.tensor([1.0, 0.0]))
    assert torch.allclose(first, F.cross_entropy(logits[0, :3], tokens[0, 1:]))


SHIPPED = {"decoder.dim": 128, "decoder.heads": 4, "decoder.max_tokens": 128, "decoder.weights": "formsim"}


@pytest.mark.parametrize(("word", "learns"), [("", False), (" quux", True)])
def test_frozen_words_learn_where_the_file_lacks_some(inputs, word, learns):
    """Frozen rows of pieces that nobody trained would be noise for ever."""
    other = tiny.with_columns(inputs, explanation=inputs.dataset.table["explanation"] + word)
    config = tiny.config().with_(SHIPPED | {"decoder.frozen": True})
    model = build_model(config, dataclasses.replace(other, tokenizer=vocabulary(other.dataset, config)))
    learning = {name for name, parameter in model.decoder.named_parameters() if parameter.requires_grad}
    assert any(".cross." in name for name in learning)
    assert {"word.weight", "bias"} <= learning if learns else learning.isdisjoint({"word.weight", "bias"})


@pytest.mark.parametrize("system", ["EFA", "SwinBERT"])
def test_a_data_set_without_explanations_trains_the_rest(inputs, tmp_path, system):
    silent = tiny.with_columns(inputs, explanation="")
    config = tiny.config(training__epochs=1, system__name=system, system__small=True)
    config = config.with_(SHIPPED | {"decoder.frozen": True}) if system == "EFA" else config
    silent = dataclasses.replace(silent, tokenizer=vocabulary(silent.dataset, config))
    model = train(config, silent, tmp_path / "run")
    (row,) = history(tmp_path / "run").to_dict("records")
    assert row["train_text"] == row["val_text"] == 0.0
    assert np.isfinite(row["val_total"])
    assert all(torch.isfinite(value).all() for value in model.state_dict().values())
