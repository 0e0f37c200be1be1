"""From what a user names to crops: held-out scenes, photographs, two folders."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from madn.data.sets import DataOptions, FixedCrops, open_pairs, open_source
from madn.errors import UserError
from madn.system.commandline import parse

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
    assert len(source) == 9 and summary["validation"] == ["5.png"]
    blurred, sharp = source.crop_at(0)
    assert blurred.shape == sharp.shape == (32, 32, 3)
    assert blurred.std() < 0.7 * sharp.std()  # noise that was averaged along a path
    assert fixed.blurred.shape == (1, 32, 32, 3)
    with pytest.raises(UserError, match="photographs have no scenes"):
        open_source(DataOptions(photos=str(tmp_path), validation="A"), **SETTINGS)
    with pytest.raises(UserError, match="--photo-share needs both"):
        open_source(DataOptions(photos=str(tmp_path), photo_share=0.5), **SETTINGS)
    with pytest.raises(UserError, match="--held-photos, --photo-blur and --longest-shake need photographs"):
        open_source(DataOptions(held_photos=2), **SETTINGS)
    with pytest.raises(UserError, match="--longest-shake need photographs"):
        open_source(DataOptions(longest_shake=2.0), **SETTINGS)
    with pytest.raises(UserError, match="--crop-tries must be at least 1"):
        open_source(DataOptions(crop_tries=0), **SETTINGS)
    (tmp_path / "5.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="5.png: cannot be read.*--skip-bad"):
        open_source(DataOptions(photos=str(tmp_path)), **SETTINGS)
    source, fixed, summary = open_source(DataOptions(photos=str(tmp_path), skip_bad=True), **SETTINGS)
    assert len(source) == 9 and fixed is None and "5.png: cannot be read" in summary["left_out"][0]


def gopro(root, scenes, pairs=4):
    for s, scene in enumerate(scenes):
        for i in range(pairs):
            for k, kind in enumerate(("blur", "sharp")):
                picture(root / "train" / scene / kind / f"{i}.png", 1000 * s + 100 * ord(root.name[0]) + 10 * i + k)
    return str(root)


def test_several_sets_are_one(tmp_path):
    one, two = gopro(tmp_path / "one", "AB"), gopro(tmp_path / "two", "CD", pairs=3)
    index = open_pairs([one, two])
    assert [pair.name for pair in index.pairs][::7] == ["A/0", "B/3"] and len(index.pairs) == 14
    assert index.layout == "GoPro" and index.blur_kind == "blur" and index.root == f"{one}/train and {two}/train"
    source, fixed, summary = open_source(DataOptions(data=[one, two]), **SETTINGS)
    assert summary["validation"] == ["C/0", "C/1", "C/2"] and len(source) == 11 and len(fixed.sharp) == 3
    assert summary["train"] == f"11 pairs of {one} and {two} (GoPro, blur kind blur)"
    assert open_source(DataOptions(data=[one, two], validation="A,D"), **SETTINGS)[2]["validation"][4] == "D/0"
    with pytest.raises(UserError, match="the same set twice"):
        open_pairs([one, two, one])
    with pytest.raises(UserError, match="nowhere: no such folder"):
        open_pairs([one, str(tmp_path / "nowhere")])


def test_the_longest_shake_is_that_asked_for(tmp_path):
    for i in range(10):
        picture(tmp_path / f"{i}.png", i, (160, 160))
    options = DataOptions(photos=str(tmp_path))
    spread = {}
    for longest in (None, 2.0, 48.0):
        source, fixed, _ = open_source(dataclasses.replace(options, longest_shake=longest), **SETTINGS)
        spread[longest] = [np.mean([crop.std() for crop, _ in map(source.crop_at, range(20))]), fixed.blurred.std()]
    for long, middle, short in zip(spread[48.0], spread[None], spread[2.0], strict=True):
        assert long < 0.9 * middle < 0.8 * short  # noise, averaged along paths of about 29, 14 and 1 pixels
    with pytest.raises(UserError, match=r"0.png: 160x160 is smaller than 166x166; .*--longest-shake"):
        open_source(dataclasses.replace(options, longest_shake=128.0), **SETTINGS)
    for wrong in (0.0, -3.0, 257.0):
        with pytest.raises(UserError, match="--longest-shake must be above 0 and at most 256 pixels; received"):
            open_source(dataclasses.replace(options, longest_shake=wrong), **SETTINGS)


def test_shrink_is_for_pairs_and_within_bounds(tmp_path):
    root = gopro(tmp_path / "set", "AB")
    whole, _, _ = open_source(DataOptions(data=root, validation="B"), **SETTINGS)
    shrunk, _, _ = open_source(DataOptions(data=root, validation="B", shrink=(1.0, 2.0)), **SETTINGS)
    assert whole.shrink == (1, 1) and shrunk.shrink == (1, 2)
    assert shrunk.crop_at(0)[0].shape == whole.crop_at(0)[0].shape
    for wrong in ((0.5, 2.0), (1.0, 17.0), (2.5, 2.0)):
        with pytest.raises(UserError, match="--shrink takes two factors from 1 to 16, the smaller one first; received"):
            open_source(DataOptions(data=root, shrink=wrong), **SETTINGS)
    with pytest.raises(UserError, match="--shrink is for pairs"):
        open_source(DataOptions(photos=str(tmp_path), shrink=(1.0, 2.0)), **SETTINGS)


def test_photographs_are_held_out_beside_pairs(tmp_path):
    root = gopro(tmp_path / "set", "AB")
    for i in range(10):
        picture(tmp_path / "photos" / f"{i}.png", i, (160, 160))
    options = DataOptions(
        data=root, photos=str(tmp_path / "photos"), photo_blur="camera", validation="B", held_photos=2
    )
    source, fixed, summary = open_source(options, **SETTINGS)
    assert summary["validation"] == ["B/0", "B/1", "B/2", "B/3", "2.png", "7.png"]
    assert fixed.blurred.shape == fixed.sharp.shape == (6, 64, 64, 3)
    assert "8 photographs" in summary["train"] and "moving things" in summary["train"]
    names = {Path(source.name(k)).name for k in range(1, 40, 2)}
    assert names == {f"{i}.png" for i in (0, 1, 3, 4, 5, 6, 8, 9)}
    alone = open_source(dataclasses.replace(options, data=None, validation="auto"), **SETTINGS)
    assert alone[2]["validation"] == ["2.png", "7.png"] and alone[1].sharp.shape == (2, 32, 32, 3)
    small = open_source(dataclasses.replace(options, validation="none"), **SETTINGS)
    assert small[1].sharp.shape == (2, 32, 32, 3)  # No pair is held out whose size they would have.
    with pytest.raises(UserError, match="^--held-photos 2 and --validation none: leave one of them out$"):
        open_source(dataclasses.replace(options, data=None, validation="none"), **SETTINGS)
    with pytest.raises(UserError, match="--held-photos 10: of 10 photographs at least 1 must be left"):
        open_source(dataclasses.replace(options, held_photos=10), **SETTINGS)


def test_pairs_and_photographs_are_mixed(tmp_path):
    root = gopro(tmp_path / "set", "AB")
    for i in range(3):
        picture(tmp_path / "photos" / f"{i}.png", i, (160, 160))
    options = DataOptions(data=root, photos=str(tmp_path / "photos"), photo_share=0.75, validation="B")
    source, fixed, summary = open_source(options, **SETTINGS)
    assert len(source) == 16 and summary["validation"] == ["B/0", "B/1", "B/2", "B/3"] and len(fixed.sharp) == 4
    assert "4 pairs" in summary["train"] and "for a share of 0.75 of the crops, 3 photographs" in summary["train"]
    pairs = open_source(DataOptions(data=root, validation="B"), **SETTINGS)[0]
    np.testing.assert_array_equal(source.crop_at(0), pairs.crop_at(0))
    np.testing.assert_array_equal(source.crop_at(4), pairs.crop_at(1))
    photos = open_source(DataOptions(photos=str(tmp_path / "photos"), validation="none"), **SETTINGS)[0]
    np.testing.assert_array_equal(source.crop_at(3), photos.crop_at(2))
    half = open_source(DataOptions(data=root, photos=str(tmp_path / "photos"), validation="B"), **SETTINGS)[0]
    assert len(half) == 8
    (tmp_path / "photos" / "1.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="1.png: cannot be read"):
        open_source(options, **SETTINGS)
    skipping = dataclasses.replace(options, skip_bad=True)
    assert "1.png: cannot be read" in open_source(skipping, **SETTINGS)[2]["left_out"][0]


@pytest.mark.parametrize("said, kept", [("--data A", "A"), ("--data A B", ["A", "B"]), ("", None)])
def test_sets_on_the_command_line_outlast_settings_json(said, kept):
    options = parse(DataOptions, said.split(), "test")
    assert options.data == kept == json.loads(json.dumps(options.data))
    assert parse(DataOptions, [], "test", default=DataOptions(data=kept)) == options
    assert parse(DataOptions, ["--data", "C"], "test", default=options).data == "C"


def test_what_names_no_pairs_is_refused(tmp_path):
    for arguments in ((None,), ([],), (None, tmp_path), ("set", tmp_path, tmp_path), (None, None, tmp_path)):
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
