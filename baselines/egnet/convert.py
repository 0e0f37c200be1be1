"""`python -m baselines.egnet.convert MODEL.pth OUT.weights.h5`: MPRNet's published weights as EGNet's backbone.

Reads the authors' `model_deblurring.pth` (github.com/swz30/MPRNet) without running anything in it, and writes
weights of the recipe egnet-mprnet, from which `python -m madn.train --recipe egnet-official --weights OUT` starts.
The weights keep their licence, which is an academic, non-commercial one. Licence of this file: MIT.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from baselines.egnet.torch_file import read_checkpoint
from madn.errors import UserError, run_command
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.system.writing import check_new_weights

if TYPE_CHECKING:
    import keras

RECIPE = "egnet-mprnet"
# These names of MPRNet have an underscore in them; every other underscore of a layer's name here is a dot there.
MODULES = (
    r"shallow_feat\d|stage\d_(?:encoder|decoder|orsnet)|(?:encoder|decoder)_level\d|conv_du|csff_(?:enc|dec)\d"
    r"|skip_attn\d|(?:up|conv)_(?:enc|dec)\d|[^_]+"
)


@dataclass(frozen=True)
class Options:
    """Which checkpoint is converted, and where to."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL.pth")]
    """MPRNet's PyTorch checkpoint."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.weights.h5")]
    """Keras weights to write."""


def main(argv: list[str]) -> None:
    """The command. Raises `UserError` for a checkpoint or a place at fault."""
    options = parse(Options, argv, "python -m baselines.egnet.convert", __doc__)
    check_new_weights(options.out)
    state = official_state(options.checkpoint)
    start_keras()

    from madn import recipes
    from madn.training.checkpoint import save_generator

    recipe = recipes.get(RECIPE)
    generator = recipe.build_generator()
    load_official(generator, state, str(options.checkpoint))
    save_generator(generator, options.out, RECIPE, recipe.fields(), converted_from=options.checkpoint.name)
    print(
        f"wrote {options.out}: {generator.count_params():,} parameters of {options.checkpoint}\n"
        f"go on with python -m madn.train --recipe egnet-official --weights {options.out}"
    )


def official_state(path: Path) -> dict[str, np.ndarray]:
    """Name -> tensor of a checkpoint, without the `module.` of parallel training.

    Raises `UserError` where the file cannot be read or has no such dictionary.
    """
    found = read_checkpoint(path)
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(key, str) and isinstance(value, np.ndarray) for key, value in state.items())
    ):
        raise UserError(f"{path}: has no state_dict, a dictionary of names and tensors")
    return {key.removeprefix("module."): value for key, value in state.items()}


def official_name(layer: str) -> str:
    """The name of a convolution's weights in MPRNet's code, from that of its layer here."""
    return ".".join(re.findall(MODULES, layer)) + ".weight"


def load_official(generator: "keras.Model", state: dict[str, np.ndarray], source: str = "the weights") -> None:
    """Load MPRNet's state dictionary into a network with its layers.

    Kernels go from (out, in, height, width) to (height, width, in, out). The whole network shares one
    PReLU, which the file repeats for each block.
    Raises `UserError`, naming the entries, where one is missing, spare, of another shape or not finite, or where the
    PReLUs differ; the network is then unchanged.
    """
    import keras

    layers = list(_layers(generator))
    kernels = {official_name(layer.name): layer.kernel for layer in layers if isinstance(layer, keras.layers.Conv2D)}
    shared = [name.replace("body.0.weight", "body.1.weight") for name in kernels if name.endswith("body.0.weight")]
    slope = next(layer.slope for layer in layers if layer.name == "prelu")
    _require(source, "lacks", [name for name in (*kernels, *shared) if name not in state])
    _require(source, "has spare", sorted(set(state) - set(kernels) - set(shared)))
    values = {name: np.transpose(state[name], (2, 3, 1, 0)) for name in kernels if state[name].ndim == 4}
    _require(
        source,
        "has another shape for",
        [name for name, kernel in kernels.items() if name not in values or values[name].shape != kernel.shape]
        + [name for name in shared if state[name].shape != (1,)],
    )
    _require(
        source,
        "has values that are no finite numbers in",
        [name for name, value in state.items() if value.dtype.kind != "f" or not np.isfinite(value).all()],
    )
    _require(source, "has not the same PReLU everywhere:", [name for name in shared if state[name] != state[shared[0]]])
    for name, kernel in kernels.items():
        kernel.assign(values[name].astype("float32"))
    slope.assign(state[shared[0]].astype("float32"))


def _layers(network: "keras.Model"):
    """The layers of a network and of the networks in it."""
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _layers(layer)
        else:
            yield layer


def _require(source: str, problem: str, names: list[str]) -> None:
    if names:
        some = ", ".join(map(_plain, names[:3])) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        raise UserError(f"{source}: not MPRNet's deblurring network: {problem} {some}")


def _plain(name: str) -> str:
    """A name from a file, with its control characters escaped."""
    return ascii(name)[1:-1]


if __name__ == "__main__":
    run_command(main)
