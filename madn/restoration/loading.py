"""Loads trained networks: by a published name, or from a run folder, a weights file or a SavedModel."""

import json
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np

from madn import recipes
from madn.errors import UserError
from madn.restoration.inference import Inference
from madn.restoration.loaded import Loaded
from madn.system.writing import WEIGHTS
from madn.training.checkpoint import load_generator, read_recipe
from madn.training.precision import dtype_policy
from madn.training.runfolder import RunFolder
from madn.weights import registry


def load_network(
    source: str | Path, which: str = "best", recipe: str | None = None, precision: str = "float32"
) -> Loaded:
    """Load a network.

    Args:
        source: a run folder, a `.weights.h5` file, a SavedModel folder, or the name of published weights (see
            madn.weights); what exists under that path comes first.
        which: the "best" or the "last" checkpoint of a run folder.
        recipe: the recipe's name, for a weights file that does not say it; where it does, the two must agree.
        precision: "float32", or "bfloat16" for everything but images; a SavedModel has its own.
    Raises:
        UserError: nothing there and no such name, a damaged file, or weights of another recipe or width.
    """
    name, source = str(source), Path(source)
    if (source / "saved_model.pb").is_file():
        return _savedmodel(source, precision)
    run = RunFolder(source)
    if run.settings() is not None:
        file = run.generator(which)
        if not file.is_file():
            raise UserError(
                f"{source}: no {which} checkpoint yet; go on with python -m madn.train --run {source} --resume"
            )
    elif source.is_file():
        file = source
    elif name in (known := registry.entries()):  # A folder of that name, such as madn/ in a checkout, does not matter.
        if which != "best":
            raise UserError(f"{name}: published weights have no {which} checkpoint; leave --which out")
        file = registry.path(name)
        loaded = _weights(file, recipe, precision)
        # The description leaves out where the file is installed.
        inside = loaded.description.replace(str(file), file.name)
        return replace(loaded, description=f"{name}, {known[name].short_hash}: {inside}")
    elif source.is_dir():
        raise UserError(f"{source}: neither a run folder (no settings.json) nor a SavedModel (no saved_model.pb)")
    else:
        raise UserError(
            f"{source}: no such run folder, {WEIGHTS} file or SavedModel, and no published weights of that "
            f"name: {registry.hint(name, known)}"
        )
    return _weights(file, recipe, precision)


def load_model(source: str | Path, which: str = "best") -> keras.Model:
    """See `madn.load`."""
    if Path(source).suffix == ".keras" and Path(source).is_file():
        recipes.import_layers()
        try:
            return keras.saving.load_model(source, compile=False)
        except (OSError, ValueError, TypeError, KeyError) as problem:
            raise UserError(f"{source}: not a Keras model of madn's ({' '.join(str(problem).split())[:160]})") from None
    if Path(source).suffix == ".onnx":
        raise UserError(f"{source}: an ONNX file is no Keras model any more; madn.deblur takes it as it is")
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
