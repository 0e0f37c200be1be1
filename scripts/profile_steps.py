"""Where the time of a training step goes: TensorFlow's profile of each recipe's, by kind of operation.

    python scripts/profile_steps.py [--recipes sisnet madn] [--precision float32] [--batch 2] [--crop 128] [--steps 3]
        [--json FILE]

Operations run one at a time, so their times add up to the step's; what is left is the time between them. A fused
operation counts under its own name: `_FusedConv2D` is a convolution with its bias and activation. The share of the
matrix rate is that of `python -m madn.bench`. Random weights, on a CPU.
"""

import argparse
import functools
import json
import math
import os
import statistics
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from madn.bench import PAPERS

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

CONVOLUTION, PRODUCT = ("Conv2D", "Conv", "DepthwiseConv"), ("MatMul", "Einsum")
MOVING = ("Pad", "Concat", "Slice", "Transpose", "Reshape", "Split", "Pack", "Tile", "Gather", "DepthToSpace", "Space")
MOVING += ("MirrorPad", "Resize", "Reverse", "Roll", "Unpack", "Dilat", "Identity", "Cast", "Fill", "ZerosLike")
REDUCING = ("Sum", "Mean", "Max", "Min", "Prod", "L2Loss", "All", "Any", "ArgMax", "Moments")
UPDATING = ("ResourceApply", "Assign", "ReadVariable", "Stateless", "Random")


def kind(operation: str) -> str:
    """The group that a TensorFlow operation counts in."""
    name = operation.removeprefix("_").removeprefix("Mkl").removeprefix("Native").removeprefix("Fused")
    groups = {"pooling": ("MaxPool", "AvgPool"), "variables and random numbers": UPDATING, "convolutions": CONVOLUTION}
    groups |= {"matrix products": (*PRODUCT, "BatchMatMul"), "copies and layouts": MOVING}
    for group, starts in groups.items():
        if name.startswith(starts):
            return group
    return "reductions" if name in REDUCING or name.startswith("SegmentSum") else "pixel by pixel"


def operation_times(folder: Path) -> tuple[Counter, Counter]:
    """(seconds, calls) of each operation in the profile that lies in the folder."""
    from tensorflow.tsl.profiler.protobuf import xplane_pb2

    space, seconds, calls = xplane_pb2.XSpace(), Counter(), Counter()
    for file in folder.rglob("*.xplane.pb"):
        space.MergeFromString(file.read_bytes())
    for plane in space.planes:
        for line in plane.lines:
            for event in line.events:
                about = plane.event_metadata[event.metadata_id]
                operation = about.display_name
                if operation and about.name.endswith(f":{operation}"):
                    seconds[operation] += event.duration_ps * 1e-12
                    calls[operation] += 1
    return seconds, calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipes", nargs="+", default=PAPERS)
    parser.add_argument("--precision", nargs="+", default=["float32"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()

    from madn.system.startup import start_keras

    start_keras()  # One operation at a time, as madn.bench has it.
    import tensorflow as tf

    from madn.benchmarks import timing
    from madn.benchmarks.costs import in_turns
    from madn.benchmarks.reference_rates import environment, matrix_product
    from madn.nn.macs import step_macs

    found = {**environment(), "rows": []}
    for source in asked.recipes:
        for precision in asked.precision:
            for recipe in timing.stages(source):
                recipe = replace(recipe, precision=precision, accumulate=1, batch=asked.batch, crop=asked.crop)
                with tempfile.TemporaryDirectory() as folder:
                    model = timing.with_vgg(recipe, (), Path(folder)).build_model(1000)
                blurred, sharp = timing.sample_crops(recipe.batch, recipe.crop)
                product, macs_of_product = matrix_product(precision)
                for _ in range(2):
                    model.train_on_batch(blurred, sharp), product()
                with tempfile.TemporaryDirectory() as folder:
                    tf.profiler.experimental.start(folder)
                    step = functools.partial(model.train_on_batch, blurred, sharp, return_dict=True)
                    times = in_turns({"step": step}, asked.steps, math.inf)["step"]
                    tf.profiler.experimental.stop()
                    seconds, calls = operation_times(Path(folder))
                rate = macs_of_product / min(in_turns({"product": product}, 5, math.inf)["product"])
                step = statistics.mean(times)
                macs = step_macs(model, recipe.batch, recipe.crop).total
                name = f"{source}: {recipe.stage_name}" if source == "egnet" else source
                row = {"recipe": name, "precision": precision, "batch": asked.batch, "crop": asked.crop}
                row |= {"seconds": times, "macs": macs, "matrix_macs_per_second": rate}
                row["operations"] = {
                    key: {"seconds": each / len(times), "calls": calls[key] / len(times), "kind": kind(key)}
                    for key, each in seconds.most_common()
                }
                found["rows"].append(row)
                print(
                    f"{name}, {precision}, {asked.batch} of {asked.crop}: {step:.3f} s a step, "
                    f"{macs / step / rate:.0%} of the matrix rate"
                )
                groups = Counter()
                for each in row["operations"].values():
                    groups[each["kind"]] += each["seconds"]
                for group, each in groups.most_common():
                    print(f"  {each / step:5.1%}  {group}")
                print(f"  {1 - sum(groups.values()) / step:5.1%}  between operations")
                for key, each in list(row["operations"].items())[:12]:
                    print(f"          {each['seconds'] / step:5.1%}  {key}, {each['calls']:.0f} calls")
                tf.keras.backend.clear_session()
                if asked.json:
                    asked.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
