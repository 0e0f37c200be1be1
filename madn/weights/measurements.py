"""The JSON files of `python -m madn.evaluate`, read again: checked, and those of earlier versions included."""

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec

from madn.errors import UserError
from madn.system.json_files import convert, read_json

Decibels = float | Literal["inf"]
"""The PSNR of identical images has no number in JSON."""


Means = dict[str, Decibels]
"""Metric -> mean, or an image's score."""


class Both(msgspec.Struct):
    """The scores of the blurred and the restored images."""

    blurred: Means
    restored: Means


class OfAnImage(Both):
    """One image's scores, and its name."""

    name: str
    scene: str


class Measured(msgspec.Struct):
    """What an evaluation's JSON has for certain, in the first versions, too; the rest is for people."""

    mean: Both
    images: Annotated[list[OfAnImage], msgspec.Meta(min_length=1)]
    data: str
    model: str
    protocol: Literal["full", "crop"]


class OfARecipe(Measured, kw_only=True):
    """What it has since it says of which recipe a network is."""

    recipe: str | None


def read_measured(file: Path, kind: type[Measured] = Measured) -> dict[str, Any]:
    """What an evaluation's JSON says. Raises `UserError` where it is damaged or something else."""
    what, way_out = "what python -m madn.evaluate writes", "measure it again with python -m madn.evaluate"
    result = read_json(file, dict[str, Any], what, way_out)
    read = convert(result, kind, str(file), what, way_out)
    metrics = read.mean.restored.keys()
    if "psnr" not in metrics or any(
        side.keys() != metrics for both in (read.mean, *read.images) for side in (both.blurred, both.restored)
    ):
        raise UserError(f"{file}: not {what}: blurred and restored need the same metrics, psnr among them; {way_out}")
    return result
