"""Videos restored by functions whose effect can be told from the pixels, and all that they hold beside these."""

import builtins
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from imaging import videos
from imaging.videos import PHONE, UNEVEN, av, frame, make, planes_of, read

from madn.errors import UserError
from madn.imaging import formats, video_encoders, video_reading
from madn.imaging.formats import VIDEOS
from madn.imaging.video import is_video, restore_video
from madn.system.writing import HOST, remove_leftovers

TURNS = {
    "upright": (1, 0, 0, 1),
    "a quarter": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "three quarters": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "mirrored, a quarter": (0, 1, 1, 0),
}


def matrix(a, b, c, d):
    return (a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)


def same(pixels):
    return pixels


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("suffix", VIDEOS)
def test_every_container_keeps_order_rate_size_and_colours(tmp_path, capfd, suffix):
    source, told = make(tmp_path / "in.mp4"), []
    result = restore_video(
        source, tmp_path / f"new/out{suffix}", lambda pixels: 255 - pixels, lambda *progress: told.append(progress)
    )
    seen, expected = read(tmp_path / f"new/out{suffix}"), 255 - read(source).frames
    assert (result.frames, result.size, result.notes) == (6, (32, 48), ())
    assert told == [(k, 6) for k in range(1, 7)] and seen.rate == pytest.approx(25, abs=0.01)
    np.testing.assert_allclose(seen.times, np.arange(6) / 25, atol=5e-4)
    assert seen.frames.shape == (6, 48, 32, 3) and np.abs(seen.frames.astype(int) - expected).mean() < 4
    assert names(tmp_path / "new") == [f"out{suffix}"] and capfd.readouterr() == ("", "")


def test_the_function_gets_what_the_file_holds(tmp_path):
    got = []
    restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mkv", lambda pixels: got.append(pixels) or pixels)
    np.testing.assert_array_equal(got, [frame(k) for k in range(6)])
    assert got[0].dtype == np.uint8


