"""The examples that an export brings, where what they do is more than one call."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image

if keras.backend.backend() != "tensorflow":
    pytest.skip("exports are made on the TensorFlow backend", allow_module_level=True)
from madn.export.exporting import export, keras_reference


@pytest.mark.slow
@pytest.mark.process
@pytest.mark.parametrize("height, width", [(300, 1300), (770, 768), (40, 30)])
def test_tiles_are_the_whole_photo(height, width, tmp_path):
    keras.utils.set_random_seed(0)
    image = keras.Input((None, None, 3))
    half = keras.layers.Conv2D(4, 5, 2, "same")(image)  # Of two grids, tiles must hit the photo's own.
    network = keras.Model(image, keras.layers.Conv2DTranspose(3, 5, 2, "same")(half))
    export(network, tmp_path / "out", ["savedmodel"], multiple=4)
    photo = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    Image.fromarray(photo).save(tmp_path / "in.png")
    subprocess.run(
        [sys.executable, tmp_path / "out" / "example_tensorflow_tiles.py", "in.png", "out.png"],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": ""},
    )
    expected = np.round(255 * keras_reference(network, 4)(np.float32(photo)[None] / 255)[0])
    restored = np.asarray(Image.open(tmp_path / "out.png")).astype(int)
    assert restored.shape == photo.shape and len(np.unique(restored)) > 100
    assert np.abs(restored - expected).max() <= 1 and (restored != expected).mean() < 1e-3
