import numpy as np
import pytest

from madn.errors import UserError
from madn.restoration.restorer import as_float, as_type, padded_size, reflected, restore


class Recorder:
    """A network that keeps what it was given, and gives it back."""

    def __call__(self, batch):
        self.batch = batch
        return batch


def noise(height, width):
    return np.random.default_rng(1).random((height, width, 3), np.float32)


def test_padded_size():
    assert [padded_size(n) for n in (1, 16, 17, 720, 721, 1280, 1283)] == [16, 16, 32, 720, 736, 1280, 1296]
    assert [padded_size(n, 8) for n in (33, 680, 773, 720)] == [40, 680, 776, 720]  # 773: a width in RealBlur


@pytest.mark.parametrize(
    "size, padded",
    [
        ((721, 1283), (736, 1296)),
        ((720, 1280), (720, 1280)),
        ((1, 1), (16, 16)),
        ((5, 3), (16, 16)),
        ((2, 40), (16, 48)),
        ((1, 33), (16, 48)),
    ],
)
def test_any_size_is_padded_by_reflection_and_cropped_back(size, padded):
    image, network = noise(*size), Recorder()
    np.testing.assert_array_equal(restore(network, image), image)
    assert network.batch.shape == (1, *padded, 3) and network.batch.dtype == np.float32
    expected = np.pad(image, ((0, padded[0] - size[0]), (0, padded[1] - size[1]), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(network.batch[0], expected)


def test_reflection_of_short_rows():
    assert reflected(1, 4).tolist() == [0, 0, 0, 0]
    assert reflected(2, 5).tolist() == [0, 1, 0, 1, 0]
    assert reflected(3, 8).tolist() == [0, 1, 2, 1, 0, 1, 2, 1]


def test_output_is_clipped_float32():
    restored = restore(lambda batch: 3.0 * batch.astype(np.float64) - 1.0, noise(20, 20))
    assert restored.dtype == np.float32 and restored.min() == 0.0 and restored.max() == 1.0


def test_numbers_that_are_none_are_refused():
    with pytest.raises(UserError, match="not numbers.*another checkpoint"):
        restore(lambda batch: batch * np.float32("nan"), noise(4, 4))


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_of_every_value_come_back(kind):
    every = np.arange(np.iinfo(kind).max + 1, dtype=kind)
    assert as_float(every)[[0, -1]].tolist() == [0.0, 1.0]
    np.testing.assert_array_equal(as_type(as_float(every), kind), every)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.float64])
def test_pixels_of_every_type_stay_in_their_range(kind):
    pixels = as_type(np.float32([-0.1, 1.0000001, 1.5]), kind)
    assert pixels.dtype == kind and (pixels == kind([0, 1, 1]) * (np.iinfo(kind).max if kind(0.5) == 0 else 1)).all()
