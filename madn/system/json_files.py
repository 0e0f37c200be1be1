"""JSON that is read: checked against its schema by msgspec, so that a damaged or foreign file is one line, not a trace.

A schema is a `msgspec.Struct`, or a dataclass. Where it forbids unknown fields, what another version of madn wrote is
told from what is damaged by the file's `version`.
"""

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from madn.errors import UserError, one_line
from madn.system.reading import read_content

Kind = TypeVar("Kind")


class Version(msgspec.Struct):
    """What every file of ours says of itself; 0 stands for those from before there were versions."""

    version: int = 0


def read_json(file: Path, kind: type[Kind], what: str, way_out: str, newest: int = 1) -> Kind:
    """What a JSON file says, as `kind`; `what` is its name for people.

    Raises `UserError` where the file cannot be read, is damaged, does not fit `kind` or has a version above `newest`.
    """
    try:
        content = read_content(file)
    except UserError as problem:
        raise UserError(f"{problem}; {way_out}") from None
    return decode_json(content, kind, f"{file}", what, way_out, newest)


def decode_json(content: bytes | str, kind: type[Kind], where: str, what: str, way_out: str, newest: int = 1) -> Kind:
    """The same for text that stands `where`, in a file of another kind or in a setting."""
    try:
        read: Callable[..., Any] = partial(msgspec.json.decode, content)
        if "\\udc" in (content.decode() if isinstance(content, bytes) else content):
            # It may be a byte of a file name that is not UTF-8, as Python keeps it, which msgspec's decoder refuses.
            read = partial(msgspec.convert, json.loads(content, parse_constant=_refused))
        check_version(read(type=Version), where, newest)
        return read(type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError) as problem:
        raise UserError(f"{where}: not {what} ({in_short(problem)}); {way_out}") from None


def convert(value: Any, kind: type[Kind], where: str, what: str, way_out: str) -> Kind:
    """The same for what was decoded already; a dataclass forbids unknown fields, too."""
    try:
        if dataclasses.is_dataclass(kind) and isinstance(value, dict):
            unknown = sorted(value.keys() - {field.name for field in dataclasses.fields(kind)})
            if unknown:
                raise msgspec.ValidationError(f"Object contains unknown field `{one_line(unknown[0])}`")
        return msgspec.convert(value, kind)
    except (msgspec.ValidationError, RecursionError) as problem:
        raise UserError(f"{where}: not {what} ({in_short(problem)}); {way_out}") from None


def check_version(said: Version, where: str, newest: int) -> None:
    """Raises `UserError` where a file is newer than this madn."""
    if said.version > newest:
        raise UserError(
            f"{where}: written by a newer madn (version {said.version} of this file; this madn reads up to {newest}); "
            "install a newer madn"
        )


def _refused(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def in_short(problem: Exception) -> str:
    """An exception's message, cut to a line."""
    return one_line(" ".join(str(problem).split())[:200])
