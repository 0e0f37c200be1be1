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
                config=(tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_one_line(said.getvalue())} (see {prog} --help)") from None


def _one_line(box: str) -> str:
    """The text of tyro's error box, without its frame, its title and its pointer to --help."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip("│╭╮╰╯─ ") for line in box.splitlines()]
    lines = [line for line in lines[1:] if line and not line.startswith("For full helptext")]
    return re.sub(r"\s+", " ", " ".join(lines)) or "bad command line"
