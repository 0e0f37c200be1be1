"""The list of metrics: one more entry is measured, printed, written, published and laid beside the papers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from skimage import data

from madn import evaluate
from madn.errors import UserError
from madn.evaluation import metric_list
from madn.evaluation.metric_list import METRICS, Metric, Scorer, Scores, choose
from madn.imaging.arrays import to_float, write_image
from madn.papers.published import text
from madn.papers.results import find_results
from madn.weights import __main__ as weights_command
from madn.weights import publishing, registry

SHIPPED = Path(__file__).parents[2] / "weights"


def names(metrics):
    return [name for metric in metrics for name in metric.explained]


def test_which_metrics_are_measured():
    standard = ["psnr", "ssim", "ssim_matlab"]
    assert names(choose()) == names(choose(layout="GoPro")) == standard
    assert names(choose(layout="RealBlur")) == [*standard, "psnr_aligned", "ssim_aligned"]
    assert names(choose(layout="Köhler")) == [*standard, "psnr_kohler", "mssim_kohler"]
    assert names(choose(layout="Köhler", whole=False)) == names(choose(layout="RealBlur", whole=False)) == standard
    assert names(choose(["cw_ssim", "psnr"], "GoPro")) == [*standard, "cw_ssim"]
    assert names(choose(["ssim_aligned"], "GoPro")) == [*standard, "psnr_aligned", "ssim_aligned"]
    with pytest.raises(UserError, match="--metrics lpips: there is no such metric; there is psnr, .*lpips_alex"):
        choose(["lpips"])
    with pytest.raises(UserError, match="--metrics mssim_kohler: it is of whole images in the layout of Köhler's set"):
        choose(["mssim_kohler"], "GoPro")
    assert len(set(names(METRICS))) == len(names(METRICS))


def test_a_scorer_knows_its_smallest_image_and_opens_once():
    opened = []
    toy = Metric({"a": "", "b": ""}, lambda weights: opened.append(weights) or (lambda x, y: (1.0, 2.0)), smallest=40)
    scorer = Scorer([*choose(), toy], Path("w"))
    assert (scorer.smallest, scorer.limit) == (40, "a") and opened == [Path("w")]
    image = np.zeros((16, 16, 3), np.float32)
    found = [scorer(image, image) for _ in range(2)][1]
    assert found == {"psnr": np.inf, "ssim": 1.0, "ssim_matlab": 1.0, "a": 1.0, "b": 2.0} and len(opened) == 1
    assert (found.b, Scores(psnr=3.0).psnr) == (2.0, 3.0)
    with pytest.raises(AttributeError, match="c"):
        found.c  # noqa: B018


@pytest.fixture
def toy(monkeypatch):
    """One more metric, by one more entry: the largest difference in grey levels."""
    entry = Metric({"worst": "largest difference, of 255"}, lambda weights: lambda x, y: float(255 * abs(x - y).max()))
    monkeypatch.setattr(metric_list, "METRICS", [*METRICS, entry])


def test_one_more_metric_is_known_everywhere(toy, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    sharp = to_float(data.astronaut()[:40, :48])
    sharp[0, 0] = 1.0
    for name, factor in (("1", 0.8), ("2", 0.5)):
        write_image(tmp_path / f"GOPRO/test/GOPR0001_00_00/blur/{name}.png", sharp * factor)
        write_image(tmp_path / f"GOPRO/test/GOPR0001_00_00/sharp/{name}.png", sharp)
    common = ["deconvolution-blind", "--data", "GOPRO", "--pictures", "0", "--out"]
    evaluate.main([*common, "runs/toy", "--metrics", "worst"])
    assert "worst restored" in capsys.readouterr().out
    result = json.loads((tmp_path / "runs/toy/full.json").read_text())
    assert result["metrics"]["worst"] == "largest difference, of 255"
    assert [image["blurred"]["worst"] for image in result["images"]] == pytest.approx([51, 127.5], abs=1)
    assert result["mean"]["blurred"]["worst"] == pytest.approx(89.25, abs=1)

    evaluate.main([*common, "runs/plain"])  # a result without it beside one that has it
    table = text("madn", "table 4", find_results(["runs"]))
    assert "worst" in table and f"{result['mean']['restored']['worst']:.4f}" in table
    plain = text("madn", "table 4", find_results(["runs/plain"]))
    assert "worst" not in plain and "ssim_matlab" in plain

    shutil.copytree(SHIPPED, tmp_path / "site")
    monkeypatch.setenv("MADN_WEIGHTS", str(tmp_path / "site"))
    entry = registry.find(registry.DEFAULT)
    (tmp_path / "full.json").write_text(json.dumps({**result, "model": f"a network ({entry.short_hash})"}))
    publishing.add_score(entry.name, tmp_path / "full.json", "toys", "a command")
    assert registry.find(entry.name).scores[-1].restored["worst"] == result["mean"]["restored"]["worst"]
    weights_command.main([])
    assert f"{result['mean']['blurred']['worst']:.4f} -> " in capsys.readouterr().out
