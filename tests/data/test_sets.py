"""From what a user names to crops: held-out scenes, photographs, two folders."""

import numpy as np
import pytest
from PIL import Image

from madn.data.sets import DataOptions, FixedCrops, open_pairs, open_source
from madn.errors import UserError

SETTINGS = {"crop": 32, "multiple": 16, "seed": 0, "augment": "none", "blur_kind": "blur"}


def picture(path, seed, size=(64, 80)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)).save(path)


def test_a_set_gives_training_crops_and_the_middle_of_the_held_out_pairs(tmp_path):
    for s, scene in enumerate("AB"):
        for i in range(4):
            for k, kind in enumerate(("blur", "sharp")):
                picture(tmp_path / "train" / scene / kind / f"{i}.png", 100 * s + 10 * i + k)
    source, fixed, summary = open_source(DataOptions(data=str(tmp_path), validation="B"), **SETTINGS)
    assert len(source) == 4 and summary["validation"] == ["B/0", "B/1", "B/2", "B/3"]
    sharp = np.asarray(Image.open(tmp_path / "train" / "B" / "sharp" / "2.png"))
    np.testing.assert_array_equal(fixed.sharp[2], sharp[:, 8:72])  # 64 of 80 columns, the middle
    floats = fixed.floats(2)
    assert floats[0].shape == (2, 64, 64, 3) and floats[0].dtype == np.float32 and 0.9 < floats[0].max() <= 1
    assert open_source(DataOptions(data=str(tmp_path), validation="none"), **SETTINGS)[1] is None


def test_a_folder_of_photographs_is_a_training_set(tmp_path):
    for i in range(10):
        picture(tmp_path / f"{i}.png", i, (160, 160))
    source, fixed, summary = open_source(DataOptions(photos=str(tmp_path)), **SETTINGS)
    assert len(source) == 9 and summary["validation"] == ["9.png"]
    blurred, sharp = source.crop_at(0)
    assert blurred.shape == sharp.shape == (32, 32, 3)
    assert blurred.std() < 0.7 * sharp.std()  # noise that was averaged along a path
    assert fixed.blurred.shape == (1, 32, 32, 3)
    with pytest.raises(UserError, match="photographs have no scenes"):
        open_source(DataOptions(photos=str(tmp_path), validation="A"), **SETTINGS)
    with pytest.raises(UserError, match="--photos DIR alone"):
        open_source(DataOptions(photos=str(tmp_path), data=str(tmp_path)), **SETTINGS)


def test_what_names_no_pairs_is_refused(tmp_path):
    for arguments in ((None,), (None, tmp_path), ("set", tmp_path, tmp_path), (None, None, tmp_path)):
        with pytest.raises(UserError, match="give --data DIR, or"):
            open_pairs(*arguments)


def test_fixed_crops_need_one_block(tmp_path):
    from madn.data.images import DecodedImages
    from madn.data.index import Pair

    for kind in ("blur", "sharp"):
        picture(tmp_path / kind / "a.png", 0, (12, 64))
    pair = Pair(tmp_path / "blur" / "a.png", tmp_path / "sharp" / "a.png", "", "a")
    with pytest.raises(UserError, match="at least 16 pixels; the smallest has 12"):
        FixedCrops.centres((pair,), DecodedImages("none"), 16)
