"""Weights on disk: the whole training state, and generators that say which recipe they belong to.

Keras' own `.weights.h5` files, written under a temporary name first, so that no half-written file ever stands under
its final one.
"""

import dataclasses
import json
import warnings
from pathlib import Path

import h5py
import keras

from madn.errors import UserError
from madn.imaging.files import atomic
from madn.training.recipe import Recipe

RECIPE, PLACE, SEEDS = "madn_recipe", "madn_place", "madn_seeds"
SUFFIX = ".weights.h5"


@dataclasses.dataclass(frozen=True)
class Place:
    """Where in a run of several stages a state belongs.

    The stage's number, the steps that those before it took, and those planned for all (0 where there is one stage).
    """

    stage: int = 0
    first_step: int = 0
    total: int = 0


def save_state(model: keras.Model, path: Path, place: Place = Place()) -> None:
    """Generator, critics, optimisers and with them the step, random numbers; and the stage whose state this is."""
    with _atomic_weights(path) as part:
        model.save_weights(part)
        with h5py.File(part, "a") as file:
            file.attrs[PLACE] = json.dumps(dataclasses.asdict(place))
            file.attrs[SEEDS] = keras.ops.convert_to_numpy(model.seeds.state)  # no weight, as Keras sees it


def read_place(path: Path) -> Place:
    """The stage that a state belongs to. Raises `UserError` for a file that cannot be read."""
    return Place(**(_attribute(path, PLACE) or {}))


def load_state(model: keras.Model, path: Path) -> None:
    """Restore what `save_state` wrote into a model of the same recipe and stage.

    Raises `UserError` for a damaged file or one of another network.
    """
    _load(model, path)
    with h5py.File(path) as file:
        if SEEDS in file.attrs:
            model.seeds.state.assign(file.attrs[SEEDS])


def save_generator(generator: keras.Model, path: Path, recipe: str, fields: dict, **facts) -> None:
    """The generator alone, with the recipe's name and fields (and `facts`) in the file."""
    with _atomic_weights(path) as part:
        generator.save_weights(part)
        with h5py.File(part, "a") as file:
            file.attrs[RECIPE] = json.dumps({"recipe": recipe, "fields": fields, **facts})


def load_generator(generator: keras.Model, path: Path, recipe: Recipe | None = None) -> None:
    """Load weights into a generator, of the given recipe where one was asked for.

    Raises `UserError` where the file is missing, damaged or of another network, with the fields that differ.
    """
    stored = read_recipe(path)
    try:
        _load(generator, path)
    except UserError:
        if not (stored and recipe):
            raise
        own = {field.name for field in dataclasses.fields(recipe)}
        own -= {field.name for field in dataclasses.fields(Recipe)}
        mine = recipe.fields()
        theirs = {key: value for key, value in stored["fields"].items() if key in own and value != mine[key]}
        what = ", ".join(f"{key} {value} (here {mine[key]})" for key, value in theirs.items())
        raise UserError(f"{path}: weights of another network: recipe {stored['recipe']}, {what}; "
                        "give the same options, or other weights") from None


def load_start(generator: keras.Model, path: Path, recipe: Recipe) -> None:
    """Start a stage's generator from a weights file: of the same network, or of the stage before it.

    Raises `UserError` as `load_generator` does.
    """
    stored = read_recipe(path)
    smaller = recipe.grows_from(stored["fields"]) if stored else None
    if smaller:
        previous = dataclasses.replace(recipe, **smaller).build_generator()
        load_generator(previous, path, recipe)
        recipe.transfer(previous, generator)
    else:
        load_generator(generator, path, recipe)


def read_recipe(path: Path) -> dict | None:
    """{"recipe": name, "fields": {...}, ...} as `save_generator` wrote it; None where a file has none.

    Raises `UserError` where the file is missing or no HDF5 file.
    """
    return _attribute(path, RECIPE)


def _attribute(path: Path, name: str) -> dict | None:
    if not path.is_file():
        raise UserError(f"{path}: no such weights file")
    try:
        with h5py.File(path) as file:
            text = file.attrs.get(name)
    except OSError:
        raise UserError(f"{path}: not a readable {SUFFIX} file (damaged, cut short or of another kind)") from None
    return None if text is None else json.loads(text)


def _load(model: keras.Model, path: Path) -> None:
    read_recipe(path)  # names a missing or damaged file
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # Keras only warns of some groups that the file lacks
            model.load_weights(path)
    except (ValueError, KeyError, OSError, UserWarning) as problem:
        reason = " ".join(str(problem).split())[:200]
        raise UserError(f"{path}: these weights do not fit the network, which may have another width: give the recipe "
                        f"and the options they were trained with ({reason})") from None


class _atomic_weights:
    """`atomic`, with the suffix that Keras asks of a weights file kept on the temporary name."""

    def __init__(self, path: Path):
        self.outer = atomic(path)

    def __enter__(self) -> Path:
        self.part = self.outer.__enter__()
        self.file = self.part.with_name(self.part.name + SUFFIX)
        return self.file

    def __exit__(self, kind, *rest):
        if kind is None:
            self.file.replace(self.part)
        self.file.unlink(missing_ok=True)
        return self.outer.__exit__(kind, *rest)
