"""Video files read by PyAV: the frames of the video that is restored, and the packets of all that lies beside it."""

import array
import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition

from madn.errors import UserError

MOST_PIXELS = 2**26  # A frame has at most so many pixels; 8K has half of that.
UNKNOWN_RATE = Fraction(25)  # This is taken where a file does not say its rate.
# What is no moving picture: covers of albums, and previews.
PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.still_image
UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
CANNOT = "cannot be read as a video"


class VideoSource:
    """An open video file.

    `stream` is the video that is restored, `others` are all other streams, `first` is its first frame, `matrix` the
    nine numbers by which players turn it (None for an upright one), `aspect` the shape of its pixels, width by height.
    `damage`, `times` and the rest tell what was found once `items` has come to its end.

    Raises `UserError` for what is no such file, has no frames or has frames of a kind that is not restored.
    """

    def __init__(self, path: Path, log: list):
        self.path, self.log, self.kind = path, log, _kind(path)
        self.packets = self.damaged = self.moved = 0
        self.damage = self.end = ""
        self.times, self.last = array.array("d"), None
        with self._opened() as container:
            self.first = self._first_frame(container)
            self._check_kind(self._restored(container))
            aspect = self._restored(container).sample_aspect_ratio
        self.container = self._opened()
        self.stream = self._restored(self.container)
        self.stream.thread_type = "SLICE"  # Threads of their own would wait for Python to take their messages.
        self.others = [stream for stream in self.container.streams if stream is not self.stream]
        self.aspect = aspect if aspect and aspect > 0 else Fraction(1)
        self.rate = self.stream.guessed_rate or self.stream.average_rate or UNKNOWN_RATE
        self.announced = self.stream.frames if 0 < self.stream.frames < 1e9 else None
        self.matrix = self._matrix()

    def close(self) -> None:
        self.container.close()

    def items(self) -> Iterator[av.Packet | av.VideoFrame]:
        """Frames in the order in which they are shown, and packets of the other streams as they lie between.

        What cannot be decoded is left out and counted in `damaged`; `end` says why a file ended too early. Raises
        `UserError` where the frames change their size or kind.
        """
        packets = self.container.demux()
        while True:
            self.log.clear()
            try:
                packet = next(packets, None)
            except av.FFmpegError as fault:
                packet, self.end = None, fault.strerror
            if self.log and not self.end:
                self.end = _said(self.log)
            if packet is None:
                yield from self._decoded(None)
                return
            if not packet.size:  # At the end there is one for each stream.
                continue
            if packet.stream is self.stream:
                self.packets += 1
                yield from self._decoded(packet)
            else:
                yield packet

    def faults(self) -> list[str]:
        """What is to be said of the file, once it was read to its end."""
        said = []
        if self.damaged:
            damage = f" ({self.damage})" if self.damage else ""
            said.append(f"{self.damaged} of its {self.packets} frames are damaged{damage}")
        if self.announced and self.packets < self.announced:
            said.append(f"{self.announced - self.packets} of {self.announced} frames that it announces are not in it")
        elif self.end:
            said.append(f"it is cut short or damaged ({self.end})")
        if self.moved:
            said.append(f"{self.moved} of its frames had the time of the one before")
        return said

    def holds_steady_times(self) -> bool:
        """Whether the times of all frames are multiples of one over `rate`, to the millisecond; it reads all."""
        with self._opened() as container:
            times = sorted(
                packet.pts * packet.time_base
                for packet in container.demux(self._restored(container))
                if packet.pts is not None
            )
        return all(abs(time - round(time * self.rate) / self.rate) <= 0.001 for time in times)

    def _opened(self) -> av.container.InputContainer:
        try:
            # An absolute path is never taken for a URL, and a format that is given never for a play list.
            return av.open(os.path.abspath(self.path), format=self.kind, metadata_errors="surrogateescape")
        except av.FFmpegError:
            raise UserError(f"{self.path}: {CANNOT} (damaged, cut short or of an unknown kind)") from None

    def _restored(self, container: av.container.InputContainer) -> av.VideoStream:
        """The video to restore: of several, one that is marked as the default, and the largest of these."""
        videos = [stream for stream in container.streams.video if not stream.disposition & PICTURES]
        if not videos:
            raise UserError(f"{self.path}: {CANNOT} (it holds no moving pictures)")
        if missing := next((stream for stream in videos if stream.codec_context is None), None):
            raise UserError(f"{self.path}: {CANNOT} (its video stream {missing.index} is coded in an unknown way)")
        return max(
            videos,
            key=lambda stream: (bool(stream.disposition & Disposition.default), stream.width * stream.height),
        )

    def _first_frame(self, container: av.container.InputContainer) -> av.VideoFrame:
        stream = self._restored(container)
        if stream.width * stream.height > MOST_PIXELS:
            raise UserError(
                f"{self.path}: says that its frames are {stream.width}x{stream.height}; more than {MOST_PIXELS:,} "
                "pixels are not read"
            )
        with contextlib.suppress(av.FFmpegError):
            for packet in container.demux(stream):
                with contextlib.suppress(av.error.InvalidDataError):
                    for frame in stream.decode(packet):
                        return frame
        raise UserError(f"{self.path}: {CANNOT} (damaged, cut short or without frames)")

    def _matrix(self) -> tuple[int, ...] | None:
        # PyAV looks side data up by what `Type` holds, and gives its bytes.
        found = self.first.side_data.get(SideData.DISPLAYMATRIX)
        matrix = tuple(memoryview(bytes(found)).cast("i")) if found else UPRIGHT
        return None if matrix == UPRIGHT else matrix

    def _check_kind(self, stream: av.VideoStream) -> None:
        """Raises `UserError` for frames that a network would spoil."""
        if self.first.interlaced_frame:
            raise UserError(
                f"{self.path}: its frames are interlaced, two moments in one frame; deinterlace it first, for example "
                "with ffmpeg -vf bwdif"
            )
        if {"alpha_mode", "ALPHA_MODE"} & stream.metadata.keys():
            raise UserError(f"{self.path}: has transparency beside its frames, which is not read; save it without")

    def _decoded(self, packet: av.Packet | None) -> Iterator[av.VideoFrame]:
        self.log.clear()
        frames, fault = [], ""
        try:
            frames = self.stream.decode(packet)
        except av.error.EOFError:
            pass
        except av.FFmpegError as problem:
            fault = problem.strerror
        if fault or self.log or any(frame.is_corrupt for frame in frames):
            self.damaged = min(self.damaged + 1, self.packets)
            self.damage = self.damage or _said(self.log) or fault
        for frame in frames:
            self._check_same(frame)
            yield self._timed(frame)

    def _check_same(self, frame: av.VideoFrame) -> None:
        old, new = ((each.width, each.height, each.format.name) for each in (self.first, frame))
        if old != new:
            old, new = (f"{width}x{height} {kind}" for width, height, kind in (old, new))
            raise UserError(f"{self.path}: its frames change from {old} to {new}; cut it there")

    def _timed(self, frame: av.VideoFrame) -> av.VideoFrame:
        """Give a frame a time where it has none, and one that rises: encoders refuse others."""
        base = frame.time_base = frame.time_base or self.stream.time_base  # The last frames come without.
        if frame.pts is None:
            frame.pts = 0 if self.last is None else self.last + max(1, round(1 / self.rate / base))
        if self.last is not None and frame.pts <= self.last:
            frame.pts = self.last + 1
            self.moved += 1
        self.last = frame.pts
        self.times.append(float(frame.pts * base))
        return frame


@contextlib.contextmanager
def listening() -> Iterator[list]:
    """What FFmpeg has to say meanwhile, its errors alone; it would go to standard error otherwise."""
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)  # It would tell of a message again when the next one comes.
    try:
        with av.logging.Capture(local=False) as log:
            yield log
    finally:
        av.logging.set_level(before[0])
        av.logging.set_skip_repeated(before[1])


def _said(log: list) -> str:
    return log[0][2].strip() if log else ""


def _kind(path: Path) -> str:
    """The container, by its own mark: FFmpeg would open by content, play lists that name other files included."""
    if os.path.exists(path) and not os.path.isfile(path):  # Opening a pipe would wait for ever.
        raise UserError(f"{path}: {CANNOT} (not a regular file)")
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as problem:
        raise UserError(f"{path}: {CANNOT} ({problem.strerror})") from None
    if head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"):
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:] == b"AVI ":
        return "avi"
    raise UserError(f"{path}: {CANNOT} ({'no MP4, MOV, AVI, MKV or WebM file' if head else 'an empty file'})")
