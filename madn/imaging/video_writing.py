"""Video files written by PyAV: restored frames encoded, and all else that the source holds copied, or named."""

import contextlib
import errno
import io
import os
from collections import Counter
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from madn.errors import UserError
from madn.imaging.formats import VIDEOS
from madn.imaging.video_encoders import FFV1, MJPEG, MPEG4, VP9, X264, X265, Encoder, NoEncoder, choose, hdr_parameters
from madn.imaging.video_pixels import Pixels
from madn.imaging.video_reading import VideoSource

MP4 = ("mp4", "mov")
BT601 = 5  # In ITU-T H.273: the only matrix of JPEG.
# What a frame may carry beside its pixels, and what it is called where it is not kept.
NAMED = {
    SideData.STEREO3D: "the second view of a stereoscopic video",
    SideData.SPHERICAL: "the projection of a 360-degree video",
    SideData.DOVI_METADATA: "Dolby Vision's adjustments",
    SideData.DOVI_RPU_BUFFER: "Dolby Vision's adjustments",
    SideData.DYNAMIC_HDR_PLUS: "HDR10+'s adjustments",
    SideData.DYNAMIC_HDR_VIVID: "HDR Vivid's adjustments",
    SideData.AMBIENT_VIEWING_ENVIRONMENT: "the surroundings that HDR was made for",
    SideData.MASTERING_DISPLAY_METADATA: "the screen that HDR was made on",
    SideData.CONTENT_LIGHT_LEVEL: "HDR's brightest light",
    SideData.ICC_PROFILE: "an ICC profile",
    SideData.A53_CC: "closed captions in the frames",
    SideData.FILM_GRAIN_PARAMS: "the film grain that players add",
}
OWN = {"encoder", "major_brand", "minor_version", "compatible_brands", "duration", "vendor_id", "software"}


