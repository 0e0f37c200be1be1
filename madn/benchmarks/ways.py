"""Times different ways of restoring one photo, and measures how far their results are from the plain call's."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import keras
import numpy as np

from madn.errors import UserError
from madn.imaging.arrays import read_image, write_image
from madn.restoration.loading import Loaded, load_network
from madn.restoration.restorer import restore
from madn.system.tables import markdown_table


def restoration_table(model: str, photo: Path, tile: int, rounds: int = 3, out: Path | None = None) -> Iterator[str]:
    """A Markdown table: seconds a megapixel, the ratio to the plain call, PSNR and largest difference against it.

    Every way is run once to compile and `rounds` times in turn with the others; the fastest counts. `out`: folder for
    the restored photo and the tiles' difference from it, 32 times enlarged about grey.
    """
    image = read_image(photo)
    loaded = load_network(model)
    if loaded.model is None:
        raise UserError(f"{model} is a SavedModel: give the run folder, which is run in more than one way")
    ways = _ways(loaded, model, image, tile)
    seconds = {name: [] for name in ways}
    results = {name: way() for name, way in ways.items()}
    for _ in range(rounds):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    plain, megapixels = min(seconds["plain Keras call"]), image.shape[0] * image.shape[1] / 1e6
    yield f"{loaded.description}, {photo.name}, {image.shape[1]}x{image.shape[0]}"
    rows = []
    for name, times in seconds.items():
        difference = results[name] - results["plain Keras call"]
        error = float(np.square(difference).mean())
        closeness = "equal" if error == 0 else f"{-10 * np.log10(error):.1f} dB"
        ratio, largest = f"{plain / min(times):.2f}", f"{np.abs(difference).max() * 255:.2f}"
        rows.append([name, f"{min(times) / megapixels:.2f}", ratio, closeness, largest])
    header = ["way", "s/megapixel", "plain / this", "PSNR to the plain call", "largest difference, of 255"]
    yield markdown_table(header, rows, [False, True, True, True, True])
    if out:
        write_image(out / f"{photo.stem}_whole.png", results["compiled"])
        tiled = next(name for name in results if name.startswith("tiles"))
        write_image(
            out / f"{photo.stem}_{tile}_difference_x32.png",
            np.clip(0.5 + 32 * (results[tiled] - results["compiled"]), 0, 1),
        )


def _ways(loaded: Loaded, model: str, image: np.ndarray, tile: int) -> dict[str, Callable[[], np.ndarray]]:
    """The ways by name: calls that restore the photo, wait for the result and clip it to [0, 1]."""
    half, restorer = load_network(model, precision="bfloat16").network, loaded.restorer(tile=tile, scale=1.0)

    def whole(network) -> Callable[[], np.ndarray]:
        return lambda: restore(lambda batch: keras.ops.convert_to_numpy(network(batch)), image, loaded.multiple)

    ways = {
        "plain Keras call": whole(lambda images: loaded.model(images, training=False)["deblurred"]),
        "compiled": whole(loaded.network),
        "compiled, bfloat16": whole(half),
        f"tiles: {restorer.plan(*image.shape[:2])}": lambda: restorer(image)[0],
    }
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        generator = loaded.network.generator
        ways["compiled with XLA"] = whole(
            tf.function(lambda images: generator(images, training=False), jit_compile=True, autograph=False)
        )
    return ways
