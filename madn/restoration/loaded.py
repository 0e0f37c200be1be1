"""A network ready to restore, whichever runtime computes it. Nothing here imports Keras, TensorFlow or onnxruntime."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from madn.restoration.restorer import Restorer
from madn.restoration.scale import ScaledRestorer

if TYPE_CHECKING:
    import keras

    from madn.training.recipe import Recipe

BLEND = 64  # Tiles of a network of which nothing is known fade into each other over so many pixels.
LARGEST_MULTIPLE = 1024  # Photos are padded up to a multiple, and no network has a larger one.
ELSEWHERE = 4096  # So many bytes a pixel are assumed where nothing says it: plenty for the full widths.


@dataclass(frozen=True)
class Loaded:
    """A network ready to restore.

    `network` takes float32 (batch, height, width, 3) in [0, 1], height and width multiples of `multiple`, and gives the
    same, unclipped. `recipe` and `model` (the Keras generator) are None for a SavedModel and for an ONNX file.
    """

    network: Any
    description: str
    recipe: Recipe | None = None
    model: keras.Model | None = None
    recipe_name: str | None = None
    facts: dict | None = None
    """What an exported network says of itself: `multiple`, `bytes_per_pixel`, `tile_pixels`, `tile_blend`, `reach`."""
    runtime: str = ""
    """What computes it."""
    device: str = ""
    """The accelerator or processor that it computes on, which its seconds are of."""

    @property
    def multiple(self) -> int:
        """What image sizes must be padded to a multiple of; a SavedModel pads inside."""
        return self.recipe.multiple if self.recipe else self._fact("multiple", 1, most=LARGEST_MULTIPLE)

    def restorer(
        self,
        memory_gb: float | None = None,
        tile: int | None = None,
        ensemble: bool = False,
        scale: float | None = None,
    ) -> Restorer:
        """The network for photos of any size in bounded memory; see `madn.restoration.restorer.Restorer`.

        `scale`: at which photos are restored; by default the one that each photo's blur asks for (`ScaledRestorer`).

        An exported network shares no statistics between tiles, so its tiles fade into each other, unless it says that
        it takes none.
        """
        if self.recipe:
            multiple, blend, tile_pixels, reach = self.multiple, self.recipe.tile_blend, self.recipe.tile_pixels, None
        else:
            multiple = self._fact("multiple", 32, most=LARGEST_MULTIPLE)
            blend = self._fact("tile_blend", BLEND, least=0)
            tile_pixels, reach = self._fact("tile_pixels", None), self._fact("reach", None)
        bytes_per_pixel = self._fact("bytes_per_pixel", None)
        if bytes_per_pixel is None:
            bytes_per_pixel = getattr(self.network, "bytes_per_pixel", lambda: ELSEWHERE)()
        return ScaledRestorer(
            self.network,
            multiple,
            bytes_per_pixel,
            blend,
            memory_gb,
            tile,
            tile_pixels,
            ensemble,
            reach=reach,
            scale=scale,
        )

    def _fact(self, name: str, otherwise: Any, least: int = 1, most: float = math.inf) -> Any:
        """What the exported network says, where that is a number that makes sense."""
        value = (self.facts or {}).get(name)
        return value if type(value) is int and least <= value <= most else otherwise
