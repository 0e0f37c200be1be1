"""Weights to be shipped: a trained generator in float16 under a name, and what it was measured at.

    python -m madn.ship add RUN NAME --licence MIT --trained-on "..."    the file, and its line in the registry
    python -m madn.evaluate NAME --data DIR --out OUT                    measures the file that was written
    python -m madn.ship score NAME OUT/full.json --data "..." --command "..."

They go where madn.weights looks for them: weights/ of a checkout, or MADN_WEIGHTS.
"""

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn import weights
from madn.commandline import parse
from madn.errors import UserError, run_door
from madn.imaging.files import atomic
from madn.startup import start_keras
from madn.weights import Entry, Score


@dataclass(frozen=True)
class Add:
    """What to store, under which name."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder or a .weights.h5 file."""
    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """What it is to be called."""
    licence: str
    """Under which it may be used."""
    trained_on: str
    """Data, hours and device."""
    notes: str = ""
    """What a user should know: where the log is, where it fails."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""


@dataclass(frozen=True)
class Measured:
    """Which scores, of what."""

    name: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="NAME")]
    """The weights that were measured."""
    file: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="JSON")]
    """What python -m madn.evaluate NAME wrote."""
    data: str
    """The pairs in words, with their blur kind."""
    command: str
    """The command that prints the scores."""


def add(source: Path, name: str, licence: str, trained_on: str, notes: str = "", which: str = "best") -> Entry:
    """Store the generator of a run folder, or of a weights file, in float16 under `name`, and write its line.

    Scores of the same file are kept, those of another one dropped. Raises `UserError` for weights without a recipe,
    weights that float16 cannot hold and a name that is no plain one.
    """
    from madn.training.checkpoint import read_recipe
    from madn.training.runfolder import RunFolder

    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r}: names of weights are letters, digits, dots, dashes and underscores")
    source = RunFolder(source).generator(which) if source.is_dir() else source
    stored = read_recipe(source)
    if stored is None:
        raise UserError(f"{source}: does not say its recipe; take a generator's weights of a run folder")
    known = weights.entries() if (weights.folder() / weights.REGISTRY).is_file() else {}
    place = weights.folder() / f"{name}{weights.SUFFIX}"
    with atomic(place) as part:
        _store_float16(source, part)
        size, digest = part.stat().st_size, weights.sha256_of(part)
    scores = known[name].scores if name in known and known[name].sha256 == digest else ()
    entry = Entry(name, place.name, size, digest, licence, stored["recipe"], trained_on, scores, notes)
    weights.write({**known, name: entry})
    return entry


def add_score(name: str, measured: Path, data: str, command: str) -> Score:
    """Keep a score of `name` from the JSON that `madn.evaluate` wrote, in place of one for the same data and protocol.

    Raises `UserError` where the JSON is not one, or of another network.
    """
    entry = weights.find(name)
    try:
        result = json.loads(measured.read_text(encoding="utf-8"))
        score = Score(data, result["protocol"], len(result["images"]), result["mean"]["blurred"],
                      result["mean"]["restored"], command)
        model = result["model"]
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise UserError(f"{measured}: not what python -m madn.evaluate writes ({weights.in_short(problem)})") from None
    if entry.short_hash not in model:
        raise UserError(f"{measured}: measured with {model}, not with {name} ({entry.short_hash}); measure it again "
                        f"with python -m madn.evaluate {name}")
    others = [other for other in entry.scores if (other.data, other.protocol) != (score.data, score.protocol)]
    weights.write({**weights.entries(), name: replace(entry, scores=(*others, score))})
    return score


def _store_float16(source: Path, target: Path) -> None:
    """Copy a weights file with its attributes; Keras turns float16 back into the network's own type as it loads."""
    import h5py
    import numpy as np

    with h5py.File(source) as before, h5py.File(target, "w") as after:
        after.attrs.update(before.attrs)

        def copy(name: str, item: h5py.Group | h5py.Dataset) -> None:
            if isinstance(item, h5py.Group):
                copied = after.require_group(name)
            else:
                values = item[()]
                if values.dtype.kind == "f":
                    with np.errstate(over="ignore"):
                        values = values.astype(np.float16)
                    if not np.isfinite(values).all():
                        raise UserError(f"{source}: {name} holds values that float16 cannot; it cannot be shipped so")
                copied = after.create_dataset(name, data=values)
            copied.attrs.update(item.attrs)

        before.visititems(copy)


def main(argv: list[str]) -> None:
    """The door."""
    what, prog = argv[0] if argv else "", "python -m madn.ship"
    if what == "add":
        asked = parse(Add, argv[1:], f"{prog} add", __doc__)
        start_keras()
        entry = add(asked.run, asked.name, asked.licence, asked.trained_on, asked.notes, asked.which)
        print(f"wrote {weights.folder() / entry.file}: {entry.bytes:,} bytes, {entry.short_hash}")
    elif what == "score":
        asked = parse(Measured, argv[1:], f"{prog} score", __doc__)
        score = add_score(asked.name, asked.file, asked.data, asked.command)
        print(f"{asked.name} on {score.data}: {float(score.blurred['psnr']):.2f} -> "
              f"{score.restored['psnr']:.2f} dB")
    elif what in ("-h", "--help"):
        print(__doc__)
    else:
        raise UserError(f"say what to do: {prog} add RUN NAME, or {prog} score NAME JSON")


if __name__ == "__main__":
    run_door(main)
