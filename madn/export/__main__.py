"""`python -m madn.export RUN DIR`: a trained network in formats that need neither madn nor Keras.

SavedModel (signatures `serving_default`, float32 in [0, 1], `uint8`, and `bytes`, JPEG or PNG files), ONNX and LiteRT;
any height, width and batch, and examples. Every file is run by its own runtime and compared with the Keras network on
a photograph before the folder takes its place. madn.json inside it says what it is.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from madn.errors import UserError, run_command
from madn.restoration.model_source import find_model, is_savedmodel
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.system.versions import versions

if TYPE_CHECKING:
    from madn.restoration.loading import Loaded


@dataclass(frozen=True)
class ExportOptions:
    """Which network is exported, and where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder, a .weights.h5 file or the name of published weights."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder for the exported network."""
    formats: tuple[Literal["savedmodel", "onnx", "litert"], ...] = ()
    """Formats to write; by default all whose packages are installed."""
    litert_size: tuple[int, int] | None = None
    """Height and width of the only photos that the LiteRT file takes, in less memory. By default any."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    overwrite: bool = False
    """Replace an exported network that is already there."""


def main(argv: list[str]) -> None:
    """The command."""
    options = parse(ExportOptions, argv, "python -m madn.export", __doc__)
    if options.litert_size and min(options.litert_size) < 1:
        raise UserError("--litert-size takes a height and a width of at least 1")
    if options.litert_size and options.formats and "litert" not in options.formats:
        raise UserError("--litert-size has no use without litert in --formats")
    find_model(options.run, options.which)
    start_keras()
    try:  # This comes first, for loading the network takes longer.
        from madn.export import exporting
    except ModuleNotFoundError as missing:
        raise UserError(f"exports are made by TensorFlow, and {missing.name} is not installed here") from None
    exporting.require_tensorflow()
    exporting.check_free(options.folder, options.overwrite)
    exporting.check_installed(options.formats)
    formats = options.formats or [name for name, each in exporting.FORMATS.items() if not each.missing]

    from madn.restoration.loading import load_network

    if is_savedmodel(options.run):
        raise UserError(f"{options.run} is a SavedModel already: give a run folder or a weights file")
    loaded = load_network(options.run, options.which, options.recipe)
    for name in exporting.FORMATS:
        if not options.formats and name not in formats:
            print(f"{name} is left out; to have it: {exporting.how_to_install(name)}")
    written = exporting.export(
        loaded.model,
        options.folder,
        formats,
        facts(loaded),
        options.overwrite,
        loaded.multiple,
        options.litert_size,
        say=lambda line: print(line, flush=True),
    )
    print(f"wrote {options.folder}: {loaded.description}")
    for name, about in written.items():
        size = "x".join(map(str, about["shape"][1:3])) + " only" if "shape" in about else "any size"
        print(f"  {name:<11}{size}, at most {about['largest_difference']:.1e} away from Keras")
        if name == "savedmodel":
            for signature, what in exporting.SIGNATURES.items():
                print(f"    signature {signature}: {what}")


def facts(loaded: "Loaded") -> dict:
    """What madn.json says of a loaded network: its name, recipe and versions, and what the tiles of a SavedModel go
    by, the memory for each pixel and the most pixels."""
    return {
        "description": loaded.description,
        "recipe": loaded.recipe_name,
        "fields": loaded.recipe.fields(),
        "bytes_per_pixel": loaded.network.bytes_per_pixel(),
        "tile_pixels": loaded.recipe.tile_pixels,
        "versions": versions(),
    }


if __name__ == "__main__":
    run_command(main)
