"""What an explanation and a training step cost: the targets, by counted operations, and the estimates for GPUs."""

import pytest

from efa.config import build
from efa.data.loader import open_dataset
from efa.experiments import select
from efa.utils.errors import InputError
from efa_book import benchmarks as book
from efa_book.audit import budget, costs


def test_explanation_of_256_tokens():
    cost = sum(budget.explanation().values()) + budget.decoding(256)
    assert 0.25e12 < cost <= 0.45e12
    assert budget.explanation()["Video Swin"] == pytest.approx(costs.RELEASE["of which Video Swin"], rel=0.01)
    assert costs.RELEASE["caption of 256"] / cost > 50
    assert 1 < budget.decoding(256) / budget.decoding(128) <= 2.1
    table = budget.explanation_table()
    assert table.value("all of it, 256 tokens") == cost
    assert table.value("decoding, 256 against 128", 3) == pytest.approx(22.3 / 9.23)
    assert [row[-1] for row in table.rows if row[-1]] == ["at most 0.450 TFLOP: met", "at most 2.1 times: met"]


def test_training_step():
    """Met with stock Video Swin or with a frozen encoder. Not with the release's stride, and the page says so."""
    target, length = 1.3e12, budget.caption_pieces()
    assert target == budget.TARGETS["training step, batch 2"]
    assert 100 < length < 140
    cost = {
        name: budget.training_step(build("paper", overrides), length)
        for name, (_, overrides) in budget.VARIANTS.items()
    }
    assert max(cost["stock Video Swin"], cost["frozen encoder"]) <= target < cost["as released"]
    encoder = 3 * budget.BATCH * budget.explanation()["Video Swin"]  # backward twice as much as forward
    assert 0.9 * target < encoder < cost["as released"]
    assert budget.training_step(build("paper"), costs.TEXT) < 0.7 * costs.RELEASE["training step, batch 2"]
    outcomes = {row[0]: row[3] for row in budget.training_step_table().rows}
    assert [outcomes[f"{name}: {about}"] for name, (about, _) in budget.VARIANTS.items()] == ["missed", "met", "met"]


def test_gpu_estimate_follows_from_operations_and_bytes():
    table, need = budget.gpu_table(), budget.step_needs("paper")
    expected = 1e3 * (need["flops"] / (0.45 * 989.5e12) + need["bytes"] / 3.35e12)
    assert table.value("H100: a training step, preset paper, batch 24", 2) == pytest.approx(expected)
    one, other = (table.value(f"{name}: decoding 256 tokens of one clip, at the least", 3) for name in ("H100", "H200"))
    assert one / other == pytest.approx(4.8 / 3.35)
    assert "An estimate" in table.how


@pytest.mark.parametrize("preset", ["smoke", "gpu", "paper"])
def test_steps_of_a_training(preset):
    config = build(preset)
    train = (open_dataset(config.data).table["split"] == "train").sum()
    assert budget.steps(preset) == config.training.epochs * (train // config.training.batch)


def test_grid_estimate_is_that_of_its_runs():
    table, need = budget.training_runs_table(), budget.step_needs("gpu")
    step = need["flops"] / (0.45 * 989.5e12) + need["bytes"] / 4.8e12
    assert table.value("H200: preset gpu, EFA, one seed", 2) == pytest.approx(budget.steps("gpu") * step / 60)
    runs = len({run.key for run in select("paper", "smoke", (0, 1, 2))})  # each key is trained once
    name = f"H200: preset gpu, {runs} runs of Tables IV to VII, if each were EFA's"
    assert table.value(name, 2) == pytest.approx(runs * budget.steps("gpu") * step / 60)


def test_caption_pieces_need_their_file(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    budget.caption_pieces.cache_clear()
    with pytest.raises(InputError, match=r"statistics\.csv"):
        budget.caption_pieces()
    budget.caption_pieces.cache_clear()


@pytest.mark.parametrize("measure", book.CAPTIONS)
def test_counted_tables_have_their_stamp(measure):
    text = book.operations(measure).text
    assert ("Arithmetic" if measure in ("gpu_table", "training_runs_table") else "[Counted, nothing run]") in text
    assert f"efa_book/audit/budget.py, {measure}" in text
