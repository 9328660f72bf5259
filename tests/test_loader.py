"""From clips to batches: one draw a clip, the same draw again after an interruption, no half-made cache."""

import zlib

import numpy as np
import pytest
import tiny
import torch
from conftest import module_home
from hypothesis import given, settings
from hypothesis import strategies as st

import formsim
from efa.baselines.inputs import prepare
from efa.config import FolderData, FormSimData, build
from efa.data import loader
from efa.data.loader import ClipDataset, EpochSampler, flip_and_crop, in_processes, load_frames, open_dataset, pixels
from efa.predict import predict
from efa.train import fit
from efa.utils.errors import InputError
from efa_datasets.formsim_files import export

home = module_home


def augment(clip: np.ndarray, config: FormSimData, draw: np.random.RandomState) -> np.ndarray:
    """What a clip of a training batch becomes, uint8 [T, S, S, 3]."""
    lines, columns = flip_and_crop(clip.shape[1], config, draw)
    return clip[:, lines][:, :, columns]


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


def train_clips(seed: int | None = 0) -> ClipDataset:
    config = tiny.config().data
    dataset = open_dataset(config)
    rows = np.flatnonzero((dataset.table["split"] == "train").to_numpy())
    count = len(dataset.table)
    frames, texts = load_frames(dataset, config), torch.zeros(count, 4, dtype=torch.long)
    return ClipDataset(dataset, rows, frames, texts, np.arange(count), config, seed)


def test_augmentation_depends_on_seed_epoch_and_row_only(home):
    clips = train_clips()
    six = [*range(6)]
    alone = torch.cat([pixels(clips.__getitems__([i])) for i in six])
    assert torch.equal(pixels(clips.__getitems__(six)), alone)
    assert torch.equal(pixels(clips.__getitems__(six[::-1])).flip(0), alone)
    clips.epoch = 1
    assert not torch.equal(pixels(clips.__getitems__(six)), alone)
    assert not torch.equal(pixels(train_clips(seed=1).__getitems__(six)), alone)
    held_out = train_clips(seed=None)
    held_out.epoch = 5
    batch = held_out.__getitems__([0, 1])
    assert torch.equal(pixels(batch), torch.from_numpy(clips.video[clips.rows[:2]]).permute(0, 1, 4, 2, 3))
    assert batch["row"].tolist() == clips.rows[:2].tolist()


def test_a_batch_is_flipped_and_cropped_clip_by_clip(home):
    clips = train_clips()
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
        loader.cached_array(target, (4, 3), np.float32, broken())
    assert [p.name for p in target.parent.iterdir()] == ["a.lock"]  # nothing is lost by leaving an empty lock
    steps: list[tuple[int, int]] = []
    made = loader.cached_array(target, (4, 3), np.float32, [np.ones((2, 3))] * 2, lambda *at: steps.append(at))
    assert np.array_equal(made, np.ones((4, 3)))
    assert steps == [(2, 4), (4, 4)]
    assert sorted(p.name for p in target.parent.iterdir()) == ["a.lock", "a.npy"]
    assert np.array_equal(loader.cached_array(target, (4, 3), np.float32, broken()), made)  # not made again


def test_the_order_of_an_epoch_is_a_permutation_of_its_own():
    sampler = EpochSampler(50, 3)
    first = list(sampler)
    assert sorted(first) == list(range(len(sampler))) == list(range(50))
    assert list(sampler) == list(EpochSampler(50, 3)) == first
    sampler.epoch = 1
    assert list(sampler) != first
    assert list(EpochSampler(50, 4)) != first


def test_weights_make_rare_clips_as_frequent_as_others():
    sampler = EpochSampler(100, 0, np.repeat([0.5 / 90, 0.5 / 10], [90, 10]))
    drawn = []
    for sampler.epoch in range(50):
        drawn += list(sampler)
    assert abs(np.mean(np.array(drawn) >= 90) - 0.5) < 0.04
    assert len(drawn) == 5000


@pytest.mark.parametrize(
    "items", [[-3, 2, -1], [], pytest.param(range(-200, 0), marks=pytest.mark.slow, id="in many processes")]
)
def test_work_comes_back_in_order(items):
    assert list(in_processes(abs, items)) == [abs(item) for item in items]


def test_the_fingerprint_changes_with_the_clips():
    changes = [{}, {"data__clips": 31}, {"data__seed": 1}, {"data__benchmark": "standards"}, {"data__size": 64}]
    configs = [tiny.config(**change).data for change in changes]
    first, *others, resized = (loader.data_fingerprint(open_dataset(config), config) for config in configs)
    assert len({first, *others}) == 4
    assert resized == first


def test_a_folder_that_is_no_data_set_is_an_input_error(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(InputError):
            open_dataset(FolderData(source=str(folder)))


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
    predictions = predict(fit(config, inputs, tmp_path), inputs, config)
    assert predictions["split"].tolist() == ["test"]
