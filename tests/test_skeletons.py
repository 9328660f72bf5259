"""Skeletons: landmarks to joints, what an estimator makes of joints, and the pose encoder inside EFA."""

import dataclasses

import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from landmark_clips import project
from scipy.spatial.distance import pdist

import formsim
from efa.baselines.inputs import build_model, prepare
from efa.config import Config, build
from efa.data.landmarks import INDEX as LANDMARK
from efa.data.loader import ClipDataset, load_skeletons, observed_skeletons, open_dataset, text_keys
from efa.data.skeleton import TORSO, read_skeleton, resample, to_joints
from efa.model.pose import FEATURES, PoseEncoder, pose_features, turn_to_front
from efa.predict import EFA, predict
from efa.runs import config_hash
from efa.train import fit
from efa.utils.errors import InputError
from formsim.motion import ANGLES, INDEX, JOINTS, sided
from formsim.pretrain_pose import performances, pretrain_pose
from formsim.skeletons import PHASES, _misread, imitate, skeleton, take, vary
from formsim.streams import SWAPPED_JOINTS
from formsim.ways import WAYS, people_skeleton

POSE = {key: value for key, value in tiny.SETTINGS.items() if not key.startswith("encoder.")}
POSE |= {"data.actions": 4, "data.frames": 8, "encoder.dim": 16, "encoder.depth": 1, "encoder.weights": ""}
LIMBS = [("shoulder", "elbow"), ("elbow", "wrist"), ("hip", "knee"), ("knee", "ankle")]


def config(**changes):
    return build("pose", POSE).with_({key.replace("__", "."): value for key, value in changes.items()})


def cycles(count: int = 12, seed: int = 3) -> torch.Tensor:
    return torch.from_numpy(np.stack([skeleton(formsim.stream_clip(i, seed)) for i in range(count)]))


def draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def direction(joints: np.ndarray, start: str, end: str) -> np.ndarray:
    limb = joints[:, INDEX[end]] - joints[:, INDEX[start]]
    return limb / np.linalg.norm(limb, axis=-1, keepdims=True)


def rotated(joints: torch.Tensor, angle: float) -> torch.Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return joints @ torch.tensor([[c, s, 0], [-s, c, 0], [0, 0, 1]], dtype=torch.float32)


@settings(max_examples=25, deadline=None)
@given(i=st.integers(0, 49), view=st.floats(0, 360), scale=st.floats(0.3, 3))
def test_limbs_come_back_from_landmarks_whoever_is_seen_from_wherever(i, view, scale):
    truth = performance = skeleton(formsim.stream_clip(i, 3))
    seen = project(performance.astype(np.float64), 12.0, view, 40.0)  # near by, perspective bends limbs
    found = to_joints(seen._replace(image=seen.image * scale))
    assert found.shape == (PHASES, len(JOINTS), 3)
    found, truth = (turn_to_front(torch.from_numpy(part)[None])[0].numpy() for part in (found, truth))
    alike = []
    for start, end in LIMBS:
        for side in "lr":
            cosine = direction(found, f"{start}_{side}", f"{end}_{side}") * direction(
                truth, f"{start}_{side}", f"{end}_{side}"
            )
            alike.append(np.median(cosine.sum(-1)))
    assert np.mean(alike) > 0.97
    assert np.allclose(np.linalg.norm(found[:, INDEX["neck"]] - found[:, 0], axis=-1), TORSO, atol=1e-3)


def test_the_pelvis_rises_and_sinks_as_the_hips_do_in_the_picture():
    clip = dataclasses.replace(
        formsim.stream_clip(list(formsim.fault_phrases()).index("Squat"), 3), fault="", executed=1
    )
    truth = skeleton(clip)
    found = to_joints(project(truth.astype(np.float64), 12.0))
    assert np.corrcoef(found[:, 0, 2], truth[:, 0, 2])[0, 1] > 0.98
    assert np.ptp(found[:, 0, 2]) == pytest.approx(np.ptp(truth[:, 0, 2]), rel=0.3)


