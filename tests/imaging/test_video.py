"""Videos made by OpenCV, restored by functions whose effect can be told from the pixels."""

import os
import re
import struct
import sys

import cv2
import numpy as np
import pytest

from madn.errors import UserError
from madn.imaging import video
from madn.imaging.video import CODECS, is_video, restore_video

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64, 3), np.float32), (0, 0), 5)
SMOOTH = np.rint(255 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)).astype(np.uint8)


def frame(k, height=48, width=32):
    """Smooth RGB whose red channel tells the frame's number: encoders lose little of it."""
    pixels = SMOOTH[:height, :width].copy()
    pixels[:, :, 0] = 20 + 15 * k
    return pixels


def make(path, frames=6, fps=25.0, height=48, width=32):
    backend, codec = cv2.CAP_FFMPEG, "FFV1" if path.suffix == ".mkv" else "mp4v"
    if path.suffix == ".avi":  # OpenCV's own encoder: it takes odd sizes
        backend, codec = cv2.CAP_OPENCV_MJPEG, "MJPG"
    writer = cv2.VideoWriter(str(path), backend, cv2.VideoWriter_fourcc(*codec), fps, (width, height))
    assert writer.isOpened()
    for k in range(frames):
        writer.write(np.ascontiguousarray(frame(k, height, width)[:, :, ::-1]))
    writer.release()
    return path


def read(path):
    capture, frames = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG), []
    while (got := capture.read())[0]:
        frames.append(got[1][:, :, ::-1])
    fps = capture.get(cv2.CAP_PROP_FPS)
    capture.release()
    return np.array(frames), fps


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", CODECS)
def test_every_container_keeps_order_rate_size_and_colours(tmp_path, capfd, suffix):
    source, seen = make(tmp_path / "in.mkv", fps=29.97), []
    result = restore_video(
        source, tmp_path / f"new/out{suffix}", lambda pixels: 255 - pixels, lambda *progress: seen.append(progress)
    )
    frames, fps = read(tmp_path / f"new/out{suffix}")
    assert (result.frames, result.size, result.codec, result.shortfall) == (6, (32, 48), CODECS[suffix], 0)
    assert fps == result.fps == 29.97 and seen == [(k, 6) for k in range(1, 7)]
    assert frames.shape == (6, 48, 32, 3)
    expected = np.array([255 - frame(k) for k in range(6)])
    error = np.abs(frames.astype(int) - expected)
    assert error.max() == 0 if suffix == ".mkv" else error.mean() < 4
    assert names(tmp_path / "new") == [f"out{suffix}"] and capfd.readouterr() == ("", "")


def test_the_function_gets_what_the_file_holds(tmp_path):
    got = []
    restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mkv", lambda pixels: got.append(pixels) or pixels)
    np.testing.assert_array_equal(got, [frame(k) for k in range(6)])
    assert got[0].dtype == np.uint8


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_an_odd_size_gets_its_last_row_and_column_twice(tmp_path, suffix):
    shapes = []
    result = restore_video(
        make(tmp_path / "in.avi", height=47, width=31),
        tmp_path / f"out{suffix}",
        lambda pixels: shapes.append(pixels.shape) or pixels,
    )
    frames, _ = read(tmp_path / f"out{suffix}")
    assert set(shapes) == {(47, 31, 3)} and result.size == (32, 48) and frames.shape == (6, 48, 32, 3)
    if suffix == ".mkv":
        np.testing.assert_array_equal(frames[:, -1], frames[:, -2])
        np.testing.assert_array_equal(frames[:, :, -1], frames[:, :, -2])


def test_a_cameras_rotation_is_applied(tmp_path):
    content = bytearray(make(tmp_path / "in.mp4").read_bytes())
    matrix = content.index(b"tkhd") + 44
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 65536, 0, -65536, 0, 0, 48 << 16, 0, 1 << 30)  # 90 degrees
    (tmp_path / "turned.mp4").write_bytes(content)
    restore_video(tmp_path / "turned.mp4", tmp_path / "out.mkv", lambda pixels: pixels)
    frames, _ = read(tmp_path / "out.mkv")
    plain, _ = read(tmp_path / "in.mp4")
    assert frames.shape == (6, 32, 48, 3)
    np.testing.assert_array_equal(frames, np.rot90(plain, -1, axes=(1, 2)))


@pytest.mark.parametrize("suffix", CODECS)
def test_saturated_colours_stay(tmp_path, suffix):
    source = make(tmp_path / "in.mkv")
    flat = np.broadcast_to(np.array([200, 60, 40], np.uint8), (48, 32, 3))
    restore_video(source, tmp_path / f"out{suffix}", lambda pixels: flat)
    assert np.abs(read(tmp_path / f"out{suffix}")[0].astype(int) - flat).max() <= 5
    # Players take HD that does not say its matrix for BT.709; OpenCV encodes BT.601's, number 6.
    tagged = b"colrnclx" + struct.pack(">HHHB", 1, 1, 6, 0) in (tmp_path / f"out{suffix}").read_bytes()
    assert tagged == (suffix in (".mp4", ".m4v"))


@pytest.mark.parametrize("fps", [239.9712, 119.987, 23.976, 12.3456, 999.99])
def test_any_rate_can_be_written_as_mp4(tmp_path, fps):
    result = restore_video(make(tmp_path / "in.mkv", 3, fps), tmp_path / "out.mp4", lambda pixels: pixels)
    assert read(tmp_path / "out.mp4")[1] == pytest.approx(result.fps, abs=1e-3)
    assert result.fps == pytest.approx(fps, rel=2e-4)


