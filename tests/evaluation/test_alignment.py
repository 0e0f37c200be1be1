"""RealBlur's aligned scores against its authors' evaluation, written anew from its description."""

import json

import cv2
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from skimage import data

from madn import evaluate
from madn.evaluation.alignment import AlignedScores
from madn.evaluation.metrics import psnr, ssim
from madn.imaging.arrays import to_float, to_uint8, write_image
from madn.papers.published import beside
from madn.papers.results import find_results


def photo(top=40, left=60, size=(160, 176)):
    return to_float(data.coffee()[top : top + size[0], left : left + size[1]])


def official(restored, sharp):
    """Rim et al.: match intensities, ECC homography (100 iterations, epsilon 0, window 5), warp by bicubic
    interpolation with reflected borders, mask by nearest neighbours and zeros; PSNR and SSIM inside the mask.

    The warp is done by explicit coordinates, SSIM's moments by explicit Gaussian sums.
    """
    z, x = (np.float32(to_uint8(image)) / np.float32(255) for image in (restored, sharp))
    z = z * np.float32((x * z).sum() / (z * z).sum())
    grey = [cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in (x, z)]
    _, homography = cv2.findTransformECC(
        *grey, np.eye(3, dtype=np.float32), cv2.MOTION_HOMOGRAPHY, (3, 100, 0), None, 5
    )
    height, width = x.shape[:2]
    v, u = np.mgrid[:height, :width]
    px, py, pw = np.einsum("ij,jhw->ihw", homography.astype(np.float64), np.stack([u, v, np.ones_like(u)]))
    px, py = np.float32(px / pw), np.float32(py / pw)
    z = cv2.remap(z, px, py, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    inside = (np.rint(px) >= 0) & (np.rint(px) < width) & (np.rint(py) >= 0) & (np.rint(py) < height)
    mask = np.repeat(inside[..., None], 3, axis=2).astype(np.float64)
    x, z = x * mask, z * mask
    error = ((x - z) ** 2).sum() / mask.sum()

    def mean(image):
        return gaussian_filter(image, (1.5, 1.5, 0), truncate=3.5, mode="reflect")

    mx, mz = mean(x), mean(z)
    vx, vz, covariance = mean(x * x) - mx**2, mean(z * z) - mz**2, mean(x * z) - mx * mz
    similarity = (2 * mx * mz + 1e-4) * (2 * covariance + 9e-4) / ((mx**2 + mz**2 + 1e-4) * (vx + vz + 9e-4)) * mask
    inner = np.s_[5:-5, 5:-5]
    per_channel = similarity[inner].sum((0, 1)) / mask[inner].sum((0, 1))
    return 10 * np.log10(1 / error), per_channel.mean()


def shifted_pair():
    """A sharp photograph, and a slightly blurred one that lies 2.5 pixels beside it and is a tenth darker."""
    fine = gaussian_filter(to_float(data.coffee()), (0.8, 0.8, 0))
    turn = cv2.getRotationMatrix2D((140.0, 120.0), 0.7, 1.0) + np.float64([[0, 0, 2.5], [0, 0, -1.5]])
    restored = cv2.warpAffine(fine, turn, fine.shape[1::-1], flags=cv2.INTER_LINEAR)[40:200, 60:236] * 0.9
    return restored.astype(np.float32), photo()


def test_a_shifted_pair_equals_the_official_evaluation():
    restored, sharp = shifted_pair()
    found, similarity = AlignedScores()(restored, sharp)
    expected, expected_similarity = official(restored, sharp)
    assert found == pytest.approx(expected, abs=0.01)
    assert similarity == pytest.approx(expected_similarity, abs=1e-3)
    assert found > psnr(restored, sharp) + 5 and similarity > ssim(restored, sharp) + 0.1


def test_an_aligned_pair_scores_nearly_as_it_is():
    sharp = photo()
    restored = gaussian_filter(sharp, (1.5, 1.5, 0))
    scores = AlignedScores()
    found, similarity = scores(restored, sharp)
    assert found == pytest.approx(psnr(restored, sharp), abs=0.3)
    assert similarity == pytest.approx(ssim(restored, sharp), abs=0.01)
    assert scores.remark == ""


def test_what_cannot_be_aligned_is_scored_where_it_is_and_counted():
    sharp, scores = photo(), AlignedScores()
    black = np.zeros_like(sharp)
    found, _ = scores(black, sharp)
    assert found == pytest.approx(psnr(black, sharp), abs=1e-3)
    scores(sharp, sharp)
    assert scores.remark == "ECC aligned all but 1 of 2 images; those are scored where they are"


def test_a_run_on_realblur_prints_both_and_fills_egnets_cells(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "RealBlur-J_ECC_IMCORR_centroid_itensity_ref"
    restored, sharp = shifted_pair()
    write_image(base / "scene001/blur/blur_1.png", restored[:96, :96])
    write_image(base / "scene001/gt/gt_1.png", sharp[:96, :96])
    evaluate.main(["deconvolution-blind", "--data", base.name, "--out", "runs/j", "--pictures", "0"])
    said = capsys.readouterr().out
    assert "psnr_aligned restored" in said and "ssim_aligned blurred" in said and "psnr restored" in said
    result = json.loads((tmp_path / "runs/j/full.json").read_text())
    mean = result["mean"]["blurred"]
    assert mean["psnr_aligned"] > mean["psnr"] + 3
    (tmp_path / "runs/j/full.json").write_text(json.dumps({**result, "recipe": "egnet"}))
    results = find_results(["runs"])
    for which, method in (("table 1", "EGNet"), ("table 6", "with gradient loss")):
        [line] = [line for line in beside("egnet", which, results) if line.published and line.measured]
        assert (line.method, line.column) == (method, "RealBlur-J")
        assert {"psnr", "psnr_aligned", "ssim_aligned"} <= line.measured.keys()
