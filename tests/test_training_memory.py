"""Switches that say how to train: activations computed twice, compiled code, half precision. The result stays."""

import shutil

import batch_gradients
import pytest
import tiny
import torch
from safetensors.torch import load_file

from efa.baselines.inputs import build_model, prepare
from efa.predict import predict
from efa.train import compute_losses, fit

DEEP = {"encoder.depths": (2, 2), "decoder.depth": 2, "encoder.drop_path": 0.2, "decoder.dropout": 0.1}
LEARNT = {"encoder.frozen": False, "encoder.adapter": 0}


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    """A tiny run whose trunk learns, with chance in every block, and its clips."""
    with tiny.home(tmp_path_factory.mktemp("home")):
        config = tiny.config().with_(DEEP | LEARNT)
        yield config, prepare(config)


def saved_bytes(config, inputs) -> tuple[int, dict[str, torch.Tensor]]:
    """What a step keeps for its way back, parameters aside, and its gradients."""
    model = build_model(config, inputs).train()
    known = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    kept: dict[int, int] = {}

    def pack(value: torch.Tensor) -> torch.Tensor:
        storage = value.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return value

    torch.manual_seed(1)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
        _, parts = compute_losses(model, batch_gradients.batch_of(inputs, config), config, inputs)
        total = sum(kept.values())
        parts["total"].backward()
    return total, {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ["EFA", "Video Swin"])
def test_checkpointing_keeps_less_and_has_the_same_gradient(frames, name):
    config, inputs = frames
    config = config.with_({"system.name": name, "training.text_share": 1.0})
    plain, wanted = saved_bytes(config, inputs)
    less, gradients = saved_bytes(config.with_({"training.checkpointing": True}), inputs)
    assert less < 0.5 * plain
    assert gradients.keys() == wanted.keys()
    for key, value in wanted.items():  # drop path and dropout fell on the same clips and units, or nothing would fit
        assert torch.allclose(gradients[key], value, rtol=1e-5, atol=1e-7), key


def test_checkpointing_changes_no_prediction(frames, tmp_path):
    config, inputs = frames
    both = []
    for again in (False, True):
        changed = config.with_({"training.checkpointing": again, "training.epochs": 1})
        folder = tmp_path / str(again)
        folder.mkdir()
        both.append(predict(fit(changed, inputs, folder), inputs, changed)["quality_prob"].tolist())
    assert both[0] == pytest.approx(both[1], abs=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("c++") is None and shutil.which("g++") is None, reason="no C++ compiler")
def test_compiled_code_trains_the_same_model(inputs, tmp_path):
    """To 1e-3 of a loss: compiled kernels add up in another order, and two epochs carry that on."""
    config = tiny.config(training__feature_noise=0.0, fusion__text_dropout=0.0)
    models, losses = [], []
    for compiled in (False, True):
        folder = tmp_path / str(compiled)
        folder.mkdir()
        lines: list[str] = []
        models.append(fit(config.with_({"training.compile": compiled}), inputs, folder, report=lines.append))
        losses.append([float(line.split('"val_total": ')[1].split(",")[0]) for line in lines])
        for names in (load_file(folder / "best.safetensors"), torch.load(folder / "resume.pt")["model"]):
            assert not any("_orig_mod" in name for name in names)
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)
    plain, compiled = (predict(model, inputs, config)["quality_prob"].tolist() for model in models)
    assert compiled == pytest.approx(plain, abs=1e-2)


@pytest.mark.parametrize("switches", [{}, {"training.checkpointing": True}, {"training.micro_batch": 4}])
def test_half_precision_trains_with_every_switch(frames, tmp_path, switches):
    config, inputs = frames
    config = config.with_({"training.precision": "bf16", "training.epochs": 1} | switches)
    seen: list[torch.dtype] = []
    model = build_model(config, inputs)
    model.encoder.register_forward_hook(lambda module, given, found: seen.append(found.dtype))
    output, parts = compute_losses(model.train(), batch_gradients.batch_of(inputs, config), config, inputs)
    assert seen == [torch.float32] or seen == [torch.bfloat16]  # the last LayerNorm decides
    assert output.class_logits.dtype == parts["total"].dtype == torch.float32
    trained = fit(config, inputs, tmp_path)
    assert all(value.dtype == torch.float32 for value in trained.parameters())
    assert predict(trained, inputs, config)["quality_prob"].between(0, 1).all()
    assert not torch.is_autocast_enabled("cpu")
