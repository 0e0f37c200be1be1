"""Motion deblurring with Keras: MADN and four baselines, trained, evaluated and exported.

Everywhere public, an image is float32 RGB in [0, 1] and a batch is NHWC.

    madn.deblur(image)              restores one image of any size
    madn.load(name_or_path)         a trained network as a Keras model
    madn.recipes                    every recipe: networks, losses and settings of the papers
    madn.data                       pairs, photographs and samples, checked and cut into batches
    madn.nn                         layers, losses, perceptual features, MACs
    madn.training, madn.evaluation  the adversarial Keras model and its loop; metrics and protocols

`madn --help` lists the commands. Importing madn imports neither NumPy nor Keras; what is used does.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Literal

from madn.version import __version__

if TYPE_CHECKING:
    from pathlib import Path

    import keras
    import numpy as np
    from PIL import Image

    from madn.restoration.restorer import Restorer

if sys.argv[:1] == ["-m"]:  # `python -m madn...` imports the package first: a command begins.
    from madn.errors import start_command

    start_command()

_ROOMS = ("data", "evaluation", "nn", "recipes", "training")
__all__ = ["__version__", "deblur", "load", *_ROOMS]


def deblur(
    image: np.ndarray | str | Path | Image.Image,
    model: str | Path | Restorer | None = None,
    *,
    memory_gb: float | None = None,
    tile: int | None = None,
    precision: Literal["float32", "bfloat16"] = "float32",
    ensemble: bool = False,
    scale: float | Literal["auto"] = "auto",
    trust_model: bool = False,
) -> np.ndarray:
    """Deblur one image of any size.

    Args:
        image: an array (height, width, 3) RGB, (height, width, 4) RGBA, or (height, width) or (height, width, 1) grey:
            uint8, uint16, or floats in [0, 1]; a photo file, whose EXIF orientation is applied; or a PIL image.
        model: a published name (see `python -m madn.weights`), a run folder, a .weights.h5 file or a SavedModel folder;
            loaded once per process; by default `madn.weights.registry.DEFAULT`. Or what
            `madn.restoration.loading.load_network(...).restorer()` returns.
        memory_gb: what the process may hold at its worst, 10^9 bytes; by default half of what is free. Larger images
            are restored in tiles.
        tile: pixels of a tile's side, in place of what follows from the memory.
        precision: "bfloat16" is faster on hardware that has it, and differs by a fraction of an 8-bit step.
        ensemble: the mean over the image's eight flips and turns: a little closer, in eight times the time.
        scale: of the image at which it is restored; what that changes is added to the image's own pixels. "auto": the
            scale at which the network sees the image's blur best, measured on the image (`madn.restoration.scale`).
        trust_model: load a SavedModel that madn.export did not write: it is a program, and may do whatever its maker
            wants.

    Returns:
        The restored image, an array of the shape and type of `image` (of its upright pixels, for a file; alpha is
        passed through), in the colours of a file's or PIL image's own profile.

    Raises:
        UserError: a file that cannot be read, a model that is not there, too little memory.
        ValueError: an array of another shape, type or range.
    """
    from madn.restoration import deblurring

    return deblurring.deblur(image, model, memory_gb, tile, precision, ensemble, scale, trust_model)


def load(name_or_path: str | Path, which: Literal["best", "last"] = "best") -> keras.Model:
    """A trained generator as a Keras model.

    Args:
        name_or_path: a published name, a run folder, a .weights.h5 file that names its recipe, or a .keras file that
            the model's own `save` wrote.
        which: the checkpoint of a run folder; of a run without held-out images the best is the last.

    Returns:
        A functional model: float32 (batch, height, width, 3) RGB in [0, 1], height and width multiples of what the
        recipe says, to a dictionary whose "deblurred" is the restored batch, of the same shape and not clipped.

    Raises:
        UserError: nothing is there, the file is damaged, or it is a SavedModel, which is no Keras model any more.
    """
    from madn.system.startup import start_keras

    start_keras()
    from madn.restoration.loading import load_model

    return load_model(name_or_path, which)


def __getattr__(name: str):
    """The rooms of the public interface, each imported when it is first asked for."""
    if name in _ROOMS:
        return importlib.import_module(f"madn.{name}")
    raise AttributeError(f"module 'madn' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
