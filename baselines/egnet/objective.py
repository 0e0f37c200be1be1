"""EGNet's loss function (Zhao, Di, Gao, section 3.3, Eqs. 13-17). Licence of this file: MIT.

    Loss = sum over the S stages of  alpha L_cont + beta L_grad + gamma L_ssim                  Eq. 17

with L_cont the mean squared error (Eq. 13), L_grad the mean squared difference of the gradient maps (Eqs. 14, 15) and
L_ssim one less MS-SSIM (Eq. 16). S is 3 for the network and 1 for the self-ensemble network; there is no adversary.

Choices where the paper says nothing:
- Eqs. 13 and 14 divide by H x W; the means here are over the three colours too.
- the stages' images are compared as they are, outside [0, 1] too; only MS-SSIM, which needs a range, clips them.
- `loss="mprnet"` is the loss of the backbone's own paper (Zamir et al., "Multi-stage progressive image restoration",
  2021): Charbonnier, and 0.05 times Charbonnier of the edges. Section 4.2's "training strategy in [7]" may mean it.
Those of the gradient map and of MS-SSIM are listed in gradient_map.py and ms_ssim.py.
"""

from dataclasses import dataclass

from keras import ops

from baselines.egnet.gradient_map import Norm, gradient_map, pyramid_edges
from baselines.egnet.ms_ssim import ms_ssim
from madn.nn.losses import l2


@dataclass(frozen=True)
class EGNetObjective:
    """Turns a batch and the stages' images into named terms and their weighted sum.

    `loss`: "eq17", or "mprnet": alpha Charbonnier + beta edges, where `gamma` and the gradient map have no part.
    `stages`: S. `gradient_norm`: Eq. 15's G.
    """

    alpha: float = 1.0
    beta: float = 0.05
    gamma: float = 0.1
    loss: str = "eq17"
    stages: int = 3
    gradient_norm: Norm = "absmax"

    @property
    def term_names(self) -> tuple[str, ...]:
        names, stage = {"eq17": (("gradient", "ms_ssim_loss"), "mse"), "mprnet": (("edge",), "charbonnier")}[self.loss]
        return ("content", *names, *(f"{stage}_stage_{i}" for i in range(1, self.stages + 1)))

    def generator_losses(self, blurred, sharp, outputs: dict, critic=None) -> tuple:
        """(Loss, terms) for images (batch, height, width, 3) in [0, 1] and the generator's outputs.

        `outputs["stages"]` holds the S images of the network, the last stage first. "content" is the first term of
        the sum with its weight; the others are unweighted: `*_stage_i` of stage i, the rest summed over the stages.
        """
        sharp = ops.cast(sharp, "float32")
        images = [ops.cast(image, "float32") for image in outputs["stages"]]
        contents = [l2(image, sharp) if self.loss == "eq17" else charbonnier(image, sharp) for image in images]
        content = self.alpha * sum(contents)
        if self.loss == "eq17":
            truth = gradient_map(sharp, self.gradient_norm)
            terms = {
                "gradient": sum(l2(gradient_map(image, self.gradient_norm), truth) for image in images),  # Eq. 14
                "ms_ssim_loss": sum(1 - ops.mean(ms_ssim(ops.clip(image, 0, 1), sharp)) for image in images),
            }
            total = content + self.beta * terms["gradient"] + self.gamma * terms["ms_ssim_loss"]
        else:
            edges = pyramid_edges(sharp)
            terms = {"edge": sum(charbonnier(pyramid_edges(image), edges) for image in images)}
            total = content + self.beta * terms["edge"]
        stage = "mse" if self.loss == "eq17" else "charbonnier"
        terms |= {f"{stage}_stage_{len(images) - i}": value for i, value in enumerate(contents)}
        return total, {"content": content, **terms}


def charbonnier(a, b, epsilon: float = 1e-3):
    """Mean of sqrt((a - b)^2 + epsilon^2); of two equal tensors, epsilon."""
    return ops.mean(ops.sqrt(ops.square(a - b) + epsilon**2))
