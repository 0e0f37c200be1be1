"""Weights on disk: the whole training state, and generators that say which recipe they belong to.

The files are Keras' own `.weights.h5`. They are made in memory and written under a temporary name, so that no
half-written file ever has its final name. A file ends with a seal (`madn.system.seals`); those of earlier versions have
none where they hold a generator alone.
"""

import dataclasses
import hashlib
import io
import json
import math
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import h5py
import keras
import msgspec
import numpy as np

from madn.errors import UserError
from madn.system import hdf5
from madn.system.json_files import Version, check_version, decode_json
from madn.system.keras_private import H5IOStore, load_state_from, save_state_to
from madn.system.reading import read_content
from madn.system.seals import is_sealed, is_whole, is_whole_file, seal
from madn.system.writing import WEIGHTS, write_durably
from madn.training.recipe import Recipe
from madn.training.runfolder import STORED_SETTINGS

RECIPE, PLACE, MEANS, VERSION = "madn_recipe", "madn_place", "madn_means", "madn_version"
NEWEST = 1
ABSURD = 1e6  # Trained weights stay far below.


class Described(msgspec.Struct):
    """What a generator's file says of its recipe; other facts stand beside these."""

    recipe: str
    fields: dict[str, Any]
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a run a state belongs."""

    stage: int = 0
    first_step: int = 0
    """Steps that the stages before this one took."""
    total: int = 0
    """Steps that are planned for all stages; 0 where there is one."""
    seconds: float = dataclasses.field(default=0.0, compare=False)
    """Seconds that the run has taken."""


def save_state(
    model: keras.Model,
    path: Path,
    place: Place = Place(),
    means: Mapping | None = None,
    settings: Mapping | None = None,
) -> None:
    """Save generator, discriminators, optimisers and with them the step, and the stage whose state this is.

    Inside a round, `means` is what `tracked_means` gives. `settings` are the run's, which the state can give back.
    Raises `OSError` where the disk refuses, and leaves nothing behind then.
    """
    texts = {PLACE: json.dumps(dataclasses.asdict(place)), MEANS: json.dumps(means or {})}
    if settings:
        texts[STORED_SETTINGS] = json.dumps(settings)
    _write(path, _weights(model, texts))


def newest_whole(states: Iterable[Path]) -> Path:
    """The first of these states, the newest first, that is whole; prints a line for each that is not.

    Raises `UserError` where none is.
    """
    damaged = []
    for path in states:
        if is_whole_file(path):
            return path
        damaged.append(path)
        print(f"warning: {path}: damaged or cut short; looking for the checkpoint before", flush=True)
    folder = damaged[0].parent
    raise UserError(
        f"{folder}: every checkpoint is damaged ({', '.join(path.name for path in damaged)}): start again "
        f"with another --run, from the generator alone with --weights {folder / ('last' + WEIGHTS)}"
    )


def read_place(path: Path) -> Place:
    """The stage that a state belongs to. Raises `UserError` for a file that cannot be read."""
    return _attribute(_content(path), path, PLACE, Place) or Place()


def load_state(model: keras.Model, path: Path) -> dict:
    """Restore what `save_state` wrote into a model of the same recipe and stage; returns its `means`.

    Raises `UserError` for a damaged file or one of another network.
    """
    content = _content(path)
    means = _attribute(content, path, MEANS, dict[str, list[float]]) or {}
    _load(model, content, path)
    return means


def tracked_means(model: keras.Model) -> dict[str, list[float]]:
    """The running means of a round's logs: each metric's name, and the values of its variables.

    Empty where several machines share them, for one alone cannot read them.
    """
    if model.devices.several_machines:
        return {}
    model.sync()
    with model.devices.scope():
        return {
            name: [float(keras.ops.convert_to_numpy(keras.ops.convert_to_tensor(v))) for v in tracker.variables]
            for name, tracker in model.trackers.items()
        }


def track_on(model: keras.Model, means: Mapping[str, list[float]]) -> None:
    """Let the running means of a round go on from what `tracked_means` gave."""
    with model.devices.scope():
        for name, values in means.items():
            for variable, value in zip(model.trackers[name].variables, values, strict=True):
                variable.assign(value)


def save_generator(generator: keras.Model, path: Path, recipe: str, fields: dict, **facts) -> None:
    """Save the generator alone, with the recipe's name and fields, and `facts`, in the file.

    Raises `OSError` where the disk refuses, and leaves nothing behind then.
    """
    _write(path, _weights(generator, {RECIPE: json.dumps({"recipe": recipe, "fields": fields, **facts})}))


def load_generator(generator: keras.Model, path: Path, recipe: Recipe | None = None) -> None:
    """Load weights into a generator, of the given recipe where one was asked for.

    Raises `UserError` where the file is missing, damaged or of another network, with the fields that differ.
    """
    content = _content(path)
    stored = _recipe(content, path)
    try:
        _load(generator, content, path)
    except UserError:
        if not (stored and recipe):
            raise
        own = {field.name for field in dataclasses.fields(recipe)}
        own -= {field.name for field in dataclasses.fields(Recipe)}
        mine = recipe.fields()
        theirs = {key: value for key, value in stored["fields"].items() if key in own and value != mine[key]}
        what = ", ".join(f"{key} {value} (here {mine[key]})" for key, value in theirs.items())
        raise UserError(
            f"{path}: weights of another network: recipe {stored['recipe']}, {what}; "
            "give the same options, or other weights"
        ) from None


def load_start(generator: keras.Model, path: Path, recipe: Recipe) -> None:
    """Start a stage's generator from a weights file: of the same network, or of the stage before it.

    Raises `UserError` as `load_generator` does.
    """
    stored = read_recipe(path)
    smaller = recipe.grows_from(recipe.renamed(stored["fields"])) if stored else None
    if smaller:
        previous = dataclasses.replace(recipe, **smaller).build_generator()
        load_generator(previous, path, recipe)
        recipe.transfer(previous, generator)
    else:
        load_generator(generator, path, recipe)


def read_recipe(path: Path) -> dict | None:
    """{"recipe": name, "fields": {...}, ...} as `save_generator` wrote it; None where a file has none.

    Raises `UserError` where the file is missing, damaged, or written by a newer madn.
    """
    return _recipe(_content(path), path)


def is_damaged(path: Path) -> bool:
    """Whether a file has a seal, and not that of its content; earlier versions wrote none."""
    return _has_wrong_seal(path.read_bytes())


def _has_wrong_seal(content: bytes) -> bool:
    return is_sealed(content) and not is_whole(content)


def _content(path: Path) -> io.BytesIO:
    """A weights file in memory, read once for all that is asked of it. Raises as `read_recipe` and `hdf5.whole` do."""
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    content = read_content(path, math.inf)
    if _has_wrong_seal(content):
        raise UserError(f"{path}: damaged: its content is not what was written; take another copy or checkpoint")
    return hdf5.whole_content(content, path)


def _recipe(content: io.BytesIO, path: Path) -> dict | None:
    """What `read_recipe` gives, of a file that was read."""
    found = _attribute(content, path, RECIPE, dict[str, Any])
    if found is not None:
        _attribute(content, path, RECIPE, Described)  # The others of its facts are for people.
    return found


def _attribute(content: io.BytesIO, path: Path, name: str, kind: type) -> Any:
    """What one of our attributes says, as `kind`; None where the file has none."""
    with h5py.File(content) as file:
        text, version = file.attrs.get(name), file.attrs.get(VERSION, 0)
    if not isinstance(version, int | np.integer) or not isinstance(text, str | bytes | None):
        raise UserError(f"{path}: its attributes are not what madn writes; take another copy or checkpoint")
    check_version(Version(int(version)), str(path), NEWEST)
    if text is None:
        return None
    return decode_json(text, kind, str(path), f"a weights file of madn's ({name})", "take another copy or checkpoint")


def _load(model: keras.Model, content: io.BytesIO, path: Path) -> None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns where the file lacks some groups.
            store = H5IOStore(content)
            load_state_from(model, store)
            store.close()
    except (ValueError, KeyError, OSError, UserWarning) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(
            f"{path}: these weights do not fit the network, which may have another width: give the recipe "
            f"and the options they were trained with ({reason})"
        ) from None
    _check_values(model, path)


def _check_values(model: keras.Model, path: Path) -> None:
    """Raises `UserError` for weights that are not finite; prints a line for those that no training gives."""
    for weight in model.weights:
        values = keras.ops.convert_to_numpy(weight)
        if values.dtype.kind != "f" or not values.size:
            continue
        largest = float(np.max(np.abs(values)))  # NaN stays NaN.
        if not np.isfinite(largest):
            raise UserError(
                f"{path}: its weights {weight.path} are not finite (NaN or infinite), so whatever wrote it had failed; "
                "take another checkpoint"
            )
        if largest > ABSURD:
            print(f"warning: {path}: its weights {weight.path} reach {largest:.0e}, as no training leaves them")


def _weights(model: keras.Model, attributes: Mapping[str, str]) -> io.BytesIO:
    """The file that `model.save_weights` writes, but in memory and with attributes.

    HDF5 cannot close a file on a full disk, and crashes later; `save_weights` itself takes nothing but a path.
    """
    content = io.BytesIO()
    store = H5IOStore(content, mode="w")
    save_state_to(model, store, None, "", set())
    store.close()
    with h5py.File(content, "a") as file:
        file.attrs.update({**attributes, VERSION: NEWEST})
    content.seek(0, io.SEEK_END)
    content.write(seal(content.getbuffer()))
    return content


def _write(path: Path, content: io.BytesIO) -> None:
    hdf5.vouch(hashlib.sha256(content.getbuffer()).hexdigest())
    write_durably(path, content.getbuffer())
