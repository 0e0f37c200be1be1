"""Files within the graph: decoded as Pillow decodes them, upright, in each byte order and orientation."""

import io

import keras
import numpy as np
import pytest
from PIL import Image, ImageOps

if keras.backend.backend() != "tensorflow":
    pytest.skip("a SavedModel is written on the TensorFlow backend", allow_module_level=True)
import tensorflow as tf

from madn.export.photo_bytes import decode_photo, exif_orientation

decode = tf.function(decode_photo, input_signature=[tf.TensorSpec((), tf.string)])
orientation_of = tf.function(exif_orientation, input_signature=[tf.TensorSpec((), tf.string)])


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    ramp = np.add.outer(np.arange(24) * 6, np.arange(40) * 2)  # no symmetry: each turn gives another picture
    return Image.fromarray(np.stack([ramp, ramp[::-1] // 2, 255 - ramp], axis=2).astype(np.uint8))


def as_bytes(image: Image.Image, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def with_orientation(photo: Image.Image, orientation: int, endian: str) -> bytes:
    exif = Image.Exif()
    exif.endian = endian
    exif[0x010F], exif[0x0112], exif[0x0132] = "a maker", orientation, "2026:01:01 00:00:00"
    return as_bytes(photo, format="JPEG", quality=95, exif=exif)


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_jpeg_comes_upright_as_pillow_turns_it(photo, orientation, endian):
    file = with_orientation(photo, orientation, endian)
    assert orientation_of(file) == orientation
    expected = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))
    decoded = decode(file).numpy()
    assert decoded.shape == expected.shape and decoded.dtype == np.uint8
    assert np.abs(decoded.astype(int) - expected).max() <= 2  # two builds of libjpeg
    turned = np.asarray(photo)
    assert (orientation == 1) == (decoded.shape == turned.shape and np.abs(decoded - turned.astype(int)).max() < 30)


@pytest.mark.parametrize(
    "exif",
    [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff", b"Exif\0\0" + bytes(99)],
)
def test_damaged_or_missing_exif_leaves_a_photo_as_it_is(photo, exif):
    file = as_bytes(photo, format="JPEG", **({"exif": exif} if exif else {}))
    assert orientation_of(file) == 1
    assert decode(file).shape == (24, 40, 3)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "LA"])
def test_a_png_is_read_exactly(photo, mode):
    image = photo.convert(mode)
    np.testing.assert_array_equal(decode(as_bytes(image, format="PNG")), image.convert("RGB"))


def test_grey_and_progressive_jpegs_are_read(photo):
    assert decode(as_bytes(photo.convert("L"), format="JPEG")).shape == (24, 40, 3)
    assert decode(as_bytes(photo, format="JPEG", progressive=True)).shape == (24, 40, 3)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\xff\xd8\xff"])
def test_what_is_no_photo_is_refused(content):
    with pytest.raises(tf.errors.InvalidArgumentError):
        decode(content)
