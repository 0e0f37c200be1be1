"""python -m madn.bench prints the input's and the training's rates."""

import re

import numpy as np
from PIL import Image

from madn.bench import main


def test_one_line_per_crop_size_with_all_three_rates(tmp_path, capsys):
    for kind in ("blur", "sharp"):
        (tmp_path / kind).mkdir()
        for i in range(3):
            pixels = np.random.default_rng(i).integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / kind / f"{i}.png")
    main(["--data", str(tmp_path), "--crops", "32", "--batch", "2", "--seconds", "0.2"])
    head, line = capsys.readouterr().out.splitlines()
    assert head.startswith("3 pairs of ")
    found = re.fullmatch(r"crop 32: first epoch (\d+) crops/s, cached (\d+) crops/s; the smallest training run takes "
                         r"([\d.]+) crops/s, cached input gives (\d+) times that", line)
    first, cached, training, ratio = map(float, found.groups())
    assert min(first, cached, training) > 0
    assert abs(ratio - cached / training) < 0.02 * ratio + 1
