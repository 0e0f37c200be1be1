"""Small videos made with PyAV, and what players would find in a video."""

from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import pytest

av = pytest.importorskip("av")
import cv2

from madn.imaging.formats import VIDEOS

SMOOTH = cv2.GaussianBlur(np.random.default_rng(0).random((64, 64, 3), np.float32), (0, 0), 5)
SMOOTH = np.rint(255 * (SMOOTH - SMOOTH.min()) / np.ptp(SMOOTH)).astype(np.uint8)
BASE = Fraction(1, 90000)
CODECS = {"mkv": "ffv1", "webm": "libvpx-vp9", "avi": "mjpeg"}
PHONE = {
    "creation_time": "2024-05-06T07:08:09.000000Z",
    "location": "+48.1173+011.5167/",
    "com.apple.quicktime.make": "Apple",
    "title": "A walk",
}
UNEVEN = np.cumsum([0, 33, 34, 33, 90, 8, 250]) / 1000  # Seconds


def frame(k, height=48, width=32):
    """Smooth RGB whose red channel tells the frame's number: encoders lose little of it."""
    pixels = SMOOTH[:height, :width].copy()
    pixels[:, :, 0] = 20 + 15 * k
    return pixels


def make(
    path,
    frames=6,
    fps=25,
    height=48,
    width=32,
    times=None,
    codec=None,
    kind=None,
    options=None,
    sound=None,
    metadata=None,
    matrix=None,
    aspect=None,
    tags=(2, 2, 2, 0),
    planes=None,
    stream=None,
):
    """A video of `frames` frames, or of a frame at each of `times` (seconds).

    `metadata` are the file's, `stream` those of its video.

    `tags` are H.273's primaries, curve and matrix, and FFmpeg's number of the range; `planes(k)` gives the arrays of a
    frame where it is not made of `frame`.
    """
    codec = codec or CODECS.get(path.suffix[1:], "libx264")
    kind = kind or {"ffv1": "bgr0", "mjpeg": "yuvj420p"}.get(codec, "yuv420p")
    tagged = {"movflags": "use_metadata_tags"} if path.suffix in (".mp4", ".mov") else {}
    with av.open(str(path), "w", format=VIDEOS[path.suffix], container_options=tagged) as out:
        out.metadata.update(metadata or {})
        video = out.add_stream(codec, rate=Fraction(fps).limit_denominator(1001), options=options or {})
        context = video.codec_context
        video.metadata.update(stream or {})
        context.width, context.height, context.pix_fmt = width, height, kind
        base = 1 / Fraction(fps).limit_denominator(1001) if path.suffix == ".avi" else BASE
        context.time_base = video.time_base = base
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = tags
        context.max_b_frames = 0
        if aspect:
            context.sample_aspect_ratio = aspect
        if matrix:
            video.set_display_matrix(matrix)
        heard = out.add_stream(sound, rate=48000) if sound else None
        if heard:
            heard.metadata["language"] = "deu"
        times = [k / fps for k in range(frames)] if times is None else times
        for k, time in enumerate(times):
            picture = stored(kind, planes(k)) if planes else converted(frame(k, height, width), kind)
            picture.pts, picture.time_base = round(time / base), base
            ends = times[k + 1] if k + 1 < len(times) else time + 1 / fps
            picture.duration = round((ends - time) / base)
            out.mux(video.encode(picture))
        out.mux(video.encode(None))
        if heard:
            out.mux(tone(heard, times[-1] + 1 / fps))
    return path


def tone(stream, seconds):
    """Packets of a sine of 440 Hz."""
    count = int(48000 * seconds)
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(count) / 48000)).astype(np.int16)
    packets = []
    for start in range(0, count, 1024):
        part = np.ascontiguousarray(np.repeat(wave[start : start + 1024], 2)[None])
        sound = av.AudioFrame.from_ndarray(part, format="s16", layout="stereo")
        sound.sample_rate, sound.pts, sound.time_base = 48000, start, Fraction(1, 48000)
        packets += stream.encode(sound)
    return packets + stream.encode(None)


def converted(pixels, kind):
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24").reformat(format=kind)


def stored(kind, planes):
    """A frame of these planes, (rows, columns) each."""
    made = av.VideoFrame(planes[0].shape[1], planes[0].shape[0], kind)
    for plane, values in zip(made.planes, planes, strict=True):
        np.frombuffer(plane, values.dtype).reshape(plane.height, -1)[:, : values.shape[1]] = values
    return made


def planes_of(picture):
    dtype = np.uint8 if picture.format.components[0].bits <= 8 else np.uint16
    return [np.frombuffer(p, dtype).reshape(p.height, -1)[:, : p.width].copy() for p in picture.planes]


@dataclass
class Seen:
    """What a player finds in a video."""

    frames: np.ndarray = None
    times: list = field(default_factory=list)
    planes: list = field(default_factory=list)
    kinds: list = field(default_factory=list)
    """(type, codec) of each stream."""
    packets: dict = field(default_factory=dict)
    """Of each stream but the first video: bytes, and times in seconds."""
    metadata: dict = field(default_factory=dict)
    stream: dict = field(default_factory=dict)
    aspect: object = None
    tags: tuple = ()
    matrix: tuple = None
    side: dict = field(default_factory=dict)
    rate: float = 0
    kind: str = ""
    duration: float = 0


def read(path):
    seen, frames = Seen(), []
    with av.open(str(path)) as file:
        video = file.streams.video[0]
        seen.rate, seen.metadata, seen.stream = float(video.average_rate), dict(file.metadata), dict(video.metadata)
        seen.duration = file.duration / 1e6
        seen.kinds = [(each.type, each.codec_context and each.codec_context.name) for each in file.streams]
        for packet in file.demux():
            if packet.stream is not video:
                if packet.size:
                    time = float((packet.pts or 0) * packet.time_base)
                    seen.packets.setdefault(packet.stream.index, []).append((bytes(packet), time))
                continue
            for picture in video.decode(packet):
                frames.append(picture.to_ndarray(format="rgb24"))
                seen.times.append(float(picture.pts * video.time_base))
                seen.planes.append(planes_of(picture))
                if len(frames) == 1:
                    seen.side = {part.type.name: bytes(part) for part in picture.side_data}
                    seen.kind = picture.format.name
                    seen.tags = (picture.color_primaries, picture.color_trc, picture.colorspace, picture.color_range)
                    if turned := seen.side.get("DISPLAYMATRIX"):
                        seen.matrix = tuple(np.frombuffer(turned, np.int32).tolist())
        seen.aspect = video.sample_aspect_ratio or Fraction(1)
    seen.frames = np.array(frames)
    return seen
