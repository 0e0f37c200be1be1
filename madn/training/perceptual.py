"""The base of the recipes with a perceptual loss, which says where its VGG weights come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from madn.training.recipe import Recipe

if TYPE_CHECKING:
    from madn.nn.vgg import PerceptualLoss

TORCHVISION_VGG19 = 1.6
"""Squared feature differences of torchvision's VGG19, in units of those of the VGG19 file whose channels have mean 1.

An estimate, the same for all layers and papers: a torchvision VGG19 was not at hand. Its VGG16 was, whose mean
activation behind the three convolutions of block 3 is 1.164 (mean of 14 photographs' middles of 256 pixels), where the
file's four have 0.908; (1.164 / 0.908)^2 is 1.6, and single layers of VGG16 give 0.9 to 2.3. Squared differences
themselves cannot be compared so: within each of the two networks they differ by ten and more from layer to layer.
"""


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
