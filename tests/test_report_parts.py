"""Parts of a trained EFA switched off: each does what its name says and undoes itself; losses follow the rule."""

import json
import math

import explorer_samples
import numpy as np
import pandas as pd
import pytest
import tiny
import torch

from efa.baselines.registry import build_system
from efa.config import build
from efa.runs import Run
from efa.utils.errors import InputError
from efa_book import parts

CLIPS = 3
EVEN = "eq. 2 + 6 + 8: all of these"


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_system(tiny.config(encoder__adapter=8), 4, 40, 16).eval()


@pytest.fixture(scope="module")
def given(model):
    random = torch.Generator().manual_seed(1)
    tokens = math.prod(model.grid)
    features = torch.randn(CLIPS, tokens, model.encoder.out_dim, generator=random)
    return features, torch.randn(CLIPS, 5, 16, generator=random), torch.randn(CLIPS, 1, 16, generator=random)


def forward(model, given, part):
    with torch.inference_mode(), parts.switched_off(model, part):
        return model(*given)


@pytest.mark.parametrize("part", parts.PARTS)
def test_a_part_is_off_inside_the_context_alone(model, given, part):
    before, during, after = (forward(model, given, name) for name in (parts.WHOLE, part, parts.WHOLE))
    assert torch.equal(before.quality_logit, after.quality_logit)
    assert torch.equal(before.quality_logit, during.quality_logit) == (part == parts.WHOLE)
    assert torch.equal(before.class_logits, during.class_logits)  # no part has a say in the action


def test_even_attention_is_the_mean_of_the_values(model, given):
    name = "eq. 6: steps look evenly"
    weights = forward(model, given, name).fusion.step_attention
    assert torch.equal(weights, torch.full_like(weights, 1 / weights.shape[-1]))
    attention = model.fusion.step_branch.text_attention
    queries, memory = torch.randn(2, 5, model.config.fusion.dim), torch.randn(2, 7, model.config.fusion.dim)
    with torch.inference_mode(), parts.switched_off(model, name):
        result, _ = attention(queries, memory)
        torch.testing.assert_close(result, attention.value(memory).mean(1, keepdim=True).expand(-1, 5, -1))


def test_a_fixed_gate_takes_one_branch_or_half_of_each(model, given):
    first, second = torch.randn(2, 2, 4, model.config.fusion.dim)
    expected = {"global branch alone": first, "step branch alone": second, "gate one half": (first + second) / 2}
    for part, value in expected.items():
        with torch.inference_mode(), parts.switched_off(model, f"eq. 9: {part}"):
            torch.testing.assert_close(model.fusion.merge(first, second)[0], value)


def test_steps_that_see_nothing_keep_their_text(model, given):
    branch, text = model.fusion.step_branch, torch.randn(1, 5, model.config.fusion.dim)
    seen = []
    branch.video_attention.register_forward_pre_hook(lambda _, args: seen.append(args[1]))
    with torch.inference_mode(), parts.switched_off(model, "eq. 6: steps see nothing"):
        for seed in (0, 1):
            branch(torch.randn(1, 6, model.config.fusion.dim, generator=torch.Generator().manual_seed(seed)), text)
    branch.video_attention._forward_pre_hooks.clear()
    torch.testing.assert_close(*seen)


def test_a_missing_part_cannot_be_switched_off():
    bare = build_system(tiny.config(encoder__adapter=0, fusion__merge="concatenate"), 4, 40, 16)
    for part in ("adapter adds nothing", "eq. 9: gate one half"):
        with pytest.raises(InputError, match="this model has no"), parts.switched_off(bare, part):
            pass
    with pytest.raises(InputError, match="there is no part 'the weather'"), parts.switched_off(bare, "the weather"):
        pass


def auc_lines(losses: list[float]) -> pd.DataFrame:
    """The whole model at 80 plus the seed, and what `EVEN` loses, seed by seed."""
    lines = [("4", "EFA", seed, parts.WHOLE, "quality_auc", 80.0 + seed) for seed in range(3)]
    lines += [("4", "EFA", seed, EVEN, "quality_auc", 80.0 + seed - loss) for seed, loss in enumerate(losses)]
    return pd.DataFrame(lines, columns=list(parts.COLUMNS))


