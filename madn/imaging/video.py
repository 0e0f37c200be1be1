"""Videos restored frame by frame through OpenCV: a file in, a file of the same rate and size out.

Which encoder a container gets is what opencv-python-headless can write everywhere: its wheels hold no H.264 encoder.
"""

import contextlib
import math
import os
import re
import shutil
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from madn.errors import UserError
from madn.imaging.finding import is_video
from madn.system.writing import atomic

# FFmpeg would write lines of its own on standard error. It reads this when its first file is opened.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")

CODECS = {".mp4": "mp4v", ".m4v": "mp4v", ".mov": "jpeg", ".avi": "MJPG", ".mkv": "FFV1", ".webm": "VP80"}
NOTE = (
    "video: each frame is restored by itself, so that the picture may flicker; sound and subtitles are not carried "
    "over; results ending in .mkv are lossless (FFV1), all others are compressed again"
)
UNKNOWN_FPS = 25.0  # This is taken where a file does not say its rate.
MOST_PIXELS = 2**26  # A frame has at most so many pixels; 8K has half of that.
LEAST_FREE = 32 * 2**20  # So many bytes must stay free, for an encoder does not say when the disk is full.

RestoreFrame = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Video:
    """A video as it was written.

    `size` is (width, height); `announced` what the source's header said it holds, None where it said nothing sensible.
    """

    frames: int
    fps: float
    size: tuple[int, int]
    codec: str
    announced: int | None

    @property
    def shortfall(self) -> int:
        """Frames that the header announced and the file does not hold: it was cut short, or its header is wrong."""
        return max(0, (self.announced or 0) - self.frames)


def restore_video(
    source: str | Path,
    target: str | Path,
    restore_frame: RestoreFrame,
    on_frame: Callable[[int, int | None], None] = lambda done, announced: None,
) -> Video:
    """Restore a video frame by frame; `target` takes its place when the last frame is written and read again.

    `restore_frame` takes uint8 (H, W, 3) RGB and gives the same. A camera's rotation is applied. Encoders want even
    sizes: the last row or column of an odd one is written twice. `on_frame(done, announced)` is called after each.
    Raises `UserError` for a source that cannot be read or changes its size, a path that is no text, a suffix that is
    not written, a size that the encoder refuses and a disk that is full; nothing is left under the target's name then.
    """
    source, target = Path(source), Path(target)
    if not is_video(target):
        raise UserError(f"{target}: '{target.suffix}' is not a video suffix that is written: {', '.join(CODECS)}")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: the restored video would be written over its input; give another place")
    for path in (source, target):
        if re.search("[\ud800-\udfff]", os.path.abspath(path)):  # OpenCV 5 would end the process.
            raise UserError(f"{path}: a video's path must be text; rename what is not")
    with _quiet(), contextlib.closing(_Reader(source)) as reader, atomic(target) as part:
        encoded = part.with_name(part.name + target.suffix)  # FFmpeg knows the container by the suffix.
        try:
            video = _write(reader, encoded, target, restore_frame, on_frame)
            if video.codec == "mp4v":
                with contextlib.suppress(OSError):  # On a full disk `_check` sees what was left.
                    _tag_colours(encoded)
            _check(encoded, target, video.frames)
            encoded.replace(part)
        finally:
            encoded.unlink(missing_ok=True)
    return video


class _Reader:
    """The frames of a video, uint8 (H, W, 3) RGB."""

    def __init__(self, path: Path):
        self.path = path
        _check_container(path)
        # An absolute path is never taken for a URL.
        self.capture = cv2.VideoCapture(os.path.abspath(path), cv2.CAP_FFMPEG)
        self.capture.set(cv2.CAP_PROP_ORIENTATION_AUTO, 1)
        width, height = (self.capture.get(side) for side in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        if width * height > MOST_PIXELS:
            self.close()
            raise UserError(
                f"{path}: says that its frames are {width:.0f}x{height:.0f}; more than {MOST_PIXELS:,} "
                "pixels are not read"
            )
        self.first = self._read()
        if self.first is None:
            self.close()
            raise UserError(f"{path}: cannot be read as a video (damaged, cut short or of an unknown kind)")
        fps, count = self.capture.get(cv2.CAP_PROP_FPS), self.capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.fps = _writable(fps) if math.isfinite(fps) and 0.01 < fps <= 1000 else UNKNOWN_FPS
        self.announced = int(count) if 0 < count < 1e9 else None

    def __iter__(self) -> Iterator[np.ndarray]:
        frame = self.first
        while frame is not None:
            if frame.shape != self.first.shape:
                old, new = (f"{shape[1]}x{shape[0]}" for shape in (self.first.shape, frame.shape))
                raise UserError(f"{self.path}: its frames change their size from {old} to {new}; cut it there")
            yield frame
            frame = self._read()

    def close(self) -> None:
        self.capture.release()

    def _read(self) -> np.ndarray | None:
        good, frame = self.capture.read()
        return cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if good else None


def _write(
    reader: _Reader,
    encoded: Path,
    target: Path,
    restore_frame: RestoreFrame,
    on_frame: Callable[[int, int | None], None],
) -> Video:
    height, width = (n + n % 2 for n in reader.first.shape[:2])
    codec, frames = CODECS[target.suffix.lower()], 0
    with _silent_stderr():  # FFmpeg would complain of the tag, for which a WebM file has no place.
        writer = cv2.VideoWriter(
            os.path.abspath(encoded), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*codec), reader.fps, (width, height)
        )
    try:
        if not writer.isOpened():
            raise UserError(
                f"{target}: {width}x{height} at {reader.fps:g} frames per second cannot be written as "
                f"{target.suffix} ({codec}) here; try .mkv"
            )
        for frame in reader:
            restored = restore_frame(frame)
            if restored.shape != frame.shape or restored.dtype != np.uint8:
                raise ValueError(f"restore_frame gave {restored.shape} {restored.dtype} for {frame.shape} uint8")
            even = np.pad(restored, ((0, height - frame.shape[0]), (0, width - frame.shape[1]), (0, 0)), "edge")
            # OpenCV 5 says whether it wrote; OpenCV 4 gives None.
            if writer.write(cv2.cvtColor(even, cv2.COLOR_RGB2BGR)) is False or _is_full(encoded.parent):
                raise UserError(f"{target}: cannot be written on (disk full?); make room, or choose another place")
            frames += 1
            on_frame(frames, reader.announced)
    finally:
        writer.release()
    return Video(frames, reader.fps, (width, height), codec, reader.announced)


