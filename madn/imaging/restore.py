"""Restoring photos of any size with a network that wants multiples of 16."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from tqdm import tqdm

from madn.errors import UserError
from madn.imaging.files import image_files, image_format, read_image, write_image

Network = Callable[[np.ndarray], np.ndarray]  # float32 NHWC batch in [0, 1] -> float32 NHWC batch


def padded_size(n: int, multiple: int = 16) -> int:
    """The smallest multiple of `multiple` that holds `n` pixels."""
    return -(-n // multiple) * multiple


def reflected(n: int, length: int) -> np.ndarray:
    """Indices 0 .. n-1, n-2 .. 0, 1 .. of reflect padding from `n` to `length` pixels, however short the row."""
    if n == 1:
        return np.zeros(length, int)
    position = np.arange(length) % (2 * n - 2)
    return np.minimum(position, 2 * n - 2 - position)


def restore(network: Network, image: np.ndarray, multiple: int = 16) -> np.ndarray:
    """Restore one image of any size from 1x1 up.

    `image` is float32 (H, W, 3) RGB in [0, 1]. It is reflect-padded at the bottom and right to multiples of
    `multiple`, given to `network` as a batch of one, cropped back and clipped to [0, 1].
    Raises `UserError` when the network answers with values that are not numbers.
    """
    height, width = image.shape[:2]
    rows, columns = (reflected(n, padded_size(n, multiple)) for n in (height, width))
    batch = np.ascontiguousarray(image[rows][:, columns][None], np.float32)
    restored = np.asarray(network(batch), np.float32)[0, :height, :width]
    if not np.isfinite(restored).all():
        raise UserError("the network's output holds values that are not numbers: its weights are damaged, or its "
                        "training diverged; choose another checkpoint")
    return np.clip(restored, 0.0, 1.0)


def output_files(source: Path, target: Path) -> list[tuple[Path, Path]]:
    """(input, output) for each photo of `source`, a file or a folder with all folders below it.

    A file goes to the file `target`, or into the folder `target`; a folder's photos go below the folder `target`
    under their relative names. Raises `UserError` when there is nothing to restore, when an input would be written
    over, or when a suffix names no image format.
    """
    if source.is_file():
        into_folder = target.is_dir() or not target.suffix
        jobs = [(source, target / source.name if into_folder else target)]
    elif source.is_dir():
        if target.is_file():
            raise UserError(f"{target}: is a file; the photos of a folder go to a folder")
        inside = target.resolve()  # what an earlier run wrote below `source` is no input
        jobs = [(path, target / path.relative_to(source)) for path in image_files(source)
                if inside == source.resolve() or inside not in path.resolve().parents]
        if not jobs:
            raise UserError(f"{source}: no image files in it")
    else:
        raise UserError(f"{source}: no such file or folder")
    for path, output in jobs:
        image_format(output)
        if output.exists() and output.samefile(path):
            raise UserError(f"{output}: the restored photo would be written over its input; give another place")
    return jobs


def restore_files(network: Network, jobs: list[tuple[Path, Path]], multiple: int = 16) -> list[str]:
    """Restore each (input, output) of `jobs`; returns one line for each input that could not be read."""
    problems = []
    for source, target in tqdm(jobs, unit="photo", disable=len(jobs) == 1):
        try:
            image = read_image(source)
        except UserError as problem:
            problems.append(str(problem))
            continue
        write_image(target, restore(network, image, multiple))
    return problems
