"""Which photo and video files are read and written, told by their suffixes, and what each format cannot hold.

The one place for all that finds, reads and writes them: a format that Pillow knows is a line in `FORMATS`, and its
name in those of the sets below that it belongs to.
"""

import functools
import importlib
from pathlib import Path

from PIL import features

from madn.errors import UserError

FORMATS = {
    ".png": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".mpo": "JPEG",
    ".bmp": "BMP",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".webp": "WEBP",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
    ".hif": "HEIF",
}
# The containers of videos, in FFmpeg's words.
VIDEOS = {".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".avi": "avi", ".mkv": "matroska", ".webm": "webm"}
NO_ALPHA = {"JPEG", "BMP"}
NO_GREY = {"WEBP", "AVIF", "HEIF"}  # Grey becomes RGB in these.
NO_METADATA = {"BMP"}  # These hold nothing but the resolution.
LONGEST_SIDE = {"JPEG": 65500, "WEBP": 16383, "AVIF": 65536, "HEIF": 16384}
WAY_OUT = "convert {} to JPEG, PNG or TIFF"
_RAW = (
    ".3fr .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .gpr .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw "
    ".rw2 .rwl .sr2 .srf .srw .x3f"
)
# These photos are not read. They are named where they lie among others, so that nobody takes them for restored.
NOT_READ = {
    **dict.fromkeys(_RAW.split(), "raw"),
    ".jxl": "JPEG XL",
    **dict.fromkeys((".jp2", ".j2k", ".jpf", ".jpx"), "JPEG 2000"),
}


def kind_of(path: str | Path) -> str:
    """The format that a suffix stands for, in Pillow's words; "" for one that is no photo's, or not read."""
    return FORMATS.get(Path(path).suffix.lower(), "")


def refusal(path: str | Path, many: bool = False) -> str:
    """Why a photo or video of this suffix is not read here, and the way out; "" where it is read, and for others."""
    way_out, suffix = WAY_OUT.format("them" if many else "it"), Path(path).suffix
    if kind := NOT_READ.get(suffix.lower()):
        return f"{kind} photos ({suffix}) are not read; {way_out}"
    if suffix.lower() in VIDEOS:
        return (needs := missing("video")) and f"{suffix} videos need {needs}"
    needs = missing(kind_of(path))
    return needs and f"{suffix} photos need {needs}, or {way_out}"


def is_read(path: str | Path) -> bool:
    """Whether a photo of this suffix is read here."""
    return bool(kind_of(path)) and not missing(kind_of(path))


def readable() -> list[str]:
    """The formats that are read here, in Pillow's words."""
    return [kind for kind in dict.fromkeys(FORMATS.values()) if not missing(kind)]


def image_format(path: Path) -> str:
    """The format that a suffix stands for; raises `UserError` for one that is not written here."""
    kind = kind_of(path)
    if not kind:
        raise UserError(f"{path}: '{path.suffix}' is not an image suffix that is written: {', '.join(FORMATS)}")
    if needs := missing(kind):
        raise UserError(f"{path}: '{path.suffix}' is not an image suffix that is written here: it needs {needs}")
    return kind


@functools.cache
def missing(kind: str) -> str:
    """What must be installed for a photo's format, or for "video"; "" where nothing is missing."""
    if kind == "AVIF" and not features.check("avif"):
        return "a Pillow with AVIF (pip install --upgrade pillow)"
    if kind == "HEIF":
        try:
            importlib.import_module("pillow_heif").register_heif_opener()
        except ImportError:
            return 'pillow-heif (pip install "madn[heif]")'
    if kind == "video":
        try:
            importlib.import_module("av")
        except ImportError:
            return 'PyAV (pip install "madn[video]")'
    return ""
