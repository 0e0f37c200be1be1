"""Command lines built from dataclasses by tyro, with one-line errors."""

import ast
import contextlib
import dataclasses
import inspect
import io
import math
import re
import textwrap
from collections.abc import Sequence
from copy import copy
from functools import partial
from typing import Annotated, Any, TypeVar, get_type_hints

import tyro

from madn.errors import UserError, begin_work

Options = TypeVar("Options")


def parse(
    options: type[Options],
    argv: Sequence[str],
    prog: str,
    description: str | None = None,
    default: Options | None = None,
) -> Options:
    """Fill the dataclass `options` from `argv`; its docstrings are the help text.

    Nested dataclasses are flattened: a field `lr_g` is `--lr-g` wherever it stands.
    Raises `UserError` in one line for an unknown option or a value that does not parse.
    `--help` prints and exits with 0.
    """
    begin_work()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            return tyro.cli(
                options,
                args=list(argv),
                prog=prog,
                description=description,
                default=tyro.MISSING_NONPROP if default is None else default,
                config=(tyro.conf.OmitArgPrefixes,),
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(f"{_one_line(said.getvalue())} (see {prog} --help)") from None


def parse_groups(defaults: Sequence[Any], argv: Sequence[str], prog: str, description: str) -> list:
    """Fill dataclass instances from one command line, whose help has a heading for each class that declares fields.

    A heading is the first line of that class's docstring. Of a field that a subclass declares again, the first
    declaration decides its heading. Fields whose metadata say "internal" are no options. Raises `UserError` as `parse`,
    and for numbers that are not finite, which JSON could not keep.
    """
    groups: dict[type, list[tuple]] = {}
    for number, instance in enumerate(defaults):
        hints, texts = get_type_hints(type(instance)), _field_texts(type(instance))
        for each in dataclasses.fields(instance):
            if not each.metadata.get("internal"):
                owner = next(
                    c for c in reversed(type(instance).__mro__) if each.name in c.__dict__.get("__annotations__", {})
                )
                text = tyro.conf.arg(help=texts.get(each.name, ""))
                kind = Annotated[hints[each.name], text]  # type: ignore[valid-type,name-defined]  # known when it runs
                groups.setdefault(owner, []).append((each.name, kind, getattr(instance, each.name), number))
    parts, titles = [], []
    for i, (owner, fields) in enumerate(groups.items()):
        part = dataclasses.make_dataclass(
            f"Group{i}",
            # By a function, since a value may be a list, which dataclasses do not take as a default.
            [(name, kind, dataclasses.field(default_factory=partial(copy, value))) for name, kind, value, _ in fields],
            frozen=True,
        )
        heading = inspect.getdoc(owner).splitlines()[0].rstrip(".")
        title = re.sub(r"\W+", "_", re.match(r"[\w -]+", heading)[0].strip().lower())
        titles.append(title)
        parts.append((title, Annotated[part, tyro.conf.arg(help=heading)], dataclasses.field(default=part())))
    parsed = parse(dataclasses.make_dataclass("Command", parts), argv, prog, description)
    changes: list[dict] = [{} for _ in defaults]
    for title, fields in zip(titles, groups.values(), strict=True):
        for name, *_, number in fields:
            value = changes[number][name] = getattr(getattr(parsed, title), name)
            if any(isinstance(x, float) and not math.isfinite(x) for x in (value if _is_several(value) else [value])):
                raise UserError(f"--{name.replace('_', '-')}: {value} is no finite number")
    return [dataclasses.replace(instance, **change) for instance, change in zip(defaults, changes, strict=True)]


def _is_several(value: object) -> bool:
    return isinstance(value, list | tuple)


def _field_texts(kind: type) -> dict[str, str]:
    """The docstring below each field; that of a subclass comes before those of the classes that it is made of."""
    texts = {}
    for each in reversed(kind.__mro__):
        if dataclasses.is_dataclass(each):
            (definition,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            body = getattr(definition, "body", [])
            for field, text in zip(body, body[1:], strict=False):
                match field, text:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(said))):
                        texts[name] = inspect.cleandoc(said)
    return texts


FRAME = "│╭╮╰╯─"  # tyro draws its frame with these, or with spaces and dashes where standard output is no UTF-8.


def _one_line(box: str) -> str:
    """The text of tyro's error box, without its frame, its title, the help texts and the pointer to --help."""
    plain = re.sub(rf"[{FRAME}]", " ", re.sub(r"\x1b\[[0-9;]*m", "", box)).split("For full helptext")[0]
    if "Required options" in plain:  # Names are indented by six; those that are no options come second.
        missing, _, unknown = (
            re.findall(r"^ {6}(\S+)", part, re.M) for part in plain.partition("Unrecognized options")
        )
        return f"missing {', '.join(missing)}" + (f"; unrecognized {' '.join(unknown)}" if unknown else "")
    lines = [line.strip() for line in plain.splitlines() if not re.fullmatch(r"[\s-]*", line)]
    return re.sub(r"\s+", " ", " ".join(lines[1:]).split("Argument helptext:")[0]).strip() or "bad command line"
