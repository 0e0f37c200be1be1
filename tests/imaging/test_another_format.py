"""An image format, tried: QOI, which Pillow knows, by what `madn.imaging.formats` says of it and nothing else."""

import numpy as np
import pytest
from PIL import Image

import madn
from madn.data.index import find_pairs
from madn.errors import UserError
from madn.imaging import formats
from madn.imaging.arrays import read_image, to_float, write_image
from madn.imaging.decoding import Photo
from madn.imaging.finding import image_files
from madn.imaging.metadata import Metadata
from madn.imaging.photos import read_photo, write_photo
from madn.restoration import command as deblur
from madn.restoration import runtimes
from madn.restoration.loaded import Loaded

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 56, 4), np.uint8)


@pytest.fixture(autouse=True)
def qoi(monkeypatch):
    """The line, and two of the sets: QOI holds RGB and RGBA, and nothing beside."""
    monkeypatch.setitem(formats.FORMATS, ".qoi", "QOI")
    for kinds in (formats.NO_GREY, formats.NO_METADATA):
        kinds.add("QOI")
    yield
    for kinds in (formats.NO_GREY, formats.NO_METADATA):
        kinds.remove("QOI")


def test_without_the_line_it_is_unknown(monkeypatch, tmp_path):
    monkeypatch.delitem(formats.FORMATS, ".qoi")
    with pytest.raises(UserError, match="'.qoi' is not an image suffix that is written"):
        write_image(tmp_path / "a.qoi", to_float(PIXELS[:, :, :3]))


@pytest.mark.parametrize("alpha", [None, PIXELS[:, :, 3]])
@pytest.mark.parametrize("colours", [3, 1])
def test_photos_are_written_and_read(tmp_path, colours, alpha):
    pixels = PIXELS[:, :, :colours]
    photo = Photo(pixels, alpha, "PNG", Metadata(xmp=b"<x:xmpmeta/>"))
    assert write_photo(tmp_path / "a.qoi", pixels, photo) == ("QOI holds no XMP, and the result is without",)
    read = read_photo(tmp_path / "a.qoi")
    assert read.format == "QOI" and read.lossless and not read.metadata.xmp
    np.testing.assert_array_equal(read.pixels, np.broadcast_to(pixels, read.pixels.shape))
    assert (read.alpha is None) == (alpha is None)
    if alpha is not None:
        np.testing.assert_array_equal(read.alpha, alpha)


def test_damaged_files_are_named(tmp_path):
    Image.fromarray(PIXELS).save(tmp_path / "a.qoi")
    (tmp_path / "a.qoi").write_bytes((tmp_path / "a.qoi").read_bytes()[:200])
    with pytest.raises(UserError, match="a.qoi: cannot be read as an image"):
        read_photo(tmp_path / "a.qoi")


def test_all_that_takes_photos_takes_it(tmp_path, monkeypatch):
    loaded = Loaded(lambda batch: 1 - batch, "inverting")
    monkeypatch.setattr(runtimes, "load", lambda *_: loaded)
    for kind in ("blur", "sharp"):
        write_image(tmp_path / f"set/train/scene/{kind}/1.qoi", to_float(PIXELS[:, :, :3]))
    assert len(find_pairs(tmp_path / "set").pairs) == 1 and len(image_files(tmp_path / "set")) == 2
    photo = tmp_path / "set/train/scene/blur/1.qoi"
    assert deblur.main([str(photo.parent), "-o", str(tmp_path / "out")]) == 0
    np.testing.assert_allclose(read_image(tmp_path / "out/1.qoi"), 1 - read_image(photo), atol=1e-6)
    assert madn.deblur(photo, loaded.restorer()).shape == (40, 56, 3)
