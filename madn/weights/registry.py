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

from madn.errors import UserError
from madn.system import hdf5
from madn.system.reading import check_regular, read_text, sha256_of
from madn.system.writing import WEIGHTS, atomic

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
            raise UserError(f"{file}: no such file; {VARIABLE} names a folder of weights with a {REGISTRY}") from None
        return {}
    try:
        lines = json.loads(read_text(file))
        return {name: _entry(name, line) for name, line in lines.items()}
    except (RecursionError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise UserError(f"{file}: not a registry of weights ({in_short(problem)})") from None


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


def _entry(name: str, line: dict) -> Entry:
    line = dict(line)
    scores = tuple(
        Score(**{**score, **{which: _numbers(score[which], score["restored"]) for which in ("blurred", "restored")}})
        for score in line.pop("scores", ())
    )
    entry = Entry(name=name, scores=scores, **line)
    # A plain name leads to no other folder.
    if Path(entry.file).name != entry.file or not entry.file.endswith(WEIGHTS):
        raise ValueError(f"{name}: file must be a plain name that ends with {WEIGHTS}; it is {entry.file}")
    if not re.fullmatch("[0-9a-f]{64}", entry.sha256):
        raise ValueError(f"{name}: sha256 must be 64 hexadecimal digits; it is {entry.sha256}")
    return entry


def _numbers(scores: dict, metrics: dict) -> dict[str, float]:
    if scores.keys() != metrics.keys() or not scores:
        raise ValueError(f"blurred and restored need the same metrics; there is {', '.join(scores) or 'none'}")
    return {metric: float(scores[metric]) for metric in metrics}


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
    with atomic(folder() / REGISTRY) as part:
        part.write_text(json.dumps(lines, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def in_short(problem: Exception) -> str:
    """An exception's message, cut to a line."""
    return " ".join(str(problem).split())[:200]