class VideoTarget:
    """A video file that is being written, like `source` in all but the pixels; `notes` says what it does not hold.

    `part` is where it is written, `target` what it will be called. Raises `UserError` for what the container cannot
    hold and the picture would be spoilt without.
    """

    def __init__(self, source: VideoSource, part: Path, target: Path):
        self.source, self.target, self.notes, self.refused = source, target, [], Counter()
        self.muxer = VIDEOS[target.suffix.lower()]
        self.encoder, kind = self._chosen()
        self._check_holdable()
        even = self.encoder not in (FFV1, VP9, MJPEG) and not kind.startswith("yuv444")
        space = BT601 if self.encoder is MJPEG else None
        self.pixels = Pixels(source.path, source.first, source.matrix, kind, even, space)
        self.container = av.open(
            os.path.abspath(part),
            "w",
            format=self.muxer,
            container_options=self._options(),
            metadata_errors="surrogateescape",
        )
        try:
            self.stream = self._add_video(kind)
            self.copies = self._add_others()
            self.container.metadata.update(_worth_keeping(source.container.metadata))
            if chapters := source.container.chapters():
                self.container.set_chapters(chapters)
            self.container.start_encoding()
        except (av.FFmpegError, ValueError) as fault:
            self.abandon()
            width, height = self.pixels.width, self.pixels.height
            raise UserError(
                f"{target}: {width}x{height} {kind} cannot be written as {target.suffix} ({self.encoder.called}: "
                f"{getattr(fault, 'strerror', None) or fault}); try .mkv"
            ) from None
        if self.muxer in MP4 and not (self.encoder.plays and "420" in kind):
            self.notes.append(f"written as {self.encoder.called} ({kind}), which not every browser plays")
        if (self.pixels.height, self.pixels.width) != (source.first.height, source.first.width):
            self.notes.append(f"{self.encoder.called} has even sizes: the last row or column is written twice")
        self._name_side_data()

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of a frame."""
        return self.pixels.width, self.pixels.height

    def write(self, frame: av.VideoFrame | None) -> None:
        """Encode a frame; None ends the video."""
        for packet in self.stream.encode(frame):
            self.container.mux_one(packet)

    def copy(self, packet: av.Packet) -> None:
        """Write a packet of another stream as it is."""
        if not (copied := self.copies.get(packet.stream.index)):
            return
        name = _named(packet.stream)
        packet.stream = copied
        try:
            self.container.mux_one(packet)
        except av.FFmpegError as fault:
            if fault.errno != errno.EINVAL:
                raise
            self.refused[name] += 1  # Its time is none, or lies before that of the last.

    def close(self) -> None:
        """Write the end of the file."""
        self.container.close()
        self.notes += [f"left out: {count} damaged packets of {name}" for name, count in self.refused.items()]

    def abandon(self) -> None:
        """Close a file that is not to be kept."""
        with contextlib.suppress(av.FFmpegError):
            self.container.close()

    def _chosen(self) -> tuple[Encoder, str]:
        """The encoder, and its pixel format that loses least."""
        try:
            return choose(self.muxer, self.source.first.format)
        except NoEncoder as lacks:
            if not str(lacks):
                raise UserError(f"{self.target}: PyAV has no encoder for {self.target.suffix} here; try .mkv") from None
            raise UserError(
                f"{self.source.path}: has {lacks}, which {self.target.suffix} does not get here; "
                "give a result that ends in .mkv"
            ) from None

    def _check_holdable(self) -> None:
        lacks = ""
        if self.muxer == "avi" and self.source.matrix:
            lacks = "is turned by its players"
        elif self.muxer in ("matroska", "webm") and self.source.aspect != 1:  # PyAV does not tell FFmpeg of it.
            lacks = f"has pixels of {self.source.aspect.numerator}:{self.source.aspect.denominator}"
        elif self.muxer == "avi" and not self.source.holds_steady_times():
            lacks = "has frames at uneven times"
        if lacks:
            raise UserError(
                f"{self.source.path}: {lacks}, which is not written to {self.target.suffix}; "
                "give a result that ends in .mp4"
            )

    def _options(self) -> dict[str, str]:
        if self.muxer not in MP4:
            return {"avoid_negative_ts": "disabled"}  # All streams would be moved until the first begins at 0.
        covered = any(stream.disposition & Disposition.attached_pic for stream in self.source.others)
        # The index at the front lets browsers begin before they have the whole file. Tags that only phones know take
        # the place of a cover.
        return {"movflags": "+faststart" if covered else "+faststart+use_metadata_tags"}

    def _add_video(self, kind: str) -> av.VideoStream:
        source, first = self.source, self.source.first
        stream = self.container.add_stream(self.encoder.name, rate=source.rate, options=dict(self.encoder.options))
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = *self.size, kind
        base = source.stream.time_base
        if self.muxer == "avi":
            base = 1 / source.rate
        elif self.encoder is MPEG4 and base.denominator > 65535:
            base = Fraction(1, 60000)
        stream.time_base = context.time_base = base
        context.framerate = source.rate
        context.sample_aspect_ratio = source.aspect
        context.colorspace, context.color_range = self.pixels.tags
        context.color_primaries, context.color_trc = first.color_primaries, first.color_trc
        # Frames stay in order. Otherwise x265 gives the frames of short videos times that it never set, and MP4 ends
        # videos of uneven times too early.
        context.max_b_frames = 0
        if self.encoder is X265:
            context.codec_tag = "hvc1"  # Apple's players want this one.
            parameters = ":".join([self.encoder.options["x265-params"], *hdr_parameters(first)])
            context.options = {**self.encoder.options, "x265-params": parameters}
        context.thread_type = "AUTO"
        context.flags |= av.codec.context.Flags.frame_duration
        if source.matrix:
            stream.set_display_matrix(source.matrix)
        stream.metadata.update(_worth_keeping(source.stream.metadata))
        return stream

    def _add_others(self) -> dict[int, av.stream.Stream]:
        copies = {}
        for stream in self.source.others:
            if self._is_written_anew(stream):
                continue
            if not _holds(self.muxer, stream):
                self.notes.append(f"left out, for {self.target.suffix} does not hold it: {_named(stream)}")
                continue
            copies[stream.index] = _add_copy(self.container, stream)
            if stream.type == "video" and not stream.disposition & Disposition.attached_pic:
                self.notes.append(f"copied as it is, for one video is restored: {_named(stream)}")
        return copies

    def _is_written_anew(self, stream: av.stream.Stream) -> bool:
        """Whether a stream is one that MP4 makes of the metadata: the time code, or the chapters' titles."""
        if stream.type != "data" or self.muxer not in MP4:
            return False
        return "timecode" in stream.metadata or 0 < stream.frames == len(self.source.container.chapters())

    def _name_side_data(self) -> None:
        kept: set[SideData] = set()
        if self.encoder in (X264, X265):
            kept.add(SideData.A53_CC)
        if self.encoder is X265:
            kept |= {SideData.MASTERING_DISPLAY_METADATA, SideData.CONTENT_LIGHT_LEVEL}
        there = {part.type for part in self.source.first.side_data}
        lost = dict.fromkeys(name for kind, name in NAMED.items() if kind in there - kept)
        if lost:
            self.notes.append(f"left out: {', '.join(lost)}")


