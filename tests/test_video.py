"""Reading and writing clips: which frames, which way up, what size, and one line for every bad file."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from efa.data import video
from efa.utils.errors import InputError
from efa_datasets.mp4 import write_mp4

av = pytest.importorskip("av")


def grey(count: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Frame i is grey 8 i, so that a read frame tells its own index."""
    return np.stack([np.full((height, width, 3), 8 * i, np.uint8) for i in range(count)])


def indices(frames: np.ndarray) -> list[int]:
    return [round(float(frame.mean()) / 8) for frame in frames]


def corners(height: int = 40, width: int = 80) -> np.ndarray:
    """Upper left red, upper right green, lower left blue, lower right white."""
    image = np.full((height, width, 3), 255, np.uint8)
    image[: height // 2, : width // 2] = 255, 0, 0
    image[: height // 2, width // 2 :] = 0, 255, 0
    image[height // 2 :, : width // 2] = 0, 0, 255
    return image


def corner_names(image: np.ndarray) -> str:
    names = {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}
    height, width = image.shape[:2]
    spots = [(y, x) for y in (height // 4, -height // 4) for x in (width // 4, -width // 4)]
    return "".join(names[tuple(int(value > 128) for value in image[spot])] for spot in spots)


def encode(path: Path, frames: np.ndarray, codec: str = "libx264", pix_fmt: str = "yuv420p", **setup: object) -> Path:
    """A video with what write_mp4 does not offer: rotation, pixel aspect, time stamps, other codecs."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], pix_fmt
        if "rotation" in setup:
            stream.set_display_rotation(setup["rotation"], hflip=setup.get("hflip", False))
        if "aspect" in setup:
            stream.codec_context.sample_aspect_ratio = setup["aspect"]
        times = setup.get("times", range(len(frames)))
        stream.codec_context.time_base = Fraction(1, 25)
        for time, image in zip(times, frames, strict=True):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts, frame.time_base = time, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def sound(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def glance(path: Path) -> video.Clip:
    """How a data set's check looks at a clip: its first frame is decoded, the rest is what the file announces."""
    return video.load_clip(path, frames=1, rule="release")


@given(st.integers(1, 400), st.integers(1, 32))
def test_uniform_at_constant_rate_takes_segment_middles(count: int, frames: int) -> None:
    picked = video.uniform_indices(range(0, 7 * count, 7), 7 * count, frames)
    assert picked == [(2 * k + 1) * count // (2 * frames) for k in range(frames)]


@given(st.lists(st.integers(1, 10**15), min_size=1, max_size=40), st.integers(1, 12), st.integers(-(10**17), 10**17))
def test_uniform_takes_the_frame_on_display(lengths: list[int], frames: int, start: int) -> None:
    edges = [start + sum(lengths[:i]) for i in range(len(lengths) + 1)]
    picked = video.uniform_indices(edges[:-1], edges[-1], frames)
    for k, i in enumerate(picked):
        middle = edges[0] + Fraction((2 * k + 1) * (edges[-1] - edges[0]), 2 * frames)
        assert edges[i] <= middle < edges[i + 1]


def test_release_rule() -> None:
    assert video.release_indices(400, 6) == [0, 18, 36, 54, 72, 90]
    assert video.release_indices(50, 6) == [0, 18, 36, 49, 49, 49]
    assert video.release_indices(1, 6) == [0] * 6


def test_read_takes_the_frames_of_the_rule(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mp4", grey(30))
    assert indices(video.load_clip(path).frames) == [2, 7, 12, 17, 22, 27]
    assert indices(video.load_clip(path, rule="release").frames) == [0, 18, 29, 29, 29, 29]
    assert indices(video.load_clip(path, frames=1).frames) == [15]
    ten_bits = encode(tmp_path / "ten.mkv", grey(4), codec="ffv1", pix_fmt="yuv420p10le")
    assert indices(video.load_clip(ten_bits, frames=4).frames) == [0, 1, 2, 3]


def test_release_rule_stops_early_but_knows_the_length(tmp_path: Path) -> None:
    write_mp4(tmp_path / "long.mp4", np.repeat(grey(15, 16, 16), 10, axis=0), fps=50)
    clip = video.load_clip(tmp_path / "long.mp4", rule="release")
    assert indices(clip.frames) == [0, 1, 3, 5, 7, 9]
    assert clip.length == 150


def test_variable_frame_rate_follows_time_not_frame_numbers(tmp_path: Path) -> None:
    times = [*range(10), 60, 110]  # ten short frames, one of two seconds, one of two again
    clip = video.load_clip(encode(tmp_path / "vfr.mkv", grey(12), times=times), frames=4)
    assert indices(clip.frames) == [9, 9, 10, 10]  # middles at 15, 45, 75, 105 of 120: the last lasts the mean of 10
    assert clip.length == 12


def test_one_frame_repeats(tmp_path: Path) -> None:
    clip = video.load_clip(encode(tmp_path / "one.mp4", grey(5)[4:]), size=16)
    assert (clip.frames.shape, clip.length) == ((6, 16, 16, 3), 1)
    assert (clip.frames == clip.frames[0]).all()


@pytest.mark.parametrize(
    ("degrees", "hflip", "names"),
    [(0, False, "RGBW"), (-90, False, "BRWG"), (90, False, "GWRB"), (180, False, "WBGR"), (0, True, "GRWB")],
)
def test_display_matrix_is_honoured(tmp_path: Path, degrees: int, hflip: bool, names: str) -> None:
    path = encode(tmp_path / "turned.mp4", corners()[None], rotation=degrees, hflip=hflip)
    clip = video.load_clip(path)
    assert corner_names(clip.frames[0]) == names
    assert clip[1:] == glance(path)[1:]
    assert clip.frames.shape[1:3] == ((80, 40) if degrees in (90, -90) else (40, 80))


@pytest.mark.parametrize(("name", "shape"), [("video_0", (320, 568)), ("video_90", (568, 320))])
def test_real_rotation(shared: Path, name: str, shape: tuple[int, int]) -> None:
    clip = video.load_clip(shared / "real-clips" / "decoder" / f"{name}.mov")
    assert clip.frames.shape[1:3] == shape


def test_pixel_aspect_ratio(tmp_path: Path) -> None:
    path = encode(tmp_path / "wide.mkv", corners(40, 40)[None], aspect=Fraction(2))
    assert video.load_clip(path).frames.shape[1:3] == (40, 80)
    padded = video.load_clip(path, size=40).frames[0]
    assert padded[:8].max() < 16
    assert corner_names(padded[10:30]) == "RGBW"


def test_a_picture_is_padded_to_the_square() -> None:
    image = corners(40, 80)
    padded = video.resize(image, 80, 40, 80)
    assert not padded[:20].any() | padded[60:].any()
    np.testing.assert_array_equal(padded[20:60], image)
    assert video.resize(image, 80, 40).shape == image.shape
    flat = np.zeros((1, 16384, 3), np.uint8)  # its square would take a lot of memory
    assert video.resize(flat, 16384, 1, 224).shape == (224, 224, 3)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 64))
def test_any_picture_becomes_the_square(height: int, width: int, size: int) -> None:
    image = np.full((height, width, 3), 200, np.uint8)
    square = video.resize(image, width, height, size)
    assert (square.shape, square.dtype) == ((size, size, 3), np.uint8)
    assert square[(size - 1) // 2, (size - 1) // 2, 0] == 200  # the picture is in the middle


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (3, 5), (32, 48)])
def test_write_then_read(tmp_path: Path, height: int, width: int) -> None:
    path, frames = tmp_path / "clip.mp4", grey(5, height, width)
    write_mp4(path, frames, fps=29.97)
    back = video.load_clip(path, frames=5).frames
    assert back.shape[1:3] == (height + height % 2, width + width % 2)
    assert np.abs(back[:, :height, :width].astype(int) - frames).max() <= 4
    with av.open(str(path)) as container:
        assert float(container.streams.video[0].average_rate) == pytest.approx(29.97, rel=1e-3)


def test_folder_of_images(tmp_path: Path) -> None:
    for i, image in enumerate(grey(12)):
        Image.fromarray(image).save(tmp_path / f"frame_{i}.png")  # 10 and 11 come after 9, not after 1
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "._frame_0.png").write_bytes(b"a trace of macOS")
    assert indices(video.load_clip(tmp_path).frames) == [1, 3, 5, 7, 9, 11]
    (tmp_path / "frame_5.png").write_bytes(b"broken")
    clip = video.load_clip(tmp_path)
    assert indices(clip.frames) == [0, 2, 4, 7, 9, 11]
    assert "frame_5.png" in clip.warnings[0]
    assert glance(tmp_path).length == 12


def test_folder_honours_exif_and_mixed_sizes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn 90 degrees clockwise
    Image.fromarray(corners()).save(tmp_path / "0.jpg", exif=exif, quality=95)
    Image.fromarray(corners(20, 10)).save(tmp_path / "1.png")
    frames = video.load_clip(tmp_path, frames=2).frames
    assert (frames.shape, corner_names(frames[0])) == ((2, 80, 40, 3), "BRWG")


def bad(path: Path) -> str:
    """The one line that both readers give."""
    with pytest.raises(InputError) as caught:
        video.load_clip(path)
    with pytest.raises(InputError):
        glance(path)
    assert str(caught.value.file) == str(path)
    assert caught.value.hint
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_bad_files_give_one_line(tmp_path: Path) -> None:
    """Both readers refuse them; `test_bad_input` has every other kind."""
    for name, content in {"empty.mp4": b"", "text.mp4": b"this is no video\n" * 50}.items():
        (tmp_path / name).write_bytes(content)
        bad(tmp_path / name)
    bad(tmp_path / "missing.mp4")
    assert "audio only" in bad(sound(tmp_path / "sound.mp4"))
    (tmp_path / "folder").mkdir()
    assert "without jpg or png" in bad(tmp_path / "folder")


def test_names_that_look_like_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("http:clip.mp4", "-clip.mp4", "übung 100%.mp4", "a:b|c.mp4"):
        write_mp4(name, grey(2))
        assert video.load_clip(name).frames.shape[0] == 6


def test_huge_frames_are_refused(tmp_path: Path) -> None:
    wide = encode(tmp_path / "wide.mov", np.zeros((1, 2, video.MAX_SIDE + 2, 3), np.uint8), "png", "rgb24")
    assert "16386 x 2" in bad(wide)
    with pytest.raises(InputError, match="200 million"):
        video._check_size(16000, 16000, wide)
    Image.fromarray(np.zeros((1, video.MAX_SIDE + 1, 3), np.uint8)).save(tmp_path / "0.png")
    with pytest.raises(InputError, match="16385 x 1"):
        video.load_clip(tmp_path)


def test_broken_tail_gives_what_decodes(tmp_path: Path) -> None:
    path = encode(tmp_path / "clip.mkv", grey(30))
    os.truncate(path, path.stat().st_size * 2 // 3)
    clip = video.load_clip(path)
    assert 1 <= clip.length < 30
    assert clip.frames.shape[0] == 6
    assert indices(clip.frames)[-1] < 29


def test_real_damage_is_reported(shared: Path) -> None:
    clip = video.load_clip(shared / "real-clips" / "decoder" / "corrupted.mp4", size=64)
    assert 28 <= clip.length < 50
    assert "damaged" in clip.warnings[0]
    assert "Git LFS" in bad(shared / "real-clips" / "decoder" / "git_lfs_pointer_not_a_video.mp4")


def test_real_clips(shared: Path) -> None:
    paths = sorted((shared / "real-clips").glob("*.mp4"))
    assert len(paths) == 8
    for path in paths:
        clip = video.load_clip(path, size=56)
        assert (clip.frames.shape, clip.warnings) == ((6, 56, 56, 3), ())
        assert glance(path).length == clip.length


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video, written once: after a damaged one was read, libx264 now and then writes a few bytes more or less."""
    path = tmp_path_factory.mktemp("whole") / "clip.mp4"
    write_mp4(path, grey(8, 16, 16))
    return path.read_bytes()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_damaged_bytes_never_raise_anything_else(
    whole: bytes, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzz.mp4"
    content = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(1, len(content)))])
    try:
        clip = video.load_clip(path, size=8)
    except InputError:
        return
    assert clip.frames.shape == (6, 8, 8, 3)


def test_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(InputError, match="pip install av"):
        video.load_clip(tmp_path / "clip.mp4")


def test_wrong_calls_are_value_errors(tmp_path: Path) -> None:
    with pytest.raises(ValueError):
        write_mp4(tmp_path / "a.mp4", np.zeros((2, 4, 4), np.uint8))
    for wrong in ({"rule": "every"}, {"size": 0}):
        with pytest.raises(ValueError):
            video.load_clip(tmp_path / "a.mp4", **wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="cannot be written"):
        write_mp4(tmp_path / "no" / "such" / "a.mp4", grey(1))
