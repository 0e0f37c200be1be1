"""The encoders of FFmpeg that videos are written with, and which of them a container and its frames get."""

import os
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field

import av
from av.codec.codec import Capabilities, PixFmtLoss, find_best_pix_fmt_of_list
from av.sidedata.sidedata import Type as SideData

from madn.imaging.video_pixels import most_bits

# SVT-AV1 writes on standard error what it is about, unless it is told not to before it starts.
os.environ.setdefault("SVT_LOG", "-1")


@dataclass(frozen=True)
class Encoder:
    """An encoder of FFmpeg, what it is called, and how it is set up: nearly without loss, at a bearable size."""

    name: str
    called: str
    options: dict[str, str] = field(default_factory=dict)
    plays: bool = True
    """Whether browsers play what it writes."""

    def kinds(self) -> list[str]:
        """The pixel formats that it takes and that are written here; none where this FFmpeg lacks it."""
        try:
            codec = av.Codec(self.name, "w")
        except av.codec.codec.UnknownCodecError:
            return []
        if codec.capabilities & Capabilities.hardware:
            return []
        kinds = [kind for kind in codec.video_formats or [] if "f16" not in kind.name and "f32" not in kind.name]
        if self.name == "ffv1":
            return [kind.name for kind in kinds]
        # Players show no other; those that have a "j" are the same with a range of 0 to 255, which MJPEG alone has.
        start = "yuvj" if self.name == "mjpeg" else "yuv"
        return [kind.name for kind in kinds if kind.name.startswith(start) and not kind.name.startswith("yuva")]


# By default they look 40 and 20 frames ahead, and keep these.
X264 = Encoder("libx264", "H.264", {"crf": "17", "rc-lookahead": "10"})
OPENH264 = Encoder("libopenh264", "H.264", {"b": "20M"})
X265 = Encoder("libx265", "HEVC", {"crf": "17", "x265-params": "log-level=-1:rc-lookahead=10"}, plays=False)
FINE = {"flags": "+qscale", "global_quality": "236"}  # That is 2 of 31, in FFmpeg's unit of 1/118.
MPEG4 = Encoder("mpeg4", "MPEG-4 Part 2", FINE, plays=False)
MJPEG = Encoder("mjpeg", "Motion JPEG", FINE, plays=False)
VP9 = Encoder("libvpx-vp9", "VP9", {"crf": "15", "b": "0", "cpu-used": "4", "row-mt": "1"})
AV1 = Encoder("libsvtav1", "AV1", {"crf": "18", "preset": "8"})
FFV1 = Encoder("ffv1", "FFV1, without loss", {"level": "3", "slicecrc": "1", "g": "1"}, plays=False)
# The first that is there and takes the frames at their depth.
ENCODERS = {
    "mp4": (X264, OPENH264, MPEG4),
    "mov": (X264, OPENH264, MPEG4),
    # Frames in an order of their own, as H.264 has them, are shown late from an AVI by some players.
    "avi": (MJPEG,),
    "matroska": (FFV1,),
    "webm": (VP9, AV1),
}
DEEP = {"mp4": (X265, X264), "mov": (X265, X264)}  # For more than 8 bits: HDR screens and phones want HEVC.


class NoEncoder(Exception):
    """Frames that no encoder of a container takes without a loss; the message says what would be lost."""


def choose(muxer: str, kind: av.VideoFormat) -> tuple[Encoder, str]:
    """The encoder for frames of a pixel format, and the one of its formats that loses least; raises `NoEncoder`."""
    with_alpha = any(component.is_alpha for component in kind.components) and not kind.has_palette
    encoders = ENCODERS[muxer] if most_bits(kind) <= 8 else DEEP.get(muxer, ENCODERS[muxer])
    for encoder in encoders:
        kinds = encoder.kinds()
        if kind.is_rgb or kind.has_palette:
            # Few players show H.264 of more colour than 4:2:0, which is for those whose video has it.
            kinds = [each for each in kinds if encoder is FFV1 or "420" in each]
        if not kinds:
            continue
        best, loss = find_best_pix_fmt_of_list(kinds, kind.name, with_alpha)
        if with_alpha and loss & PixFmtLoss.ALPHA:
            raise NoEncoder("transparency")
        if most_bits(best) >= most_bits(kind) and not loss & PixFmtLoss.DEPTH:
            return encoder, best.name
    raise NoEncoder(f"{most_bits(kind)} bits a colour" if any(each.kinds() for each in encoders) else "")


def hdr_parameters(frame: av.VideoFrame) -> Iterable[str]:
    """x265's parameters for the screen that HDR was made on, and for its brightest light."""
    if found := frame.side_data.get(SideData.MASTERING_DISPLAY_METADATA):
        *numbers, has_primaries, has_luminance = struct.unpack("22i", bytes(found)[:88])
        values = [top / bottom if bottom else 0 for top, bottom in zip(numbers[::2], numbers[1::2])]
        if has_primaries and has_luminance:
            rx, ry, gx, gy, bx, by, wx, wy = (round(50000 * value) for value in values[:8])
            least, most = (round(10000 * value) for value in values[8:])
            yield f"master-display=G({gx},{gy})B({bx},{by})R({rx},{ry})WP({wx},{wy})L({most},{least})"
    if found := frame.side_data.get(SideData.CONTENT_LIGHT_LEVEL):
        yield "max-cll={},{}".format(*struct.unpack("2I", bytes(found)[:8]))
