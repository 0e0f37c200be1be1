"""What C and C++ libraries print on standard error, past Python: held back, or listened to."""

import contextlib
import os
import sys
import threading
from collections.abc import Callable, Iterator

STDERR = 2
MOST = 2**16  # A pipe holds so many bytes.
_listening = threading.Lock()


@contextlib.contextmanager
def held_back(hear: Callable[[bytes], object]) -> Iterator[None]:
    """A block in which nothing reaches standard error; what was to is given to `hear` when the block ends.

    Into a pipe, since there may be no room for a file, and no folder for one; nobody waits for it: what it does not
    hold is lost. One thread at a time listens. After the block, standard error is as it was, even if it was closed.
    """
    with _listening, contextlib.ExitStack() as after:
        if sys.stderr:
            with contextlib.suppress(OSError, ValueError):
                sys.stderr.flush()
        try:
            kept = os.dup(STDERR)
        except OSError:  # Standard error is closed, and the pipe must not take its place.
            kept, nowhere = None, os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, STDERR)
            if nowhere != STDERR:
                os.close(nowhere)
        reading, writing = os.pipe()
        after.callback(os.close, reading)
        with contextlib.suppress(AttributeError, OSError):  # Windows can do this to pipes from Python 3.12 on.
            os.set_blocking(writing, False)
            os.set_blocking(reading, False)
        os.dup2(writing, STDERR)
        os.close(writing)
        try:
            yield
        finally:
            if kept is None:
                os.close(STDERR)
            else:
                os.dup2(kept, STDERR)
                os.close(kept)
            with contextlib.suppress(BlockingIOError):
                hear(os.read(reading, MOST))


def pass_on(said: bytes) -> None:
    """Print on standard error what was held back from it."""
    with contextlib.suppress(OSError):
        os.write(STDERR, said)
