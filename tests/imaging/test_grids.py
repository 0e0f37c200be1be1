import numpy as np
import pytest
from PIL import Image

from madn.imaging.grids import triple_labels, write_grid


def plain(height, width, colour):
    return np.broadcast_to(np.float32(colour), (height, width, 3)).copy()


def test_every_image_is_in_the_grid_below_its_label(tmp_path):
    rows = [
        [plain(60, 200, (1, 0, 0)), plain(60, 200, (0, 1, 0))],
        [plain(40, 150, (0, 0, 1)), plain(50, 150, (0, 0, 0))],
    ]
    write_grid(tmp_path / "grid.png", rows, [["first", "second"], ["third", "fourth"]])
    pixels = np.asarray(Image.open(tmp_path / "grid.png").convert("RGB"))
    for row in rows:
        for image in row:
            wanted = np.all(pixels == (image[0, 0] * 255).astype(np.uint8), axis=2)
            assert wanted.sum() >= image.shape[0] * image.shape[1]  # black has its letters besides
    red = np.argwhere(np.all(pixels == (255, 0, 0), axis=2))
    green = np.argwhere(np.all(pixels == (0, 255, 0), axis=2))
    assert len(red) == 60 * 200 and red[:, 0].min() == green[:, 0].min() > 10  # a label's line above both
    assert green[:, 1].min() > red[:, 1].max()
    assert (pixels[: red[0, 0]] < 100).any()  # letters


def test_a_row_without_its_labels_is_refused(tmp_path):
    with pytest.raises(ValueError):
        write_grid(tmp_path / "grid.png", [[plain(8, 8, 0)] * 2], [["one"]])


def test_labels_hold_psnr():
    assert triple_labels(42.11, 48.1301) == ["blurred 42.11 dB", "restored 48.13 dB", "sharp"]
