"""A trained generator in the formats that travel: SavedModel, ONNX and LiteRT, each checked before it is kept.

An exported folder holds

    saved_model.pb, variables/     for TensorFlow
    assets.extra/                  a warm-up file for TensorFlow Serving
    model.onnx                     for onnxruntime and others
    model.tflite                   for LiteRT
    example_*.py                   for each of them, from a photo to a photo: its runtime, NumPy and Pillow
    madn.json                      what the network is, and how far each format is away from Keras
"""

import functools
import hashlib
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import skimage.data
import tensorflow as tf

from madn.errors import UserError
from madn.export.serving import SIGNATURES, ServingModule, require_tensorflow
from madn.system.json_files import read_json

FACTS = "madn.json"
DARKTABLE = "config.json"
CHECKED_SHAPES = ((2, 101, 77), (1, 192, 240))  # These are batch, height and width.
EXAMPLES = Path(__file__).parent / "examples"


@dataclass(frozen=True)
class Format:
    """A format: its place in the folder, its module here, and the packages by import name that this needs."""

    file: str
    module: str
    runtime: str
    packages: dict[str, str]
    tolerance: float
    example: str

    @property
    def missing(self) -> list[str]:
        """Packages that are not installed here."""
        return [package for name, package in self.packages.items() if importlib.util.find_spec(name) is None]


FORMATS = {
    "savedmodel": Format(".", "serving", "tensorflow", {}, 1e-5, "example_tensorflow.py"),
    "onnx": Format(
        "model.onnx",
        "to_onnx",
        "onnxruntime",
        {"tf2onnx": "tf2onnx", "onnx": "onnx", "onnxruntime": "onnxruntime"},
        1e-3,
        "example_onnxruntime.py",
    ),
    "litert": Format(
        "model.tflite", "to_litert", "ai-edge-litert", {"ai_edge_litert": "ai-edge-litert"}, 1e-3, "example_litert.py"
    ),
}


