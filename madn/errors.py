"""Errors that a user can mend are told in one line, and every command ends on them with exit code 2."""

import io
import os
import sys
from collections.abc import Callable


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


def run_command(command: Callable[[list[str]], int | None], argv: list[str] | None = None) -> None:
    """Run a command's `main(argv)` and exit: 0 when it ends well, 2 with one line on a `UserError` (or its own
    code) or a file's fault.

    130 after Ctrl-C, as shells have it. A character that standard output cannot show is written as its code.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.exit(command(sys.argv[1:] if argv is None else argv) or 0)
    except UserError as problem:
        for line in problem.args:
            print(f"madn: error: {line}", file=sys.stderr)
        sys.exit(problem.exit_code)
    except BrokenPipeError:  # The reader, such as head, has seen enough.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except OSError as problem:
        if not problem.filename:
            raise
        print(one_line(f"madn: error: {problem.filename}: {problem.strerror}"), file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("madn: stopped", file=sys.stderr)
        sys.exit(130)
