"""A loss that is no number: found before the weights take it in, named, and the run can go on from before."""

import csv
import dataclasses
import pickle

import numpy as np
import pytest
import tiny
import torch

from efa import cli, runs
from efa import train as training
from efa.baselines.inputs import prepare
from efa.predict import predict
from efa.train import fit
from efa.utils.errors import Diverged


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")):
        yield prepare(tiny.config())


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
    assert (str(again), again.epoch, again.step, again.clips, again.parts) == (
        str(error), error.epoch, error.step, error.clips, error.parts,
    )  # fmt: skip


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_the_weights_never_take_it_in(inputs, tmp_path, monkeypatch, value):
    steps = []
    step = torch.optim.AdamW.step
    monkeypatch.setattr(torch.optim.AdamW, "step", lambda self, *args: (steps.append(1), step(self, *args))[1])
    backward = torch.Tensor.backward
    finite = []
    monkeypatch.setattr(
        torch.Tensor, "backward", lambda self, *args: (finite.append(bool(self.isfinite())), backward(self, *args))[1]
    )
    losses = training.losses

    def bad(output, batch, config, **options):
        parts = losses(output, batch, config, **options)
        if finite:  # from the second step on
            parts |= {name: parts[name] + value for name in ("quality", "total")}
        return parts

    monkeypatch.setattr(training, "losses", bad)
    with pytest.raises(Diverged, match=r"the loss \(quality\)"):
        fit(tiny.config(), inputs, tmp_path)
    assert finite == [True]
    assert len(steps) == 1


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
    assert list(predict(resumed, inputs, tiny.config())["quality_prob"]) == list(
        predict(whole, inputs, tiny.config())["quality_prob"]
    )


def test_no_best_weights_come_from_a_validation_that_is_no_number(inputs, tmp_path):
    with pytest.raises(Diverged, match=r"validation after epoch 1; clips main-val-\d+") as caught:
        fit(tiny.config(), broken(inputs, "val"), tmp_path)
    assert (caught.value.epoch, caught.value.step) == (1, 0)
    assert not list(tmp_path.iterdir())  # no weights, and no epoch to go on from


def test_the_command_line_says_it_on_one_line(tmp_path, monkeypatch, capfd):
    def fail(*args, **options):
        raise Diverged("the loss (text) is not finite in epoch 3, step 2")

    monkeypatch.setattr(runs, "fit", fail)
    overrides = [
        f"--set={key}={','.join(map(str, v)) if isinstance(v, tuple) else v}" for key, v in tiny.SETTINGS.items()
    ]
    monkeypatch.setattr("sys.argv", ["efa", "run", "6/EFA", "--jobs", "1", *overrides])
    with tiny.home(tmp_path), pytest.raises(SystemExit) as done:
        cli.main()
    assert done.value.code == 1
    said = [line for line in capfd.readouterr().err.splitlines() if "not finite" in line]
    why = "the loss (text) is not finite in epoch 3, step 2"
    assert said == [f"efa: 6/EFA seed 0: training diverged: {why}"]


def test_the_gate_is_recorded_with_validation(inputs, tmp_path):
    fit(tiny.config(training__select_every=2), inputs, tmp_path)
    with (tmp_path / "history.csv").open(newline="") as file:
        gates = [row["val_gate"] for row in csv.DictReader(file)]
    assert gates[0] == ""
    assert 0 < float(gates[1]) < 1