def export(
    generator: keras.Model,
    folder: str | Path,
    formats: Iterable[str] = ("savedmodel",),
    facts: dict | None = None,
    overwrite: bool = False,
    multiple: int = 16,
    litert_size: tuple[int, int] | None = None,
    onnx: dict[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    finish: Callable[[Path], None] = lambda folder: None,
) -> dict[str, dict]:
    """Write `generator` to `folder` in each of `formats` ("savedmodel", "onnx", "litert"), with examples.

    Each file is loaded by its own runtime and compared with the Keras model on photographs of two sizes, float32 on
    the CPU, before the folder takes its place: `folder` holds checked files or what it held before.

    Args:
        generator: a Keras model on the TensorFlow backend, (batch, height, width, 3) in [0, 1] -> a tensor of that
            shape or a dictionary that holds it as `deblurred`; heights and widths are multiples of `multiple`.
        facts: go into madn.json.
        overwrite: an exported folder that is already there gives way, the one that a link leads to where it is one;
            a folder that holds anything else never does.
        litert_size: (height, width) of the only photos that the LiteRT file takes; by default it takes all.
        onnx: the `layout`, `precision` and `size` of the ONNX file; see `madn.export.to_onnx.Variant`.
        say: is told what is being done, in lines.
        finish: is given the new folder before it takes its place, and may add to it.
    Returns:
        For each format its `file`, the `sha256` of each file, `runtime` and its version, the `largest_difference`
        from Keras, and the `dynamic` axes.
    Raises:
        UserError: Keras runs on another backend, `folder` is in use, a package is missing, or a format cannot be
            written or differs from Keras by more than its tolerance (1e-5 for SavedModel, 1e-3 for the others).
    """
    require_tensorflow()
    formats = tuple(formats)
    if not formats or set(formats) - set(FORMATS):
        raise UserError(f"formats are one or more of {', '.join(FORMATS)}; received {', '.join(formats) or 'none'}")
    folder = Path(os.path.realpath(folder))
    check_free(folder, overwrite)
    check_installed(formats)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as temporary:
        fresh, old = Path(temporary, "fresh"), Path(temporary, "old")
        fresh.mkdir()
        module = ServingModule(generator, multiple)
        reference = keras_reference(generator, multiple)
        expected = functools.cache(lambda shape: reference(photographs(shape)))
        written = {}
        for name in FORMATS:
            if name in formats:
                say(f"writing and checking {name} ...")
                options = {"size": litert_size} if name == "litert" else dict(onnx or {}) if name == "onnx" else {}
                about_it = {**(facts or {}), "multiple": multiple}
                written[name] = _write(name, generator, module, fresh, expected, options, about_it)
        about = {"version": 1, **(facts or {}), "multiple": multiple, "formats": written}
        if "savedmodel" in written:
            about["signatures"] = SIGNATURES
        finish(fresh)
        about["files"] = sorted([*_files(fresh), FACTS])
        (fresh / FACTS).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
        if folder.exists():
            os.replace(folder, old)
        try:
            os.replace(fresh, folder)
        except BaseException:  # Ctrl-C must not lose the old folder either.
            if old.exists():
                os.replace(old, folder)
            raise
    return written


def _write(
    name: str,
    generator: keras.Model,
    module: ServingModule,
    folder: Path,
    expected: Callable[[tuple[int, int, int]], np.ndarray],
    options: dict[str, Any],
    facts: dict,
) -> dict:
    """Write one format and its example into `folder`, compare it with Keras, and return what madn.json says of it."""
    chosen = FORMATS[name]
    converter = import_module(f"madn.export.{chosen.module}")
    write, load = getattr(converter, f"write_{name}"), getattr(converter, f"load_{name}")
    before = set(folder.rglob("*"))
    fixed, tolerance = options.get("size"), chosen.tolerance
    try:
        if name == "onnx":
            variant = converter.Variant(**options)
            tolerance = variant.tolerance
            write(ServingModule(converter.prepared(generator), facts["multiple"]), folder / chosen.file, variant, facts)
        else:
            write(module, folder / chosen.file, *([fixed] if fixed else []))
        restore = load(folder / chosen.file)
        shapes = [(1, *fixed)] if fixed else CHECKED_SHAPES
        difference = float(np.max([np.abs(restore(photographs(shape)) - expected(shape)).max() for shape in shapes]))
    except OSError:
        raise
    except Exception as problem:  # A converter or a runtime may raise anything.
        reason = " ".join(str(problem).split())[-200:] or type(problem).__name__  # The cause stands at the end.
        raise UserError(
            f"{name}: this network cannot be converted ({reason}), so nothing was written; --formats chooses others"
        ) from problem
    if not difference <= tolerance:  # A difference that is no number must not pass.
        raise UserError(
            f"{name}: differs from the Keras model by {difference:.1e} (at most {tolerance:.0e} is "
            "allowed), so nothing was written"
        )
    files = sorted(path for path in set(folder.rglob("*")) - before if path.is_file())
    hashes = {path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}
    if options.get("layout") == "nchw":
        (folder / DARKTABLE).write_text(json.dumps(_for_darktable(facts), indent=2) + "\n", encoding="utf-8")
    else:
        for example in EXAMPLES.glob(f"{Path(chosen.example).stem}*.py"):  # Those for tiles have a longer name.
            shutil.copyfile(example, folder / example.name)
    about = {
        "file": chosen.file,
        "sha256": hashes,
        "runtime": f"{chosen.runtime} {metadata.version(chosen.runtime)}",
        "largest_difference": difference,
        "dynamic": [] if fixed else ["batch", "height", "width"],
    }
    return {**about, "shape": [1, *fixed, 3]} if fixed else about


def _for_darktable(facts: dict) -> dict:
    """What darktable reads of a folder with a model.onnx. It knows no task of deblurring, and takes whatever makes an
    image of an image of the same size as a denoiser (darktable, src/ai/README.md)."""
    name = str(facts.get("recipe") or "madn").replace("_", "-")
    return {
        "id": f"denoise-{name}",
        "name": f"deblur {name}",
        "description": str(facts.get("description", "")),
        "task": "denoise",
        "backend": "onnx",
        "num_inputs": 1,
    }


def photographs(shape: tuple[int, int, int]) -> np.ndarray:
    """`batch` different cut-outs of a photograph that scikit-image brings, mirrored where it ends: float32 (*shape, 3)
    in [0, 1]."""
    photo = skimage.data.astronaut()
    batch, height, width = shape
    places = np.pad(np.arange(512), (0, max(0, max(height, width) + 100 * batch - 512)), mode="reflect")
    cut = [
        photo[places[start : start + height]][:, places[start : start + width]]
        for start in range(100, 100 * batch + 1, 100)
    ]
    return np.array(cut, np.float32) / 255


def keras_reference(generator: keras.Model, multiple: int) -> Callable[[np.ndarray], np.ndarray]:
    """A function that restores float32 images of any size by Keras, padded by NumPy, cropped and clipped.

    Keras is compiled for any size, as it is for inference: TensorFlow reorders float32 sums in such a graph, which
    moves an untrained full-width network by a few 1e-5 where its outputs reach 20. On the CPU, because a GPU may
    choose other convolution kernels, or TF32.
    """
    compiled = tf.function(
        lambda batch: generator(batch, training=False),
        input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)],
    )

    def restore(images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        padding = [(0, 0), (0, -height % multiple), (0, -width % multiple), (0, 0)]
        with tf.device("CPU"):
            restored = compiled(tf.constant(np.pad(images, padding, mode="reflect")))
        restored = restored["deblurred"] if isinstance(restored, dict) else restored
        return np.clip(tf.cast(restored, tf.float32).numpy()[:, :height, :width], 0, 1)

    return restore


def check_free(folder: Path, overwrite: bool) -> None:
    """Raise `UserError` unless `folder` is absent, empty, or an exported network that may be replaced."""
    there = next(place for place in (folder, *folder.absolute().parents) if os.path.lexists(place))
    if not there.is_dir():
        raise UserError(f"{there} is a file; exports go to a folder: give another name")
    if folder.exists() and (folder.samefile(".") or os.path.ismount(folder)):
        raise UserError(f"{folder}: this folder itself cannot be replaced; name a new one in it")
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    own = _written_by_export(folder)
    if not own:
        raise UserError(f"{folder} holds other files and is left as it is: give an empty or a new folder")
    if others := sorted(set(_files(folder)) - own):
        raise UserError(
            f"{folder} holds files beside an exported network, such as {others[0]}, and is left as it is: move them, "
            "or give another folder"
        )
    if not overwrite:
        raise UserError(
            f"{folder} already holds an exported network: add --overwrite to replace it, or give another folder"
        )


def _files(folder: Path) -> list[str]:
    """The files in a folder and below, as paths from it; links count as files."""
    return sorted(
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()
    )


def _written_by_export(folder: Path) -> set[str]:
    """The files that `export` wrote there, as its madn.json says; none where there is no such file."""
    try:
        about = read_json(folder / FACTS, dict[str, Any], "an export's facts", "")
        if "files" in about:
            return set(about["files"])
        # The first exports listed their networks alone.
        hashed = {name for each in about["formats"].values() for name in each["sha256"]}
        return hashed | {FACTS, DARKTABLE} | {example.name for example in EXAMPLES.iterdir()}
    except (UserError, KeyError, TypeError, AttributeError):
        return set()


def check_installed(formats: Iterable[str]) -> None:
    """Raise `UserError` when a format's packages are not installed."""
    for name in formats:
        if FORMATS[name].missing:
            raise UserError(
                f"{name} needs {' and '.join(FORMATS[name].missing)}: {how_to_install(name)}, or leave it "
                "out of --formats"
            )


def how_to_install(name: str) -> str:
    """The command that brings what a format lacks."""
    return f"python -m pip install {' '.join(FORMATS[name].missing)}"
