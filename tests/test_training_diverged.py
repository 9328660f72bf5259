"""A loss that is no number: found before the weights take it in, named, and the run can go on from before."""

import dataclasses
import pickle
from unittest import mock

import numpy as np
import pandas as pd
import pytest
import tiny
import torch
from checkpoints import call, said

from efa import runs
from efa import train as training
from efa.train import fit
from efa.utils.errors import Diverged


def broken(inputs, split: str):
    video = np.array(inputs.video)
    video[inputs.rows(split)[:3]] = np.nan
    return dataclasses.replace(inputs, video=video)


def test_the_error_names_place_part_and_clips(inputs, tmp_path):
    with pytest.raises(Diverged) as caught:
        fit(tiny.config(), broken(inputs, "train"), tmp_path)
    error = caught.value
    assert (error.epoch, error.parts) == (1, ("class", "quality", "text"))
    assert error.step in (1, 2)
    assert error.clips
    assert all(clip in str(error) for clip in error.clips)
    assert f"epoch 1, step {error.step}" in str(error)
    assert "\n" not in str(error)
    assert not (tmp_path / "best.safetensors").exists()
    again = pickle.loads(pickle.dumps(error))  # a grid gets it from another process
    assert (str(again), vars(again)) == (str(error), vars(error))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_weights_never_take_it_in(inputs, tmp_path, monkeypatch, value):
    losses, step, backward = training.losses, torch.optim.AdamW.step, torch.Tensor.backward
    steps, finite = [], []

    def bad(output, batch, config, **options):
        parts = losses(output, batch, config, **options)
        if finite:  # from the second step on
            parts |= {name: parts[name] + value for name in ("quality", "total")}
        return parts

    monkeypatch.setattr(training, "losses", bad)
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self: (steps.append(1), step(self))[1])
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda self: (finite.append(bool(self.isfinite())), backward(self))[1]
    )
    with pytest.raises(Diverged, match=r"the loss \(quality\)"):
        fit(tiny.config(), inputs, tmp_path)
    assert (finite, len(steps)) == ([True], 1)


def test_a_gradient_without_end_is_stopped_too(inputs, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda parameters, most: torch.tensor(float("inf")))
    with pytest.raises(Diverged, match="the gradient is not finite in epoch 1, step 1") as caught:
        fit(tiny.config(), inputs, tmp_path)
    assert caught.value.parts == ("gradient",)


def test_the_folder_goes_on_from_the_last_good_epoch(inputs, tmp_path, monkeypatch):
    for name in ("whole", "stopped"):
        (tmp_path / name).mkdir()
    whole = fit(tiny.config(), inputs, tmp_path / "whole")
    with monkeypatch.context() as patch:
        step = training.compute_losses

        def bad(model, batch, *args, **options):
            output, parts = step(model, batch, *args, **options)
            if model.training and (tmp_path / "stopped" / "history.csv").exists():
                parts["total"] = parts["total"] * float("inf")
            return output, parts

        patch.setattr(training, "compute_losses", bad)
        with pytest.raises(Diverged, match=r"further term.*epoch 2"):
            fit(tiny.config(), inputs, tmp_path / "stopped")
    lines: list[str] = []
    resumed = fit(tiny.config(), inputs, tmp_path / "stopped", report=lines.append)
    assert lines[0] == "resumed after epoch 1"
    assert tiny.same_weights(resumed, whole)


def test_no_best_weights_come_from_a_validation_of_nan(inputs, tmp_path):
    with pytest.raises(Diverged, match=r"validation after epoch 1; clips main-val-\d+") as caught:
        fit(tiny.config(), broken(inputs, "val"), tmp_path)
    assert (caught.value.epoch, caught.value.step) == (1, 0)
    assert not list(tmp_path.iterdir())  # no weights, and no epoch to go on from


def test_the_command_line_says_it_on_one_line(tmp_path, monkeypatch, capfd):
    why = "the loss (text) is not finite in epoch 3, step 2"
    monkeypatch.setattr(runs, "fit", mock.Mock(side_effect=Diverged(why)))
    with tiny.home(tmp_path):
        status, _, err = call(monkeypatch, capfd, "run", "6/EFA", "--jobs", "1", *tiny.options())
    assert status == 1
    assert said(err) == f"efa: 6/EFA seed 0: training diverged: {why}"


def test_the_gate_is_recorded_with_validation(inputs, tmp_path):
    fit(tiny.config(training__select_every=2), inputs, tmp_path)
    first, second = pd.read_csv(tmp_path / "history.csv")["val_gate"]
    assert np.isnan(first)
    assert 0 < second < 1
