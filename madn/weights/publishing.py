"""Weights to be published: a trained generator in float16 under a name, what it was measured at, means of weights."""

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from madn import recipes
from madn.errors import UserError
from madn.system import hdf5
from madn.system.startup import start_keras
from madn.system.writing import WEIGHTS, atomic, check_new_weights
from madn.weights import registry
from madn.weights.measurements import read_measured
from madn.weights.registry import Entry, Score


def add(source: Path, name: str, licence: str, trained_on: str, notes: str = "", which: str = "best") -> Entry:
    """Store the generator of a run folder, or of a weights file, in float16 under `name`, and write its line.

    Scores of the same file are kept, those of another one dropped. Raises `UserError` for weights without a recipe,
    weights that float16 cannot hold and a name that is no plain one.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name) or name == "version":  # The registry has a version.
        raise UserError(f"{name!r}: names of weights are letters, digits, dots, dashes and underscores, not 'version'")
    source, stored = _generator_of(source, which)
    known = registry.entries() if (registry.folder() / registry.REGISTRY).is_file() else {}
    place = registry.folder() / f"{name}{WEIGHTS}"
    with atomic(place) as part:
        store_float16(source, part)
        size, digest = part.stat().st_size, registry.sha256_of(part)
    scores = known[name].scores if name in known and known[name].sha256 == digest else ()
    entry = Entry(name, place.name, size, digest, licence, stored["recipe"], trained_on, scores, notes)
    registry.write({**known, name: entry})
    return entry


def add_score(name: str, measured: Path, data: str, command: str) -> Score:
    """Keep a score of `name` from the JSON that `madn.evaluate` wrote, in place of one for the same data and protocol.

    Raises `UserError` where the JSON is not one, or of another network.
    """
    entry = registry.find(name)
    result = read_measured(measured)
    means = result["mean"]
    score = Score(data, result["protocol"], len(result["images"]), means["blurred"], means["restored"], command)
    model = result["model"]
    if entry.short_hash not in model:
        raise UserError(
            f"{measured}: measured with {model}, not with {name} ({entry.short_hash}); measure it again "
            f"with python -m madn.evaluate {name}"
        )
    others = [other for other in entry.scores if (other.data, other.protocol) != (score.data, score.protocol)]
    registry.write({**registry.entries(), name: replace(entry, scores=(*others, score))})
    return score


def write_mean(
    files: Sequence[Path], out: Path, shares: Sequence[float] | None = None, which: str = "best"
) -> dict[str, tuple[Path, ...]]:
    """Write the weighted mean of generators, of the last one's recipe, to `out`; returns each layer's files.

    Top-level layers of the generators are matched by name, their weights by order. Shares are those of the files that
    have a layer, made to sum to 1 again, or equal where all of them are 0. Raises `UserError` where shares are
    negative or do not sum to 1, a file has a layer that the last one lacks or with other shapes, or `out` is there.
    """
    files = [Path(file) for file in files]
    shares = _shares(files, shares)
    check_new_weights(out)
    start_keras()  # Keras starts late, so that a bad command line is reported at once.
    from madn.training.checkpoint import load_generator, save_generator

    found = [_generator_of(file, which) for file in files]
    layers = []  # For each file, this has the names of the layers and the values of their weights.
    for file, stored in found:  # After the loop, recipe and generator are the last file's.
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
        generator.get_layer(name).set_weights(
            [
                sum(part * layers[i][name][k].astype("float64") for i, part in zip(having, parts)).astype(values.dtype)
                for k, values in enumerate(last)
            ]
        )
        of[name] = tuple(found[i][0] for i in having)
    about = [
        {"file": str(file), "share": share, "sha256": registry.sha256_of(file)}
        for (file, _), share in zip(found, shares)
    ]
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

    file = RunFolder(source).chosen(which) if source.is_dir() else source
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
            raise UserError(
                f"{file}: its layer {name} has other shapes than that of {last_file}; average networks of "
                "the same widths, blocks and kernels"
            )


def store_float16(source: Path, target: Path) -> None:
    """Copy a weights file with its attributes; Keras turns float16 back into the network's own type as it loads."""
    import h5py
    import numpy as np

    # The target is a part file, which `atomic` has locked for this process.
    with h5py.File(hdf5.whole(source)) as before, h5py.File(target, "w", locking=False) as after:
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
                        raise UserError(f"{source}: {name} holds values that float16 cannot; it cannot be published so")
                copied = after.create_dataset(name, data=values)
            copied.attrs.update(item.attrs)

        before.visititems(copy)
