"""Crops: one window for both images, every pair once an epoch, and crop k a function of (seed, k) alone."""

import numpy as np
import pytest
from PIL import Image

from madn.data.crops import MixedCrops, PairCrops
from madn.data.images import DecodedImages
from madn.data.index import Pair
from madn.data.synthetic import PhotoCrops
from madn.errors import UserError

CROP = 24


@pytest.fixture
def pairs(tmp_path) -> tuple[Pair, ...]:
    """Five pairs that tell where a pixel is from: red is the row, green the column, blue the pair; blurred + 1."""
    made = []
    for n in range(5):
        rows, columns = np.mgrid[: 40 + n, :50]
        for kind, plus in (("sharp", 0), ("blur", 1)):
            path = tmp_path / "set" / kind / f"{n}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            pixels = np.stack([rows, columns, np.full(rows.shape, 10 * n)], axis=2) + plus
            Image.fromarray(pixels.astype(np.uint8)).save(path)
        made.append(Pair(tmp_path / f"set/blur/{n}.png", tmp_path / f"set/sharp/{n}.png", "set", f"set/{n}"))
    return tuple(made)


def source(pairs, seed=0, augment="none", crop=CROP):
    return PairCrops(pairs, DecodedImages(), crop, seed, augment)


@pytest.mark.parametrize("augment", ["none", "flips", "dihedral"])
def test_both_images_have_the_same_window_and_moves(pairs, augment):
    crops = source(pairs, augment=augment)
    for k in range(40):
        blurred, sharp = crops.crop_at(k)
        assert blurred.shape == sharp.shape == (CROP, CROP, 3) and blurred.dtype == sharp.dtype == np.uint8
        np.testing.assert_array_equal(blurred, sharp + 1)


@pytest.mark.parametrize("augment, expected", [("none", 1), ("flips", 4), ("dihedral", 8)])
def test_all_moves_of_the_augmentation_occur_equally_often(pairs, augment, expected):
    """A crop's row and column gradients tell its orientation: (d red / d row, d red / d column, ...)."""
    crops = source(pairs, augment=augment)
    counts = {}
    for k in range(400):
        red_green = crops.crop_at(k)[1][..., :2].astype(int)
        seen = tuple(red_green[1, 0] - red_green[0, 0]) + tuple(red_green[0, 1] - red_green[0, 0])
        counts[seen] = counts.get(seen, 0) + 1
    assert len(counts) == expected and (1, 0, 0, 1) in counts
    assert min(counts.values()) > 0.6 * 400 / expected


def test_of_several_windows_the_one_that_is_blurred_most_is_taken(tmp_path):
    """The left half is still, the right half moved: of four windows one that sees the motion is nearly always there."""
    image = np.full((60, 120, 3), 128, np.uint8)
    image[:, 60:] = np.arange(60)[None, :, None] // 4 % 2 * 255
    image[:, :60] = np.arange(60)[:, None, None] % 2 * 255  # more detail than where the motion is
    blurred = image.copy()
    blurred[:, 60:] = 128
    for kind, each in (("blur", blurred), ("sharp", image)):
        Image.fromarray(each).save(tmp_path / f"{kind}.png")
    pair = (Pair(tmp_path / "blur.png", tmp_path / "sharp.png", "set", "set/0"),)

    def stripes(tries):
        crops = PairCrops(pair, DecodedImages(), CROP, seed=0, tries=tries)
        return [int(np.sum(np.not_equal(*crops.crop_at(k)))) for k in range(60)]

    assert stripes(1) == [int(np.sum(np.not_equal(*source(pair).crop_at(k)))) for k in range(60)]
    assert sum(n == 0 for n in stripes(1)) > 10 > 4 > sum(n == 0 for n in stripes(4))
    assert np.mean(stripes(4)) > 1.3 * np.mean(stripes(1)) and stripes(4) == stripes(4)


