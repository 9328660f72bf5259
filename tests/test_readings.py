"""Where the paper leaves a choice or contradicts itself, each reading is a setting, and does what it says."""

import dataclasses

import pytest
import tiny
import torch
from checkpoints import call
from hypothesis import given, settings
from hypothesis import strategies as st

from efa.baselines.inputs import build_model, prepare
from efa.baselines.registry import encoder_file
from efa.config import FusionConfig, build
from efa.model.fusion import Fusion
from efa.predict import EFA, predict
from efa.train import compute_losses, fit
from efa_book.audit.plan import measure_step


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


def fusion(seed: int, scale: float = 1.0, **changes: object) -> Fusion:
    torch.manual_seed(seed)
    module = Fusion(FusionConfig(**{"dim": 12, "heads": 3, "sigma": 0.5} | changes), 10, 8).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * scale
    return module


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 10_000), scale=st.floats(0.1, 3), order=st.permutations(range(5)),
    query=st.sampled_from(["both", "text", "video"]), merge=st.sampled_from(["gate", "add", "concatenate"]),
)  # fmt: skip
def test_equations_do_not_see_the_order_of_steps(seed, scale, order, query, merge):
    module = fusion(seed, scale, query=query, merge=merge)
    video, steps, instruction = torch.randn(2, 7, 10), torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    with torch.no_grad():
        plain, shuffled = (module(video, some, instruction).fused for some in (steps, steps[:, list(order)]))
    torch.testing.assert_close(shuffled, plain, rtol=1e-5, atol=1e-5 * max(1.0, plain.abs().max().item()))


def test_step_positions_make_the_order_matter():
    video, steps, instruction = torch.randn(2, 7, 10), torch.randn(2, 5, 8), torch.randn(2, 1, 8)
    module = fusion(0, step_position=True)
    with torch.no_grad():
        plain, shuffled = (module(video, some, instruction).fused for some in (steps, steps.flip(1)))
    assert (plain - shuffled).abs().max() > 1e-3


def test_shuffled_text_is_efa_to_the_last_but_few_bits(home):
    """The same weights, read with the steps in order and shuffled: the same answers."""
    config = tiny.config(fusion__text="shuffled")
    inputs = prepare(config)
    assert sorted(set(map(tuple, inputs.order.sort(1).values.tolist()))) == [(0, 1, 2, 3, 4)]
    assert len(set(map(tuple, inputs.order.tolist()))) > 10
    model = build_model(config, inputs).eval()
    keys, rows = torch.tensor([0, 3, 3]), torch.tensor([0, 1, 2])
    steps, plain = (one.embed(model, keys, rows)[0] for one in (inputs, dataclasses.replace(inputs, order=None)))
    assert not torch.equal(steps, plain)
    assert torch.equal(steps.sort(1).values, plain.sort(1).values)
    shuffled, ordered = (predict(model, one, config) for one in (inputs, dataclasses.replace(inputs, order=None)))
    assert list(shuffled["explanation"]) == list(ordered["explanation"])
    assert shuffled["quality_prob"].to_numpy() == pytest.approx(ordered["quality_prob"].to_numpy(), abs=1e-5)


def test_random_vectors_keep_identity_and_nothing_else(home):
    real, random = prepare(tiny.config()), prepare(tiny.config(fusion__text="random"))
    again = prepare(tiny.config(fusion__text="random", training__seed=7))
    assert torch.equal(random.steps, again.steps)  # fixed, whatever the run's seed
    torch.testing.assert_close(random.steps.norm(dim=2), real.steps.norm(dim=2))
    cosine = torch.cosine_similarity(random.steps.flatten(0, 1), real.steps.flatten(0, 1))
    assert cosine.abs().mean() < 0.1
    assert len(torch.unique(random.steps.flatten(0, 1), dim=0)) == len(random.steps) * 5


def test_an_assessor_reads_the_random_vectors_it_was_trained_with(home):
    config = tiny.config(fusion__text="random")
    inputs = prepare(config)
    assessor = EFA.from_material(build_model(config, inputs), config, inputs)
    name = inputs.dataset.actions[0]
    steps, _ = assessor._encode(inputs.dataset.steps[name])
    torch.testing.assert_close(steps[0], inputs.steps[list(inputs.dataset.steps).index(name)])


@pytest.mark.parametrize("class_from", ["video", "two_pass", "true_text"])
def test_class_is_read_from_video_or_fused_features(home, class_from):
    config = tiny.config(fusion__class_from=class_from)
    inputs = prepare(config)
    model = build_model(config, inputs).eval()
    features = torch.randn(3, *inputs.video.shape[1:])
    steps, instruction = inputs.steps[[0, 1, 2]], inputs.instruction[[0, 1, 2]]
    with torch.no_grad():
        given, other = model(features, steps, instruction), model(features, -steps, -instruction)
        none, blind = model(features, None, None), model.classify(features)
    moved = not torch.allclose(given.class_logits, other.class_logits, atol=1e-6)
    assert moved == (class_from != "video")  # the text moves the class: that is the leak
    torch.testing.assert_close(blind, none.class_logits)  # what picks the steps has seen none
    model.train()
    assert (model(features, steps, instruction).blind_logits is not None) == (class_from == "two_pass")


