"""The house as docs and README describe it: imports run one way, and the root holds the commands."""

import ast
import functools
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from madn.__main__ import COMMANDS

ROOT = Path(__file__).parents[1]
FILES = {path.relative_to(ROOT): path for room in ("madn", "baselines") for path in (ROOT / room).rglob("*.py")}
ALLOWED = {
    "nn": {"errors", "system"},
    "imaging": {"errors", "system"},
    "system": {"errors", "version"},
    "errors": set(),
    "version": set(),
}
"""What lies at the bottom -> the rooms that it may import."""


def room(module: str) -> str:
    """The part of the house that a module belongs to: `madn.nn` of `madn.nn.layers`."""
    return ".".join(module.split(".")[:2])


@functools.cache
def imports(path: Path) -> set[str]:
    """The modules of this project that a file imports, at its head or later."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: imports are absolute"
            found |= {f"{node.module}.{each.name}" if node.module == "madn" else node.module for each in node.names}
    return {name for name in found if name.split(".")[0] in ("madn", "baselines")}


@pytest.fixture(scope="module")
def rooms() -> dict[str, set[str]]:
    """Room -> the other rooms that its files import. `madn` itself, the version and what is lazy in it, is none."""
    found = defaultdict(set)
    for name, path in FILES.items():
        here = room(".".join(name.with_suffix("").parts))
        if here != "madn.__init__":
            found[here] |= {room(module) for module in imports(path)} - {here, "madn", "madn.__version__"}
    return dict(found)


@pytest.mark.parametrize("lowest", ALLOWED)
def test_what_lies_at_the_bottom_imports_nothing_above_it(rooms, lowest):
    assert rooms[f"madn.{lowest}"] <= {f"madn.{each}" for each in ALLOWED[lowest]}


def test_rooms_do_not_import_each_other_in_a_circle(rooms):
    order = list(TopologicalSorter(rooms).static_order())  # raises CycleError, which names the circle
    assert order.index("madn.training") < order.index("madn.restoration") < order.index("madn.export")


def test_madn_knows_the_other_papers_by_name_alone():
    for name, path in FILES.items():
        if name.parts[0] == "madn":
            assert not any(module.startswith("baselines") for module in imports(path)), name
            assert name == Path("madn/recipes.py") or '"baselines.' not in path.read_text(encoding="utf-8"), name


def test_papers_do_not_import_each_other_or_the_commands(rooms):
    for paper, others in rooms.items():
        if paper.startswith("baselines."):
            shared = {"baselines.layers", "baselines.patchgan"}
            assert {each for each in others if each.startswith("baselines.")} <= shared, paper
            assert not others & {f"madn.{command}" for command in COMMANDS}, paper


def test_the_root_holds_the_commands_and_at_most_four_other_modules():
    there = {path.stem for path in (ROOT / "madn").glob("*.py")}
    packages = {path.parent.name for path in (ROOT / "madn").glob("*/__main__.py")}
    assert set(COMMANDS) <= there | packages
    assert len(there - set(COMMANDS) - {"__init__", "__main__"}) <= 4
