"""Wide-gamut photos: the network is given sRGB, and what it leaves alone comes back exactly."""

import io

import numpy as np
import pytest
from imaging.awkward import ICC, cmyk_profile, scene
from PIL import Image, ImageCms

from madn.imaging.colours import PRIMARIES, SRGB_CURVE, colours_of, of_codes, profile
from madn.restoration import deblurring as restoration
from madn.restoration.restorer import Restorer

ADOBE = profile((0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06), (563 / 256,))
PROPHOTO = profile((0.3457, 0.3585, 0.7347, 0.2653, 0.1596, 0.8404, 0.0366, 0.0001), (1.8, 1, 0, 1 / 16, 0.031248))
P3 = of_codes(12, 13, False)
RGB = np.random.default_rng(0).integers(0, 256, (40, 56, 3), np.uint8)


def table(icc, entries):
    """The profile with its curves as tables, as older programs write them."""
    values = np.round(np.linspace(0, 1, entries) ** (563 / 256) * 65535).astype(">u2").tobytes()
    curve = b"curv\0\0\0\0" + entries.to_bytes(4, "big") + values
    content = bytearray(icc)
    for i in range(int.from_bytes(icc[128:132], "big")):
        at = 132 + 12 * i
        if icc[at + 1 : at + 4] == b"TRC":
            content[at + 4 : at + 12] = len(content).to_bytes(4, "big") + len(curve).to_bytes(4, "big")
            content += curve
    content[:4] = len(content).to_bytes(4, "big")
    return bytes(content)


@pytest.mark.parametrize("icc", [P3, ADOBE, PROPHOTO, table(ADOBE, 1024)], ids=["P3", "Adobe", "ProPhoto", "table"])
def test_the_network_is_given_what_littlecms_gives(icc):
    transform = ImageCms.buildTransform(io.BytesIO(icc), ImageCms.createProfile("sRGB"), "RGB", "RGB", 1)
    expected = np.asarray(ImageCms.applyTransform(Image.fromarray(RGB), transform)).astype(float)
    given = colours_of(icc).for_network(RGB / np.float32(255))
    assert given.dtype == np.float32 and np.abs(given * 255 - expected).max() < 1.01


def test_profiles_without_another_space_have_none():
    grey = profile(PRIMARIES[1], (2.2,), grey=True)
    srgb = profile(PRIMARIES[1], SRGB_CURVE)
    for icc in (b"", ICC, srgb, grey, cmyk_profile(), P3[:200], P3[:128] + bytes(400), b"no profile" * 50):
        assert colours_of(icc) is None


@pytest.mark.parametrize("icc", [P3, ADOBE, PROPHOTO, table(ADOBE, 64)], ids=["P3", "Adobe", "ProPhoto", "table"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_an_identity_gives_the_photo_back(icc, kind):
    pixels = np.random.default_rng(1).integers(0, np.iinfo(kind).max, (100, 140, 3), kind, endpoint=True)
    for options in ({}, {"ensemble": True}, {"tile": 96, "blend": 8}):
        restored, _ = Restorer(lambda batch: batch, **options)(pixels, colours=colours_of(icc))
        np.testing.assert_array_equal(restored, pixels)


def test_the_correction_is_srgbs_in_the_photos_own_numbers():
    seen = []

    def lighter(batch):
        seen.append(batch)
        return np.clip(batch + np.float32(0.1), 0, 1)

    grey = np.full((16, 16, 3), 100, np.uint8)
    restored, _ = Restorer(lighter)(grey, colours=colours_of(P3))  # grey has the same numbers in both
    assert np.abs(seen[0] - 100 / 255).max() < 1e-3 and np.abs(restored.astype(float) - 125.5).max() <= 0.51
    green = np.tile(np.uint8([0, 255, 0]), (16, 16, 1))  # far outside of sRGB
    restored, _ = Restorer(lambda batch: batch * np.float32(0.9))(green, colours=colours_of(P3))
    assert restored[0, 0, 1] < 245 and restored[0, 0, 0] == restored[0, 0, 2] == 0  # darker, and as saturated as it was
    single, _ = Restorer(lighter)(grey[..., :1], colours=colours_of(P3))
    assert single.shape == (16, 16, 1) and np.abs(single.astype(float) - 125.5).max() <= 0.51


def test_deblur_takes_the_colours_of_files_and_pil_images(tmp_path):
    seen = []
    restorer = Restorer(lambda batch: seen.append(batch.copy()) or batch)
    picture = Image.fromarray(scene())
    picture.save(tmp_path / "p3.png", icc_profile=P3)
    with Image.open(tmp_path / "p3.png") as opened:
        for image in (tmp_path / "p3.png", opened):
            np.testing.assert_array_equal(restoration.deblur(image, restorer), scene())
    expected = colours_of(P3).for_network(scene() / np.float32(255))
    for batch in seen:
        np.testing.assert_allclose(batch[0, :31, :46], expected, atol=1e-6)
    assert np.abs(expected - scene() / 255).max() > 0.02


@pytest.mark.parametrize("mode", ["La", "RGBa", "LA", "RGBA"])
def test_premultiplied_pil_images_keep_their_alpha(mode):
    straight = Image.fromarray(scene(4)).convert({"La": "LA", "RGBa": "RGBA"}.get(mode, mode))
    image = straight.convert(mode)
    restored = restoration.deblur(image, Restorer(lambda batch: batch))
    assert restored.shape == (31, 46, 4)
    np.testing.assert_array_equal(restored[..., 3], np.asarray(straight)[..., -1])
    np.testing.assert_array_equal(restored, np.asarray(image.convert(straight.mode).convert("RGBA")))
    assert np.abs(restored[..., 0].astype(int) - np.asarray(straight)[..., 0]).mean() < 2  # 8 bits, divided by alpha
