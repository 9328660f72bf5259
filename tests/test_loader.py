"""From clips to batches: one draw a clip, the same draw again after an interruption, no half-made cache."""

import zlib

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.baselines.inputs import prepare
from efa.config import FolderData, FormSimData, build
from efa.data.loader import (
    ClipDataset,
    EpochSampler,
    augment,
    cached_array,
    data_fingerprint,
    in_processes,
    load_frames,
    open_dataset,
    pixels,
)
from efa.predict import predict
from efa.train import fit
from efa.utils.errors import InputError
from efa_datasets.formsim_files import export


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with tiny.home(tmp_path_factory.mktemp("home")) as folder:
        yield folder


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.5, 0.99]), st.sampled_from([0.0, 0.1, 0.4]))
@settings(deadline=None, max_examples=60)
def test_flip_and_crop_are_the_same_for_all_frames_of_a_clip(seed, flip, crop):
    ramp = np.arange(24 * 24 * 3).reshape(24, 24, 3) % 251
    clip = np.stack([ramp + t for t in range(5)]).astype(np.uint8)  # frame t is frame 0 plus t
    out = augment(clip, FormSimData(flip=flip, crop=crop), np.random.RandomState(seed))
    assert out.shape == clip.shape
    assert out.dtype == np.uint8
    assert all(np.array_equal(out[t], out[0] + t) for t in range(5))


def test_flip_mirrors_and_no_augmentation_changes_nothing():
    clip = np.random.RandomState(0).randint(0, 256, (3, 16, 16, 3)).astype(np.uint8)
    assert np.array_equal(augment(clip, FormSimData(flip=0.0, crop=0.0), np.random.RandomState(1)), clip)
    flipped = [augment(clip, FormSimData(flip=0.5, crop=0.0), np.random.RandomState(s)) for s in range(60)]
    mirrored = [np.array_equal(f, clip[:, :, ::-1]) for f in flipped]
    assert 15 < sum(mirrored) < 45
    assert all(m or np.array_equal(f, clip) for m, f in zip(mirrored, flipped, strict=True))


def clips_of(home, **changes) -> ClipDataset:
    config = tiny.config().data
    dataset = open_dataset(config)
    video = load_frames(dataset, config)
    rows = np.flatnonzero((dataset.table["split"] == "train").to_numpy())
    texts = torch.zeros(len(dataset.table), 4, dtype=torch.long)
    settings_ = {"seed": 0, "train": True} | changes
    return ClipDataset(dataset, rows, video, texts, np.arange(len(dataset.table)), config, **settings_)


def test_augmentation_depends_on_seed_epoch_and_row_only(home):
    clips = clips_of(home)
    alone = torch.cat([pixels(clips.__getitems__([i])) for i in range(6)])
    assert torch.equal(pixels(clips.__getitems__([*range(6)])), alone)
    assert torch.equal(pixels(clips.__getitems__([5, 4, 3, 2, 1, 0])).flip(0), alone)
    clips.epoch = 1
    assert not torch.equal(pixels(clips.__getitems__([*range(6)])), alone)
    assert not torch.equal(pixels(clips_of(home, seed=1).__getitems__([*range(6)])), alone)
    held_out = clips_of(home, train=False)
    before = held_out.__getitems__([0, 1])
    held_out.epoch = 5
    assert torch.equal(pixels(held_out.__getitems__([0, 1])), pixels(before))
    assert torch.equal(pixels(before), torch.from_numpy(clips.video[clips.rows[:2]]).permute(0, 1, 4, 2, 3))
    assert before["row"].tolist() == clips.rows[:2].tolist()


def test_a_batch_is_flipped_and_cropped_clip_by_clip(home):
    clips = clips_of(home)
    batch = clips.__getitems__([3, 0, 5])
    for row, clip in zip(batch["row"].tolist(), pixels(batch), strict=True):
        draw = np.random.RandomState(zlib.crc32(f"0 0 {row}".encode()))
        alone = augment(clips.video[row], clips.config, draw)
        assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), alone)
    assert not torch.equal(pixels(batch), pixels({"video": batch["video"]}))


