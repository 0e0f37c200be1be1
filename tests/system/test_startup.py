"""Keras is started without files in the user's home folder, and whatever the user's keras.json says."""

import json
import os
import subprocess
import sys

import pytest

CODE = """
from madn.errors import run_command
from madn.system.startup import start_keras
def main(argv):
    start_keras()
    import keras, tempfile
    layer = keras.layers.Conv2D(5, 3, padding="same")
    print(keras.config.image_data_format(), keras.config.floatx(), layer(keras.ops.zeros((1, 8, 9, 3))).shape)
    print(keras.src.backend.config.keras_home())
run_command(main, [])
"""


def started(home, **variables):
    """What a process says that starts Keras in this home folder, its errors, and its exit code."""
    environment = {**os.environ, "HOME": str(home), **variables}
    environment.pop("KERAS_HOME", None)
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, env=environment)
    return done.stdout, done.stderr, done.returncode


@pytest.mark.process
@pytest.mark.slow
def test_a_start_leaves_nothing_in_the_home_folder(tmp_path):
    out, err, code = started(tmp_path, TMPDIR=str(tmp_path))
    assert code == 0, err
    assert out == f"channels_last float32 (1, 8, 9, 5)\n{tmp_path}/.keras\n"
    assert list(tmp_path.rglob("*")) == []  # no .keras, and none of matplotlib's folders


@pytest.mark.process
@pytest.mark.slow
def test_a_keras_json_with_other_arrays_is_overruled(tmp_path):
    file = tmp_path / ".keras" / "keras.json"
    file.parent.mkdir()
    text = json.dumps({"image_data_format": "channels_first", "floatx": "float64", "backend": "tensorflow"})
    file.write_text(text)
    out, err, code = started(tmp_path)
    assert code == 0, err
    assert out.startswith("channels_last float32 (1, 8, 9, 5)\n") and file.read_text() == text


@pytest.mark.process
@pytest.mark.slow
@pytest.mark.parametrize("text", ["[]", '{"floatx": "float8"}', '{"image_data_format": 3}'])
def test_a_keras_json_that_keras_cannot_read_is_named(tmp_path, text):
    file = tmp_path / ".keras" / "keras.json"
    file.parent.mkdir()
    file.write_text(text)
    _, err, code = started(tmp_path)
    assert code == 2 and err.splitlines()[-1].startswith("madn: error: Keras cannot start (")
    assert err.splitlines()[-1].endswith(f"look at KERAS_BACKEND and at {file}")


SUMS = """
import sys
import numpy as np
import tensorflow as tf
from madn.system.startup import compute_deterministically
if sys.argv[1] == "deterministic":
    compute_deterministically()
def total(others):
    def function(numbers):
        parts = [tf.exp(each) for each in numbers]
        return sum(parts), parts[:others]  # With other readers, a part's memory may not be taken for the sum.
    return tf.function(function)
alone, shared = total(0), total(40)
rng = np.random.default_rng(0)
batches = [[tf.constant(x) for x in rng.normal(0, 3, 57).astype("float32")] for _ in range(100)]
print(sum(float(alone(each)[0]) != float(shared(each)[0]) for each in batches))
"""


@pytest.mark.slow
@pytest.mark.process
def test_a_sum_does_not_depend_on_who_else_reads_its_parts():
    pytest.importorskip("tensorflow")
    differing = {
        how: int(subprocess.run([sys.executable, "-c", SUMS, how], capture_output=True, text=True).stdout)
        for how in ("as it is", "deterministic")
    }
    assert differing["as it is"] > 0  # Otherwise what is tested here has gone, and the option can go, too.
    assert differing["deterministic"] == 0