def test_gaps_are_bridged_and_unseen_legs_hang():
    clip = project(skeleton(formsim.stream_clip(0, 3)).astype(np.float64), 12.0)
    whole = to_joints(clip)
    gap = clip.image.copy()
    gap[20:23] = np.nan
    assert np.abs(to_joints(clip._replace(image=gap)) - whole).max() < 0.2
    hidden = clip.visibility.copy()
    hidden[:, [LANDMARK[f"{part}_{side}"] for part in ("knee", "ankle") for side in "lr"]] = 0.1
    joints = to_joints(clip._replace(visibility=hidden))
    assert np.allclose(direction(joints, "hip_l", "knee_l"), -direction(joints, "pelvis", "neck"), atol=1e-5)
    assert np.isnan(to_joints(clip._replace(image=np.full_like(clip.image, np.nan)))).all()


def test_a_picture_without_a_scale_of_depth_gets_the_one_that_keeps_limbs_long():
    clip = project(skeleton(formsim.stream_clip(2, 3)).astype(np.float64), 12.0)
    deep = clip._replace(image=clip.image * np.array([1, 1, 2], np.float32))
    assert np.abs(to_joints(deep) - to_joints(clip)).max() < 0.05


def test_positions_between_frames_are_interpolated():
    joints = np.arange(4, dtype=np.float32)[:, None, None] * np.ones((1, 20, 3), np.float32)
    assert resample(joints, np.array([0, 0.5, 2.25, 9]))[:, 0, 0].tolist() == [0, 0.5, 2.25, 3]
    assert resample(joints[:1], np.array([0, 3])).shape == (2, 20, 3)


@settings(max_examples=25, deadline=None)
@given(angle=st.floats(0, 6.28), scale=st.floats(0.6, 1.5))
def test_features_know_neither_heading_nor_size(angle, scale):
    joints = take(cycles(), 16)
    features = pose_features(joints)
    assert features.shape == (12, 16, FEATURES)
    assert torch.allclose(pose_features(rotated(joints, angle) * scale), features, atol=2e-3)


def test_windows_and_mirrors():
    whole = cycles()
    once = take(whole, 16)
    assert torch.equal(once, take(whole, 16))
    assert torch.allclose(once[:, 0], whole[:, 0], atol=0.1)
    windows = take(whole.repeat(40, 1, 1, 1), 16, draw())
    flat = whole.repeat(40, 1, 1, 1)[:, :, SWAPPED_JOINTS] * torch.tensor([1.0, -1.0, 1.0])
    near = torch.stack(
        [(windows[:, :1] - source).flatten(2).norm(dim=2).amin(1) for source in (whole.repeat(40, 1, 1, 1), flat)]
    )
    assert near.amin(0).max() < 0.2  # each frame is one of the performance's, or of its mirror image
    assert 0.3 < (near[1] < near[0]).float().mean() < 0.7
    parts = take(whole.repeat(40, 1, 1, 1), 16, draw(), repeats=False)
    assert not torch.equal(parts, windows)


def test_an_estimator_of_level_0_only_turns_and_its_noise_grows():
    joints = take(cycles(), 16)
    turned = imitate(joints.clone(), draw(), 0.0)
    assert np.allclose(pdist(turned[3, 5]), pdist(joints[3, 5]), atol=1e-5)
    assert not torch.allclose(turned, joints, atol=0.1)
    errors = [
        (pose_features(imitate(joints.clone(), draw(1), level)) - pose_features(joints)).abs().mean()
        for level in (0.0, 0.5, 1.0)
    ]
    assert errors[0] < 1e-4 < errors[1] < errors[2]
    assert torch.equal(imitate(joints.clone(), draw(1)), imitate(joints.clone(), draw(1)))


