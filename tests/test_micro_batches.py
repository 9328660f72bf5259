"""Memory that does not hold a batch: the same gradient in pieces, from the same batch, and one line that says so."""

import json
import math
from unittest import mock

import batch_gradients
import pandas as pd
import pytest
import tiny
import torch

from efa import metrics
from efa import train as training
from efa.baselines.inputs import build_model, prepare
from efa.baselines.masked_lm import mask_words
from efa.data.batches import learnt_texts, order_for_text_loss, part_of_batch, shares_of_batch, split_batch, text_weight
from efa.predict import predict
from efa.runs import Run
from efa.train import MEMORY, fit
from efa.utils.errors import InputError
from efa.utils.memory import run_in_batches

FULL = (
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried"),
)
ALONE = {"fusion.pool_norm": False, "encoder.adapter": 0}  # no clip is normalised by its batch mates


def crowded(monkeypatch, most: int, error: Exception = FULL[0], train: bool = True) -> list[int]:
    """Training or else validation holds `most` clips at once; -> how many clips each of its passes was asked for."""
    asked: list[int] = []
    step = training.compute_losses

    def full(model, batch, *args, **options):
        if model.training == train:
            asked.append(len(batch["row"]))
            torch.rand(3)  # what a real pass has drawn before it fails
            if asked[-1] > most:
                raise error
        return step(model, batch, *args, **options)

    monkeypatch.setattr(training, "compute_losses", full)
    return asked


@pytest.mark.parametrize("name", ["EFA", "RICA2", "SwinBERT", "LAVENDER", "TimeSformer"])
@pytest.mark.parametrize("size", [3, 1])
def test_the_pieces_gradients_add_up_to_the_batchs(name, size, tmp_path, tmp_path_factory):
    config = batch_gradients.settings(name, False).with_(ALONE)
    with tiny.home(tmp_path_factory.getbasetemp() / "gradients"):
        inputs = batch_gradients.exact(prepare(config))
        whole, losses, seen = batch_gradients.gradient(config, inputs)
        pieces, of_pieces, also = batch_gradients.gradient(config.with_({"training.micro_batch": size}), inputs)
    assert sorted(seen) == sorted(also)
    assert of_pieces == pytest.approx(losses, rel=1e-5)
    assert pieces.keys() == whole.keys()
    for key, value in whole.items():
        assert torch.allclose(value.double(), pieces[key].double(), rtol=1e-6, atol=1e-9), key


def test_shares_of_the_pieces_are_one_in_all(inputs):
    config = tiny.config()
    batch = batch_gradients.batch_of(inputs, config)
    for number in (1, 2, 3, 8):
        parts = [part_of_batch(batch, i, number) for i in range(number)]
        rows = [row for part in parts for row in part["row"].tolist()]
        assert sorted(rows) == sorted(batch["row"].tolist())
        assert sum(len(part["text_weight"]) for part in parts) == len(batch["text_weight"])
        for hidden in (0.0, 0.15, 0.5):
            clips, texts = zip(*(shares_of_batch(part, batch, hidden) for part in parts), strict=True)
            assert math.isclose(sum(clips), 1)
            assert math.isclose(sum(texts), 1, rel_tol=1e-6)
    silent = config.training.model_copy(update={"text_share": 0.05})
    one = order_for_text_loss({name: batch[name] for name in ("tokens", "quality", "row")}, silent)
    assert [shares_of_batch(part_of_batch(one, i, 2), one)[1] for i in (0, 1)] == [1.0, 0.0]  # one has no text


@pytest.mark.parametrize("share", [0.15, 0.5])
def test_a_masked_text_weighs_what_is_hidden_of_it(inputs, share):
    batch = batch_gradients.batch_of(inputs, tiny.config())
    _, hidden = mask_words(learnt_texts(batch), share, 0.8, 1, 50)
    assert text_weight(batch, share) == int(hidden.sum())
    silent = {"tokens": torch.tensor([[2, 3, 0], [0, 0, 0]])}
    assert text_weight(silent, share) == int(mask_words(silent["tokens"], share, 0.8, 1, 50)[1].sum()) == 1


@pytest.mark.parametrize(("norms", "sizes"), [(False, [8, 4, 3, 1]), (True, [8, 4, 3, 2])])
def test_no_piece_is_too_small_for_batch_norm(inputs, norms, sizes):
    config = tiny.config() if norms else tiny.config().with_(ALONE)
    model, batch = build_model(config, inputs).train(), batch_gradients.batch_of(inputs, config)
    for wanted, most in zip((8, 4, 3, 1), sizes, strict=True):
        assert max(len(piece["row"]) for piece, _ in split_batch(batch, model, wanted)) == most


