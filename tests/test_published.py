"""The papers' tables against their own arithmetic and their texts (MADN: the specification's oracle 22)."""

import json
from pathlib import Path

import numpy as np
import pytest

import madn

PUBLISHED = json.loads((Path(madn.__file__).parent / "published.json").read_text(encoding="utf-8"))
MADN, SISNET, GUIDED, MSR2B, EGNET = (PUBLISHED[name]
                                      for name in ("madn", "sisnet", "structure_guided", "msr2b", "egnet"))


def rows(table: dict) -> dict:
    return {method: values for method, values in table.items() if method not in ("what", "columns")}


def ranking(table: dict, metric: str, column: int | None = None) -> list[str]:
    """Methods, the highest value first."""
    values = {method: row[metric] if column is None else row[metric][column] for method, row in rows(table).items()}
    return sorted((method for method in values if values[method] is not None), key=lambda method: -values[method])


@pytest.mark.parametrize("paper", ["madn", "sisnet", "structure_guided", "msr2b", "egnet"])
def test_every_table_is_whole_and_plausible(paper):
    plausible = {"psnr": (18, 36), "ssim": (0.5, 1), "ssim_matlab": (0.5, 1), "seconds": (0.02, 1600), "score": (1, 10),
                 "gflops": (1, 2000), "size": (1, 100), "hsic": (1, 2)}
    tables = {name: table for name, table in PUBLISHED[paper].items() if name.startswith("table")}
    assert tables and PUBLISHED[paper]["paper"] and PUBLISHED[paper]["slips"]
    for name, table in tables.items():
        metrics = [tuple(row) for row in rows(table).values()]
        assert len(set(metrics)) == 1, f"{paper} {name}: every method has the same metrics"
        for method, row in rows(table).items():
            for metric, values in row.items():
                if isinstance(values, list):
                    assert len(values) == len(table["columns"]), f"{paper} {name}: {method} {metric}"
                low, high = plausible[metric]
                listed = values if isinstance(values, list) else [values]
                assert all(low <= value <= high for value in listed if value is not None), f"{paper} {name}: {method}"


@pytest.mark.parametrize("method", ["Whyte", "Sun", "Nah", "MADN"])
@pytest.mark.parametrize(("metric", "rounding"), [("psnr", 5e-4), ("ssim", 5e-5)])
def test_averages_of_table_3(method, metric, rounding):
    *images, average = MADN["table 3"][method][metric]
    assert len(images) == 4
    assert np.mean(images) == pytest.approx(average, abs=rounding * 1.01)


def test_gains_that_the_text_claims():
    table = MADN["table 4"]
    psnr, ssim = ({name: table["MADN"][key] - table[name][key] for name in ("Sun", "Nah")} for key in ("psnr", "ssim_matlab"))
    assert np.mean(list(psnr.values())) == pytest.approx(3.32, abs=5e-3)
    assert np.mean(list(ssim.values())) == pytest.approx(0.053, abs=5e-4)
    assert psnr["Nah"] == pytest.approx(1.1) and ssim["Nah"] == pytest.approx(0.0177)


def test_sisnets_tables_against_its_text():
    gopro, kohler = SISNET["table 3"], SISNET["table 4"]
    assert ranking(gopro, "psnr")[:3] == ["SIS-Net", "SRN", "SIUN"]
    assert ranking(kohler, "psnr")[0] == "SIS-Net"
    assert ranking(SISNET["table 2"], "psnr") == ["SIS-Net", "NoPloss", "Nosis", "Nolatent"]
    assert ranking(gopro, "seconds")[-1] == "SIS-Net"
    for metric in ("psnr", "ssim"):
        assert SISNET["table 2"]["SIS-Net"][metric] == gopro["SIS-Net"][metric]
    # the slips
    assert ranking(gopro, "ssim")[0] == "SRN" and gopro["Yuan"]["ssim"] == gopro["EG-GAN"]["ssim"]
    assert ranking(kohler, "ssim")[:2] == ["Chi", "SRN"]
    assert kohler["SIS-Net"]["ssim"] == kohler["DeblurGAN-v2"]["ssim"]
    assert 1 - gopro["SIS-Net"]["seconds"] / gopro["SRN"]["seconds"] == pytest.approx(0.77, abs=5e-3)


@pytest.mark.parametrize("method", rows(GUIDED["table 2"]))
def test_average_scores_of_structures_guided(method):
    *scores, average = GUIDED["table 2"][method]["score"]
    assert np.mean(scores) == pytest.approx(average, abs=0.0501)