def test_frames_are_rendered_once_in_the_order_of_the_table(home):
    config = tiny.config().data
    dataset = open_dataset(config)
    frames = load_frames(dataset, config)
    assert frames.shape == (32, 6, 32, 32, 3)
    chosen = {clip.clip_id: clip for clip in formsim.clips("main", 32, 0)}
    for row in (0, 17, 31):
        clip = chosen[dataset.table["clip_id"].iloc[row]]
        assert np.array_equal(frames[row], formsim.render_clip(clip, 32, 6, config.clutter))
    (file,) = (home / ".cache" / "frames").glob("*.npy")
    made = file.stat().st_mtime_ns
    load_frames(dataset, config)
    assert file.stat().st_mtime_ns == made


def test_a_cache_file_appears_whole_or_not_at_all(tmp_path):
    target = tmp_path / "deep" / "a.npy"

    def broken():
        yield np.ones((2, 3))
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cached_array(target, (4, 3), np.float32, broken)
    assert [p.name for p in target.parent.iterdir()] == ["a.lock"]  # nothing is lost by leaving an empty lock
    steps: list[tuple[int, int]] = []
    made = cached_array(target, (4, 3), np.float32, lambda: iter([np.ones((2, 3))] * 2), lambda *at: steps.append(at))
    assert np.array_equal(made, np.ones((4, 3)))
    assert steps == [(2, 4), (4, 4)]
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.lock", "a.npy"]
    assert np.array_equal(cached_array(target, (4, 3), np.float32, broken), made)  # not made again


def test_the_order_of_an_epoch_is_a_permutation_of_its_own():
    sampler = EpochSampler(50, 3)
    first = list(sampler)
    assert sorted(first) == list(range(50))
    assert list(sampler) == first
    assert list(EpochSampler(50, 3)) == first
    sampler.epoch = 1
    assert list(sampler) != first
    assert list(EpochSampler(50, 4)) != first
    assert len(sampler) == 50


def test_weights_make_rare_clips_as_frequent_as_others():
    weights = np.array([0.5 / 90] * 90 + [0.5 / 10] * 10)
    sampler = EpochSampler(100, 0, weights)
    drawn = []
    for sampler.epoch in range(50):
        drawn += list(sampler)
    assert abs(np.mean(np.array(drawn) >= 90) - 0.5) < 0.04
    assert len(drawn) == 5000


def test_work_comes_back_in_order():
    assert list(in_processes(abs, [-3, 2, -1])) == [3, 2, 1]
    assert list(in_processes(abs, [])) == []


@pytest.mark.slow
def test_work_comes_back_in_order_from_many_processes():
    assert list(in_processes(abs, range(-200, 0))) == list(range(200, 0, -1))


def test_the_fingerprint_changes_with_the_clips():
    configs = [tiny.config(), tiny.config(data__clips=31), tiny.config(data__seed=1)]
    configs.append(tiny.config(data__benchmark="standards"))
    prints = [data_fingerprint(open_dataset(config.data), config.data) for config in configs]
    assert len(set(prints)) == 4
    assert prints[0] == data_fingerprint(open_dataset(tiny.config(data__size=64).data), tiny.config(data__size=64).data)


def test_a_folder_that_is_no_data_set_is_an_input_error(tmp_path):
    with pytest.raises(InputError):
        open_dataset(FolderData(source=str(tmp_path / "absent")))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        open_dataset(FolderData(source=str(tmp_path / "empty")))


def test_exported_folder_trains_and_predicts(home, tmp_path):
    pytest.importorskip("av")
    folder = tmp_path / "mine"
    formsim_data = build("laptop", {"data.clips": 8, "data.actions": 0, "data.size": 64}).data
    export(formsim_data, folder, fps=6)
    assert len(list((folder / "videos").glob("*.mp4"))) == 8
    config = tiny.config(
        data__source=str(folder), data__size=64, encoder__frozen=False, training__epochs=1, training__batch=2
    )
    inputs = prepare(config)
    inside = open_dataset(formsim_data)
    assert list(inputs.dataset.table["explanation"]) == list(inside.table["explanation"])
    frames = load_frames(inside, formsim_data)
    assert inputs.video.shape == frames.shape
    assert np.abs(inputs.video[:, 2].astype(int) - frames[:, 2]).mean() < 16  # compressed, and other moments
    run = tmp_path / "run"
    run.mkdir()
    model = fit(config, inputs, run)
    predictions = predict(model, inputs, config)
    assert len(predictions) == 1
    assert predictions["split"].tolist() == ["test"]
