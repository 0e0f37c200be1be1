"""The base of the recipes with a perceptual loss, which says where its VGG weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from madn.training.recipe import Recipe

if TYPE_CHECKING:
    from madn.nn.vgg import PerceptualLoss


@dataclass(frozen=True, kw_only=True)
class PerceptualRecipe(Recipe):
    """Perceptual loss: of which VGG weights; a paper's recipe says of which layer."""

    vgg_network: ClassVar[str]
    """vgg16 or vgg19."""

    vgg_weights: str | None = None
    """File of VGG weights (VGG16 for sisnet, else VGG19) in keras.applications' format; by default its download."""
    vgg_gain: float | None = None
    """Factor on the perceptual loss; by default calibrated to the weights (madn.nn.vgg)."""

    def perceptual(self) -> PerceptualLoss | None:
        """The loss, or None in a variant without it. Raises `UserError` where its weights are not to be had."""
        raise NotImplementedError

    def prepare(self) -> dict:
        loss = self.perceptual()
        return {"perceptual": loss.facts()} if loss else {}
