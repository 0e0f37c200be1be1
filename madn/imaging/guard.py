"""Around Pillow, which reads files from anywhere: its faults become one line, its warnings are kept to itself.

One thing still gets through: libtiff writes a line of its own about a damaged strip straight to the process's stderr.
What other C libraries write there can be listened to (`overheard`).
"""

import contextlib
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from madn.errors import UserError
from madn.system.standard_error import held_back, pass_on

# Pillow logs some faults that it raises as well, and Python prints what nobody handles.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def faults(path: str | Path) -> Iterator[None]:
    """A block in which whatever a file makes go wrong becomes a `UserError` that names it."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except UnidentifiedImageError:
        raise UserError(
            f"{path}: cannot be read as an image (not an image, or of a kind that is not read: JPEG, PNG, "
            "TIFF, WebP, BMP and AVIF with 8 or 16 bits are)"
        ) from None
    except Exception as problem:  # Pillow's parsers fail in any way that a hostile file leads them to.
        unnamed = "not enough memory" if isinstance(problem, MemoryError) else "it is damaged"
        reason = getattr(problem, "strerror", None) or str(problem) or unnamed
        raise UserError(f"{path}: cannot be read as an image ({reason.splitlines()[0]})") from None


class _Quiet:
    """While any thread is inside: no warnings from Pillow, and no limit of its own on pixels, as we have ours.

    Both are global, so the first thread that enters sets them, and the last that leaves takes them back.
    """

    def __init__(self):
        self._lock, self._inside, self._state = threading.Lock(), 0, contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._state.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                self._state.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
                Image.MAX_IMAGE_PIXELS = None
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._state.close()


quiet = _Quiet()


@contextlib.contextmanager
def overheard(wanted: Callable[[str], bool]) -> Iterator[list[str]]:
    """Lines that C libraries write on standard error meanwhile, those that are `wanted`, once the block has ended.

    All others, of other threads say, go on to standard error.
    """
    lines: list[str] = []

    def sort(said: bytes) -> None:
        for line in said.splitlines(keepends=True):
            if wanted(text := line.decode("utf-8", "replace")):
                lines.append(text)
            else:
                pass_on(line)

    with held_back(sort):
        yield lines
