"""Loads trained networks: by a published name, or from a run folder, a weights file or a SavedModel."""

import zipfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras

from madn import recipes
from madn.errors import UserError
from madn.nn.limits import weights_at_most
from madn.restoration import savedmodel
from madn.restoration.inference import ELSEWHERE, Inference
from madn.restoration.model_source import find_model, is_savedmodel
from madn.restoration.restorer import Restorer
from madn.restoration.scale import ScaledRestorer
from madn.system import hdf5
from madn.training.checkpoint import load_generator, read_recipe
from madn.training.precision import dtype_policy
from madn.training.recipe import Recipe
from madn.weights import registry

LARGEST_CONFIG = 20_000_000  # The largest of our networks is described in 1 MB.


@dataclass(frozen=True)
class Loaded:
    """A network ready to restore.

    `network` takes float32 (batch, height, width, 3) in [0, 1], height and width multiples of `recipe.multiple`, and
    gives the same, unclipped. `recipe` and `model` (the Keras generator) are None for a SavedModel.
    """

    network: Any
    description: str
    recipe: Recipe | None = None
    model: keras.Model | None = None
    recipe_name: str | None = None
    facts: dict | None = None
    """What madn.json says of a SavedModel."""

    @property
    def multiple(self) -> int:
        """What image sizes must be padded to a multiple of; a SavedModel pads inside."""
        return self.recipe.multiple if self.recipe else 1

    def restorer(
        self,
        memory_gb: float | None = None,
        tile: int | None = None,
        ensemble: bool = False,
        scale: float | None = None,
    ) -> Restorer:
        """The network for photos of any size in bounded memory; see `madn.restoration.restorer.Restorer`.

        `scale`: at which photos are restored; by default the one that each photo's blur asks for (`ScaledRestorer`).

        A SavedModel shares no statistics between tiles, so its tiles fade into each other.
        """
        if self.recipe:
            multiple, blend, tile_pixels = self.multiple, self.recipe.tile_blend, self.recipe.tile_pixels
            bytes_per_pixel = self.network.bytes_per_pixel()
        else:
            facts = {name: value for name, value in (self.facts or {}).items() if isinstance(value, int) and value > 0}
            if facts.get("multiple", 1) > 1024:  # This is no network's, and photos are padded up to it.
                del facts["multiple"]
            multiple, blend, tile_pixels = facts.get("multiple", 32), 64, facts.get("tile_pixels")
            bytes_per_pixel = facts.get("bytes_per_pixel", ELSEWHERE)
        return ScaledRestorer(
            self.network, multiple, bytes_per_pixel, blend, memory_gb, tile, tile_pixels, ensemble, scale=scale
        )


def load_network(
    source: str | Path,
    which: str = "best",
    recipe: str | None = None,
    precision: str = "float32",
    trust_model: bool = False,
) -> Loaded:
    """Load a network.

    Args:
        source: the name of published weights (see madn.weights), a run folder, a `.weights.h5` file or a SavedModel
            folder. Text is a path where `registry.is_path` says so, a `Path` always; so nothing in the working
            directory takes a published name.
        which: the "best" or the "last" checkpoint of a run folder; of a run without held-out images the best is the
            last, and the description says so.
        recipe: the recipe's name, for a weights file that does not say it; where it does, the two must agree.
        precision: "float32", or "bfloat16" for everything but images; a SavedModel has its own.
        trust_model: load any SavedModel, and so run what it says, not only those that `madn.export` wrote.
    Raises:
        UserError: nothing there and no such name, a damaged file, weights of another recipe or width, or a SavedModel
            that may do more than compute (`madn.restoration.savedmodel`).
    """
    found = find_model(source, which)
    if found.is_saved_model:
        if precision != "float32":
            raise UserError(
                f"{source}: a SavedModel has the precision that it was exported with; leave --precision out, "
                "or give the run folder"
            )
        network, facts = savedmodel.load(found.path, trust_model)
        return Loaded(network, f"SavedModel {source}", facts=facts)
    if found.published:
        file = registry.checked(found.published)
        loaded = _weights(file, recipe, precision)
        # The description leaves out where the file is installed.
        inside = loaded.description.replace(str(file), file.name)
        return replace(loaded, description=f"{found.published.name}, {found.published.short_hash}: {inside}")
    loaded = _weights(found.path, recipe, precision)
    return replace(loaded, description=f"{loaded.description}{found.remark}")


def load_model(source: str | Path, which: str = "best") -> keras.Model:
    """See `madn.load`."""
    if is_savedmodel(source):
        raise UserError(f"{source}: a SavedModel is no Keras model any more; tf.saved_model.load reads it")
    if Path(source).suffix == ".keras" and Path(source).is_file():
        return _keras_file(Path(source))
    return load_network(source, which).model


def _keras_file(file: Path) -> keras.Model:
    recipes.import_layers()
    try:
        with zipfile.ZipFile(file) as archive:
            parts = {part.filename: part.file_size for part in archive.infolist()}
            if sum(parts.values()) > 2 * file.stat().st_size + LARGEST_CONFIG or parts["config.json"] > LARGEST_CONFIG:
                raise ValueError("its parts are larger than it")
            weights = hdf5.whole_content(archive.read("model.weights.h5"), file)
        with weights_at_most(hdf5.values(weights), file):
            return keras.saving.load_model(file, compile=False, safe_mode=True)
    except UserError:
        raise
    except Exception as problem:  # Keras fails in any way that a file leads it to.
        raise UserError(f"{file}: not a Keras model of madn's ({' '.join(str(problem).split())[:160]})") from None


def _weights(file: Path, name: str | None, precision: str) -> Loaded:
    stored = read_recipe(file)
    if stored is None and name is None:
        raise UserError(f"{file}: this weights file does not say its recipe; name it with --recipe")
    if stored is None:
        recipe = recipes.get(name)
    else:
        if name is not None and name != stored["recipe"]:
            raise UserError(f"{file}: weights of recipe {stored['recipe']}, not {name}; leave --recipe out")
        name = stored["recipe"]
        try:
            recipe = recipes.from_fields(name, stored["fields"])
        except UserError as problem:
            raise UserError(f"{file}: {problem}") from None
    limit = weights_at_most(hdf5.values(hdf5.whole(file)), file) if stored else nullcontext()
    with dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32"), limit:
        generator = recipe.without_downloads().build_generator()
    load_generator(generator, file)
    step = f", step {stored['step']}" if stored and "step" in stored else ""
    return Loaded(Inference(generator), f"{file} (recipe {name}{step})", recipe, generator, name)
