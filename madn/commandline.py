"""Command lines built from dataclasses by tyro, with one-line errors."""

import contextlib
import io
import re
from collections.abc import Sequence
from typing import TypeVar

import tyro

from madn.errors import UserError

Options = TypeVar("Options")


def parse(options: type[Options], argv: Sequence[str], prog: str, description: str | None = None,
          default: Options | None = None) -> Options:
    """Fill the dataclass `options` from `argv`; its docstrings are the help text.

    Nested dataclasses are flattened: a field `lr_g` is `--lr-g` wherever it stands.
    Raises `UserError` in one line for an unknown option or a value that does not parse.
    `--help` prints and exits with 0.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                options, args=list(argv), prog=prog, description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_one_line(said.getvalue())} (see {prog} --help)") from None


FRAME = "│╭╮╰╯─"  # spaces and dashes where standard output is no UTF-8


def _one_line(box: str) -> str:
    """The text of tyro's error box, without its frame, its title, the help texts and the pointer to --help."""
    plain = re.sub(rf"[{FRAME}]", " ", re.sub(r"\x1b\[[0-9;]*m", "", box)).split("For full helptext")[0]
    if "Required options" in plain:  # names stand indented by six; those that are not options come second
        missing, _, unknown = (re.findall(r"^ {6}(\S+)", part, re.M)
                               for part in plain.partition("Unrecognized options"))
        return f"missing {', '.join(missing)}" + (f"; unrecognized {' '.join(unknown)}" if unknown else "")
    lines = [line.strip() for line in plain.splitlines() if not re.fullmatch(r"[\s-]*", line)]
    return re.sub(r"\s+", " ", " ".join(lines[1:]).split("Argument helptext:")[0]).strip() or "bad command line"
