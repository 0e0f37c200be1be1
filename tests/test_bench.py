"""python -m madn.bench prints the input's and the training's rates, and counts what the recipes cost."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import madn
from madn import recipes
from madn.bench import COUNTED, default_recipes, main
from madn.errors import UserError


@pytest.mark.usefixtures("networks_of_few_layers")
@pytest.mark.slow
def test_one_line_per_crop_size_with_all_three_rates(tmp_path, capsys):
    for kind in ("blur", "sharp"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    main(
        [
            "--data",
            str(tmp_path),
            "--crops",
            "32",
            "--batch",
            "2",
            "--seconds",
            "0.2",
            "--json",
            str(tmp_path / "found.json"),
        ]
    )
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("3 pairs of ")
    found = re.fullmatch(
        r"crop 32: first epoch (\d+) crops/s, cached (\d+) crops/s; the smallest training run takes "
        r"([\d.]+) crops/s, cached input gives (\d+) times that",
        line,
    )
    first, cached, training, ratio = map(float, found.groups())
    assert min(first, cached, training) > 0
    assert abs(ratio - cached / training) < 0.02 * ratio + 1
    (row,) = json.loads((tmp_path / "found.json").read_text())["input"]
    assert row["pairs"] == 3 and round(row["cached_crops_per_second"]) == cached


@pytest.mark.slow
def test_the_table_of_counts_has_a_line_per_recipe(capsys):
    main(["--counts", "--recipes", "madn-sample", "madn"])
    head, _, sample, full = capsys.readouterr().out.splitlines()
    head, sample, full = ([cell.strip() for cell in line.split("|")[1:-1]] for line in (head, sample, full))
    assert head == ["recipe", "generator", "discriminators", "GMACs 256x256", "GMACs 1280x720", "its paper says"]
    assert sample[0] == "madn-sample" and sample[-1] == ""
    assert full[:2] == ["madn", "29,071,817"] and full[5].startswith("more than 29 million")
    assert abs(float(full[3]) - 377.2) < 0.05 and abs(float(full[4].replace(",", "")) / float(full[3]) - 14.0625) < 0.01
    assert full[2] == "image and gradient 4,827,332" and sample[2].startswith("image and gradient ")  # one critic
    narrow = recipes.get("madn-sample").build_generator()
    assert sample[1] == f"{narrow.count_params():,}" and float(sample[3]) < 20


def test_every_recommended_recipe_is_counted_and_every_claim_is_of_a_recipe():
    assert set(default_recipes()) <= set(recipes.named()) and len(default_recipes()) == len(COUNTED) + 5
    claims = json.loads((Path(madn.__file__).parent / "papers" / "published.json").read_text())["claims"]
    assert set(claims) <= set(COUNTED)
    assert all(set(claim) == {"claim", "source"} for claim in claims.values())


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--recipes", "madm"], "unknown recipe 'madm'"),
        (["--counts", "--recipes", "madm"], "unknown recipe 'madm'"),
        (["--recipes", "runs/none"], "runs/none: no such run folder"),
        (["--data", "samples", "--recipes", "madn"], "--recipes chooses what is measured by default or counted"),
        (["--size", "1280"], "--size is width x height, such as 1280x720; received 1280"),
        (["--repeats", "0"], "--repeats must be above 0; received 0"),
        (["--out", "folder"], "--model and --out are of --restore"),
        (["--counts", "--json", "a.json"], "--json holds what is timed"),
        (["--vgg-weights", "vgg16.h5"], "vgg16.h5: no such file"),
    ],
)
def test_a_command_without_sense_is_refused_in_a_line(argv, message):
    with pytest.raises(UserError, match=message):
        main(argv)
