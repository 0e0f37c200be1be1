"""Frames as upright RGB and back: what a network leaves alone keeps its stored numbers.

A restored frame is not converted to the file's colours as a whole. Its change is: the RGB that the network was given
and the RGB that it returned are both converted, and their difference is added to the stored numbers. So rounding, what
lies beyond black and white (as in HLG and PQ), chroma and transparency stay where the network changes nothing.
"""

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import ColorRange, Colorspace, Interpolation

from madn.errors import UserError

# swscale rounds down without these.
EXACTLY = int(
    Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INT | Interpolation.FULL_CHR_H_INP
)
# The matrices of ITU-T H.273 that swscale has.
MATRICES = {
    1: Colorspace.ITU709,
    4: Colorspace.FCC,
    5: Colorspace.ITU601,
    6: Colorspace.ITU601,
    7: Colorspace.SMPTE240M,
    9: Colorspace.BT2020,
}
UNSPECIFIED = (0, 2, 3)  # And what says that it is RGB and is not.
SWSCALE_WHITE = 65280  # That is what it makes of white, and reads as white, in RGB of 16 bits.
HD = 576  # Players take frames of more rows, or of 1280 columns, for BT.709's where a file does not say it.

Colours = tuple[Colorspace, ColorRange]
FULL = (Colorspace.DEFAULT, ColorRange.JPEG)  # RGB's.

RestoreFrame = Callable[[np.ndarray], np.ndarray]


class Pixels:
    """Between the frames of one video and the RGB of a network.

    Args:
        first: a frame, whose colours are those of all.
        matrix: by which players turn the frames, or None; the network gets them turned and mirrored so.
        kind: the pixel format of the frames that are returned.
        even: whether these have even sizes: the last row or column of an odd one is written twice.
        space: code of the matrix of the frames that are returned, where it is not the video's own.
    Raises:
        UserError: naming `path`, for colours that are not read.
    """

    def __init__(
        self,
        path: Path,
        first: av.VideoFrame,
        matrix: tuple[int, ...] | None,
        kind: str,
        even: bool,
        space: int | None = None,
    ):
        rgb, to_rgb = _is_rgb(first.format), _is_rgb(av.VideoFormat(kind))
        code = first.colorspace
        if rgb or code in UNSPECIFIED:
            code = 1 if first.height > HD or first.width >= 1280 else 6
        if code not in MATRICES:
            raise UserError(f"{path}: its colours (matrix {code} of ITU-T H.273) are not read; convert it to BT.709")
        full = first.format.name.startswith("yuvj") or first.color_range == ColorRange.JPEG
        # As the video has them, and as the returned frames do.
        self.before = MATRICES[code], ColorRange.JPEG if full or rgb else ColorRange.MPEG
        if rgb and not to_rgb:
            full, space = False, code
        full = full or to_rgb or kind.startswith("yuvj")
        self.after = MATRICES[space or code], ColorRange.JPEG if full else ColorRange.MPEG
        is_new = space or self.before[1] != self.after[1]
        self.tags = (space or code, self.after[1]) if is_new else (first.colorspace, first.color_range)
        self.bits = most_bits(av.VideoFormat(kind))
        self.rgb = "rgb24" if most_bits(first.format) <= 8 else "rgb48le"
        self.white = SWSCALE_WHITE if self.rgb == "rgb48le" and not to_rgb else 65535
        self.kind, self.matrix = kind, matrix
        self.height, self.width = (n + n % 2 if even else n for n in (first.height, first.width))

    def restored(self, frame: av.VideoFrame, restore_frame: RestoreFrame) -> av.VideoFrame:
        """The frame, restored: `restore_frame` gets (H, W, 3) RGB, uint8 or above 8 bits uint16, and gives the same."""
        stored = frame
        if frame.format.name != self.kind or self.before != self.after:
            stored = _converted(frame, self.kind, self.before, self.after)
        before = self._upright(stored)
        after = restore_frame(before)
        if after.shape != before.shape or after.dtype != before.dtype:
            raise ValueError(f"restore_frame gave {after.shape} {after.dtype} for {before.shape} {before.dtype}")
        changed = self._enlarged(stored)
        for plane, old, new in zip(_planes(changed), _planes(self._stored(before)), _planes(self._stored(after))):
            rows, columns = (min(sizes) for sizes in zip(plane.shape, old.shape, new.shape))
            change = new[:rows, :columns].astype(np.int32) - old[:rows, :columns]
            change += plane[:rows, :columns]
            plane[:rows, :columns] = np.clip(change, 0, 2**self.bits - 1)
        if changed is not stored:
            _fill(changed, stored)
        changed.pts, changed.time_base, changed.duration = frame.pts, frame.time_base, frame.duration
        changed.pict_type = PictureType.NONE  # It is the encoder's to say which frames stand alone.
        return changed

    def turned(self, pixels: np.ndarray, back: bool = False) -> np.ndarray:
        """(H, W, 3) as players show it, by quarter turns and mirroring; with `back`, the way back."""
        if self.matrix is None:
            return pixels
        a, b, _, c, d = self.matrix[:5]
        if not (a == d == 0 and b and c or b == c == 0 and a and d):
            return pixels  # No quarter turn: the network gets what is stored.
        across, down = (c, b) if a == 0 else (a, d)
        flips = np.s_[:: -1 if down < 0 else 1, :: -1 if across < 0 else 1]
        if back:
            pixels = pixels[flips]
            return pixels.swapaxes(0, 1) if a == 0 else pixels
        return (pixels.swapaxes(0, 1) if a == 0 else pixels)[flips]

    def _upright(self, frame: av.VideoFrame) -> np.ndarray:
        rgb = _converted(frame, self.rgb, self.after, FULL).to_ndarray()
        return np.ascontiguousarray(self.turned(_scaled(rgb, self.white, 65535)))

    def _stored(self, rgb: np.ndarray) -> av.VideoFrame:
        rgb = np.ascontiguousarray(_scaled(self.turned(rgb, back=True), 65535, self.white))
        return _converted(av.VideoFrame.from_ndarray(rgb, format=self.rgb), self.kind, FULL, self.after)

    def _enlarged(self, frame: av.VideoFrame) -> av.VideoFrame:
        """A frame that may be written to, of the size that is to be written."""
        if (frame.height, frame.width) == (self.height, self.width):
            frame.make_writable()
            return frame
        larger = av.VideoFrame(self.width, self.height, self.kind)
        for new, old in zip(_planes(larger), _planes(frame)):
            rows, columns = (min(sizes) for sizes in zip(new.shape, old.shape))
            new[:rows, :columns] = old[:rows, :columns]
        return larger