@pytest.mark.parametrize("error", FULL, ids=["GPU", "CPU"])
def test_full_memory_halves_the_clips_at_once(inputs, tmp_path, monkeypatch, error):
    lines: list[str] = []
    asked = crowded(monkeypatch, 4, error)
    fit(tiny.config(), inputs, tmp_path, report=lines.append)
    assert asked[:3] == [8, 4, 4]  # the batch, and then its halves; never the whole again
    assert set(asked[1:]) == {4}
    (line,) = (line for line in lines if "memory" in line)
    assert line == "memory is full: 4 clips at once from now on, with the gradient of the same batch"


def test_nothing_is_drawn_twice_after_full_memory(inputs, tmp_path, monkeypatch):
    """Noise, hidden texts and running statistics are those of a run that never tried more than four clips."""
    models = []
    for name, most in (("small", 99), ("full", 4)):
        with monkeypatch.context() as patch:
            (tmp_path / name).mkdir()
            crowded(patch, most)
            config = tiny.config(training__micro_batch=4 if name == "small" else 0)
            models.append(fit(config, inputs, tmp_path / name))
    assert tiny.same_weights(*models)


def test_the_smaller_number_holds_when_the_run_goes_on(inputs, tmp_path, monkeypatch):
    class StopError(Exception):
        pass

    def stop(line: str) -> None:
        if line.startswith("{"):
            raise StopError

    asked = crowded(monkeypatch, 4)
    with pytest.raises(StopError):
        fit(tiny.config(), inputs, tmp_path, report=stop)
    assert json.loads((tmp_path / MEMORY).read_text()) == {"micro_batch": 4}
    asked.clear()
    fit(tiny.config(), inputs, tmp_path)
    assert set(asked) == {4}


def test_memory_for_no_clip_is_one_line_and_other_errors_pass(inputs, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        asked = crowded(patch, 4, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
        with pytest.raises(RuntimeError, match="mat1"):
            fit(tiny.config(), inputs, tmp_path)
    assert asked == [8]
    crowded(monkeypatch, 0)
    with pytest.raises(InputError, match=r"memory does not hold a single clip .*training\.checkpointing"):
        fit(tiny.config(), inputs, tmp_path)


def test_the_provenance_says_how_many_clips_memory_held(tmp_path, monkeypatch):
    monkeypatch.setattr(metrics, "score", lambda table, parser: {"n": len(table)})
    with tiny.home(tmp_path):
        crowded(monkeypatch, 4)
        folder = Run("6", "EFA", 0, tiny.config(training__epochs=1)).execute()
    assert json.loads((folder / "provenance.json").read_text())["micro_batch"] == 4
    assert not (folder / MEMORY).exists()


def test_prediction_takes_fewer_clips_where_memory_is_full(inputs, tmp_path, monkeypatch):
    config = tiny.config(training__epochs=1)
    model = fit(config, inputs, tmp_path)
    whole = predict(model, inputs, config, "train")
    forward, asked = model.forward, []

    def full(features, *args, **options):
        asked.append(len(features))
        if len(features) > 5:
            raise FULL[0]
        return forward(features, *args, **options)

    monkeypatch.setattr(model, "forward", full)
    halved = predict(model, inputs, config, "train")
    assert asked[:4] == [22, 11, 6, 3]
    pd.testing.assert_frame_equal(whole, halved, rtol=1e-5)
    monkeypatch.setattr(model, "classify", mock.Mock(side_effect=FULL[0]))
    with pytest.raises(InputError, match="a single clip"):
        predict(model, inputs, config)


def test_batches_cover_every_place_once():
    tried: list[int] = []

    def work(part: slice) -> list[int]:
        tried.append(part.stop - part.start)
        if tried[-1] > 2:
            raise FULL[1]
        return list(range(part.start, part.stop))

    assert [place for part in run_in_batches(work, 9, 8) for place in part] == list(range(9))
    assert tried[:3] == [8, 4, 2]


def test_validation_in_halves_has_the_losses_of_the_whole(inputs, tmp_path, monkeypatch):
    found = []
    for most in (99, 2):
        with monkeypatch.context() as patch:
            asked = crowded(patch, most, train=False)
            folder = tmp_path / str(most)
            folder.mkdir()
            fit(tiny.config(training__epochs=1), inputs, folder)
        found.append(pd.read_csv(folder / "history.csv").drop(columns="seconds"))
    assert 0 < min(asked) <= 2 < max(asked)
    pd.testing.assert_frame_equal(*found, rtol=1e-5)