def check_written(part: Path, target: VideoTarget, frames: int) -> None:
    """Read the file again, without decoding it: what was lost on the way is said.

    Raises `UserError` where frames are missing: an encoder that could not write its last bytes may not say so.
    """
    with av.open(os.path.abspath(part), metadata_errors="surrogateescape") as container:
        stream = container.streams.video[target.stream.index]
        times = sorted(
            float(packet.pts * packet.time_base) for packet in container.demux(stream) if packet.pts is not None
        )
        kept = {name.lower() for name in container.metadata}
        streams, languages = len(container.streams), _languages(container.streams)
    if len(times) < frames or (target.muxer != "avi" and len(times) != frames):
        raise UserError(
            f"{target.target}: only {len(times)} of {frames} frames can be read again (disk full?); make room, or "
            "choose another place"
        )
    if target.muxer != "avi":
        moved = max(abs(new - old) for new, old in zip(times, target.source.times))
        if moved > 0.001:
            target.notes.append(f"its frames are shown up to {1000 * moved:.0f} ms from their times")
    expected = [target.source.stream, *(each for each in target.source.others if each.index in target.copies)]
    if streams < len(expected):
        target.notes.append(f"{target.target.suffix} does not hold {len(expected) - streams} of its streams")
    elif _languages(expected) != languages:
        target.notes.append(f"{target.target.suffix} does not hold the languages of its streams")
    wanted = _worth_keeping(target.source.container.metadata)
    if lost := [name for name in wanted if name.lower() not in kept]:
        target.notes.append(f"{target.target.suffix} does not hold its {', '.join(sorted(lost))}")


def _holds(muxer: str, stream: av.stream.Stream) -> bool:
    """Whether a container takes a stream: tried on one in memory, for some refuse only when they write their head."""
    trial = av.open(io.BytesIO(), "w", format=muxer)
    try:
        _add_copy(trial, stream)
        trial.start_encoding()
        return True
    except (av.FFmpegError, ValueError):
        return False
    finally:
        with contextlib.suppress(av.FFmpegError, ValueError):
            trial.close()


def _add_copy(container: av.container.OutputContainer, stream: av.stream.Stream) -> av.stream.Stream:
    copied = container.add_stream_from_template(stream, opaque=True)
    copied.metadata.update(_worth_keeping(stream.metadata))
    copied.disposition = stream.disposition
    return copied


def _named(stream: av.stream.Stream) -> str:
    """A stream as people would call it: "the sound (aac, stream 1)"."""
    kind = {"audio": "the sound", "subtitle": "the subtitles", "attachment": "the attachment"}.get(stream.type, "")
    if stream.type == "video":
        picture = stream.disposition & Disposition.attached_pic
        kind = "the attached picture" if picture else "a further video"
    codec = stream.codec_context.name if stream.codec_context else stream.metadata.get("handler_name", "").strip()
    return f"{kind or 'the data'} ({', '.join(filter(None, (codec, f'stream {stream.index}')))})"


def _languages(streams: Iterable[av.stream.Stream]) -> list[str]:
    """The languages of what is heard and read."""
    return [each.metadata.get("language", "und") for each in streams if each.type in ("audio", "subtitle")]


def _worth_keeping(metadata: dict[str, str]) -> dict[str, str]:
    """What is said of the video, without what every program says of itself."""
    twice = {name for name in metadata if name.startswith("location-") and "location" in metadata}
    return {name: value for name, value in metadata.items() if name.lower() not in OWN and name not in twice}
