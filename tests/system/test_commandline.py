"""Command lines: what is wrong is said in one line."""

import io
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from madn.errors import UserError, run_command
from madn.system.commandline import parse


@dataclass(frozen=True)
class Options:
    """What to do."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="IN")]
    """A photo."""
    model: str
    """A network."""
    which: Literal["best", "last"] = "best"
    """Checkpoint."""
    count: int = 3
    """How many."""
    deep: bool = False
    """Whether to go deep."""


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "missing IN, --model"),
        (["a"], "missing --model "),
        (["a", "--modl", "b"], "missing --model; unrecognized --modl b"),
        (["a", "--model", "b", "--which", "c"], "invalid choice 'c' for argument '--which'"),
        (["a", "--model", "b", "--count", "many"], "Error parsing --count"),
        (["a", "--model", "b", "--cuont", "4"], "Unrecognized options: --cuont, 4 Perhaps you meant: --count"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])  # which decides on the frame of tyro's message
def test_what_is_wrong_is_said_in_one_line(argv, said, encoding, monkeypatch):
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding))
    with pytest.raises(UserError) as problem:
        parse(Options, argv, "madn.test")
    assert str(problem.value).startswith(said) and "\n" not in str(problem.value)
    assert str(problem.value).endswith("(see madn.test --help)")


def test_flags_can_be_turned_on_and_off_whatever_their_default():
    for argv, deep in (([], False), (["--deep"], True), (["--no-deep"], False)):
        assert parse(Options, ["a", "--model", "b", *argv], "madn.test").deep is deep
    on = Options(Path("a"), "b", deep=True)
    for argv, deep in (([], True), (["--deep"], True), (["--no-deep"], False)):
        assert parse(Options, ["a", *argv], "madn.test", default=on).deep is deep


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (None, 0, ""),
        (UserError("a.png: cut short"), 2, "madn: error: a.png: cut short\n"),
        (PermissionError(13, "Permission denied", "out.png"), 2, "madn: error: out.png: Permission denied\n"),
        (KeyboardInterrupt(), 130, "madn: stopped\n"),
    ],
)
def test_exit_codes(raised, code, said, capsys):
    def door(argv):
        if raised:
            raise raised

    with pytest.raises(SystemExit) as stop:
        run_command(door, [])
    assert stop.value.code == code
    assert capsys.readouterr().err == said
