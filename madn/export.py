"""`python -m madn.export RUN DIR`: a trained network as a SavedModel that needs TensorFlow alone.

Any height, width and batch; signatures `serving_default` (float32 in [0, 1]) and `uint8`. The SavedModel is loaded
again and compared with the Keras network before it takes its place. madn.json inside it says what it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from madn.commandline import parse
from madn.errors import UserError, run_door
from madn.imaging.evaluation import versions
from madn.startup import start_keras

if TYPE_CHECKING:
    from madn.loading import Loaded


@dataclass(frozen=True)
class Options:
    """Which network, and where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder or a .weights.h5 file."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder for the SavedModel."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    overwrite: bool = False
    """Replace a SavedModel that is already there."""


def main(argv: list[str]) -> None:
    """The door."""
    options = parse(Options, argv, "python -m madn.export", __doc__)
    start_keras()
    try:  # before the network is loaded, which takes longer
        from madn.imaging import serving
    except ModuleNotFoundError as missing:
        raise UserError(f"a SavedModel is written by TensorFlow, and {missing.name} is not installed here") from None
    serving.require_tensorflow()
    serving.check_free(options.folder, options.overwrite)

    from madn.loading import load_network

    loaded = load_network(options.run, options.which, options.recipe)
    if loaded.model is None:
        raise UserError(f"{options.run} is a SavedModel already: give a run folder or a weights file")
    difference = serving.export_savedmodel(loaded.model, options.folder, facts(loaded), options.overwrite,
                                           loaded.multiple)
    print(f"wrote {options.folder}: {loaded.description}; at most {difference:.1e} away from Keras over "
          f"{len(serving.CHECKED_SIZES)} image sizes")


def facts(loaded: "Loaded") -> dict:
    """What madn.json says of a network that `madn.loading.load_network` returned: its name, recipe and versions."""
    return {"description": loaded.description, "recipe": loaded.recipe_name, "fields": loaded.recipe.fields(),
            "versions": versions()}


if __name__ == "__main__":
    run_door(main)
