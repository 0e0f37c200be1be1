"""Figures: what kind they are, how large, and that what they show is where it belongs."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import center_of_mass, label
from skimage import data

from madn.imaging.arrays import to_float
from madn.notebook import figures

PHOTO = to_float(data.astronaut())


def pixels(figure) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(figure.data)).convert("RGB")).astype(float)


def test_gallery_is_a_small_jpeg_with_all_rows_and_details():
    plain = figures.gallery({"a": [PHOTO, PHOTO]}, ["blurred", "sharp"], "caption")
    detailed = figures.gallery(
        {"a": [PHOTO, PHOTO]},
        ["blurred", "sharp"],
        "caption",
        details=[(10, 20, 100, 100)],
        values={"a": ["24.1 dB", ""]},
    )
    assert plain._repr_png_() is None and plain._repr_jpeg_()[:2] == b"\xff\xd8" and len(detailed.data) < 250_000
    assert pixels(detailed).shape[0] > 1.8 * pixels(plain).shape[0]
    assert pixels(plain).shape[1] < 1000


def test_a_detail_is_the_framed_part_enlarged():
    image = np.zeros((100, 100, 3), "float32")
    image[40:60, 40:60] = (0, 0, 1)
    whole = pixels(figures.gallery({"a": [image]}, ["x"], ""))
    both = pixels(figures.gallery({"a": [image]}, ["x"], "", details=[(40, 40, 20, 20)]))

    def blue(shown):
        return int(((shown[..., 2] > 200) & (shown[..., 0] < 60)).sum())

    assert blue(both) > 20 * blue(whole) > 0
    red = (both[..., 0] > 150) & (both[..., 1] < 90) & (both[..., 2] < 90)  # the frame
    assert red.sum() > 50


def test_gallery_wants_an_image_for_each_title():
    with pytest.raises(ValueError, match="each of the 3 titles; received 2"):
        figures.gallery({"a": [PHOTO, PHOTO]}, ["1", "2", "3"], "")


def test_bars_have_the_heights_of_their_values():
    shown = pixels(figures.bars(["x", "y"], {"one": [10.0, 20.0]}, "PSNR in dB", "caption", bottom=0.0))
    blue = np.abs(shown - (31, 119, 180)).sum(axis=-1) < 30  # matplotlib's first colour
    blue[:, int(0.9 * blue.shape[1]) :] = False  # the legend
    columns = blue.sum(axis=0)
    left, right = np.array_split(columns, 2)
    assert right.max() / left.max() == pytest.approx(2, rel=0.03)


def test_a_bar_without_a_value_is_left_out():
    figure = figures.bars(["x", "y"], {"one": [10.0, None], "two": [None, 5.0]}, "PSNR in dB", "caption")
    assert figure._repr_jpeg_() is None and figure._repr_png_()[1:4] == b"PNG"


def test_curves_and_saving(tmp_path):
    figure = figures.curves(
        {"tau_1 0.5": ([1, 2, 3], [24.0, 25.0, 24.5])}, "tau_2", "PSNR in dB", "caption", levels={"blurred": 24.1}
    )
    figure.save(tmp_path / "new/curve.png")
    assert (tmp_path / "new/curve.png").read_bytes() == figure.data and len(figure.data) < 60_000


def test_as_map_scales_and_clips():
    assert figures.as_map(np.array([0.0, 1.0, 2.0, 5.0]), 2.0).tolist() == [0.0, 0.5, 1.0, 1.0]


@pytest.mark.parametrize("place", [(0, 0), (40, 150), (180, 180)])
def test_busiest_finds_where_images_differ(place):
    sharp = np.full((200, 220, 3), 0.5, "float32")
    blurred = sharp.copy()
    y, x = place
    blurred[y : y + 20, x : x + 20] += 0.3
    top, left, height, width = figures.busiest(blurred, sharp)
    assert top <= y and left <= x and top + height >= y + 20 and left + width >= x + 20
    assert (height, width) == (40, 44) and top >= 0 and left + width <= 220


def test_scatter_has_a_point_for_each_name_where_it_belongs():
    """Ten times as far to the right for ten times the seconds, whatever the number."""
    points = {"a": (0.1, 25.0), "b": (1.0, 30.0), "c": (10.0, 25.0)}
    drawn = pixels(figures.scatter({"g": points}, "s", "dB", "caption"))
    blue = np.abs(drawn - (31, 119, 180)).sum(axis=-1) < 60  # matplotlib's first colour
    spots, count = label(blue)
    areas = [(spots == k).sum() for k in range(1, count + 1)]
    whole = [k for k, area in enumerate(areas, 1) if area > 0.5 * max(areas)]
    places = sorted(center_of_mass(spots > 0, spots, whole), key=lambda place: place[1])
    (ya, xa), (yb, xb), (yc, xc), _ = places  # the last is the legend's
    assert xb - xa == pytest.approx(xc - xb, abs=1.5) and ya == pytest.approx(yc, abs=1) and yb < ya - 100
    with pytest.raises(ValueError, match="the x axis is logarithmic"):
        figures.scatter({"g": {"a": (0.0, 25.0)}}, "s", "dB", "caption")