def test_two_passes_train_the_class_without_text(home):
    """The class loss of 'two_pass' is the mean of that with text and of that without."""
    config = tiny.config(fusion__class_from="two_pass", fusion__text_dropout=0.0, training__feature_noise=0.0)
    inputs = prepare(config)
    model = build_model(config, inputs).train()
    batch = {
        "video": torch.from_numpy(inputs.video[:6].copy()).float(), "action": torch.arange(6), "quality": torch.ones(6),
        "key": torch.arange(6), "row": torch.arange(6), "tokens": torch.ones(6, 4, dtype=torch.long),
    }  # fmt: skip
    output, parts = compute_losses(model, batch, config, inputs)
    each = [torch.nn.functional.cross_entropy(x, batch["action"]) for x in (output.class_logits, output.blind_logits)]
    torch.testing.assert_close(parts["class"], sum(each) / 2)


def test_a_trained_text_encoder_learns_and_is_kept(home, tmp_path):
    config = tiny.config(text__frozen=False, training__epochs=1, data__clips=16)
    inputs = prepare(config)
    before = build_model(config, inputs)
    assert before.text_encoder is not None
    start = {name: value.clone() for name, value in before.text_encoder.state_dict().items()}
    (tmp_path / "run").mkdir()
    model = fit(config, inputs, tmp_path / "run")
    moved = [name for name, value in model.text_encoder.state_dict().items() if not torch.equal(value, start[name])]
    assert any("layer.0" in name for name in moved)  # the gradient reaches its first layer
    assessor = EFA.from_material(model, config, inputs)
    assessor.save_pretrained(tmp_path / "kept")
    again = EFA.from_pretrained(tmp_path / "kept")
    assert tiny.same_weights(model, again.model)
    text = next(iter(inputs.dataset.steps.values()))
    torch.testing.assert_close(again._encode(text)[0][0], model.text_encoder.encode(list(text.steps)))
    frame = torch.zeros(config.data.frames, config.data.size, config.data.size, 3, dtype=torch.uint8).numpy()
    assert again.assess(frame)["explanation"] == assessor.assess(frame)["explanation"]


def test_the_paper_preset_is_refused_without_its_weights(home, monkeypatch, capfd):
    """One line with the command that fetches them, before anything is made."""
    status, _, error = call(monkeypatch, capfd, "run", "4/EFA", "--preset", "paper")
    assert status == 2
    assert len(error.splitlines()) == 1
    assert "curl --location" in error
    assert error.rstrip(")\n").endswith("swin_base_patch244_window877_kinetics600_22k.pth")
    config = build("paper")
    assert (config.training.epochs, config.text.frozen, config.data.frames) == (300, False, 6)
    assert (config.training.weight_class, config.fusion.sigma, config.fusion.sigma_shape) == (3, 1e-3, "vector")
    assert encoder_file(build("paper", {"system.name": "Video Swin"})).endswith(".pth")
    assert encoder_file(build("paper", {"system.name": "TSM"})) == ""  # the paper does not say where it starts


@pytest.mark.parametrize("row", ["4/EFA", "4/SwinBERT", "5/RICA2", "5/C3D"])
def test_a_dry_run_prints_a_plan_and_trains_nothing(home, monkeypatch, capfd, row):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("efa.launch.grid.execute_all", lambda *_: pytest.fail("it trains"))
        status, out, _ = call(monkeypatch, capfd, "run", row, "--preset", "paper", "--dry-run")
    assert status == 0
    assert "29,400 (300 epochs)" in out
    for what in (
        "parameters: all, trained",
        "TFLOP forward and backward",
        "days on two RTX A6000",
        "hours on one H200",
    ):
        assert what in out
    assert ("curl" in out) == (row in ("4/EFA", "4/SwinBERT"))


def test_a_plan_counts_the_model_that_is_trained(home):
    config = tiny.config(training__text_share=1.0)
    need, model = measure_step(config), build_model(config, prepare(config))
    assert sum(need["parts"].values()) == sum(p.numel() for p in model.parameters())
    assert need["trained"] == sum(p.numel() for p in model.parameters() if p.requires_grad)
    double = measure_step(config.with_({"training.batch": 16}))
    assert double["flops"] == pytest.approx(2 * need["flops"], rel=0.01)
    assert double["activations"] > 1.5 * need["activations"]