@pytest.mark.parametrize(
    "code, red, blue, height",
    [
        (1, 0.2126, 0.0722, 48),
        (6, 0.299, 0.114, 48),
        (9, 0.2627, 0.0593, 48),
        (2, 0.299, 0.114, 48),
        (2, 0.2126, 0.0722, 720),
    ],
)
@pytest.mark.parametrize("deep", [False, True])
def test_colours_are_those_of_the_matrix(tmp_path, code, red, blue, height, deep):
    """ITU-T H.273's equations, by hand; what says no matrix has BT.601's below HD."""
    step, dtype, kind = (4, np.uint16, "yuv420p10le") if deep else (1, np.uint8, "yuv420p")
    stored = [np.full((height, 32), 120 * step, dtype)] + [
        np.full((height // 2, 16), n * step, dtype) for n in (90, 170)
    ]
    source = make(tmp_path / "in.mkv", 1, height=height, kind=kind, planes=lambda k: stored, tags=(1, 1, code, 1))
    got = []
    restore_video(source, tmp_path / "out.mkv", lambda pixels: got.append(pixels) or pixels)
    y, u, v = (120 - 16) / 219, (90 - 128) / 224, (170 - 128) / 224
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = np.array([r, (y - red * r - blue * b) / (1 - red - blue), b])
    most = np.iinfo(got[0].dtype).max
    assert got[0].dtype == (np.uint16 if deep else np.uint8)
    np.testing.assert_allclose(got[0][5, 5] / most, expected, atol=0.6 / 255)


@pytest.mark.parametrize("tags", [(2, 2, 2, 0), (1, 1, 1, 2)])
@pytest.mark.parametrize(
    "kind", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le", "bgr0", "gray"]
)
def test_what_is_left_alone_keeps_its_stored_numbers(tmp_path, kind, tags):
    """Noise over all numbers, beyond black and white too, in which any conversion would show."""
    deep, chance = kind.endswith("le"), np.random.default_rng(1)
    empty = av.VideoFrame(33, 47, kind)
    most = 2 ** empty.format.components[0].bits

    def noise(k):
        each = [(plane.height, plane.width * (4 if kind == "bgr0" else 1)) for plane in empty.planes]
        return [chance.integers(0, most, shape).astype(np.uint16 if deep else np.uint8) for shape in each]

    source = make(tmp_path / "in.mkv", 2, height=47, width=33, kind=kind, planes=noise, tags=tags)
    restore_video(source, tmp_path / "out.mkv", same)
    before, after = read(source), read(tmp_path / "out.mkv")
    assert after.kind == before.kind
    for old, new in zip(before.planes, after.planes, strict=True):
        for one, other in zip(old, new, strict=True):
            np.testing.assert_array_equal(one, other)


def test_frames_that_are_stored_upside_down(tmp_path):
    """As in bitmaps: the frames of an AVI without a codec."""
    source = make(tmp_path / "in.avi", 3, codec="rawvideo", kind="bgr24")
    got = []
    restore_video(source, tmp_path / "out.mkv", lambda pixels: got.append(pixels) or pixels // 2)
    np.testing.assert_array_equal(got, [frame(k) for k in range(3)])
    np.testing.assert_array_equal(read(tmp_path / "out.mkv").frames, [frame(k) // 2 for k in range(3)])


@pytest.mark.parametrize("kind", ["yuv422p", "yuv444p"])
def test_finer_colours_are_kept_in_mp4_and_said(tmp_path, kind):
    source = make(tmp_path / "in.mkv", 2, kind=kind)
    result = restore_video(source, tmp_path / "out.mp4", same)
    assert result.notes == (f"written as H.264 ({kind}), which not every browser plays",)
    assert read(tmp_path / "out.mp4").kind == kind


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".avi"])
def test_odd_sizes(tmp_path, suffix):
    """H.264 wants even ones: the last row and column are written twice, and that is said."""
    shapes, source = [], make(tmp_path / "in.mkv", 2, height=47, width=31)
    result = restore_video(source, tmp_path / f"out{suffix}", lambda pixels: shapes.append(pixels.shape) or pixels)
    seen = read(tmp_path / f"out{suffix}")
    assert set(shapes) == {(47, 31, 3)}
    if suffix == ".mp4":
        assert result.size == (32, 48) and "even sizes" in result.notes[0]
        assert np.abs(seen.planes[0][0][:47, 31].astype(int) - seen.planes[0][0][:47, 30]).mean() < 2
        assert np.abs(seen.planes[0][0][47].astype(int) - seen.planes[0][0][46]).mean() < 2
    else:
        assert result.size == (31, 47) and result.notes == () and seen.frames.shape == (2, 47, 31, 3)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("turn", TURNS)
def test_frames_are_shown_as_they_were_and_restored_upright(tmp_path, suffix, turn):
    a, b, c, d = TURNS[turn]
    source = make(tmp_path / "in.mp4", 2, width=48, height=32, matrix=matrix(a, b, c, d))
    got = []
    restore_video(source, tmp_path / f"out{suffix}", lambda pixels: got.append(pixels) or pixels // 2)
    before, after = read(source), read(tmp_path / f"out{suffix}")
    # Each pixel of the stored frame, put where the matrix says that it is shown (ISO/IEC 14496-12).
    stored = before.frames[0]
    rows, columns = np.indices(stored.shape[:2])
    x, y = a * columns + c * rows, b * columns + d * rows
    shown = np.empty_like(stored, shape=(*((48, 32) if a == 0 else (32, 48)), 3))
    shown[y - y.min(), x - x.min()] = stored
    assert np.abs(got[0].astype(int) - shown).mean() < 3
    assert after.matrix == before.matrix
    assert np.abs(after.frames.astype(int) - before.frames // 2).mean() < 3


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_uneven_times_are_kept_to_the_millisecond(tmp_path, suffix):
    source = make(tmp_path / "in.mp4", times=UNEVEN)
    assert restore_video(source, tmp_path / f"out{suffix}", same).notes == ()
    seen = read(tmp_path / f"out{suffix}")
    np.testing.assert_allclose(seen.times, UNEVEN, atol=5e-4)
    assert seen.duration == pytest.approx(UNEVEN[-1] + 1 / 25, abs=2e-3)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_picture_that_begins_after_the_sound(tmp_path, suffix):
    source = make(tmp_path / "in.mp4", times=0.5 + UNEVEN, sound="aac")
    assert restore_video(source, tmp_path / f"out{suffix}", same).notes == ()
    before, after = read(source), read(tmp_path / f"out{suffix}")
    np.testing.assert_allclose(after.times, 0.5 + UNEVEN, atol=6e-4)
    np.testing.assert_allclose([t for _, t in after.packets[1]], [t for _, t in before.packets[1]], atol=1e-3)


@pytest.mark.parametrize("fps", [239.9712, 119.987, 23.976, 12.3456, 999.99])
@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_any_rate(tmp_path, fps, suffix):
    source = make(tmp_path / "in.mkv", 4, fps)
    assert restore_video(source, tmp_path / f"out{suffix}", same).notes == ()
    np.testing.assert_allclose(read(tmp_path / f"out{suffix}").times, read(source).times, atol=1e-3)


def test_frames_without_times_have_those_of_the_rate(tmp_path, monkeypatch):
    """And frames that are not later than the one before are moved behind it."""
    source = make(tmp_path / "in.mp4", 5)
    decoded = video_reading.VideoSource._check_same

    def lose(self, picture):
        decoded(self, picture)
        picture.pts = None if picture.pts in (7200, 10800) else 0 if picture.pts == 14400 else picture.pts

    monkeypatch.setattr(video_reading.VideoSource, "_check_same", lose)
    result = restore_video(source, tmp_path / "out.mp4", same)
    assert result.notes == ("1 of its frames had the time of the one before",)
    np.testing.assert_allclose(read(tmp_path / "out.mp4").times, [0, 0.04, 0.08, 0.12, 0.12 + 1 / 90000], atol=1e-6)


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_phones_video_keeps_its_sound_and_what_it_says(tmp_path, suffix):
    source = make(tmp_path / "in.mp4", 12, sound="aac", metadata=PHONE, matrix=matrix(0, 1, -1, 0))
    result = restore_video(source, tmp_path / f"out{suffix}", same)
    before, after = read(source), read(tmp_path / f"out{suffix}")
    # QuickTime has no number for German by this code.
    assert result.notes == ((".mov does not hold the languages of its streams",) if suffix == ".mov" else ())
    assert [kind for kind, _ in after.kinds] == ["video", "audio"] and after.kinds[1][1] == "aac"
    assert [packet for packet, _ in after.packets[1]] == [packet for packet, _ in before.packets[1]]
    np.testing.assert_allclose([t for _, t in after.packets[1]], [t for _, t in before.packets[1]], atol=1e-3)
    kept = {name.lower(): value for name, value in after.metadata.items()}
    assert PHONE.items() <= kept.items()
    if suffix != ".mkv":
        content = (tmp_path / f"out{suffix}").read_bytes()
        assert content.index(b"moov") < content.index(b"mdat")  # Browsers begin before they have the whole file.


def test_what_a_container_does_not_hold_is_named(tmp_path):
    source = make(tmp_path / "in.mp4", sound="aac", metadata=PHONE)
    webm = restore_video(source, tmp_path / "out.webm", same)
    assert webm.notes == ("left out, for .webm does not hold it: the sound (aac, stream 1)",)
    assert read(tmp_path / "out.webm").kinds == [("video", "vp9")]
    avi = restore_video(source, tmp_path / "out.avi", same)
    assert avi.notes == (
        ".avi does not hold the languages of its streams",
        ".avi does not hold its com.apple.quicktime.make, creation_time, location",
    )


def add_streams(source, path):
    """The video with subtitles, a cover, a second video and (Matroska) an attachment beside it."""
    cover = videos.av.CodecContext.create("mjpeg", "w")
    cover.width = cover.height = 16
    cover.pix_fmt, cover.time_base = "yuvj420p", Fraction(1, 25)
    picture = videos.converted(frame(0, 16, 16), "yuvj420p")
    picture.pts = 0
    (drawn,) = cover.encode(picture) + cover.encode(None)
    with av.open(str(source)) as file, av.open(str(path), "w", format=VIDEOS[path.suffix]) as out:
        streams = [out.add_stream_from_template(stream, opaque=True) for stream in (*file.streams, file.streams[0])]
        streams[0].disposition = av.stream.Disposition.default
        streams[-1].disposition = av.stream.Disposition(0)
        subtitles = out.add_mux_stream("mov_text" if path.suffix == ".mp4" else "subrip")
        if path.suffix == ".mkv":
            out.add_attachment("font.ttf", "font/ttf", b"no font")
        else:
            covered = out.add_mux_stream("mjpeg", width=16, height=16)
            covered.disposition = av.stream.Disposition.attached_pic
            out.set_chapters(
                [{"id": 1, "start": 0, "end": 100, "time_base": Fraction(1, 1000), "metadata": {"title": "A"}}]
            )
        for packet in file.demux():
            if not packet.size:
                continue
            content, index = bytes(packet), packet.stream.index
            for stream in (streams[index], *([streams[-1]] if index == 0 else [])):
                each = av.Packet(content)
                each.pts, each.dts, each.time_base = packet.pts, packet.dts, packet.time_base
                each.duration, each.is_keyframe, each.stream = packet.duration, packet.is_keyframe, stream
                out.mux_one(each)
        text = av.Packet(b"\0\5hello" if path.suffix == ".mp4" else b"hello")
        text.pts = text.dts = 0
        text.duration, text.time_base, text.stream = 100, Fraction(1, 1000), subtitles
        out.mux_one(text)
        if path.suffix != ".mkv":
            drawn.stream = covered
            out.mux_one(drawn)
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_further_streams_are_copied_or_named(tmp_path, suffix):
    source = add_streams(make(tmp_path / f"a{suffix}", 4, sound="aac"), tmp_path / f"in{suffix}")
    result = restore_video(source, tmp_path / f"out{suffix}", lambda pixels: pixels // 2)
    before, after = read(source), read(tmp_path / f"out{suffix}")
    codec = "h264" if suffix == ".mp4" else "ffv1"
    assert result.notes == (f"copied as it is, for one video is restored: a further video ({codec}, stream 2)",)
    assert sorted(after.kinds, key=str) == sorted(before.kinds, key=str)
    assert [p for p, _ in after.packets[2]] == [p for p, _ in before.packets[2]]
    assert b"hello" in after.packets[3][0][0]
    if suffix == ".mkv":
        with av.open(str(tmp_path / "out.mkv")) as file:
            assert [each.data for each in file.streams.attachments] == [b"no font"]
    if suffix == ".mp4":
        covers = [each.packets[each.kinds.index(("video", "mjpeg"))] for each in (before, after)]
        assert covers[0] == covers[1]
        with av.open(str(tmp_path / "out.mp4")) as file:
            assert [chapter["metadata"]["title"] for chapter in file.chapters()] == ["A"]
    named = " ".join(restore_video(source, tmp_path / "out.webm", same).notes)
    assert [kind for kind, _ in read(tmp_path / "out.webm").kinds] == ["video"]
    for each in ("the sound (aac", "a further video (", "the subtitles (", *(["the data"] * (suffix == ".mp4"))):
        assert f"left out, for .webm does not hold it: {each}" in named
    assert (".webm does not hold 1 of its streams" in named) == (suffix == ".mkv")  # The attachment


def test_a_time_code_is_kept(tmp_path):
    """It is a stream of its own in MP4 and MOV, which FFmpeg makes of the video's metadata."""
    source = make(tmp_path / "in.mov", 3, stream={"timecode": "01:02:03:04"})
    before = read(source)
    assert ("data", None) in before.kinds and before.stream["timecode"] == "01:02:03:04"
    assert restore_video(source, tmp_path / "out.mov", same).notes == ()
    after = read(tmp_path / "out.mov")
    assert after.kinds == before.kinds and after.stream["timecode"] == "01:02:03:04"
    assert "the data" in " ".join(restore_video(source, tmp_path / "out.webm", same).notes)


def test_the_main_video_is_restored_wherever_it_lies(tmp_path):
    """A cover may come first, and a small second video, too."""
    source = add_streams(make(tmp_path / "a.mp4", 2, sound="aac"), tmp_path / "in.mp4")
    with av.open(str(source)) as file, av.open(str(tmp_path / "turned.mp4"), "w") as out:
        order = sorted(
            (stream for stream in file.streams if stream.type != "data"),
            key=lambda stream: (stream.type != "video", -stream.index),
        )
        copies = {}
        for stream in order:
            copies[stream.index] = out.add_stream_from_template(stream, opaque=True)
            copies[stream.index].disposition = stream.disposition
        for packet in [packet for packet in file.demux(*order) if packet.size]:
            packet.stream = copies[packet.stream.index]
            out.mux_one(packet)
    got = []
    restore_video(tmp_path / "turned.mp4", tmp_path / "out.mp4", lambda pixels: got.append(pixels.shape) or pixels)
    assert got == [(48, 32, 3)] * 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".avi"])
def test_pixels_that_are_not_square(tmp_path, suffix):
    source = make(tmp_path / "in.mp4", 2, aspect=Fraction(4, 3))
    restore_video(source, tmp_path / f"out{suffix}", same)
    assert read(tmp_path / f"out{suffix}").aspect == Fraction(4, 3)
    again = restore_video(tmp_path / f"out{suffix}", tmp_path / "again.mp4", same)
    assert again.notes == () and read(tmp_path / "again.mp4").aspect == Fraction(4, 3)


MASTERING = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,50)"


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("curve", [16, 18])
def test_hdr_keeps_its_bits_and_tags(tmp_path, capfd, suffix, curve):
    """A ramp over all 1024 numbers, 64 to 940 being black to white."""
    params = f"log-level=-1:master-display={MASTERING}:max-cll=1000,400:bframes=0:lossless=1"
    ramp = [np.tile(np.linspace(4, 1019, 256).astype(np.uint16), (64, 1)), *np.full((2, 32, 128), 512, np.uint16)]
    source = make(
        tmp_path / "in.mp4",
        3,
        height=64,
        width=256,
        codec="libx265",
        kind="yuv420p10le",
        tags=(9, curve, 9, 1),
        planes=lambda k: ramp,
        options={"x265-params": params},
    )
    got = []
    result = restore_video(source, tmp_path / f"out{suffix}", lambda pixels: got.append(pixels) or pixels)
    before, after = read(source), read(tmp_path / f"out{suffix}")
    assert after.tags == before.tags == (9, curve, 9, 1) and after.kind == "yuv420p10le"
    assert got[0].dtype == np.uint16 and len(np.unique(got[0][0, :, 0])) > 200
    if suffix == ".mkv":
        np.testing.assert_array_equal(after.planes[0][0], ramp[0])
    else:
        assert np.abs(after.planes[0][0].astype(int) - ramp[0]).max() <= 24
    for side in ("MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL"):
        assert side in before.side
        assert after.side.get(side) == (before.side[side] if suffix in (".mp4", ".mov") else None)
    said = " ".join(result.notes)
    assert ("the screen that HDR was made on" in said) == (suffix not in (".mp4", ".mov"))
    assert ("HEVC (yuv420p10le), which not every browser plays" in said) == (suffix in (".mp4", ".mov"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", VIDEOS)
def test_transparency_is_kept_or_refused(tmp_path, suffix):
    chance = np.random.default_rng(0)
    alpha = chance.integers(0, 256, (48, 32)).astype(np.uint8)

    def planes(k):
        return [alpha // 2, *np.full((2, 48, 32), 128, np.uint8), alpha]

    source = make(tmp_path / "in.mkv", 2, kind="yuva444p", planes=planes)
    if suffix == ".mkv":
        restore_video(source, tmp_path / "out.mkv", lambda pixels: pixels // 2)
        seen = read(tmp_path / "out.mkv")
        assert seen.kind == "yuva444p" and abs(int(seen.planes[1][0].max()) - 71) <= 3
        np.testing.assert_array_equal(seen.planes[1][3], alpha)
    else:
        with pytest.raises(UserError, match=rf"in\.mkv: has transparency, which \{suffix} does not get here; .*\.mkv"):
            restore_video(source, tmp_path / f"out{suffix}", same)
        assert names(tmp_path) == ["in.mkv"]


def test_transparency_beside_the_frames_is_refused(tmp_path):
    """VP9's lies in a second stream within the first, which FFmpeg's own decoder passes over."""
    source = make(tmp_path / "in.webm", stream={"alpha_mode": "1"})
    with pytest.raises(UserError, match=r"in\.webm: has transparency beside its frames, which is not read"):
        restore_video(source, tmp_path / "out.webm", same)


def test_what_a_container_would_spoil_is_refused(tmp_path):
    turned = make(tmp_path / "turned.mp4", matrix=matrix(0, 1, -1, 0))
    uneven = make(tmp_path / "uneven.mp4", times=UNEVEN)
    wide = make(tmp_path / "wide.mp4", aspect=Fraction(4, 3))
    deep = make(tmp_path / "deep.mp4", codec="libx264", kind="yuv420p10le")
    for source, suffix, said in (
        (turned, ".avi", "is turned by its players, which is not written to .avi"),
        (uneven, ".avi", "has frames at uneven times, which is not written to .avi"),
        (wide, ".webm", "has pixels of 4:3, which is not written to .webm"),
        (wide, ".mkv", "has pixels of 4:3, which is not written to .mkv"),
        (deep, ".avi", "has 10 bits a colour, which .avi does not get here"),
    ):
        with pytest.raises(UserError, match=f"{source.name}: {re.escape(said)}.*give a result that ends in"):
            restore_video(source, tmp_path / f"out{suffix}", same)
    assert not list(tmp_path.glob("out*")) and not list(tmp_path.glob(".*"))


def test_interlaced_frames_are_refused(tmp_path):
    source = make(tmp_path / "in.mp4", height=64, options={"x264-params": "tff=1:log-level=none"})
    with pytest.raises(UserError, match=r"in\.mp4: its frames are interlaced.*bwdif"):
        restore_video(source, tmp_path / "out.mp4", same)


def test_a_matrix_that_is_not_read_is_refused(tmp_path):
    source = make(tmp_path / "in.mkv", kind="yuv444p10le", tags=(9, 16, 14, 1))
    with pytest.raises(UserError, match=r"in\.mkv: its colours \(matrix 14 of ITU-T H\.273\) are not read"):
        restore_video(source, tmp_path / "out.mkv", same)


def test_hd_keeps_its_colours_in_an_avi(tmp_path):
    """Motion JPEG has BT.601's matrix alone."""
    source = make(tmp_path / "in.mp4", 2, tags=(1, 1, 1, 1))
    restore_video(source, tmp_path / "out.avi", same)
    difference = read(tmp_path / "out.avi").frames.astype(int) - read(source).frames
    assert np.abs(difference).mean() < 2


def test_without_an_encoder_of_h264_the_codec_is_said(tmp_path, monkeypatch):
    kinds = video_encoders.Encoder.kinds
    monkeypatch.setattr(video_encoders.Encoder, "kinds", lambda self: [] if "264" in self.name else kinds(self))
    source = make(tmp_path / "in.mp4", times=UNEVEN)
    result = restore_video(source, tmp_path / "out.mp4", same)
    seen = read(tmp_path / "out.mp4")
    assert result.notes == ("written as MPEG-4 Part 2 (yuv420p), which not every browser plays",)
    assert seen.kinds == [("video", "mpeg4")]
    np.testing.assert_allclose(seen.times, UNEVEN, atol=5e-4)
    monkeypatch.setattr(video_encoders.Encoder, "kinds", lambda self: [])
    with pytest.raises(UserError, match=r"out\.mp4: PyAV has no encoder for \.mp4 here"):
        restore_video(source, tmp_path / "out.mp4", same)


def test_a_video_cut_short_is_restored_as_far_as_it_goes(tmp_path):
    for suffix in (".mp4", ".mkv", ".avi"):
        whole = make(tmp_path / f"in{suffix}", 12, sound="pcm_s16le" if suffix == ".avi" else "aac")
        restore_video(whole, tmp_path / f"front{suffix}", same)  # The index stands before the frames.
        content = (tmp_path / f"front{suffix}").read_bytes()
        (tmp_path / f"cut{suffix}").write_bytes(content[: len(content) * 6 // 10])
        result = restore_video(tmp_path / f"cut{suffix}", tmp_path / f"out{suffix}", same)
        assert 0 < result.frames < 12 and len(read(tmp_path / f"out{suffix}").frames) == result.frames
        said = " ".join(result.notes)
        assert "are not in it" in said or "is cut short or damaged" in said, suffix


def test_damaged_frames_are_counted(tmp_path):
    source = make(tmp_path / "in.mp4", 12, height=64, width=64)
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as file:
        places = [(packet.pos, packet.size) for packet in file.demux(video=0) if packet.size]
    chance = np.random.default_rng(0)
    for k in (4, 7):
        start, size = places[k]
        content[start : start + size] = chance.integers(0, 256, size).astype(np.uint8).tobytes()
    (tmp_path / "bad.mp4").write_bytes(content)
    result = restore_video(tmp_path / "bad.mp4", tmp_path / "out.mp4", same)
    assert re.search(r"^[2-9] of its 12 frames are damaged \(.+\)$", result.notes[0])
    assert 9 <= result.frames <= 12 and len(read(tmp_path / "out.mp4").frames) == result.frames


@pytest.mark.parametrize("said", [0, 3, 5000, 2**31 - 1])
def test_a_header_that_lies_about_the_number_of_frames(tmp_path, said):
    content = bytearray(make(tmp_path / "in.avi").read_bytes())
    for place in (content.index(b"avih") + 8 + 16, content.index(b"strh") + 8 + 32):
        content[place : place + 4] = struct.pack("<I", said)
    (tmp_path / "lie.avi").write_bytes(content)
    result = restore_video(tmp_path / "lie.avi", tmp_path / "out.mkv", same)
    assert result.frames == 6 and len(read(tmp_path / "out.mkv").frames) == 6
    assert any("4994 of 5000 frames" in note for note in result.notes) == (said == 5000)


def test_what_is_no_video_is_named(tmp_path, capfd):
    whole = make(tmp_path / "in.mp4").read_bytes()
    make(tmp_path / "other.mkv")
    with av.open(str(tmp_path / "sound.mp4"), "w") as out:
        out.mux(videos.tone(out.add_stream("aac", rate=48000), 0.1))
    for name, content, said in (
        ("cut.mp4", whole[:400], "damaged, cut short"),
        ("noise.mp4", whole[:40] + bytes(range(256)) * 9, "damaged, cut short"),
        ("unknown.mp4", whole.replace(b"avc1", b"xyz1"), "damaged|unknown"),
        ("sound.mp4", (tmp_path / "sound.mp4").read_bytes(), "holds no moving pictures"),
        ("empty.mov", b"", "an empty file"),
        ("text.mp4", b"no video\n" * 50, "no MP4"),
        ("list.mkv", b"ffconcat version 1.0\nfile other.mkv\n", "no MP4"),  # FFmpeg would open the other file
        ("folder.avi", None, r"\("),
    ):
        if content is None:
            (tmp_path / name).mkdir()
        else:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(UserError, match=f"{re.escape(name)}: cannot be read as a video.*({said})"):
            restore_video(tmp_path / name, tmp_path / "out/out.mp4", same)
    with pytest.raises(UserError, match=r"none\.mp4: no such file"):
        restore_video(tmp_path / "none.mp4", tmp_path / "out/out.mp4", same)
    assert not (tmp_path / "out").exists() and capfd.readouterr() == ("", "")


def test_frames_of_a_size_that_would_fill_memory_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(video_reading, "MOST_PIXELS", 32 * 48 - 1)
    with pytest.raises(UserError, match=r"in\.mkv: says that its frames are 32x48"):
        restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mp4", same)


def test_targets_that_cannot_be_written_are_named(tmp_path):
    source = make(tmp_path / "in.mp4")
    with pytest.raises(UserError, match=r"out\.gif: '\.gif' is not a video suffix"):
        restore_video(source, tmp_path / "out.gif", same)
    with pytest.raises(UserError, match="written over its input"):
        restore_video(source, tmp_path / "in.mp4", same)
    assert names(tmp_path) == ["in.mp4"]


@pytest.mark.parametrize("suffix", VIDEOS)
def test_a_file_that_cannot_grow_leaves_no_target(tmp_path, suffix):
    resource = pytest.importorskip("resource")
    source = make(tmp_path / "in.mkv", frames=12, height=64, width=64)
    chance, before = np.random.default_rng(0), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (9000, before[1]))
    try:
        with pytest.raises(OSError, match=rf"File too large: '.*out\{suffix}'"):
            restore_video(source, tmp_path / f"out{suffix}", lambda pixels: chance.integers(0, 256, pixels.shape, "u1"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert names(tmp_path) == ["in.mkv"]


SLOW = """
import sys, time
from madn.imaging.video import restore_video
def restore(pixels):
    print("frame", flush=True)
    time.sleep(0.2)
    return pixels
restore_video(sys.argv[1], sys.argv[2], restore)
"""


@pytest.mark.process
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")
def test_a_killed_restoration_leaves_no_half_video(tmp_path):
    source, target = make(tmp_path / "in.mkv", 15), tmp_path / "out.mp4"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, source, target], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert [process.stdout.readline() for _ in range(3)] == [b"frame\n"] * 3
    process.kill()
    process.communicate()
    left, source_name = names(tmp_path)
    assert re.fullmatch(rf"\.out\.mp4\.{HOST}-{process.pid}\.[0-9a-f]{{8}}\.part", left) and source_name == "in.mkv"
    remove_leftovers([target])
    assert names(tmp_path) == ["in.mkv"]


MEMORY = """
import pathlib, sys
from madn.imaging.video import restore_video
for source in sys.argv[2:]:
    restore_video(source, sys.argv[1], lambda pixels: 255 - pixels)
    status = pathlib.Path("/proc/self/status").read_text().splitlines()
    print(1024 * next(int(line.split()[1]) for line in status if line.startswith("VmHWM")))
"""


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="this system tells no process its own peak memory")
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_memory_does_not_grow_with_the_length(tmp_path, suffix):
    """The 200 further frames of 320x180 are 35 MB as RGB, and 17 MB as they are stored."""
    planes = [np.random.default_rng(0).integers(0, 256, shape, np.uint8) for shape in ((180, 320), *[(90, 160)] * 2)]
    short, long = (
        make(
            tmp_path / f"{count}.mp4",
            count,
            height=180,
            width=320,
            sound="aac",
            planes=lambda k: [np.roll(plane, k, axis=1) for plane in planes],
            options={"preset": "ultrafast", "crf": "35"},
        )
        for count in (100, 300)
    )
    process = subprocess.run(
        [sys.executable, "-c", MEMORY, tmp_path / f"out{suffix}", short, long],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.returncode == 0 and process.stderr == "", process.stderr
    first, second = map(int, process.stdout.split())
    assert second - first < 6e6


@pytest.mark.parametrize("stop", [KeyboardInterrupt, UserError("the network's output holds no numbers")])
def test_a_stopped_restoration_leaves_what_was_there(tmp_path, stop):
    def restore(pixels):
        raise stop

    (tmp_path / "out.mp4").write_bytes(b"an older result")
    with pytest.raises(type(stop) if isinstance(stop, Exception) else stop):
        restore_video(make(tmp_path / "in.mkv"), tmp_path / "out.mp4", restore)
    assert names(tmp_path) == ["in.mkv", "out.mp4"] and (tmp_path / "out.mp4").read_bytes() == b"an older result"


def test_frames_that_change_their_size_are_refused(tmp_path):
    """Two videos of different sizes, one behind the other in one stream."""
    make(tmp_path / "a.webm", 3)
    make(tmp_path / "b.webm", 3, height=64, width=64)
    with av.open(str(tmp_path / "in.webm"), "w", format="webm") as out:
        stream, start = None, 0
        for name in ("a.webm", "b.webm"):
            with av.open(str(tmp_path / name)) as file:
                stream = stream or out.add_stream_from_template(file.streams.video[0], opaque=True)
                for packet in [packet for packet in file.demux(video=0) if packet.size]:
                    packet.pts, packet.dts, packet.stream = packet.pts + start, packet.dts + start, stream
                    out.mux_one(packet)
            start = 1000
    with pytest.raises(UserError, match=r"in\.webm: its frames change from 32x48 yuv420p to 64x64 yuv420p; cut it"):
        restore_video(tmp_path / "in.webm", tmp_path / "out.webm", same)
    assert not (tmp_path / "out.webm").exists()


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
            restore_video(tmp_path / name, tmp_path / "out.mkv", same)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems refuse such names")
@pytest.mark.parametrize("name", [b"\xff.mkv", "Straße 1:2 %03d.mkv".encode(), b"-i.mkv", b"a\nb.mkv"])
def test_any_name(tmp_path, name, monkeypatch):
    source = make(tmp_path / "in.mkv").rename(tmp_path / os.fsdecode(name))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "out").mkdir()
    restore_video(Path(source.name), Path("out") / source.name, same)
    shutil.copy(Path("out") / source.name, "copy.mkv")
    np.testing.assert_array_equal(read(Path("copy.mkv")).frames, [frame(k) for k in range(6)])


def test_metadata_that_are_no_text_are_kept(tmp_path):
    source = make(tmp_path / "in.mkv", 2, metadata={"title": "Xxxxxx"})
    source.write_bytes(source.read_bytes().replace(b"Xxxxxx", b"\xe9t\xe9 24"))
    restore_video(source, tmp_path / "out.mkv", same)
    assert b"\xe9t\xe9 24" in (tmp_path / "out.mkv").read_bytes()


def test_without_pyav_one_line_says_what_to_install(tmp_path, monkeypatch):
    source, imported = make(tmp_path / "in.mp4"), builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "av":
            raise ImportError(name)
        return imported(name, *arguments, **options)

    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.setattr(builtins, "__import__", refuse)
    formats.missing.cache_clear()
    try:
        with pytest.raises(UserError, match=r'in\.mp4: \.mp4 videos need PyAV \(pip install "madn\[video\]"\)'):
            restore_video(source, tmp_path / "out.mp4", same)
    finally:
        formats.missing.cache_clear()
    assert names(tmp_path) == ["in.mp4"]


def test_frames_are_read_as_they_are_written(tmp_path):
    """`planes_of` sees what `stored` wrote, without which the tests above would prove nothing."""
    planes = [np.arange(48 * 32).reshape(48, 32).astype(np.uint16) % 1024, *np.full((2, 24, 16), 512, np.uint16)]
    for one, other in zip(planes, planes_of(videos.stored("yuv420p10le", planes)), strict=True):
        np.testing.assert_array_equal(one, other)
