"""The registry of trained weights: names, and files that are checked against their sha256 before anything reads them.

They lie in weights/ of a checkout, in madn/published_weights of an installation, or where MADN_WEIGHTS says;
`python -m madn.weights add` adds to them.
"""

import dataclasses
import difflib
import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from madn.errors import UserError
from madn.system.writing import WEIGHTS, atomic

METRICS = {"psnr": 2, "ssim": 4, "ssim_matlab": 4}  # The table has so many decimals of each.
DEFAULT = "madn-srn"  # madn.deblur takes this where no model is named.
ONNX = ".onnx"
REGISTRY, VARIABLE = "registry.json", "MADN_WEIGHTS"


@dataclass(frozen=True)
class Score:
    """Means over `pairs` images, a number for each of `METRICS`, and the command that prints them."""

    data: str
    protocol: str
    pairs: int
    blurred: dict[str, float]
    restored: dict[str, float]
    command: str


@dataclass(frozen=True)
class Twin:
    """The same network as an ONNX file, which takes its weights from the weights file beside it.

    `largest_difference` is the one from Keras that was found on photographs when it was written.
    """

    file: str
    bytes: int
    sha256: str
    largest_difference: float


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
    onnx: Twin | None = None

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


def entries() -> dict[str, Entry]:
    """The entries by name; none where there is no registry, unless MADN_WEIGHTS names its place.

    Raises `UserError` for a registry that cannot be read.
    """
    file = folder() / REGISTRY
    try:
        lines = json.loads(file.read_text(encoding="utf-8"))
        return {name: _entry(name, line) for name, line in lines.items()}
    except FileNotFoundError:
        if os.environ.get(VARIABLE):
            raise UserError(f"{file}: no such file; {VARIABLE} names a folder of weights with a {REGISTRY}") from None
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
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
        Score(
            **{
                **score,
                **{
                    which: {metric: float(score[which][metric]) for metric in METRICS}
                    for which in ("blurred", "restored")
                },
            }
        )
        for score in line.pop("scores", ())
    )
    twin = line.pop("onnx", None)
    entry = Entry(name=name, scores=scores, onnx=Twin(**twin) if twin else None, **line)
    for each, suffix in ((entry, WEIGHTS), (entry.onnx, ONNX)):
        if each is None:
            continue
        # A plain name leads to no other folder.
        if Path(each.file).name != each.file or not each.file.endswith(suffix):
            raise ValueError(f"{name}: file must be a plain name that ends with {suffix}; it is {each.file}")
        if not re.fullmatch("[0-9a-f]{64}", each.sha256):
            raise ValueError(f"{name}: sha256 must be 64 hexadecimal digits; it is {each.sha256}")
    return entry


def checked(entry: Entry) -> Path:
    """The file of an entry. Raises `UserError` where it is not what the registry says."""
    return _checked(entry, entry.name)


def checked_twin(entry: Entry) -> Path:
    """The ONNX file of an entry that has one; its weights file is checked, too."""
    checked(entry)
    return _checked(entry.onnx, f"{entry.name}'s ONNX file")


def _checked(entry: Entry | Twin, what: str) -> Path:
    file = folder() / entry.file
    way_out = f"restore it (git checkout, or install madn again), or set {VARIABLE} to another folder"
    try:
        size, digest = file.stat().st_size, sha256_of(file)
    except OSError as problem:
        raise UserError(f"{file}: cannot be read ({problem.strerror}); {way_out}") from None
    if (size, digest) != (entry.bytes, entry.sha256):
        raise UserError(
            f"{file}: damaged, or not the weights that {REGISTRY} means by {what}: expected sha256 "
            f"{entry.sha256} ({entry.bytes} bytes), found {digest} ({size} bytes); {way_out}"
        )
    return file


def sha256_of(file: Path) -> str:
    """The SHA-256 of a whole file, in hexadecimal digits."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write(known: dict[str, Entry]) -> None:
    """Write the registry anew, atomically."""
    lines = {
        name: {
            key: value
            for key, value in dataclasses.asdict(entry).items()
            if key != "name" and not (key == "onnx" and value is None)
        }
        for name, entry in known.items()
    }
    with atomic(folder() / REGISTRY) as part:
        part.write_text(json.dumps(lines, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def in_short(problem: Exception) -> str:
    """An exception's message, cut to a line."""
    return " ".join(str(problem).split())[:200]
