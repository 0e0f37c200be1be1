"""Errors that a user can mend are told in one line, and every command ends on them with exit code 2."""

import contextlib
import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Callable

STDERR = 2


def one_line(text: str) -> str:
    """Escape characters that do not print, which file names may hold, as Python writes them in strings."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


class UserError(Exception):
    """Bad input: the message names the file or the setting, and the way out. One line, no traceback.

    Several problems are several arguments, a line each. What does not print, such as a newline or a terminal's escape
    code in a file's name, is escaped.
    """

    exit_code = 2

    def __init__(self, *lines: object):
        super().__init__(*(one_line(str(line)) for line in lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class WorkerLost(UserError):
    """Another process of a run on several machines has stopped; the same command with --resume goes on."""

    exit_code = 75  # sysexits.h has this code for "try again" (EX_TEMPFAIL).


def say(line: str) -> None:
    """Print a line on standard error, if anybody still reads it: nobody is no reason to stop working."""
    with contextlib.suppress(OSError, ValueError):  # A closed file raises ValueError.
        print(f"madn: {line}", file=sys.stderr or open_nowhere())


def open_nowhere() -> io.TextIOBase:
    """A text file that forgets what is written into it."""
    return open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115


def start_command() -> None:
    """What a command does before all else, its imports included: see `_open_streams`, and Ctrl-C ends it at once.

    Importing TensorFlow takes seconds. An exception in the middle of that may be swallowed, or come out as another one;
    and nothing is begun yet that would have to be tidied up.
    """
    _open_streams()
    # A process that was started in the background ignores Ctrl-C, and only the main thread may set this.
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) in (
        signal.default_int_handler,
        _end_at_once,
    ):
        signal.signal(signal.SIGINT, _end_at_once)


def begin_work() -> None:
    """From here on Ctrl-C is an exception again, as Python has it, so that what was begun is tidied up."""
    if signal.getsignal(signal.SIGINT) is _end_at_once:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_command(command: Callable[[list[str]], int | None], argv: list[str] | None = None) -> None:
    """Run a command's `main(argv)` and exit: 0 when it ends well, 2 with one line on a `UserError` (or its own
    code) or a file's fault.

    130 after Ctrl-C, as shells have it; a command that catches it can raise it anew and say how to go on. A character
    that standard output cannot show is written as its code.
    """
    _open_streams()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = command(sys.argv[1:] if argv is None else argv) or 0
        _flush()
        sys.exit(code)
    except UserError as problem:
        for line in problem.args:
            say(f"error: {line}")
        sys.exit(problem.exit_code)
    except BrokenPipeError:  # The reader, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as problem:
        if not problem.filename and problem.errno not in (errno.ENOSPC, errno.EIO):
            raise
        say(one_line(f"error: {problem.filename or 'standard output or a file'}: {problem.strerror}"))
        sys.exit(2)
    except KeyboardInterrupt as stop:
        say(f"stopped; {stop}" if str(stop) else "stopped")
        sys.exit(130)


def _flush() -> None:
    """Have standard output written while its errors can still be told."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as problem:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python would try once more when it ends.
        raise UserError(f"standard output cannot be written ({problem.strerror})") from None


def _open_streams() -> None:
    """Open the standard streams that are closed, to nowhere.

    The next file that is opened would have a closed one's number, and what libraries print would go into it, into a
    photo for instance; and Python, which has None in place of such a stream, prints errors on standard output then.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
        if number and getattr(sys, name) is None:
            setattr(sys, name, open_nowhere())


def _end_at_once(*_: object) -> None:
    with contextlib.suppress(OSError):
        os.write(STDERR, b"madn: stopped\n")
    os._exit(130)
