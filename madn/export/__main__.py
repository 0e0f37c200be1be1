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
from madn.restoration.loaded import BLEND
from madn.restoration.model_source import find_model, is_savedmodel
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.system.versions import versions

if TYPE_CHECKING:
    from madn.restoration.loaded import Loaded


@dataclass(frozen=True)
class ExportOptions:
    """Which network is exported, and where to."""

    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """A run folder, a .weights.h5 file or the name of published weights."""
    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DIR")]
    """Folder for the exported network."""
    formats: tuple[Literal["savedmodel", "onnx", "litert", "web"], ...] = ()
    """Formats to write; by default all whose packages are installed. Web: a page that restores photos in a browser."""
    litert_size: tuple[int, int] | None = None
    """Height and width of the only photos that the LiteRT file takes, in less memory. By default any."""
    onnx_layout: Literal["nhwc", "nchw"] = "nhwc"
    """Layout of the ONNX file; image editors expect nchw."""
    onnx_precision: Literal["float32", "float16"] = "float32"
    """Float16: half the size; normalisation and statistics stay in float32."""
    onnx_size: tuple[int, int] | None = None
    """Height and width of the only images that the ONNX file takes. By default any."""
    onnxruntime_web: Path | None = None
    """Folder of the npm package onnxruntime-web for the page; by default `npm pack` fetches it."""
    which: Literal["best", "last"] = "best"
    """Checkpoint of a run folder."""
    recipe: str | None = None
    """Recipe that a .weights.h5 file was trained with."""
    overwrite: bool = False
    """Replace an exported network that is already there; a folder with other files in it is left as it is."""


def main(argv: list[str]) -> None:
    """The command."""
    options = parse(ExportOptions, argv, "python -m madn.export", __doc__)
    for name, size in (("litert", options.litert_size), ("onnx", options.onnx_size)):
        if size and min(size) < 1:
            raise UserError(f"--{name}-size takes a height and a width of at least 1")
        if size and options.formats and name not in options.formats:
            raise UserError(f"--{name}-size has no use without {name} in --formats")
    onnx = {"layout": options.onnx_layout, "precision": options.onnx_precision, "size": options.onnx_size}
    if onnx != {"layout": "nhwc", "precision": "float32", "size": None} and "onnx" not in (
        options.formats or ("onnx",)
    ):
        raise UserError("--onnx-layout and --onnx-precision have no use without onnx in --formats")
    web = "web" in options.formats
    if web and onnx != {"layout": "nhwc", "precision": "float32", "size": None}:
        raise UserError("the page's network is NHWC, float32 and of any size; leave the options --onnx-... out")
    if options.onnxruntime_web and not web:
        raise UserError("--onnxruntime-web has no use without web in --formats")
    asked = tuple(dict.fromkeys("onnx" if name == "web" else name for name in options.formats))
    find_model(options.run, options.which)
    start_keras()
    try:  # This comes first, for loading the network takes longer.
        from madn.export import exporting
    except ModuleNotFoundError as missing:
        raise UserError(f"exports are made by TensorFlow, and {missing.name} is not installed here") from None
    exporting.require_tensorflow()
    exporting.check_free(options.folder, options.overwrite)
    exporting.check_installed(asked)
    formats = asked or [name for name, each in exporting.FORMATS.items() if not each.missing]

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
        onnx,
        say=lambda line: print(line, flush=True),
        finish=(lambda fresh: _add_page(loaded, fresh, options.onnxruntime_web)) if web else lambda fresh: None,
    )
    if web:
        print(f"the page: python -m http.server -d {options.folder}, then http://localhost:8000")
    print(f"wrote {options.folder}: {loaded.description}")
    for name, about in written.items():
        size = "x".join(map(str, about["shape"][1:3])) + " only" if "shape" in about else "any size"
        print(f"  {name:<11}{size}, at most {about['largest_difference']:.1e} away from Keras")
        if name == "savedmodel":
            for signature, what in exporting.SIGNATURES.items():
                print(f"    signature {signature}: {what}")


def _add_page(loaded: "Loaded", folder: Path, runtime: Path | None) -> None:
    from madn.export.to_web import write_page

    print("writing the page ...", flush=True)
    write_page(folder, {"multiple": loaded.multiple, "reach": loaded.restorer(scale=1.0).reach}, runtime)


def facts(loaded: "Loaded") -> dict:
    """What madn.json says of a loaded network: its name, recipe and versions, and what tiles go by where it is restored
    with: the memory for each pixel, the most pixels, and over how many pixels they fade into each other."""
    statistics = loaded.network.knows_tiles  # An exported network cannot be told those of the whole photo.
    return {
        "description": loaded.description,
        "recipe": loaded.recipe_name,
        "fields": loaded.recipe.fields(),
        "bytes_per_pixel": loaded.network.bytes_per_pixel(),
        "tile_pixels": loaded.recipe.tile_pixels,
        "tile_blend": BLEND if statistics else loaded.recipe.tile_blend,
        "versions": versions(),
    }


if __name__ == "__main__":
    run_command(main)
