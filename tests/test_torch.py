"""The PyTorch backend: the same train_step trains, in a process where TensorFlow cannot be imported."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

SCRIPT = """
import json, sys
sys.modules["tensorflow"] = None
import numpy as np
from dataclasses import replace
from madn.data.pipeline import numpy_batches
from madn.recipe import MADN
from madn.training.loop import train
from madn.training.runfolder import RunFolder

class Crops:
    crop = 32
    def __len__(self):
        return 4
    def crop_at(self, k):
        sharp = np.random.default_rng(k % 4).integers(0, 256, (32, 32, 3), np.uint8)
        return np.roll(sharp, 1, axis=1), sharp

folder, weights, step = sys.argv[1:]
recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, d_widths=(4, 4, 4, 4, 8), d_dense=8, crop=32, batch=2, steps=10)
if step == "compare":  # the losses of the third step, from weights that TensorFlow drew
    model = recipe.build_model(10)
    model.load_weights(weights)
    blurred, sharp = next(numpy_batches(Crops(), 2))
    for _ in range(3):
        logs = model.train_on_batch(blurred, sharp, return_dict=True)
    print(json.dumps({name: float(value) for name, value in logs.items()}))
else:
    assert train("madn", recipe, Crops(), RunFolder(folder), round_steps=5) == 10
    print(json.dumps([float(row["content"]) for row in RunFolder(folder).rows()]))
"""


@pytest.mark.torch
class TestTorch:
    @pytest.fixture(autouse=True)
    def needs_torch(self):
        pytest.importorskip("torch", reason="PyTorch is not installed: make test TORCH=1 installs it")

    def run(self, *arguments):
        done = subprocess.run([sys.executable, "-c", SCRIPT, *map(str, arguments)], capture_output=True, text=True,
                              env={**os.environ, "KERAS_BACKEND": "torch", "PYTHONPATH": os.getcwd()}, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
        return json.loads(done.stdout.splitlines()[-1])

    def test_ten_steps_without_tensorflow(self, tmp_path):
        first, last = self.run(tmp_path / "run", "none", "train")
        assert last < first
        assert (tmp_path / "run" / "checkpoints" / "best.weights.h5").is_file()

    def test_three_steps_equal_tensorflows(self, tmp_path):
        from dataclasses import replace

        from madn.recipe import MADN

        recipe = replace(MADN, widths=(4, 8, 16), res_blocks=1, d_widths=(4, 4, 4, 4, 8), d_dense=8, crop=32, batch=2,
                         steps=10)
        model = recipe.build_model(10)
        model.save_weights(tmp_path / "state.weights.h5")
        sharp = np.stack([np.random.default_rng(k).integers(0, 256, (32, 32, 3), np.uint8) for k in (0, 1)])
        blurred = np.roll(sharp, 1, axis=2)
        model.run_eagerly = True
        for _ in range(3):
            expected = model.train_on_batch(blurred / np.float32(255), sharp / np.float32(255), return_dict=True)
        found = self.run(tmp_path / "run", tmp_path / "state.weights.h5", "compare")
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert found[name] == pytest.approx(float(value), rel=1e-4, abs=1e-5), name