def test_arms_are_free_in_squats_only_and_held_poses_are_walked_into():
    joints = take(cycles(200), 16)
    same = vary(joints, ["Push-Up"] * 200, draw())
    arms = [INDEX[f"{joint}_{side}"] for joint in ("elbow", "wrist", "hand") for side in "lr"]
    swapped = vary(joints, ["Squat"] * 200, draw())
    late = slice(12, None)  # nobody walks that long
    assert torch.equal(same[:, late], joints[:, late])
    moved = (swapped[:, late] - joints[:, late]).abs().flatten(1).amax(1) > 0.01
    assert 0.1 < moved.float().mean() < 0.6
    rest = [i for i in range(len(JOINTS)) if i not in arms]
    assert torch.equal(swapped[:, late][:, :, rest], joints[:, late][:, :, rest])
    walked = [
        (vary(joints, [name] * 200, draw()) != joints)[:, 0].flatten(1).any(1).float().mean()
        for name in ("Plank", "Push-Up")
    ]
    assert walked[0] > 2 * walked[1] > 0


def test_what_prediction_reads_is_the_same_whenever_asked_for(home):
    settings = config()
    dataset = open_dataset(settings.data)
    clean = load_skeletons(dataset, settings.data)
    assert clean.shape == (32, PHASES, 20, 3)
    seen = observed_skeletons(clean, settings)
    assert seen.shape == (32, 8, 20, 3)
    assert np.array_equal(seen, observed_skeletons(clean, settings))
    noise = pose_features(torch.from_numpy(seen)) - pose_features(take(torch.from_numpy(clean.copy()), 8))
    assert noise.abs().mean() > 0.01  # FormSim's joints are never handed out as they are


def test_training_batches_change_with_the_epoch_and_resume_alike(home):
    inputs = prepare(config())
    texts = torch.zeros(32, 4, dtype=torch.long)
    keys = text_keys(inputs.dataset, config())
    make = lambda: ClipDataset(inputs.dataset, inputs.rows("train"), inputs.video, texts, keys, config().data, 0, 1.0)  # noqa: E731
    first, again = make(), make()
    batches = []
    for epoch in (0, 1):
        first.epoch = again.epoch = epoch
        batches.append(first.__getitems__([0, 1, 2])["video"])
        assert torch.equal(batches[-1], again.__getitems__([0, 1, 2])["video"])
    assert batches[0].shape == (3, 8, 20, 3)
    assert not torch.equal(*batches)


def test_efa_learns_on_skeletons_end_to_end_and_is_kept(home, tmp_path):
    settings = config(data__clips=48, training__epochs=4)
    inputs = prepare(settings)
    untrained = build_model(settings, inputs)
    model = fit(settings, inputs, tmp_path)
    assert isinstance(model.encoder, PoseEncoder)
    assert not torch.equal(model.encoder.embed.weight, untrained.encoder.embed.weight)  # the trunk learns, too
    history = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert history["train_total"][-1] < history["train_total"][0]
    table = predict(model, inputs, settings)
    EFA.from_material(model, settings, inputs).save_pretrained(tmp_path / "kept")
    kept = EFA.from_pretrained(tmp_path / "kept")
    assert np.allclose(predict(kept.model, inputs, settings)["quality_prob"], table["quality_prob"])


def test_settings_of_the_other_encoder_and_systems_that_read_frames_are_refused():
    with pytest.raises(InputError, match=r"encoder\.depths.*swin"):
        build("pose", {"encoder.depths": (1, 1)})
    with pytest.raises(InputError, match=r"encoder\.noise.*pose"):
        build("laptop", {"encoder.noise": 0.5})
    with pytest.raises(InputError, match=r"system\.name"):
        build("pose", {"system.name": "TSM"})
    assert build("laptop", {"encoder.kind": "pose"}).encoder == build("pose").encoder


def test_pretraining_tells_actions_apart(home, tmp_path):
    scores = pretrain_pose(config(), 60, passes=60, batch=30, out=tmp_path / "trunk.safetensors", held_out=50)
    assert scores["top1"] >= 10  # of fifty actions; chance is 2
    joints, action, target = performances(60, 5)
    assert (joints.shape, action.max().item(), target.shape) == ((60, PHASES, 20, 3), 49, (60, 5))
    trained = config(encoder__weights=str(tmp_path / "trunk.safetensors"))
    model = build_model(trained, prepare(trained))
    assert not torch.equal(model.encoder.embed.weight, build_model(config(), prepare(config())).encoder.embed.weight)


