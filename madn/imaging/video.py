"""Videos restored frame by frame through PyAV: a file in, a file out that differs in its pixels alone, or says in what.

PyAV, the extra `video`, is imported when a video is restored: all else goes without it.
"""

import contextlib
import errno
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from madn.errors import UserError
from madn.imaging.finding import is_video
from madn.imaging.formats import VIDEOS, refusal
from madn.system.writing import atomic

NOTE = "video: each frame is restored by itself, so that the picture may flicker"

RestoreFrame = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Video:
    """A video as it was written.

    `size` is (width, height) as stored, `codec` the encoder, and `notes` say what of the source is damaged, missing or
    not in the result, a line each.
    """

    frames: int
    size: tuple[int, int]
    codec: str
    notes: tuple[str, ...]


def restore_video(
    source: str | Path,
    target: str | Path,
    restore_frame: RestoreFrame,
    on_frame: Callable[[int, int | None], None] = lambda done, announced: None,
) -> Video:
    """Restore a video frame by frame; `target` takes its place when the last frame is written and read again.

    `restore_frame` takes (H, W, 3) RGB, turned as players show it, uint8 or of more than 8 bits uint16 from 0 to
    65535, and gives the same. `on_frame(done, announced)` is called after each frame with what the header says of
    their number, None where it says nothing. Sound, subtitles, further streams, chapters, metadata, colours, pixel
    shape, rotation and times are the source's; `Video.notes` says where the container cannot hold them.

    Raises `UserError` for a source that cannot be read or changes its size, for one that the container would spoil,
    a suffix that is not written, and without PyAV; `OSError` where it cannot be written (a full disk). Nothing is left
    under the target's name then.
    """
    source, target = Path(source), Path(target)
    if not is_video(target):
        raise UserError(f"{target}: '{target.suffix}' is not a video suffix that is written: {', '.join(VIDEOS)}")
    if reason := refusal(target):
        raise UserError(f"{source}: {reason}")
    if target.exists() and source.exists() and target.samefile(source):
        raise UserError(f"{target}: the restored video would be written over its input; give another place")
    import av

    from madn.imaging.video_reading import VideoSource, listening
    from madn.imaging.video_writing import VideoTarget, check_written

    with listening() as log, contextlib.closing(VideoSource(source, log)) as reader, atomic(target) as part:
        writer, frames = VideoTarget(reader, part, target), 0
        try:
            for item in reader.items():
                if isinstance(item, av.VideoFrame):
                    restored = writer.pixels.restored(item, restore_frame)
                    with _writing(target):
                        writer.write(restored)
                    frames += 1
                    on_frame(frames, reader.announced)
                else:
                    with _writing(target):
                        writer.copy(item)
            with _writing(target):
                writer.write(None)
                writer.close()
        finally:
            writer.abandon()
        check_written(part, writer, frames)
    return Video(frames, writer.size, writer.encoder.name, (*reader.faults(), *writer.notes))


@contextlib.contextmanager
def _writing(target: Path) -> Iterator[None]:
    """A block in which FFmpeg's faults become the system's where they are: no room, no permission."""
    import av

    try:
        yield
    except av.FFmpegError as fault:
        if fault.errno in errno.errorcode:
            raise OSError(fault.errno, fault.strerror, str(target)) from None
        raise UserError(f"{target}: cannot be encoded ({fault.strerror}); try another suffix, .mkv for one") from None
