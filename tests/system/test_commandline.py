"""Command lines: what is wrong is said in one line."""

import io
import re
import sys
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Literal

import pytest
import tyro

from madn import recipes, train
from madn.data.sets import DataOptions
from madn.errors import UserError, run_command
from madn.system.commandline import FRAME, parse, parse_groups


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


@dataclass(frozen=True, kw_only=True)
class Base:
    """Work: what is done"""

    count: int = 3
    """How many."""
    stage: str = field(default="first", metadata={"internal": True})
    """Set by the code."""


@dataclass(frozen=True, kw_only=True)
class Special(Base):
    """Paper: what this one adds"""

    width: int | None = None
    """Channels."""
    count: int = 7
    """How many, said anew."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Place: where to"""

    out: str = "here"
    """A folder."""


def plain(capsys) -> str:
    """What was printed, in one line and without the frame."""
    return " ".join(re.sub(rf"[{FRAME}]", " ", capsys.readouterr().out).split())


def test_groups_are_filled_from_one_command_line():
    defaults = [Place(), Special()]
    assert parse_groups(defaults, [], "madn.test", "Tests.") == defaults
    found = parse_groups(defaults, ["--count", "2", "--out", "there", "--width", "5"], "madn.test", "Tests.")
    assert found == [Place(out="there"), Special(count=2, width=5)]
    kept = parse_groups([Special(stage="second", count=9)], ["--width", "5"], "madn.test", "Tests.")
    assert kept == [Special(stage="second", count=9, width=5)]


def test_help_has_a_heading_for_each_class_that_declares_fields(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_groups([Place(), Special()], ["--help"], "madn.test", "Tests.")
    said = plain(capsys)
    assert stop.value.code == 0 and "usage: madn.test" in said and "Tests." in said
    places = [said.index(words) for words in ("Place: where to", "Work: what is done", "Paper: what this one adds")]
    assert places == sorted(places)
    # Where a field was declared first is its heading; what the last class says of it is its text.
    assert places[1] < said.index("--count INT How many, said anew. (default: 7)") < places[2]
    assert "Set by the code" not in said


def test_internal_fields_are_no_options():
    with pytest.raises(UserError, match="Unrecognized options: --stage.*see madn.test --help"):
        parse_groups([Special()], ["--stage", "second"], "madn.test", "Tests.")


def test_madn_has_at_most_60_options(capsys):
    with pytest.raises(SystemExit):
        train.main(["--recipe", "madn", "--help"])
    said = capsys.readouterr().out
    options = re.findall(r"^..--([a-z][a-z0-9-]*)", said, re.M)  # a help text that wraps stands further right
    assert len(options) == len(set(options)) <= 60
    declared = [
        each.name
        for kind in (train.RunOptions, DataOptions, type(recipes.get("madn")))
        for each in fields(kind)
        if not each.metadata.get("internal")
    ]
    assert set(options) == {name.replace("_", "-") for name in declared}
    for heading in ("Run: what is trained", "Images: which ones", "Training: batches", "Computation: precision"):
        assert heading in said


@pytest.mark.parametrize("name", ["madn", "madn-small", "sisnet", "structure_guided", "msr2b", "egnet"])
def test_every_papers_recipe_is_filled_from_a_command_line(name):
    recipe = recipes.get(name)
    found = parse_groups([recipe], ["--batch", "8", "--lr-g", "0.5"], "madn.test", "Tests.")
    assert found == [replace(recipe, batch=8, lr_g=0.5)]