def test_structures_guideds_tables_against_its_text():
    ours = "Structures Guided"
    table, speed, loss, blocks = (GUIDED[f"table {k}"] for k in (1, 3, 4, 5))
    for metric in ("psnr", "ssim"):
        assert all(ranking(table, metric, column)[0] == ours for column in (0, 1))
        assert table[ours][metric][0] == loss[ours][metric] == blocks[ours][metric]
    assert ranking(loss, "psnr")[0] == ranking(blocks, "psnr")[0] == ours
    # the slips
    assert speed[ours]["seconds"] > speed["DeblurGAN-v2"]["seconds"]
    assert ranking(blocks, "ssim")[:2] == ["without MBRBs", ours]
    elsewhere = {"Nah": "DeepDeblur", "Gong": "Gong", "DeblurGAN": "DeblurGAN", "DeblurGAN-v2": "DeblurGAN-v2"}
    gaps = [SISNET["table 4"][theirs]["psnr"] - table[here]["psnr"][1] for here, theirs in elsewhere.items()]
    assert min(gaps) == pytest.approx(4.7, abs=0.05) and max(gaps) == pytest.approx(7.0, abs=0.05)


def test_msr2bs_tables_against_its_text():
    blocks, table = MSR2B["table 1"], MSR2B["table 2"]
    assert blocks["MSR2B"]["psnr"] - blocks["ResNet"]["psnr"] == pytest.approx(1.02)
    assert blocks["MSR2B"]["ssim"] - blocks["ResNet"]["ssim"] == pytest.approx(0.017)
    for metric in ("psnr", "ssim"):
        assert blocks["MSR2B"][metric] == table["MSR2B"][metric][0]
        assert all(ranking(table, metric, column)[0] == "MSR2B" for column in (0, 1))
    # the slips
    assert 1 - table["MSR2B"]["seconds"] / table["Kupyn"]["seconds"] == pytest.approx(0.47, abs=5e-3)
    gains = {(method, metric): 100 * (table["MSR2B"][metric][1] / table[method][metric][1] - 1)
             for method in ("Nah", "Kupyn") for metric in ("psnr", "ssim")}
    assert gains == pytest.approx({("Nah", "psnr"): 3.4, ("Nah", "ssim"): 4.0, ("Kupyn", "psnr"): 2.9,
                                   ("Kupyn", "ssim"): 4.2}, abs=0.05)
    sizes, field = [], []
    for strides in ((2, 2, 2, 1, 1), (2, 2, 2, 2, 1)):  # five convolutions of kernel 4, padding 1
        size, patch = 256, 1
        for stride in strides:
            size = (size + 2 - 4) // stride + 1
        for stride in reversed(strides):
            patch = (patch - 1) * stride + 4
        sizes.append(size)
        field.append(patch)
    assert sizes == [30, 15] and field == [70, 94]


def test_egnets_tables_agree_with_one_another():
    table, inputs, ablation, loss = (EGNET[f"table {k}"] for k in (1, 3, 4, 6))
    for metric in ("psnr", "ssim"):
        assert all(ranking(table, metric, column)[0] == "EGNet" for column in range(3))
        digits = 2 if metric == "psnr" else 3
        assert inputs["EGNet"][metric][0] == pytest.approx(ablation["with EGN"][metric], abs=0.501 * 10**-digits)
        realblur_j, realblur_r = table["EGNet"][metric][1:]
        assert loss["with gradient loss"][metric] == pytest.approx([realblur_r, realblur_j], abs=0.501 * 10**-digits)
    # what the ablations leave of the whole
    assert ablation["with EGN"]["psnr"] - ablation["without EGN"]["psnr"] == pytest.approx(0.40)
    attention, plain = inputs["EGNet"]["psnr"]
    assert attention - plain == pytest.approx(0.0096, abs=1e-6)
    assert attention - max(inputs[name]["psnr"][0] for name in inputs if name[:3] in ("add", "mul")) < 0.0163
    # the slips
    assert table["MPRNet"]["psnr"][0] - ablation["without EGN"]["psnr"] == pytest.approx(0.14)
    assert EGNET["table 2"]["MPRNet"]["size"] == round(20_127_073 / 1e6, 2)


def test_claims_are_the_tables():
    claims = PUBLISHED["claims"]
    speed, count = GUIDED["table 3"]["Structures Guided"], EGNET["table 2"]
    assert f"{speed['gflops']} GFLOPs and {speed['seconds']} s" in claims["structure_guided"]["claim"]
    assert f"{SISNET['table 3']['SIS-Net']['seconds']} s" in claims["sisnet"]["claim"]
    assert f"{MSR2B['table 2']['MSR2B']['seconds']} s" in claims["msr2b"]["claim"]
    for recipe, method in (("egnet", "EGNet"), ("egnet-backbone", "MPRNet")):
        assert f"{count[method]['size']:.2f} million" in claims[recipe]["claim"]
        assert f"{count[method]['seconds']} s" in claims[recipe]["claim"]
