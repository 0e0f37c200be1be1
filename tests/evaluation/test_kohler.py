"""Köhler's scores against a computation by hand, and against the official script's steps written with dense sums."""

import json

import numpy as np
import pytest
from scipy.signal import convolve2d
from skimage import data

from madn import evaluate
from madn.errors import UserError
from madn.evaluation.kohler import SMALLEST, best_scores, mssim
from madn.imaging.arrays import to_float, write_image
from madn.papers.published import beside, text
from madn.papers.results import find_results

LUMA = (0.299, 0.587, 0.114)


def photo(size=(176, 168)):
    return to_float(data.coffee()[60 : 60 + size[0], 100 : 100 + size[1]])


def dense_components(x, y):
    """SSIM's three components, each averaged, by 11x11 windows that are written out."""
    offsets = np.arange(11) - 5.0
    window = np.exp(-(offsets[:, None] ** 2 + offsets**2) / (2 * 1.5**2))
    window /= window.sum()

    def mean(image):
        return convolve2d(image, window, mode="valid")

    mx, my = mean(x), mean(y)
    sx, sy = (np.sqrt(np.maximum(mean(image**2) - m**2, 0)) for image, m in ((x, mx), (y, my)))
    c1, c2 = 6.5025, 58.5225
    structure = (mean(x * y) - mx * my + c2 / 2) / (sx * sy + c2 / 2)
    luminance, contrast = (2 * mx * my + c1) / (mx**2 + my**2 + c1), (2 * sx * sy + c2) / (sx**2 + sy**2 + c2)
    return luminance.mean(), contrast.mean(), structure.mean()


def dense_mssim(x, y):
    """MeTriX MuX's MSSIM: symmetric borders, the 9/7 wavelet's low-pass in two dimensions, every second pixel."""
    half = [0.852698679008890, 0.377402855612830, -0.110624404418440, -0.023849465019560, 0.037828455507260]
    taps = np.array([*half[:0:-1], *half])
    kernel = np.outer(taps, taps) / np.outer(taps, taps).sum()
    product = 1.0
    for scale, power in enumerate((0.0448, 0.2856, 0.3001, 0.2363, 0.1333)):
        if scale:
            x, y = (convolve2d(np.pad(i, 4, mode="symmetric"), kernel, mode="valid")[::2, ::2] for i in (x, y))
        luminance, contrast, structure = dense_components(x, y)
        product *= contrast**power * structure**power
    return product * luminance**0.1333


def test_the_best_psnr_is_that_of_the_frame_computed_by_hand():
    """Frames that are 3 grey levels off everywhere, up and down by turns, or 9: 10 log10(255^2 / 3^2) = 38.59 dB."""
    checks = np.indices((SMALLEST, SMALLEST)).sum(0) % 2  # 0 and 1 like a chessboard's fields
    image = np.zeros((SMALLEST, SMALLEST, 3)) + 100.0
    image[::8, ::8] = 200.0  # a pattern that no shift of fewer than 8 pixels brings onto itself
    near = image + 3.0 * np.where(checks, 1, -1)[..., None]
    # Scaled to `near`, the image is off by 3 everywhere, but for what the factor takes away.
    factor = (near * image).sum() / (image**2).sum()
    by_hand = 10 * np.log10(255**2 / np.mean((near - factor * image) ** 2))
    assert by_hand == pytest.approx(10 * np.log10(255**2 / 9), abs=5e-3)
    far = image + 9.0 * np.where(checks, 1, -1)[..., None]
    frames = [np.float32(frame / 255) for frame in (far, near, far)]
    found, _ = best_scores(np.float32(image / 255), frames)
    assert found == pytest.approx(by_hand, abs=1e-9)
    assert best_scores(np.float32(image / 255), frames[:1])[0] < found - 9  # 9 against 3 grey levels: 9.54 dB


def test_an_image_that_is_moved_and_darker_is_the_frame_but_for_the_border():
    sharp = photo()
    moved = np.roll(sharp, (3, -5), (0, 1)) * np.float32(0.5)
    x, y = (np.rint(image * 255.0).astype(float) for image in (moved, sharp))
    factor = (y * x).sum() / (x * x).sum()
    # Moved back, it lacks the rows and columns that it would have to take from outside.
    z, reference = np.zeros_like(y), np.zeros_like(y)
    z[:-3, 5:], reference[:-3, 5:] = factor * x[3:, :-5], y[:-3, 5:]
    z, reference = z @ LUMA, reference @ LUMA
    by_hand = 10 * np.log10(255**2 / np.mean((z - reference) ** 2))
    found, similarity = best_scores(moved, [sharp])
    assert found == pytest.approx(by_hand, abs=1e-9)
    assert similarity == pytest.approx(dense_mssim(reference, z), abs=1e-9)


