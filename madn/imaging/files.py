"""Photo files <-> arrays: the one edge where files become float32 RGB in [0, 1] and go back."""

import contextlib
import os
import platform
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from madn.imaging.decoding import read_photo
from madn.imaging.finding import below
from madn.imaging.formats import image_format

HOST = re.sub(r"\W", "", platform.node())[:24]  # processes have the same numbers on other machines of a shared disk
# As little loss as the format allows: JPEG without chroma subsampling, WebP lossless.
SAVE_OPTIONS = {"JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True},
                "AVIF": {"quality": 95, "subsampling": "4:4:4"}, "HEIF": {"quality": 95, "chroma": 444}}


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Float image in [0, 1] -> uint8: clipped, times 255, rounded (never truncated)."""
    return np.rint(np.clip(image, 0.0, 1.0) * 255.0).astype(np.uint8)


def to_float(image: np.ndarray) -> np.ndarray:
    """uint8 or uint16 image -> float32 in [0, 1]; `to_uint8` takes 8 bits back exactly."""
    return image.astype(np.float32) / np.float32(np.iinfo(image.dtype).max)


def read_image(path: str | Path) -> np.ndarray:
    """Read a photo as float32 (H, W, 3) RGB in [0, 1].

    Grey, palette and CMYK become RGB, an alpha channel is dropped, 16 bits keep their depth, and a camera's
    orientation tag is applied. Raises `UserError` as `read_photo` does.
    """
    pixels = to_float(read_photo(path).pixels)
    return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a float (H, W, 3) RGB image in [0, 1] as 8 bits, in the format of the suffix, folders included.

    Raises `UserError` for a suffix that is not written.
    """
    save_picture(path, Image.fromarray(to_uint8(image)))


def save_picture(path: str | Path, picture: Image.Image) -> None:
    """Save a Pillow picture atomically, in the format of the suffix; folders are made."""
    path = Path(path)
    kind = image_format(path)
    with atomic(path) as part:
        picture.save(part, format=kind, **SAVE_OPTIONS.get(kind, {}))


def image_files(folder: str | Path) -> list[Path]:
    """All photos below a folder, sorted, as `finding.below` has them."""
    return sorted(below(folder).photos)


@contextlib.contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Give a temporary path in the same folder that takes `path`'s place when the block ends well."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{_part_start(path)}.{HOST}-{os.getpid()}.part")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def takes_other_names(path: Path) -> bool:
    """Whether a file of a plain name can be written where `path` could not: then it is its name that is refused."""
    place = next((parent for parent in path.parents if parent.is_dir()), None)
    if place is None or not any(re.search(r"[^\w .-]", part, re.ASCII) for part in path.relative_to(place).parts):
        return False
    probe = place / f".madn.{HOST}-{os.getpid()}.part"
    try:
        probe.touch()
        return True
    except OSError:
        return False
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Have the disk keep the names of a folder's files, too, where the system knows how."""
    with contextlib.suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what processes of this machine that no longer live left of `atomic`: `.NAME.HOST-PID.part`."""
    starts: dict[Path, set[str]] = {}
    for path in paths:
        starts.setdefault(path.parent, set()).add(_part_start(path))
    for folder, known in starts.items():
        with contextlib.suppress(OSError):  # not there yet, or another's: nothing of ours to remove
            for name in os.listdir(folder):
                # a video's has its own suffix behind
                match = re.fullmatch(rf"(\..+)\.{HOST}-(\d{{1,9}})\.part(\.\w+)?", name)
                if match and match[1] in known and not psutil.pid_exists(int(match[2])):
                    (folder / name).unlink()


def _part_start(path: Path) -> str:
    name = os.fsencode(path.name)[:200].decode(errors="ignore")  # a name holds 255 bytes
    return f".{name}"
