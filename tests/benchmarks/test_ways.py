import re

import keras
import numpy as np
import pytest
from narrow import narrow

from madn import bench
from madn.imaging.arrays import read_image, write_image
from madn.restoration.restorer import Restorer
from madn.training.checkpoint import save_generator


def decibels(cell):
    return np.inf if cell == "equal" else float(cell.removesuffix(" dB"))


@pytest.mark.slow
def test_ways_of_restoring_are_timed_and_compared(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Restorer, "reach", 32)  # that of random weights leaves small tiles no room
    recipe = narrow("madn", gradient_network="none", adversarial_domains="none")
    keras.utils.set_random_seed(0)
    save_generator(recipe.build_generator(), tmp_path / "net.weights.h5", "madn", recipe.fields())
    write_image(tmp_path / "photo.png", np.random.default_rng(0).random((90, 130, 3), np.float32))
    bench.main(
        [
            "--restore",
            str(tmp_path / "photo.png"),
            "--model",
            str(tmp_path / "net.weights.h5"),
            "--tile",
            "96",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    said = capsys.readouterr().out
    rows = {row[0]: row[1:] for row in (re.split(r"\s*\|\s*", line.strip("| ")) for line in said.splitlines()[3:])}
    assert rows["plain Keras call"][1:] == ["1.00", "equal", "0.00"]
    tiled = next(row for name, row in rows.items() if name.startswith("tiles: "))
    assert decibels(rows["compiled"][2]) > 100 and decibels(tiled[2]) > 30
    assert 20 < decibels(rows["compiled, bfloat16"][2]) < decibels(rows["compiled"][2])
    assert all(float(row[0]) > 0 for row in rows.values())
    pictures = sorted((tmp_path / "out").iterdir())
    assert [picture.name for picture in pictures] == ["photo_96_difference_x32.png", "photo_whole.png"]
    assert read_image(pictures[1]).shape == (90, 130, 3)
