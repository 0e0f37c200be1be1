"""The registry of trained weights: names, and files that are checked against their sha256 before anything reads them.

They lie in weights/ of a checkout, in madn/published_weights of an installation, or where MADN_WEIGHTS says;
`python -m madn.weights add` adds to them.
"""

import dataclasses
import difflib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from madn.errors import UserError, one_line
from madn.system import hdf5
from madn.system.json_files import convert, read_json
from madn.system.reading import check_regular, sha256_of
from madn.system.writing import WEIGHTS, write_durably

DEFAULT = "madn-srn"  # madn.deblur takes this where no model is named.
REGISTRY, VARIABLE = "registry.json", "MADN_WEIGHTS"


@dataclass(frozen=True)
class Score:
    """Means over `pairs` images, the same metrics of the blurred and of the restored ones, and the command that prints
    them."""

    data: str
    protocol: str
    pairs: int
    blurred: dict[str, float]
    restored: dict[str, float]
    command: str


@dataclass(frozen=True)
class Entry:
    """A line of the registry. `bytes` and `sha256` are the file's."""

    name: str
    file: str
    bytes: int
    sha256: str
    licence: str
    recipe: str
    trained_on: str
    scores: tuple[Score, ...] = ()
    notes: str = ""

    @property
    def short_hash(self) -> str:
        """The hash as a network's description has it, and with that the scores that were measured with it."""
        return f"sha256 {self.sha256[:12]}"


def folder() -> Path:
    """The folder of the registry: MADN_WEIGHTS, else one beside or inside this package."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    here = Path(__file__).resolve().parents[1]
    installed = here / "published_weights"  # setup.py puts weights/ there.
    return installed if installed.is_dir() else here.parent / "weights"


def is_path(source: str | Path) -> bool:
    """Whether what names a model is meant as a path: a `Path`, or text that looks like one.

    That is text with a separator in it or the suffix of a file: ./name is what lies in the working directory under a
    name that could be a published one.
    """
    if isinstance(source, Path):
        return True
    separators = {"/", os.sep, os.altsep or "/"}
    return source in (".", "..") or source.endswith((WEIGHTS, ".keras")) or bool(separators & set(source))


def entries() -> dict[str, Entry]:
    """The entries by name; none where there is no registry, unless MADN_WEIGHTS names its place.

    Raises `UserError` for a registry that cannot be read.
    """
    file = folder() / REGISTRY
    if not file.exists():
        if os.environ.get(VARIABLE):
            raise UserError(f"{file}: no such file; {VARIABLE} names a folder of weights with a {REGISTRY}")
        return {}
    what, way_out = "a registry of weights", "restore it, or set MADN_WEIGHTS to another folder"
    lines = read_json(file, dict[str, Any], what, way_out)
    lines.pop("version", None)
    found = {}
    for name, line in lines.items():
        fields = {**convert(line, dict[str, Any], str(file), what, way_out), "name": name}
        found[name] = convert(fields, Entry, f"{file}: {one_line(name)}", "a line of such a registry", way_out)
        if problem := _fault(found[name]):
            raise UserError(f"{file}: {one_line(name)}: {problem}; {way_out}")
    return found


def find(name: str) -> Entry:
    """The entry of that name. Raises `UserError` naming the nearest, or all, where there is none."""
    known = entries()
    if name not in known:
        raise UserError(f"no weights named {name!r}: {hint(name, known)}")
    return known[name]


def hint(name: str, known: dict[str, Entry]) -> str:
    """Names that are there, for the message about one that is not."""
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known) or 'none'} (python -m madn.weights)"


def path(name: str) -> Path:
    """The weights file of that name, its size and sha256 checked.

    Raises `UserError` for an unknown name, and for a missing, damaged or foreign file with both hashes.
    """
    return checked(find(name))


def _fault(entry: Entry) -> str:
    """What is wrong with an entry whose fields have the right types; empty where nothing is."""
    # A plain name leads to no other folder.
    if Path(entry.file).name != entry.file or not entry.file.endswith(WEIGHTS):
        return f"file must be a plain name that ends with {WEIGHTS}; it is {entry.file}"
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        return f"sha256 must be 64 hexadecimal digits; it is {entry.sha256}"
    for score in entry.scores:
        if score.blurred.keys() != score.restored.keys() or not score.restored:
            return f"blurred and restored need the same metrics; there is {', '.join(score.blurred) or 'none'}"
    return ""


def checked(entry: Entry) -> Path:
    """The file of an entry. Raises `UserError` where it is not what the registry says."""
    file = folder() / entry.file
    way_out = f"restore it (git checkout, or install madn again), or set {VARIABLE} to another folder"
    try:
        size, digest = check_regular(file), sha256_of(file)
    except UserError as problem:
        raise UserError(f"{problem}; {way_out}") from None
    if (size, digest) != (entry.bytes, entry.sha256):
        raise UserError(
            f"{file}: damaged, or not the weights that {REGISTRY} means by {entry.name}: expected sha256 "
            f"{entry.sha256} ({entry.bytes} bytes), found {digest} ({size} bytes); {way_out}"
        )
    hdf5.vouch(digest)
    return file


def write(known: dict[str, Entry]) -> None:
    """Write the registry anew, atomically."""
    lines = {
        name: {key: value for key, value in dataclasses.asdict(entry).items() if key != "name"}
        for name, entry in known.items()
    }
    text = json.dumps({"version": 1, **lines}, indent=2, ensure_ascii=False) + "\n"
    write_durably(folder() / REGISTRY, text.encode())
