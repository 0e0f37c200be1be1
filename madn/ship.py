"""Weights to be shipped: a trained generator in float16 under a name, what it was measured at, and means of weights.

    python -m madn.ship mean FILE FILE --out OUT.weights.h5              the mean of two generators, or of more
    python -m madn.ship add RUN NAME --licence MIT --trained-on "..."    the file, and its line in the registry
    python -m madn.evaluate NAME --data DIR --out OUT                    measures the file that was written
    python -m madn.ship score NAME OUT/full.json --data "..." --command "..."

Named weights go where madn.weights looks for them: weights/ of a checkout, or MADN_WEIGHTS.
"""

import inspect
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from madn import recipes, weights
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


@dataclass(frozen=True)
class Mean:
    """The mean of generators' weights, layer by layer: of two trainings, or of a training and what it started from.

    Averaging with its start keeps more of what the start knew (Wortsman et al. 2022, "Robust fine-tuning of zero-shot
    models").
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE FILE [FILE ...]")]
    """Run folders or .weights.h5 files. The result is a network of the last one's recipe, which has all layers of the
    others; a layer that some of them lack is the mean over those that have it."""
    out: Path
    """The .weights.h5 file to write."""
    shares: tuple[float, ...] | None = None
    """Share of each file, 1 in all; equal by default."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of run folders."""


def add(source: Path, name: str, licence: str, trained_on: str, notes: str = "", which: str = "best") -> Entry:
    """Store the generator of a run folder, or of a weights file, in float16 under `name`, and write its line.

    Scores of the same file are kept, those of another one dropped. Raises `UserError` for weights without a recipe,
    weights that float16 cannot hold and a name that is no plain one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise UserError(f"{name!r}: names of weights are letters, digits, dots, dashes and underscores")
    source, stored = _generator_of(source, which)
    known = weights.entries() if (weights.folder() / weights.REGISTRY).is_file() else {}
    place = weights.folder() / f"{name}{weights.SUFFIX}"
    with atomic(place) as part:
        store_float16(source, part)
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


def mean(files: Sequence[Path], out: Path, shares: Sequence[float] | None = None,
         which: str = "best") -> dict[str, tuple[Path, ...]]:
    """Write the weighted mean of generators, of the last one's recipe, to `out`; returns layer -> files it is of.

    Top-level layers of the generators are matched by name, their weights by order. Shares are those of the files that
    have a layer, made to sum to 1 again, or equal where all of them are 0. Raises `UserError` where shares are
    negative or do not sum to 1, a file has a layer that the last one lacks or with other shapes, or `out` is there.
    """
    files = [Path(file) for file in files]
    shares = _shares(files, shares)
    if not out.name.endswith(weights.SUFFIX):
        raise UserError(f"--out {out}: the name must end in {weights.SUFFIX}")
    if out.exists():
        raise UserError(f"--out {out}: is there already; remove it, or give another name")
    start_keras()  # late: a bad command line is reported before
    from madn.training.checkpoint import load_generator, save_generator

    found = [_generator_of(file, which) for file in files]
    layers = []  # of each file: name -> values of its weights
    for file, stored in found:  # after it, recipe and generator are those of the last one
        recipe = recipes.from_fields(stored["recipe"], stored["fields"])
        generator = recipe.build_generator()
        load_generator(generator, file, recipe)
        layers.append({layer.name: layer.get_weights() for layer in generator.layers if layer.weights})
    for (file, _), mine in zip(found, layers):
        _check_contained(file, mine, found[-1][0], layers[-1])
    of = {}
    for name, last in layers[-1].items():
        having = [i for i, mine in enumerate(layers) if name in mine]
        parts = [shares[i] for i in having]
        parts = [part / sum(parts) if sum(parts) else 1 / len(parts) for part in parts]
        generator.get_layer(name).set_weights([
            sum(part * layers[i][name][k].astype("float64") for i, part in zip(having, parts)).astype(values.dtype)
            for k, values in enumerate(last)])
        of[name] = tuple(found[i][0] for i in having)
    about = [{"file": str(file), "share": share, "sha256": weights.sha256_of(file)}
             for (file, _), share in zip(found, shares)]
    save_generator(generator, out, stored["recipe"], recipe.fields(), averaged_from=about)
    return of


def _shares(files: Sequence[Path], shares: Sequence[float] | None) -> list[float]:
    if len(files) < 2:
        raise UserError(f"a mean is of at least 2 files; received {len(files)}")
    if shares is None:
        return [1 / len(files)] * len(files)
    said = f"--shares {' '.join(f'{share:g}' for share in shares)}"
    if len(shares) != len(files):
        raise UserError(f"{said}: give one share for each of the {len(files)} files")
    if not all(share >= 0 for share in shares) or abs(sum(shares) - 1) > 1e-6:
        raise UserError(f"{said}: shares must be 0 or more and sum to 1")
    return list(shares)


def _generator_of(source: Path, which: str) -> tuple[Path, dict]:
    """The generator's file of a run folder, or the file itself, and what it says of its recipe.

    Raises `UserError` where it is missing or does not say it.
    """
    from madn.training.checkpoint import read_recipe
    from madn.training.runfolder import RunFolder

    file = RunFolder(source).generator(which) if source.is_dir() else source
    stored = read_recipe(file)
    if stored is None:
        raise UserError(f"{file}: does not say its recipe; take a generator's weights of a run folder")
    return file, stored


def _check_contained(file: Path, mine: dict[str, list], last_file: Path, last: dict[str, list]) -> None:
    """Raises `UserError` where a file's layers are not among the last file's, with the same shapes."""
    lacking = [name for name in mine if name not in last]
    if len(lacking) == len(mine):
        raise UserError(f"{file}: has no layer in common with {last_file}; average networks of one kind")
    if lacking:
        raise UserError(f"{file}: {last_file} lacks its {', '.join(lacking)}; name the file with all layers last")
    for name in mine:
        if [values.shape for values in mine[name]] != [values.shape for values in last[name]]:
            raise UserError(f"{file}: its layer {name} has other shapes than that of {last_file}; average networks of "
                            "the same widths, blocks and kernels")


def store_float16(source: Path, target: Path) -> None:
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
    elif what == "mean":
        asked = parse(Mean, argv[1:], f"{prog} mean", inspect.getdoc(Mean))
        of = mean(asked.files, asked.out, asked.shares, asked.which)
        print(f"wrote {asked.out}: the mean of {len(asked.files)} files")
        for name, files in of.items():
            if len(files) < len(asked.files):
                print(f"layer {name}: of {' and '.join(map(str, files))} alone; the others lack it")
    elif what in ("-h", "--help"):
        print(__doc__)
    else:
        raise UserError(f"say what to do: {prog} add RUN NAME, {prog} score NAME JSON, or {prog} mean FILE FILE")


if __name__ == "__main__":
    run_door(main)