def test_mssim_equals_a_dense_computation():
    x = np.rint(photo() * 255.0).astype(float) @ LUMA
    y = convolve2d(np.pad(x, 3, mode="edge"), np.full((7, 7), 1 / 49), mode="valid")
    assert mssim(x, y) == pytest.approx(dense_mssim(x, y), abs=1e-9) and 0.5 < mssim(x, y) < 0.99
    assert mssim(x, x) == pytest.approx(1.0, abs=1e-12)
    assert mssim(x, 255 - x) == 0.0


def test_the_two_maxima_are_taken_one_by_one():
    sharp = photo((SMALLEST, SMALLEST))
    noisy = np.clip(sharp + np.random.default_rng(0).normal(0, 0.04, sharp.shape), 0, 1).astype(np.float32)
    wave = np.clip(sharp + 0.05 * np.sin(np.arange(SMALLEST) / 25)[:, None, None], 0, 1).astype(np.float32)
    alone = [best_scores(sharp, [frame]) for frame in (noisy, wave)]
    assert alone[0][0] > alone[1][0] and alone[0][1] < alone[1][1]  # one frame has the PSNR, the other the MSSIM
    assert best_scores(sharp, [noisy, wave]) == (alone[0][0], alone[1][1])


def test_black_and_small_images():
    black = np.zeros((SMALLEST, SMALLEST, 3), np.float32)
    assert best_scores(black, [black + np.float32(10 / 255)])[0] == pytest.approx(10 * np.log10(255**2 / 100))
    with pytest.raises(UserError, match="160x161 pixels are too few for the five scales of MSSIM; 161"):
        best_scores(black[:, 1:], [black[:, 1:]])


def test_a_run_on_the_benchmark_fills_the_cells_of_three_papers(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sharp = photo((SMALLEST, SMALLEST))
    for motion in (1, 2):
        write_image(tmp_path / f"k/Blurry1_{motion}.png", np.roll(sharp, motion, 0) * 0.5)
        for frame in (1, 2, 3):
            place = tmp_path / f"k/Image1/Kernel{motion}/GroundTruth1_{motion}_{frame}.png"
            write_image(place, np.clip(sharp + 0.1 * (frame - 2), 0, 1))
    evaluate.main(["deconvolution-blind", "--data", "k", "--out", "runs/k", "--pictures", "0"])
    said = capsys.readouterr().out
    assert "(Köhler)" in said and "psnr_kohler blurred" in said and "Blurry1_2.png: 3 frames, and at least 197" in said
    result = json.loads((tmp_path / "runs/k/full.json").read_text())
    assert result["split"] == "test" and "Blurry1_1.png: 3 frames" in result["notes"][0]
    image = result["images"][1]
    blurred = np.roll(sharp, 2, 0) * 0.5
    frames = [np.clip(sharp + 0.1 * step, 0, 1) for step in (-1, 0, 1)]
    assert [image["blurred"][name] for name in ("psnr_kohler", "mssim_kohler")] == list(best_scores(blurred, frames))
    assert image["blurred"]["psnr_kohler"] > image["blurred"]["psnr"] + 6  # plain: the middle frame, not aligned
    evaluate.main(
        ["deconvolution-blind", "--data", "k", "--out", "runs/c", "--pictures", "0", "--protocol", "crop"]
        + ["--crop", "64"]
    )
    crop = json.loads((tmp_path / "runs/c/crop.json").read_text())
    assert crop["mean"]["blurred"].keys() == {"psnr", "ssim", "ssim_matlab"}

    for paper, which, recipe in (
        ("sisnet", "table 4", "sisnet"),
        ("structure_guided", "table 1", "structure_guided"),
        ("msr2b", "table 2", "msr2b"),
    ):
        (tmp_path / "runs/k/full.json").write_text(json.dumps({**result, "recipe": recipe}))
        results = find_results(["runs/k"])
        [line] = [line for line in beside(paper, which, results) if line.published and line.measured]
        assert line.measured["psnr_kohler"] == pytest.approx(result["mean"]["restored"]["psnr_kohler"])
        assert "2 of 48" in text(paper, which, results) and "psnr_kohler" in text(paper, which, results)
