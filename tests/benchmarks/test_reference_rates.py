"""What everything is compared with: the plain stack's and the matrix product's operations."""

import keras
import numpy as np

from madn.benchmarks import reference_rates
from madn.benchmarks.timing import sample_crops, sample_photo
from madn.nn.macs import network_macs


def test_the_stack_has_the_operations_that_it_says(monkeypatch):
    stacks = []
    monkeypatch.setattr(reference_rates, "compiled", lambda call: stacks.append(call) or call)
    call, count = reference_rates.convolution_stack(6, 10, "float32", batch=2)
    call()
    model = next(cell.cell_contents for cell in stacks[0].__closure__ if isinstance(cell.cell_contents, keras.Model))
    assert count == 2 * network_macs(model, 6, 10, channels=64).total
    kinds = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert len(kinds) == 10 and all(layer.activation is keras.activations.relu for layer in kinds)


def test_products_in_both_precisions():
    for precision in ("float32", "mixed_bfloat16"):
        call, count = reference_rates.matrix_product(precision, side=32)
        call()
        assert count == 32**3


def test_the_machine_has_a_processor_by_name():
    said = reference_rates.environment()["machine"]
    assert said["processor"] and said["cores"] >= 1 and said["gpu"] is reference_rates.on_gpu()


def test_pictures_of_any_size():
    assert sample_photo(3, 700).shape == (3, 700, 3) and sample_photo(1100, 40).dtype == np.uint8
    assert np.array_equal(sample_photo(600, 40)[512:], sample_photo(512, 40)[-2:-90:-1])  # mirrored
    blurred, sharp = sample_crops(3, 32)
    assert blurred.shape == sharp.shape == (3, 32, 32, 3) and blurred.dtype == np.float32
    assert 0 <= blurred.min() and blurred.max() <= 1 and 0.001 < np.abs(blurred - sharp).mean() < 0.1
    assert not np.array_equal(sharp[0], sharp[1])