def test_windows_are_shrunk_to_the_crop_by_up_to_the_factor_asked_for(pairs):
    """Red counts rows, so its slope along rows is the factor; a shrunk pixel is the mean of those it covers."""
    crops = PairCrops(pairs, DecodedImages(), 8, 0, shrink=(1, 4))
    factors = []
    for k in range(200):
        blurred, sharp = (crop.astype(int) for crop in crops.crop_at(k))
        assert blurred.shape == sharp.shape == (8, 8, 3)
        np.testing.assert_allclose(blurred, sharp + 1, atol=1)
        factors.append((sharp[-1, 0, 0] - sharp[0, 0, 0]) / 7)
    assert 0.95 < min(factors) < 1.1 and 3.7 < max(factors) < 4.1
    assert 1.85 < np.median(factors) < 2.15  # log-uniform
    least = PairCrops(pairs, DecodedImages(), 8, 0, shrink=(3, 4))
    rises = [(sharp[-1, 0, 0] - sharp[0, 0, 0]) / 7 for sharp in (least.crop_at(k)[1].astype(int) for k in range(100))]
    assert 2.85 < min(rises) < 3.15 and 3.7 < max(rises) < 4.1
    large = PairCrops(pairs, DecodedImages(), CROP, 0, shrink=(1, 4))  # no window is larger than its image
    for k in range(40):
        sharp = large.crop_at(k)[1].astype(int)
        assert sharp.shape == (CROP, CROP, 3) and sharp[-1, 0, 0] - sharp[0, 0, 0] <= 44


def test_an_epoch_has_every_pair_once_in_a_new_order(pairs):
    crops = source(pairs)
    assert len(crops) == 5
    orders = [[int(crops.crop_at(5 * epoch + place)[1][0, 0, 2]) // 10 for place in range(5)] for epoch in range(6)]
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert len({tuple(order) for order in orders}) > 3


def test_windows_reach_every_place(pairs):
    tops = {int(source(pairs).crop_at(k)[1][0, 0, 0]) for k in range(1500)}
    assert tops == set(range(40 + 4 - CROP + 1))


def test_crop_k_needs_no_replay_and_the_seed_counts(pairs):
    crops = source(pairs, seed=3, augment="dihedral")
    run = [crops.crop_at(k) for k in range(17)]
    np.testing.assert_array_equal(source(pairs, seed=3, augment="dihedral").crop_at(16), run[16])
    other = [source(pairs, seed=4, augment="dihedral").crop_at(k) for k in range(17)]
    assert not all(np.array_equal(a, b) for a, b in zip(run, other))


def test_a_file_that_breaks_during_training_is_named(pairs):
    with pytest.raises(UserError, match="smaller than 64x64"):
        source(pairs, crop=64).crop_at(0)
    pairs[2].sharp.write_bytes(pairs[2].sharp.read_bytes()[:100])
    with pytest.raises(UserError, match=r"sharp/2\.png: cannot be read"):
        [source(pairs).crop_at(k) for k in range(5)]


class Numbered:
    """A source whose crop k says k."""

    crop = 8

    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def crop_at(self, k):
        return self.name, k


@pytest.mark.parametrize("share, epoch", [(0.5, 14), (0.25, 10), (0.1, 8), (0.37, 12), (0.9, 70)])
def test_a_mixture_takes_each_source_in_its_order_at_its_share(share, epoch):
    mixed = MixedCrops(Numbered("pair", 7), Numbered("photo", 3), share)
    assert len(mixed) == epoch and mixed.crop == 8
    drawn = [mixed.crop_at(k) for k in range(1000)]
    for name, part in (("pair", 1 - share), ("photo", share)):
        assert [k for source, k in drawn if source == name] == list(range(round(1000 * part)))
        for first in range(0, 900, 13):  # in every batch
            assert abs(sum(source == name for source, _ in drawn[first : first + 16]) - 16 * part) < 1
    assert mixed.crop_at(937) == drawn[937] == MixedCrops(Numbered("pair", 7), Numbered("photo", 3), share).crop_at(937)
    assert ("pair", 6) in drawn[:epoch]  # an epoch: every pair once


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5])
def test_a_mixture_needs_both_its_sources(share):
    with pytest.raises(UserError, match="--photo-share must be above 0 and below 1"):
        MixedCrops(Numbered("pair", 7), Numbered("photo", 3), share)


def test_a_crop_names_its_file(pairs):
    crops = source(pairs)
    for k in range(12):  # three epochs
        blue = int(crops.crop_at(k)[1][0, 0, 2])
        assert crops.name(k) == str(pairs[blue // 10].blurred)
    photos = [pair.sharp for pair in pairs[:2]]
    shaken = PhotoCrops(photos, DecodedImages(), CROP, seed=1)
    assert {shaken.name(0), shaken.name(1)} == {str(path) for path in photos}
    mixed = MixedCrops(crops, shaken, 0.5)
    assert [mixed.name(k) for k in range(4)] == [crops.name(0), shaken.name(0), crops.name(1), shaken.name(1)]
