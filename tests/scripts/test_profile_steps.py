"""The profile of a training step: which operations there are, how often, and what they count as."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from profile_steps import kind, operation_times


@pytest.mark.parametrize(
    "operation, group",
    [
        ("Conv2D", "convolutions"),
        ("_MklNativeFusedConv2D", "convolutions"),
        ("_MklNativeConv2DBackpropFilterWithBias", "convolutions"),
        ("_FusedMatMul", "matrix products"),
        ("BatchMatMulV2", "matrix products"),
        ("MirrorPad", "copies and layouts"),
        ("ConcatV2", "copies and layouts"),
        ("MaxPoolGrad", "pooling"),
        ("Mean", "reductions"),
        ("ResourceApplyAdam", "variables and random numbers"),
        ("StatelessRandomUniformV2", "variables and random numbers"),
        ("AddV2", "pixel by pixel"),
        ("Maximum", "pixel by pixel"),
    ],
)
def test_what_an_operation_counts_as(operation, group):
    assert kind(operation) == group


@pytest.mark.slow
def test_a_profile_has_every_operation_of_every_call(tmp_path):
    tf = pytest.importorskip("tensorflow")
    kernel = tf.ones((3, 3, 2, 2))
    step = tf.function(lambda images: tf.reduce_max(tf.nn.conv2d(images, kernel, 1, "SAME")), autograph=False)
    images = tf.ones((1, 64, 64, 2))
    step(images)
    tf.profiler.experimental.start(str(tmp_path))
    for _ in range(3):
        step(images)
    tf.profiler.experimental.stop()
    seconds, calls = operation_times(tmp_path)
    (convolution,) = [name for name in calls if kind(name) == "convolutions"]
    assert calls[convolution] == calls["Max"] == 3
    assert 0 < seconds["Max"] < 10 and 0 < seconds[convolution] < 10
