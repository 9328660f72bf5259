"""What an explanation and a training step cost: the targets, by counted operations, and the estimates for GPUs."""

import pytest

from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import select
from efa.utils.errors import InputError
from efa_book.audit import budget, costs


def test_an_explanation_of_256_tokens_from_pixels_to_text():
    spent = sum(budget.explanation().values()) + budget.decoding(256)
    assert 0.25e12 < spent <= 0.45e12
    swin = budget.explanation()["Video Swin"]
    assert swin == pytest.approx(costs.RELEASE["of which Video Swin"], rel=0.01)
    assert costs.RELEASE["caption of 256"] / spent > 50
    told = budget.explained()
    assert told.value("all of it, 256 tokens") == spent
    assert told.value("decoding, 256 against 128", 3) == pytest.approx(22.3 / 9.23)
    assert [row[-1] for row in told.rows if row[-1]] == ["at most 0.450 TFLOP: met", "at most 2.1 times: met"]


def test_decoding_grows_hardly_more_than_the_text():
    assert 1 < budget.decoding(256) / budget.decoding(128) <= 2.1


def test_a_step_of_the_cache_is_linear_in_its_place():
    first, second = budget._step(0), budget._step(1)
    assert budget._step(100) == first + 100 * (second - first) > first


def test_a_training_step():
    """Met with stock Video Swin or with a frozen encoder. Not with the release's stride, and the page says so."""
    target, length = 1.3e12, budget.pieces()
    assert target == budget.TARGETS["training step, batch 2"]
    assert 100 < length < 140
    spent = {
        name: budget.training_step(build("paper", overrides), length)
        for name, (_, overrides) in budget.VARIANTS.items()
    }
    assert spent["stock Video Swin"] <= target
    assert spent["frozen encoder"] <= target
    assert spent["as released"] > target
    alone = 3 * budget.BATCH * budget.explanation()["Video Swin"]  # backward twice as much as forward
    assert 0.9 * target < alone < spent["as released"]
    assert budget.training_step(build("paper"), costs.TEXT) < 0.7 * costs.RELEASE["training step, batch 2"]
    said = {row[0]: row[3] for row in budget.stepped().rows}
    assert [said[f"{name}: {about}"] for name, (about, _) in budget.VARIANTS.items()] == ["missed", "met", "met"]


def test_what_is_estimated_for_a_gpu_follows_from_operations_and_bytes():
    found, need = budget.estimated(), budget.on_gpu("paper")
    gpu = budget.GPUS["H100"]
    expected = 1e3 * (need["flops"] / (0.45 * gpu.peaks["bf16"]) + need["bytes"] / gpu.bandwidth)
    assert found.value("H100: a training step, preset paper, batch 24", 2) == pytest.approx(expected)
    one, other = (found.value(f"{name}: decoding 256 tokens of one clip, at the least", 3) for name in ("H100", "H200"))
    assert one / other == pytest.approx(4.8 / 3.35)
    assert "An estimate" in found.how


@pytest.mark.parametrize("preset", ["smoke", "gpu", "paper"])
def test_whole_trainings_are_estimated_from_the_steps_that_they_take(preset):
    config = build(preset)
    train = (open_dataset(config.data).table["split"] == "train").sum()
    assert budget.steps(preset) == config.training.epochs * (train // config.training.batch)


def test_an_estimate_of_the_grid_is_that_of_its_runs():
    found, need, gpu = budget.runs_estimated(), budget.on_gpu("gpu"), budget.GPUS["H200"]
    step = need["flops"] / (0.45 * gpu.peaks["bf16"]) + need["bytes"] / gpu.bandwidth
    assert found.value("H200: preset gpu, EFA, one seed", 2) == pytest.approx(budget.steps("gpu") * step / 60)
    runs = len({run.key for run in select("paper", "smoke", (0, 1, 2))})  # keys say what is trained apart
    named = f"H200: preset gpu, {runs} runs of Tables IV to VII, if each were EFA's"
    assert found.value(named, 2) == pytest.approx(runs * budget.steps("gpu") * step / 60)


def test_the_length_of_a_caption_needs_its_file(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    budget.pieces.cache_clear()
    with pytest.raises(InputError, match=r"statistics\.csv"):
        budget.pieces()
    budget.pieces.cache_clear()
