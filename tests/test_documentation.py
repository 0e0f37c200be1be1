"""README, docs/ and the other pages: links lead somewhere, commands and options exist, the README stays short."""

import dataclasses
import importlib
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from madn import recipes
from madn.__main__ import COMMANDS
from madn.data.sets import DataOptions
from madn.errors import UserError
from madn.system.commandline import parse, parse_groups
from madn.train import RunOptions

ROOT = Path(__file__).resolve().parents[1]
CARDS = ("weights/README.md", "notebooks/README.md", "scripts/gpu/README.md")
PAGES = sorted(
    ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", *CARDS, *(f"docs/{p.name}" for p in ROOT.glob("docs/*.md"))]
)
OPTIONS = {  # command -> where its dataclasses are; train's depend on the recipe
    "deblur": ("madn.restoration.command", ("DeblurOptions",)),
    "evaluate": ("madn.evaluate", ("EvaluateOptions",)),
    "export": ("madn.export.__main__", ("ExportOptions",)),
    "weights": ("madn.weights.__main__", ("WeightsOptions",)),
    "weights add": ("madn.weights.__main__", ("AddOptions",)),
    "weights score": ("madn.weights.__main__", ("ScoreOptions",)),
    "weights mean": ("madn.weights.__main__", ("MeanOptions",)),
    "weights card": ("madn.weights.__main__", ("CardOptions",)),
    "report": ("madn.report", ("ReportOptions",)),
    "compare": ("madn.compare", ("CompareOptions",)),
    "bench": ("madn.bench", ("BenchOptions",)),
    "batch": ("madn.batch", ("BatchOptions",)),
}
FOREIGN = {"--help", "--no-deps", "--cpu", "--limit", "--list"}  # of every command, of pip, of the GPU kit's run.sh
COMMAND = re.compile(r"(?:python -m madn\.|(?<![\w/.-])madn )([a-z]+(?:\.[\w.]+)?)\b([^`\n]*)")


@cache
def text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str) -> list[str]:
    """The fenced blocks of a page that hold commands, with continued lines joined."""
    found = re.findall(r"^```(?:bash)?\n(.*?)^```", text(page), re.M | re.S)
    return [re.sub(r"\\\n\s*", "", block) for block in found]


def inline(page: str) -> list[str]:
    """The code in the lines of a page."""
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.M | re.S)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]


def commands(lines: list[str]) -> list[tuple[str, list[str]]]:
    """(command, arguments) of every madn command; other modules of madn, such as madn.models.madn.srn, are left out."""
    found = []
    for line in lines:
        for name, rest in COMMAND.findall(line):
            if name in COMMANDS:
                words = shlex.split(rest.replace("$COMMON", " "), comments=True)
                if name == "batch" and "--" in words:
                    words = words[: words.index("--")]
                if name == "weights" and words and words[0] in ("add", "score", "mean", "card"):
                    name, words = f"weights {words[0]}", words[1:]
                found.append((name, words))
    return found


@cache
def names(command: str) -> set[str]:
    """The options of a command; of train, those of all recipes."""
    if command == "train":
        kinds = [RunOptions, DataOptions, *{type(each.recipe) for each in recipes.named().values()}]
    else:
        module, classes = OPTIONS[command]
        kinds = [getattr(importlib.import_module(module), name) for name in classes]
    fields = {field.name.replace("_", "-") for kind in kinds for field in dataclasses.fields(kind)}
    return {f"--{name}" for name in fields} | {"-o", "--help"}


def parsed(command: str, arguments: list[str]) -> None:
    """Parse a command line as the command does, and stop there. Raises `UserError` where it refuses."""
    if command == "train":
        at = arguments.index("--recipe") + 1 if "--recipe" in arguments else None
        recipe = recipes.get(arguments[at] if at else "madn")
        parse_groups([RunOptions(), DataOptions(), recipe], arguments, "madn.train", "")
    else:
        module, (name,) = OPTIONS[command]
        parse(getattr(importlib.import_module(module), name), arguments, command)


def slug(heading: str) -> str:
    """The anchor of a heading."""
    plain = re.sub(r"[^\w\s-]", "", re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", heading).lower())
    return re.sub(r"[-\s]+", "-", plain.strip())


def test_the_readme_is_short_and_begins_with_the_two_commands():
    assert len(text("README.md").splitlines()) <= 150
    first = blocks("README.md")[0].splitlines()
    assert [line.split("#")[0].strip() for line in first] == ["make train", "make test"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings(page):
    prose = re.sub(r"^```.*?^```", "", text(page), flags=re.M | re.S)
    for link in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in link:
            continue
        place, _, anchor = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        assert target.is_file(), f"{page}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.M)
            assert anchor in map(slug, headings), f"{page}: {link}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_parse(page):
    for command, arguments in commands([line for block in blocks(page) for line in block.splitlines()]):
        if "..." in " ".join(arguments) or "--help" in arguments:
            assert {word for word in arguments if word.startswith("--")} <= names(command), f"{page}: {command}"
            continue
        try:
            parsed(command, arguments)
        except UserError as problem:
            pytest.fail(f"{page}: {command} {shlex.join(arguments)}: {problem}")


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_options_in_the_text_exist(page):
    for command, arguments in commands(inline(page)):
        for word in arguments:
            assert not word.startswith("-") or word in names(command), f"{page}: {command} {word}"
    known = set().union(*(names(command) for command in ("train", *OPTIONS)), FOREIGN)
    if page == "scripts/gpu/README.md":  # of run.sh
        known |= {"--job", "--minutes", "--out", "--send"}
    for code in inline(page):
        if code.startswith("--") and len(code) > 2:
            unknown = {word for word in code.split() if word.startswith("--")} - known
            assert not unknown, f"{page}: {code}"


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_exist(page):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name for names in re.findall(r"^([a-z][\w -]*):", makefile, re.M) for name in names.split()}
    lines = [line for block in blocks(page) for line in block.splitlines()] + inline(page)
    asked = {match for line in lines for match in re.findall(r"^make ([a-z][\w-]*)", line)}
    assert asked <= targets


def test_a_wrong_option_and_a_wrong_value_are_found():
    (found,) = commands(["python -m madn.train --recipe madn --critic-batches same  # a comment"])
    assert found == ("train", ["--recipe", "madn", "--critic-batches", "same"])
    assert "--critic-batches" not in names("train")
    with pytest.raises(UserError, match="critic-batches"):
        parsed(*found)
    with pytest.raises(UserError, match="shrink"):
        parsed("train", ["--shrink", "2"])


def test_every_page_is_on_the_site():
    site = text("mkdocs.yml")
    assert set(re.findall(r": ([\w-]+\.md)$", site, re.M)) == {
        *(Path(page).name for page in PAGES if page.startswith("docs/")),
        *re.findall(r'": "([\w-]+\.md)"', text("scripts/docs_pages.py")),
    }


def test_the_citation_names_the_version_and_the_papers():
    from madn import __version__

    citation = text("CITATION.cff")
    assert f"\nversion: {__version__}\n" in citation
    assert len(re.findall(r"^  - type: ", citation, re.M)) == 5
