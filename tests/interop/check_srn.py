"""Compares SRN's released graph, imported and run as TensorFlow 1 does, with the scale network converted from it.

The graph is the authors' own (the checkpoint's .meta file), with its training input, 16 crops of 256, replaced by the
image and with the sizes of its scales and deconvolutions set to the image's. Its own restore operations read its
variables. Exit code 1 if a value of the restored image differs by more than 1e-4.

Usage: python tests/interop/check_srn.py deblur.model IMAGE
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from madn import recipes
from madn.imaging.arrays import read_image
from madn.models.madn.srn import load_srn, read_checkpoint

TOLERANCE = 1e-4
OUTPUT, RESTORE, CHECKPOINT = "g_net/dec1_0_2/BiasAdd", "save/restore_all", "save/Const:0"
SCALES = {"": 4, "_1": 2, "_2": 1}  # what the names of a scale's operations end in -> by how much it is shrunk


def main(checkpoint: Path, image: Path) -> int:
    blurred = read_image(image)[None]
    height, width = (n // 16 * 16 for n in blurred.shape[1:3])
    blurred = blurred[:, :height, :width]
    generator = recipes.get("srn").build_generator()
    load_srn(generator, read_checkpoint(checkpoint), str(checkpoint))
    ours = generator.predict(blurred, verbose=0)["deblurred"]
    theirs = released(checkpoint, blurred)
    difference = float(np.abs(ours - theirs).max())
    agrees = difference <= TOLERANCE
    print(
        f"{'agrees' if agrees else 'DIFFERS'}: SRN's released graph and the scale network on {width} x {height} "
        f"pixels, values {theirs.min():.2f} to {theirs.max():.2f}: at most {difference:.1e}"
    )
    return int(not agrees)


def released(checkpoint: Path, blurred: np.ndarray) -> np.ndarray:
    """What the released graph makes of images, float32 (1, height, width, 3)."""
    meta = tf.compat.v1.MetaGraphDef.FromString(Path(f"{checkpoint}.meta").read_bytes())
    definition = tf.compat.v1.graph_util.extract_sub_graph(meta.graph_def, [OUTPUT, RESTORE])
    for node in definition.node:
        node.device = ""
        node.attr.pop("_output_shapes", None)  # those of the training crops
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        image = tf.compat.v1.placeholder(tf.float32, (1, None, None, 3))
        sizes = {}
        for number, (suffix, shrink) in enumerate(SCALES.items()):
            rows, columns = blurred.shape[1] // shrink, blurred.shape[2] // shrink
            # Of the blurred image, which the last scale takes as it is, and of what is restored so far.
            for resize in (2 * number, 2 * number + 1) if shrink > 1 else (2 * number + 1,):
                sizes[f"g_net/size{f'_{resize}' if resize else ''}:0"] = tf.constant([rows, columns])
            sizes[f"g_net/dec2_4{suffix}/stack:0"] = tf.constant([1, rows // 2, columns // 2, 64])
            sizes[f"g_net/dec1_4{suffix}/stack:0"] = tf.constant([1, rows, columns, 32])
        output, restore, place = tf.import_graph_def(
            definition, {"input/batch:0": image, **sizes}, [f"{OUTPUT}:0", RESTORE, CHECKPOINT], name=""
        )
        session.run(restore, {place: str(checkpoint)})
        return session.run(output, {image: blurred})


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), Path(sys.argv[2])))