def _check(encoded: Path, target: Path, frames: int) -> None:
    """Read the file again: an encoder that could not write its last bytes does not say so."""
    capture, found = cv2.VideoCapture(os.path.abspath(encoded), cv2.CAP_FFMPEG), 0
    try:
        while capture.grab():
            found += 1
    finally:
        capture.release()
    if found != frames:
        raise UserError(
            f"{target}: only {found} of {frames} frames can be read again (disk full?); make room, or "
            "choose another place"
        )


def _tag_colours(path: Path) -> None:
    """Say in an MP4 that its colours are BT.601's, as OpenCV encodes them: players take silent HD for BT.709.

    A colour box (ISO/IEC 14496-12, colr) at the end of the video's description, and every box around it that longer.
    """
    with open(path, "r+b") as file:
        place = 0
        # A size of 1 stands for one of 64 bits behind the kind.
        while len(head := file.read(16)) == 16 and head[4:8] != b"moov":
            size, _, long_size = struct.unpack(">I4sQ", head)
            if (size := long_size if size == 1 else size) < 8:
                return  # The file is cut short, which `_check` reports.
            place += size
            file.seek(place)
        file.seek(place)
        movie, outer, start = bytearray(file.read()), [], 0
        for kind, header in (
            (b"moov", 8),
            (b"trak", 8),
            (b"mdia", 8),
            (b"minf", 8),
            (b"stbl", 8),
            (b"stsd", 16),
            (b"mp4v", 86),
        ):
            while movie[start + 4 : start + 8] != kind:
                if start + 8 > len(movie) or (size := struct.unpack_from(">I", movie, start)[0]) < 8:
                    return
                start += size
            outer.append(start)
            start += header
        # It says BT.709's primaries and curve, and BT.601's matrix.
        box = struct.pack(">I4s4sHHHB", 19, b"colr", b"nclx", 1, 1, 6, 0)
        end = outer[-1] + struct.unpack_from(">I", movie, outer[-1])[0]
        for start in outer:
            struct.pack_into(">I", movie, start, struct.unpack_from(">I", movie, start)[0] + len(box))
        movie[end:end] = box
        file.seek(place)
        file.write(movie)


def _check_container(path: Path) -> None:
    """FFmpeg opens by content, play lists that name other files included: only the containers' own marks pass."""
    if os.path.exists(path) and not os.path.isfile(path):  # Opening a pipe would wait for ever.
        raise UserError(f"{path}: cannot be read as a video (not a regular file)")
    try:
        with open(path, "rb") as file:
            head = file.read(12)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as problem:
        raise UserError(f"{path}: cannot be read as a video ({problem.strerror})") from None
    mp4 = head[4:8] in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")
    if not (mp4 or head[:4] == b"\x1aE\xdf\xa3" or (head[:4] == b"RIFF" and head[8:] == b"AVI ")):
        what = "an empty file" if not head else "no MP4, MOV, AVI, MKV or WebM file"
        raise UserError(f"{path}: cannot be read as a video ({what})")


def _writable(fps: float) -> float:
    """Rounded, in steps of at most 0.02%: MPEG-4 keeps a rate as a fraction of numbers below 65536."""
    return round(fps, 3 if fps < 65 else 2 if fps < 655 else 1)


def _is_full(folder: Path) -> bool:
    return shutil.disk_usage(folder).free < LEAST_FREE


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """OpenCV's own lines held back: what matters is said by our errors."""
    logging = cv2.utils.logging
    before = logging.setLogLevel(logging.LOG_LEVEL_SILENT)
    try:
        yield
    finally:
        logging.setLogLevel(before)


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Standard error to nowhere, C libraries' included, for a moment."""
    try:
        kept = os.dup(2)
    except OSError:  # A closed standard error is as silent as can be.
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
