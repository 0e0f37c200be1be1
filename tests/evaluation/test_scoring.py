import json

import numpy as np
import pytest
from skimage import data

from madn.data.index import Pair
from madn.errors import UserError
from madn.evaluation.metric_list import Scores
from madn.evaluation.scoring import Evaluation, ImageResult, evaluate_method, score
from madn.imaging.arrays import read_image, to_float, write_image
from madn.restoration.restorer import restore


def identity(batch):
    return batch


def evaluate(network, *arguments, **options) -> Evaluation:
    """A network of whole batches, measured."""
    return evaluate_method(lambda blurred, sharp: restore(network, blurred), *arguments, **options)


@pytest.fixture
def pairs(tmp_path):
    """Two pairs of different sizes: photographs, and the same made darker."""
    found = []
    for name, size in (("astronaut", (70, 50)), ("chelsea", (64, 90))):
        sharp = to_float(getattr(data, name)()[: size[0], : size[1]])
        pair = Pair(tmp_path / f"{name}_b.png", tmp_path / f"{name}_s.png", "zoo", f"zoo/{name}")
        write_image(pair.sharp, sharp)
        write_image(pair.blurred, sharp * 0.8)
        found.append(pair)
    return found


def test_full_protocol_scores_every_image_and_its_input(pairs):
    seen = []
    found = evaluate(lambda batch: batch / np.float32(0.8), pairs, on_result=lambda *each: seen.append(each))
    assert [image.name for image in found.images] == ["zoo/astronaut", "zoo/chelsea"]
    assert [image.size for image in found.images] == [(70, 50), (64, 90)]
    for pair, image, (result, _, restored, sharp) in zip(pairs, found.images, seen, strict=True):
        assert result is image and image.offset is None and image.seconds > 0.0
        np.testing.assert_array_equal(sharp, read_image(pair.sharp))
        assert image.blurred == score(read_image(pair.blurred), sharp)
        assert image.restored == score(restored, sharp)
        assert image.restored.psnr > image.blurred.psnr + 10 and image.restored.ssim > image.blurred.ssim
    assert found.restored.psnr == pytest.approx(sum(image.restored.psnr for image in found.images) / 2)
    assert found.blurred.ssim_matlab == pytest.approx(sum(image.blurred.ssim_matlab for image in found.images) / 2)


def test_crop_protocol_draws_one_recorded_window_each_from_the_seed(pairs):
    shapes = []
    found = evaluate(lambda batch: shapes.append(batch.shape) or batch, pairs, "crop", crop=32, seed=5)
    chance = np.random.default_rng(5)
    for pair, image in zip(pairs, found.images, strict=True):
        blurred, sharp = read_image(pair.blurred), read_image(pair.sharp)
        y, x = (chance.integers(0, n - 32 + 1) for n in blurred.shape[:2])
        assert image.offset == (y, x) and image.size == (32, 32)
        assert image.blurred == score(blurred[y : y + 32, x : x + 32], sharp[y : y + 32, x : x + 32])
    assert shapes == [(1, 32, 32, 3)] * 2
    assert [image.offset for image in evaluate(identity, pairs[:1], "crop", 32, 5).images] == [found.images[0].offset]


def test_a_method_is_given_each_pair_as_it_is_measured(pairs):
    given = []

    def oracle(blurred, sharp):
        given.append((blurred, sharp))
        return sharp

    found = evaluate_method(oracle, pairs, "crop", crop=32, seed=5)
    for pair, image, (blurred, sharp) in zip(pairs, found.images, given, strict=True):
        y, x = image.offset
        np.testing.assert_array_equal(blurred, read_image(pair.blurred)[y : y + 32, x : x + 32])
        np.testing.assert_array_equal(sharp, read_image(pair.sharp)[y : y + 32, x : x + 32])
        assert image.restored.psnr == np.inf and image.blurred == score(blurred, sharp)
    assert [image.offset for image in found.images] == [
        image.offset for image in evaluate(identity, pairs, "crop", 32, 5).images
    ]


def test_windows_reach_every_place(pairs):
    offsets = {evaluate(identity, pairs[1:], "crop", 63, seed).images[0].offset[0] for seed in range(12)}
    assert offsets == {0, 1}  # 64 rows have two places for 63


def test_what_cannot_be_measured_is_named(pairs, tmp_path):
    with pytest.raises(UserError, match="no pairs"):
        evaluate(identity, [])
    with pytest.raises(UserError, match="astronaut_b.png: 50x70 is smaller than 64"):
        evaluate(identity, pairs, "crop", crop=64)
    with pytest.raises(UserError, match="crop 8 is smaller than the 11 pixels that ssim"):
        evaluate(identity, pairs, "crop", crop=8)
    with pytest.raises(UserError, match="'half' is unknown"):
        evaluate(identity, pairs, "half")
    write_image(pairs[1].sharp, np.zeros((64, 91, 3), np.float32))
    with pytest.raises(UserError, match=r"chelsea_b.png: .*differ \(90x64 and 91x64\)"):
        evaluate(identity, pairs)


def test_json_holds_what_was_measured(pairs, tmp_path):
    write_image(pairs[0].blurred, read_image(pairs[0].sharp))
    found = evaluate(identity, pairs, "crop", crop=40, seed=3)
    found.write_json(tmp_path / "out/crop.json", model="none at all", blur_kind="blur_gamma")
    read = json.loads((tmp_path / "out/crop.json").read_text())
    assert (read["model"], read["blur_kind"], read["protocol"], read["crop"], read["seed"]) == (
        "none at all",
        "blur_gamma",
        "crop",
        40,
        3,
    )
    assert read["images"][0]["restored"]["psnr"] == "inf" and read["mean"]["restored"]["psnr"] == "inf"
    assert read["images"][1]["offset"] == list(found.images[1].offset)
    assert read["images"][1]["restored"]["ssim_matlab"] == found.images[1].restored.ssim_matlab
    assert {"madn", "python", "numpy", "scikit-image"} <= read["versions"].keys()


def fake(count):
    restored = Scores(psnr=30.0, ssim=0.8, ssim_matlab=0.9)
    images = [
        ImageResult(
            "s", f"s/{i}", (720, 1280), None, Scores(psnr=20.0 + i, ssim=0.5, ssim_matlab=0.6), restored, 0.1 * i
        )
        for i in range(count)
    ]
    return Evaluation("full", None, None, images)


def test_table_names_the_ssims_and_lines_up():
    lines = fake(3).table().splitlines()
    assert lines[1].split()[1:7] == ["psnr", "blurred", "psnr", "restored", "ssim", "blurred"]
    assert "ssim_matlab restored" in lines[1] and "SSIM" not in fake(3).table()
    assert lines[2].split() == ["s/0", "20.00", "30.00", "0.5000", "0.8000", "0.6000", "0.9000", "0.00"]
    assert lines[-1].split() == ["mean", "of", "3", "21.00", "30.00", "0.5000", "0.8000", "0.6000", "0.9000", "0.10"]
    assert len({len(line) for line in lines[1:]}) == 1


def test_long_tables_give_the_mean_alone():
    lines = fake(41).table().splitlines()
    assert len(lines) == 3 and lines[-1].startswith("mean of 41")
