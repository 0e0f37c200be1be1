"""The tf.data pipeline and the NumPy one give the same batches, from any step on."""

import subprocess
import sys
from itertools import islice
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from madn.data.batches import input_errors, numpy_batches, training_batches, training_dataset
from madn.data.crops import PairCrops
from madn.data.images import DecodedImages
from madn.data.index import find_pairs
from madn.errors import UserError


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for kind in ("blur", "sharp"):
        (tmp_path / "A" / kind).mkdir(parents=True)
        for n in range(7):
            Image.fromarray(rng.integers(0, 256, (40, 44, 3), np.uint8)).save(tmp_path / "A" / kind / f"{n}.png")
    return tmp_path


@pytest.fixture
def source(folder):
    return PairCrops(find_pairs(folder).pairs, DecodedImages(), 32, seed=5, augment="dihedral")


def test_batches_are_the_crops_in_order_as_floats(source):
    batches = list(numpy_batches(source, 3, steps=4))
    assert len(batches) == 4
    for step, batch in enumerate(batches):
        for images, side in zip(batch, (0, 1)):
            assert images.dtype == np.float32 and images.shape == (3, 32, 32, 3)
            for place in range(3):
                expected = source.crop_at(3 * step + place)[side].astype(np.float32) / np.float32(255)
                np.testing.assert_array_equal(images[place], expected)


def test_tensorflow_and_numpy_agree_bit_for_bit_and_resume_exactly(source):
    whole = list(numpy_batches(source, 4, steps=9))
    dataset = training_dataset(source, 4, steps=9, workers=3)
    assert [spec.shape.as_list() for spec in dataset.element_spec] == [[4, 32, 32, 3]] * 2
    assert int(dataset.cardinality()) == 9
    runs = [
        list(dataset.as_numpy_iterator()),
        whole[:5] + list(training_dataset(source, 4, first_step=5, steps=4).as_numpy_iterator()),
        whole[:5] + list(numpy_batches(source, 4, first_step=5, steps=4, workers=1)),
    ]
    for run in runs:
        np.testing.assert_array_equal(np.array(run), np.array(whole))


@pytest.mark.parametrize("backend, installed", [("tensorflow", True), ("torch", True), ("torch", False), ("jax", True)])
def test_a_training_takes_them_by_what_its_backend_has(source, monkeypatch, backend, installed):
    """JAX leaves TensorFlow alone even where it is installed."""
    monkeypatch.setattr(keras.backend, "backend", lambda: backend)
    if not installed or backend == "jax":
        monkeypatch.setitem(sys.modules, "tensorflow", None)
    taken = training_batches(source, 4, first_step=1, steps=2)
    assert hasattr(taken, "element_spec") is (backend != "jax" and installed)
    for own, expected in zip(taken, numpy_batches(source, 4, first_step=1, steps=2), strict=True):
        np.testing.assert_array_equal(np.array([np.asarray(part) for part in own]), np.array(expected))


def test_without_a_number_of_steps_they_do_not_end(source):
    for batches in (numpy_batches(source, 2), training_dataset(source, 2).as_numpy_iterator()):
        assert len(list(islice(batches, 20))) == 20


def test_a_file_that_breaks_is_named_by_both(source):
    source.pairs[3].blurred.unlink()
    with pytest.raises(UserError, match=r"3\.png") as error:
        list(numpy_batches(source, 4, steps=2))
    with pytest.raises(UserError) as same, input_errors():
        list(training_dataset(source, 4, steps=2))
    assert str(same.value) == str(error.value)
    with pytest.raises(ZeroDivisionError), input_errors():  # other errors pass
        raise ZeroDivisionError


@pytest.mark.process
@pytest.mark.slow
def test_an_uncaught_error_ends_the_process(folder):
    """An iterator alive at exit, with TensorFlow's threads inside Python, once made it hang."""
    program = f"""if True:
        import time
        from madn.data.crops import PairCrops
        from madn.data.images import DecodedImages
        from madn.data.index import find_pairs
        from madn.data.batches import training_dataset
        class Slow(PairCrops):
            def crop_at(self, k):
                time.sleep(0.02)
                return super().crop_at(k)
        source = Slow(find_pairs({str(folder)!r}).pairs, DecodedImages(), 32, 0)
        def train():
            batches = iter(training_dataset(source, 16))
            next(batches)
            raise ArithmeticError('on the way')
        train()
    """
    run = subprocess.run(
        [sys.executable, "-c", program], timeout=60, capture_output=True, text=True, cwd=Path(__file__).parents[2]
    )
    assert run.returncode == 1 and "ArithmeticError: on the way" in run.stderr
