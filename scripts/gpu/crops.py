"""Training crops cut from pairs, in packs that small transfers take; test pairs whole; photographs as they are.

The rule: each sharp image is covered by windows of `SIDE` pixels that do not overlap, spread evenly over it. They are
ranked by their detail (`madn.data.crops.detail`, which --crop-tries uses too). The best window of every pair comes
first, then the second best of every pair, and so on; one with less than `LEAST` of the set's median detail (sky, wall)
is left out. The packs are filled in that order, so that the first has a part of every pair, and the best.
"""

import statistics
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np

from gpu import parts
from madn.data.crops import detail
from madn.data.images import decode
from madn.data.index import Pair
from madn.errors import UserError
from madn.imaging.arrays import save_picture

SIDE = 360  # pixels: a crop of 256 has a hundred places in each direction
LEAST_SIDE = 256
LEAST = 0.3
SUFFIX = ".webp"  # lossless: two thirds of a PNG


@dataclass(frozen=True)
class Window:
    """A square of a pair, by its upper left corner."""

    pair: Pair
    top: int
    left: int
    side: int
    detail: float


def places(length: int, side: int) -> list[int]:
    """Starts of as many windows of `side` as fit into `length` without overlap, evenly spread."""
    count = length // side
    if count == 1:
        return [(length - side) // 2]
    return [round(i * (length - side) / (count - 1)) for i in range(count)]


def windows(pair: Pair, sharp: np.ndarray) -> list[Window]:
    """The windows of a pair, those with the most detail first; one the size of its shorter side for a small image."""
    side = min(SIDE, *sharp.shape[:2])
    if side < LEAST_SIDE:
        return []
    found = [
        Window(pair, top, left, side, detail(sharp[top : top + side, left : left + side]))
        for top in places(sharp.shape[0], side)
        for left in places(sharp.shape[1], side)
    ]
    return sorted(found, key=lambda window: -window.detail)


def ranked(of_pairs: Sequence[Sequence[Window]]) -> list[Window]:
    """The best of every pair, then every second best, ...; without those that show too little."""
    every = [window.detail for found in of_pairs for window in found]
    least = LEAST * statistics.median(every) if every else 0
    return [window for rank in zip_longest(*of_pairs) for window in rank if window and window.detail >= least]


def write_crops(pairs: Sequence[Pair], kit: Path, limit: int, packs: int) -> Iterator[Path]:
    """Cut the pairs into at most `packs` packs `crops1`, ... of at most `limit` bytes, as sets in the GoPro layout."""
    images = {pair.name: [decode(path)[0] for path in (pair.blurred, pair.sharp)] for pair in pairs}
    pairs = [pairs[number] for number in spread(len(pairs))]  # a pack that ends within a rank has some of every scene
    order = ranked([windows(pair, images[pair.name][1]) for pair in pairs])
    if not order:
        raise UserError(f"no pair has a side of {LEAST_SIDE} pixels to cut a crop from")
    pack, total = 1, 0

    def write(window: Window, folder: Path) -> list[Path]:
        place = (slice(window.top, window.top + window.side), slice(window.left, window.left + window.side))
        return _write_pair(
            [image[place] for image in images[window.pair.name]],
            folder,
            "train",
            window.pair,
            f"_{window.top}_{window.left}",
        )

    for window in order:
        made = write(window, kit / f"crops{pack}")
        size = sum(path.stat().st_size for path in made)
        if total + size > limit:
            for path in made:
                path.unlink()
            yield kit / f"crops{pack}"
            if pack == packs:
                return
            pack, total = pack + 1, 0
            write(window, kit / f"crops{pack}")
        total += size
    yield kit / f"crops{pack}"


def write_test(pairs: Sequence[Pair], kit: Path, limit: int) -> Path:
    """The test pairs, whole, in one pack; as many of them, evenly spread, as `limit` bytes hold."""
    chosen, total = [], 0
    for number in spread(len(pairs)):
        pair = pairs[number]
        made = _write_pair([decode(path)[0] for path in (pair.blurred, pair.sharp)], kit / "test", "test", pair, "")
        total += sum(path.stat().st_size for path in made)
        if total > limit:
            for path in made:
                path.unlink()
            break
        chosen.append(pair)
    if not chosen:
        raise UserError(f"{pairs[0].blurred}: one test pair alone is larger than a pack")
    return kit / "test"


def spread(count: int) -> list[int]:
    """All numbers below `count`, the first, the middle, the quarters, ... first: any beginning is spread over all."""
    order, step = [0], count
    while step > 1:
        step = -(-step // 2)
        order += range(0, count, step)
    return list(dict.fromkeys(order))[:count]


def write_photos(photos: Sequence[Path], kit: Path, limit: int, packs: int) -> list[Path]:
    """The photographs' files as they are, spread evenly over the packs `photos1`, ... of at most `limit` bytes."""
    dealt = parts.deal([photos[number] for number in spread(len(photos))], limit)[:packs]
    for number, files in enumerate(dealt, 1):
        folder = kit / f"photos{number}"
        folder.mkdir(parents=True)
        for file in files:
            parts.copy(file, folder / file.name)
    return [kit / f"photos{number}" for number in range(1, len(dealt) + 1)]


def _write_pair(images: Sequence[np.ndarray], folder: Path, split: str, pair: Pair, place: str) -> list[Path]:
    from PIL import Image

    stem = pair.name.rpartition("/")[2]
    paths = [folder / split / (pair.scene or "scene") / kind / f"{stem}{place}{SUFFIX}" for kind in ("blur", "sharp")]
    if paths[0].exists():
        raise UserError(f"{pair.blurred}: another pair of scene {pair.scene} has the name {stem} too; rename one")
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(save_picture, paths, map(Image.fromarray, images)))
    return paths
