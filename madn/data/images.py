"""Images that are decoded once: a bounded, thread-safe cache of uint8 RGB arrays in memory or on disk."""

import hashlib
import io
import os
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from tqdm import tqdm

from madn.errors import UserError
from madn.imaging.arrays import to_float, to_uint8
from madn.imaging.decoding import read_photo
from madn.system.seals import is_whole, seal
from madn.system.writing import atomic

Item = TypeVar("Item")
Result = TypeVar("Result")


def cache_folder() -> Path:
    """Where decoded images and the sample set are kept: $MADN_CACHE, or madn/ in the user's cache folder."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return Path(os.environ.get("MADN_CACHE") or user / "madn")


def decode(path: Path) -> tuple[np.ndarray, str | None]:
    """Decode a file strictly to uint8 (H, W, 3) RGB, and say what was converted, if anything was.

    Grey, palette, 16-bit and CMYK files become 8-bit RGB, alpha is dropped, an orientation tag is applied. Raises
    `UserError` as `read_photo` does, also for damage that OpenCV or Pillow alone would fill with grey.
    """
    photo = read_photo(path)
    pixels = photo.pixels if photo.pixels.dtype == np.uint8 else to_uint8(to_float(photo.pixels))
    said = ["16-bit"] * (photo.pixels.dtype == np.uint16) + ["grey"] * (pixels.shape[2] == 1)
    said += ["transparent"] * (photo.alpha is not None)
    note = f"{path}: {' '.join(said)} pixels, taken as 8-bit RGB" if said else None
    return (np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels), note


class DecodedImages:
    """Reads files as uint8 RGB arrays and keeps them, up to `limit_gb` (10^9 bytes), in memory or on disk.

    "disk" keeps one .npy per image in `folder`, by default decoded/ in `cache_folder()`. It is named after the file's
    path, size and modification time, has a checksum at its end, and is opened as a memory map; later runs find it
    again. The limit bounds the whole folder; what does not fit is decoded at each reading. Deleting the folder is
    always safe.
    `notes` holds one line for each file whose pixels had to be converted.
    """

    def __init__(
        self, cache: Literal["memory", "disk", "none"] = "memory", limit_gb: float = 4.0, folder: Path | None = None
    ):
        if cache not in ("memory", "disk", "none"):
            raise UserError(f"cache '{cache}' is not known: memory, disk or none")
        self.cache = cache
        self.limit = int(limit_gb * 1e9) if cache != "none" else 0
        self.folder = Path(folder or cache_folder() / "decoded")
        self.notes: dict[Path, str] = {}
        self._sizes: dict[Path, tuple[int, int]] = {}
        self._lock = threading.Lock()
        self._arrays: dict[Path, np.ndarray] = {}
        self._files: dict[Path, Path] = {}
        self._bytes = 0
        if cache == "disk":
            self._writable(lambda: self.folder.mkdir(parents=True, exist_ok=True))
            self._bytes = sum(file.stat().st_size for file in self.folder.glob("*.npy"))

    def read(self, path: Path) -> np.ndarray:
        """The image as uint8 (H, W, 3) RGB; not to be written to. Raises `UserError` as `decode` does."""
        with self._lock:
            array, file = self._arrays.get(path), self._files.get(path)
        if array is not None:
            return array
        if self.cache == "disk":
            if file is None and self._is_whole(file := self._file(path)):
                self._files[path] = file
            if path in self._files:
                return np.asarray(np.load(file, mmap_mode="r"))
        array, note = decode(path)
        with self._lock:
            self._sizes[path] = array.shape[:2]
            if note:
                self.notes[path] = note
            fits = self._bytes + array.nbytes <= self.limit
            if fits and path not in self._arrays:
                self._bytes += array.nbytes
                if self.cache == "memory":
                    self._arrays[path] = array
        if fits and self.cache == "disk":
            self._writable(lambda: self._write(file, array))
            self._files[path] = file
        return array

    def size(self, path: Path) -> tuple[int, int]:
        """Height and width of an image, which is decoded only where it has not been yet. Raises as `read` does."""
        return self._sizes.get(path) or self.read(path).shape[:2]

    def _file(self, path: Path) -> Path:
        try:
            state = path.stat()
        except OSError as problem:
            raise UserError(f"{path}: cannot be read ({problem.strerror})") from None
        key = f"{path.resolve()}|{state.st_size}|{state.st_mtime_ns}"
        return self.folder / f"{hashlib.sha256(os.fsencode(key)).hexdigest()[:32]}.npy"

    def _is_whole(self, file: Path) -> bool:
        """Whether a kept image is there and is what was written; one that is damaged makes room for a new one."""
        try:
            content = file.read_bytes()
        except OSError:
            return False
        if is_whole(content):
            return True
        file.unlink(missing_ok=True)
        with self._lock:
            self._bytes -= len(content)
        return False

    def _write(self, file: Path, array: np.ndarray) -> None:
        content = io.BytesIO()
        np.save(content, array)
        ending = seal(content.getbuffer())
        with atomic(file) as part, open(part, "wb") as opened:
            opened.write(content.getbuffer())
            opened.write(ending)

    def _writable(self, action: Callable[[], None]) -> None:
        try:
            action()
        except OSError as problem:
            raise UserError(
                f"{self.folder}: cannot keep decoded images here ({problem.strerror}); "
                "free some space, or cache in memory or not at all"
            ) from None


def in_threads(function: Callable[[Item], Result], items: Iterable[Item], says: str) -> list[Result]:
    """Apply `function` to each item, one thread per core, in order; a progress bar for more than 200 items."""
    items = list(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(tqdm(pool.map(function, items), says, len(items), disable=len(items) <= 200, leave=False))