def test_a_video_cut_short_is_restored_as_far_as_it_goes(tmp_path):
    content = make(tmp_path / "in.avi", frames=10).read_bytes()
    (tmp_path / "cut.avi").write_bytes(content[: len(content) // 2])
    result = restore_video(tmp_path / "cut.avi", tmp_path / "out.mp4", lambda pixels: pixels)
    assert 1 < result.frames < 10 and len(read(tmp_path / "out.mp4")[0]) == result.frames
    assert result.announced is None or result.shortfall == result.announced - result.frames


@pytest.mark.parametrize("said", [0, 3, 5000, 2**31 - 1])
def test_a_header_that_lies_about_the_number_of_frames(tmp_path, said):
    content = bytearray(make(tmp_path / "in.avi").read_bytes())
    for place in (content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32):
        content[place : place + 4] = struct.pack("<I", said)
    (tmp_path / "lie.avi").write_bytes(content)
    result = restore_video(tmp_path / "lie.avi", tmp_path / "out.mkv", lambda pixels: pixels)
    assert result.frames == 6 and len(read(tmp_path / "out.mkv")[0]) == 6


def test_what_is_no_video_is_named(tmp_path, capfd):
    whole = make(tmp_path / "in.mp4").read_bytes()
    make(tmp_path / "other.mkv")
    for name, content, said in (
        ("cut.mp4", whole[:400], "damaged, cut short"),
        ("noise.mp4", whole[:40] + bytes(range(256)) * 9, "damaged, cut short"),
        ("empty.mov", b"", "an empty file"),
        ("text.mp4", b"no video\n" * 50, "no MP4"),
        ("list.mkv", b"ffconcat version 1.0\nfile other.mkv\n", "no MP4"),  # FFmpeg would open the other file
        ("folder.avi", None, r"\("),
    ):
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{re.escape(name)}: cannot be read as a video.*{said}"):
            restore_video(tmp_path / name, tmp_path / "out/out.mp4", lambda pixels: pixels)
    with pytest.raises(UserError, match=r"none\.mp4: no such file"):
        restore_video(tmp_path / "none.mp4", tmp_path / "out/out.mp4", lambda pixels: pixels)
    assert not (tmp_path / "out").exists() and capfd.readouterr() == ("", "")


def test_frames_of_a_size_that_would_fill_memory_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(video, "MOST_PIXELS", 32 * 48 - 1)
    with pytest.raises(UserError, match=r"in\.mkv: says that its frames are 32x48"):
        restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mp4", lambda pixels: pixels)


def test_targets_that_cannot_be_written_are_named(tmp_path, monkeypatch):
    source = make(tmp_path / "in.mp4")
    with pytest.raises(UserError, match=r"out\.gif: '\.gif' is not a video suffix"):
        restore_video(source, tmp_path / "out.gif", lambda pixels: pixels)
    with pytest.raises(UserError, match="written over its input"):
        restore_video(source, tmp_path / "in.mp4", lambda pixels: pixels)
    monkeypatch.setitem(CODECS, ".mp4", "none")
    with pytest.raises(UserError, match=r"out\.mp4: 32x48 at 25 frames per second cannot be written.*try \.mkv"):
        restore_video(source, tmp_path / "out.mp4", lambda pixels: pixels)
    assert names(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("suffix", CODECS)
def test_a_file_that_cannot_grow_leaves_no_target(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    source = make(tmp_path / "in.mkv", frames=12, height=64, width=64)
    chance, before = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(UserError, match=rf"out\{suffix}: .*disk full\?"):
            restore_video(source, tmp_path / f"out{suffix}", lambda pixels: chance.integers(0, 256, pixels.shape, "u1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["in.mkv"]


def test_a_full_disk_ends_it_early(tmp_path, monkeypatch):
    source, done = make(tmp_path / "in.mkv"), []
    (tmp_path / "out.mp4").write_bytes(b"an older result")
    monkeypatch.setattr(video, "_is_full", lambda folder: len(done) == 2)
    with pytest.raises(UserError, match=r"out\.mp4: cannot be written on \(disk full"):
        restore_video(source, tmp_path / "out.mp4", lambda pixels: pixels, lambda *progress: done.append(progress))
    assert names(tmp_path) == ["in.mkv", "out.mp4"] and (tmp_path / "out.mp4").read_bytes() == b"an older result"


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError("the network's output holds no numbers")])
def test_a_stopped_restoration_leaves_nothing(tmp_path, stop):
    def restore(pixels):
        raise stop

    with pytest.raises(type(stop) if isinstance(stop, Exception) else stop):
        restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mp4", restore)
    assert names(tmp_path) == ["in.mkv"]


def test_a_function_that_changes_the_size_is_refused(tmp_path):
    with pytest.raises(ValueError, match="restore_frame gave"):
        restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mp4", lambda pixels: pixels[::2])


def test_videos_are_told_by_suffix():
    assert is_video("a/CLIP.MP4") and is_video("b.webm") and not is_video("photo.jpg") and not is_video("mp4")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes")
def test_what_is_no_file_is_refused_at_once(tmp_path):
    make(tmp_path / "out.mkv")
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "gone.mp4").symlink_to("nothing")
    for name, said in (("pipe.mp4", "not a regular file"), ("gone.mp4", "no such file")):
        with pytest.raises(UserError, match=f"{name}: .*{said}"):
            restore_video(tmp_path / name, tmp_path / "out.mkv", lambda pixels: pixels)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
def test_a_path_that_is_no_text_is_refused(tmp_path):
    """OpenCV 5 ends the process on it."""
    source = make(tmp_path / "in.mkv").rename(tmp_path / os.fsdecode(b"\xff.mkv"))
    with pytest.raises(UserError, match="path must be text"):
        restore_video(source, tmp_path / "out.mkv", lambda pixels: pixels)