def _scaled(pixels: np.ndarray, old: int, new: int) -> np.ndarray:
    """16-bit numbers of a range up to `old` in one up to `new`."""
    if old == new:
        return pixels
    return np.minimum((pixels.astype(np.uint32) * new + old // 2) // old, 65535).astype(np.uint16)


def most_bits(kind: av.VideoFormat) -> int:
    """Bits of a number of this pixel format."""
    return max(component.bits for component in kind.components)


def _converted(frame: av.VideoFrame, kind: str, old: Colours, new: Colours) -> av.VideoFrame:
    return frame.reformat(
        format=kind,
        # RGB has no matrix: what it is converted by is the other side's.
        src_colorspace=new[0] if old is FULL else old[0],
        dst_colorspace=old[0] if new is FULL else new[0],
        src_color_range=old[1],
        dst_color_range=new[1],
        interpolation=EXACTLY,
    )


def _fill(larger: av.VideoFrame, frame: av.VideoFrame) -> None:
    """Write the last row and column of `frame` once more where `larger` has one more."""
    for plane, new, old in zip(_planes(larger), larger.planes, frame.planes):
        plane[old.height :] = plane[old.height - 1]
        if new.width > old.width:
            plane[:, old.width] = plane[:, old.width - 1]


def _is_rgb(kind: av.VideoFormat) -> bool:
    return kind.is_rgb or kind.has_palette


def _planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The frame's planes, (rows, numbers in a row) each, with what lies behind the rows' ends; writing changes it.

    Rows of a negative size are stored from the last to the first, as in the bitmaps of AVI.
    """
    dtype = np.uint8 if most_bits(frame.format) <= 8 else np.uint16
    return [
        np.frombuffer(plane, dtype).reshape(plane.height, -1)[:: -1 if plane.line_size < 0 else 1]
        for plane in frame.planes
    ]
