"""Loads trained networks: by a published name, or from a run folder, a weights file or a SavedModel."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from madn import recipes
from madn.errors import UserError
from madn.restoration.inference import ELSEWHERE, Inference
from madn.restoration.model_source import find_model
from madn.restoration.restorer import Restorer
from madn.restoration.scale import ScaledRestorer
from madn.training.checkpoint import load_generator, read_recipe
from madn.training.precision import dtype_policy
from madn.training.recipe import Recipe
from madn.weights import registry


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
            multiple, blend, tile_pixels = facts.get("multiple", 32), 64, facts.get("tile_pixels")
            bytes_per_pixel = facts.get("bytes_per_pixel", ELSEWHERE)
        return ScaledRestorer(
            self.network, multiple, bytes_per_pixel, blend, memory_gb, tile, tile_pixels, ensemble, scale=scale
        )


def load_network(
    source: str | Path, which: str = "best", recipe: str | None = None, precision: str = "float32"
) -> Loaded:
    """Load a network.

    Args:
        source: a run folder, a `.weights.h5` file, a SavedModel folder, or the name of published weights (see
            madn.weights); what exists under that path comes first.
        which: the "best" or the "last" checkpoint of a run folder; of a run without held-out images the best is the
            last, and the description says so.
        recipe: the recipe's name, for a weights file that does not say it; where it does, the two must agree.
        precision: "float32", or "bfloat16" for everything but images; a SavedModel has its own.
    Raises:
        UserError: nothing there and no such name, a damaged file, or weights of another recipe or width.
    """
    found = find_model(source, which)
    if found.is_saved_model:
        return _savedmodel(found.path, precision)
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
    if Path(source).suffix == ".keras" and Path(source).is_file():
        recipes.import_layers()
        try:
            return keras.saving.load_model(source, compile=False)
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise UserError(f"{source}: not a Keras model of madn's ({' '.join(str(problem).split())[:160]})") from None
    loaded = load_network(source, which)
    if loaded.model is None:
        raise UserError(f"{source}: a SavedModel is no Keras model any more; tf.saved_model.load reads it")
    return loaded.model


def _weights(file: Path, name: str | None, precision: str) -> Loaded:
    stored = read_recipe(file)
    if stored is None and name is None:
        raise UserError(f"{file}: this weights file does not say its recipe; name it with --recipe")
    if stored is None:
        recipe = recipes.get(name)
    else:
        if name is not None and name != stored["recipe"]:
            raise UserError(f"{file}: weights of recipe {stored['recipe']}, not {name}; leave --recipe out")
        name, recipe = stored["recipe"], recipes.from_fields(stored["recipe"], stored["fields"])
    with dtype_policy("mixed_bfloat16" if precision == "bfloat16" else "float32"):
        generator = recipe.build_generator()
    load_generator(generator, file)
    step = f", step {stored['step']}" if stored and "step" in stored else ""
    return Loaded(Inference(generator), f"{file} (recipe {name}{step})", recipe, generator, name)


def _savedmodel(folder: Path, precision: str) -> Loaded:
    if precision != "float32":
        raise UserError(
            f"{folder}: a SavedModel has the precision that it was exported with; leave --precision out, "
            "or give the run folder"
        )
    try:
        import tensorflow as tf
    except ImportError:
        raise UserError(f"{folder}: a SavedModel needs TensorFlow, which is not installed here") from None
    try:
        loaded = tf.saved_model.load(str(folder))
        signature = loaded.signatures["serving_default"]
    except (OSError, KeyError, ValueError) as problem:
        reason = " ".join(str(problem).split())[:160]
        raise UserError(f"{folder}: not a SavedModel with a serving_default signature ({reason})") from None

    def network(images: np.ndarray, _loaded=loaded) -> np.ndarray:  # The signature alone does not keep the model alive.
        return signature(tf.constant(images))["deblurred"].numpy()

    return Loaded(network, f"SavedModel {folder}", facts=_facts(folder / "madn.json"))


def _facts(file: Path) -> dict:
    """What an export says of itself; nothing where its file is damaged, or not ours."""
    try:
        facts = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return facts if isinstance(facts, dict) else {}