@pytest.mark.parametrize(("losses", "outcome"), [
    ([5.0, 5.1, 4.9], "used"), ([0.5, 0.5, 0.51], "not used"), ([0.0, 0.0, 0.0], "not used"),
    ([-3.0, -3.1, -2.9], "in the way"), ([9.0, 0.0, 1.0], "inconclusive"), ([1.2, 0.9, 1.0], "used"),
    ([0.9, 0.4, 1.6], "inconclusive"), ([2.0], "inconclusive"),  # one seed has no interval
])  # fmt: skip
def test_outcome_of_a_change(losses, outcome):
    """Paired by seed: the seeds' own levels, which differ by a point each, take no part."""
    found = parts.estimate_change(auc_lines(losses), EVEN, "quality_auc")
    assert found.outcome == outcome
    assert found.loss == pytest.approx(np.mean(losses))


def write_parts(folder, table: pd.DataFrame, **facts: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / "parts.csv", index=False)
    (folder / "parts.json").write_text(json.dumps({"runs": {"4/EFA seed 0": explorer_samples.FACTS | facts}}))


def test_tables_show_only_the_run_behind_the_results(tmp_path, monkeypatch):
    monkeypatch.setenv("EFA_HOME", str(tmp_path))
    folder, results = tmp_path / "results", explorer_samples.results(tmp_path)
    monkeypatch.setattr(parts, "folder_of", lambda *_: folder)
    assert "not known" in parts.parts_table(results).text
    write_parts(folder, auc_lines([7.5, 7.5, 7.5]))
    text = parts.parts_table(results).text
    assert f"{EVEN} | 72.5 +7.5" in text  # seed 0 alone: the others are not among the results
    assert "FormSim, a stand-in" in text
    assert "not known" in parts.frames_table(results).text
    shares = [("4", "EFA", 0, parts.WHOLE, f"{parts.LOOK}{n}", 10.0 * n) for n in (10, 2)]
    write_parts(folder, pd.DataFrame(shares, columns=parts.COLUMNS))
    text = parts.frames_table(results).text
    assert "frame 2 | frame 10" in text  # by number, not by letter
    assert "seed 0 | 20 % | 100 %" in text
    assert "efa explore parts --preset smoke --seeds 0" in text
    write_parts(folder, auc_lines([7.5]), finished="2020-01-01T00:00:00+00:00")
    assert "not known" in parts.parts_table(results).text
    (folder / "parts.json").write_text("{")
    with pytest.raises(InputError, match=r"parts\.json: cannot be read"):
        parts.parts_table(results)


def test_unfinished_runs_are_refused(home):
    with pytest.raises(InputError, match="6/EFA seed 0 is not finished"):
        parts.score_parts(Run("6", "EFA", 0, build("smoke")))
    with pytest.raises(InputError, match=r"6/EFA seed 0 is not finished.*efa run 6/EFA --preset smoke --seeds 0"):
        parts.publish("smoke", (0,))


@pytest.mark.slow
def test_whole_model_scores_are_those_of_the_run(home):
    run = Run("6", "EFA", 0, tiny.config(encoder__adapter=8, training__epochs=1))
    run.execute()
    found = parts.score_parts(run, (parts.WHOLE, "adapter adds nothing"))
    whole = found[found["part"] == parts.WHOLE].set_index("metric")["value"]
    scores = json.loads((run.folder / "scores.json").read_text())["predicted"]
    for name in parts.METRICS:
        assert whole[name] == pytest.approx(scores[name])
    assert whole[whole.index.str.startswith(parts.LOOK)].sum() == pytest.approx(100, abs=1e-3)
    assert len(whole) == len(parts.METRICS) + run.config.data.frames
    assert set(found["part"]) == {parts.WHOLE, "adapter adds nothing"}