def test_files_of_landmarks(tmp_path):
    clip = project(skeleton(formsim.stream_clip(0, 3)).astype(np.float64), 12.0)
    clip.save(tmp_path / "clip.npz")
    assert read_skeleton(tmp_path / "clip.npz").shape == (PHASES, 20, 3)
    clip._replace(image=np.full_like(clip.image, np.nan)).save(tmp_path / "nobody.npz")
    (tmp_path / "broken.npz").write_bytes(b"PK nothing")
    np.savez(tmp_path / "flat.npz", image=np.zeros((3, 33)))
    np.savez(tmp_path / "objects.npz", image=np.array([{}], dtype=object))
    for name, words in (
        ("nobody", "nobody"),
        ("broken", "landmarks"),
        ("flat", "33, 3"),
        ("objects", "landmarks"),
        ("no", "no such"),
    ):
        with pytest.raises(InputError, match=words):
            read_skeleton(tmp_path / f"{name}.npz")


def test_people_do_some_movements_in_other_ways_but_only_in_training():
    actions = list(formsim.fault_phrases())
    clips = {name: [formsim.stream_clip(50 * k + actions.index(name), 3) for k in range(12)] for name in actions}
    for name in ("Pull Up", "Chair Pose", "Plank"):
        changed = [not np.array_equal(people_skeleton(clip), skeleton(clip)) for clip in clips[name]]
        assert any(changed) == (name != "Plank")
        tested = [dataclasses.replace(clip, split="test") for clip in clips[name]]
        assert all(np.array_equal(people_skeleton(clip), skeleton(clip)) for clip in tested)
    heights = [people_skeleton(clip)[:, 0, 2] for clip in clips["Chair Pose"]]
    assert any(height[-1] < height[0] - 0.1 for height in heights)  # who stays in the pose
    swinging = [dataclasses.replace(clip, fault="swinging", extra=(), severity=1.0) for clip in clips["Pull Up"]]
    for clip in swinging:  # a fault of the legs is not hidden by another way to hold them
        assert np.allclose(*(direction(make(clip), "hip_l", "knee_l") for make in (skeleton, people_skeleton)))


def test_every_way_names_known_actions_and_angles():
    for name, known in WAYS.items():
        assert known.keys() <= {"chance", "stays", "ways"}
        for way in known["ways"]:
            assert way.keys() <= {"base", "keys"}
            assert all(sided(angles).keys() <= set(ANGLES) for angles in way.values())
        assert name in formsim.fault_phrases()


def test_estimators_err_more_on_feet_that_point_at_the_camera():
    side = torch.zeros(400, 16, 20, 3)
    side[:, :, INDEX["toe_l"], 1] = 0.2
    front = side[..., [1, 0, 2]]
    heights = [_misread(feet, draw(1), 1.0)[:, :, INDEX["toe_l"], 2].std() for feet in (side, front)]
    assert heights[1] > 3 * heights[0]
    joints = take(cycles(), 16)
    assert torch.equal(imitate(joints.clone(), draw(1)), imitate(joints.clone(), draw(1), people=False))
    assert not torch.equal(imitate(joints.clone(), draw(1)), imitate(joints.clone(), draw(1), people=True))


def test_ways_of_people_are_a_setting_of_their_own(home):
    settings = config(data__clips=300)
    varied = settings.with_({"data.people": True})
    assert config_hash(settings) != config_hash(varied)
    settings_dict = settings.to_dict()
    del settings_dict["data"]["people"]
    assert config_hash(Config.from_dict(settings_dict)) == config_hash(settings)
    dataset = open_dataset(settings.data)
    plain, other = (load_skeletons(dataset, one.data) for one in (settings, varied))
    changed = (np.array(plain) != np.array(other)).any((1, 2, 3))
    assert set(dataset.table["split"][changed]) == {"train"}
    with pytest.raises(InputError, match=r"data\.people"):
        build("laptop", {"data.people": True})
