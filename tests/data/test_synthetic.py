"""Crops of photographs: blurred as they are read, the sharp crop untouched, crop k a function of (seed, k) alone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from madn.data.images import DecodedImages
from madn.data.synthetic import (
    CameraCrops,
    Motion,
    PhotoCrops,
    VideoCrops,
    check_photos,
    find_photos,
    hold_out_photos,
    write_pairs,
)
from madn.errors import UserError
from madn.imaging.arrays import read_image, to_uint8


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    for name, photo in (("a", data.coffee()), ("b", data.camera())):
        Image.fromarray(photo[:200, :240]).save(tmp_path / f"{name}.png")
    return find_photos(tmp_path)[0]


def test_photographs_are_blurred_differently_each_time(photos):
    crops = PhotoCrops(photos, DecodedImages(), 64, seed=1)
    first, third = crops.crop_at(0), crops.crop_at(2)
    assert len(crops) == 2 and first[0].shape == first[1].shape == (64, 64, 3) and first[0].dtype == np.uint8
    for blurred, sharp in (first, third):
        detail = [
            sum(np.abs(np.diff(image.astype(float), axis=axis)).mean() for axis in (0, 1)) for image in (blurred, sharp)
        ]
        assert detail[0] < detail[1]
        assert abs(blurred.mean() - sharp.mean()) < 12  # the same place
    again = PhotoCrops(photos, DecodedImages(), 64, seed=1).crop_at(2)
    np.testing.assert_array_equal(again, third)


def test_the_sharp_crop_is_the_photograph_and_the_blur_sees_beyond_the_crop(tmp_path):
    """Vertical edges only: no reflected border means that the blurred crop is constant along columns."""
    stripes = np.repeat((np.arange(400) // 7 % 2 * 255).astype(np.uint8)[None, :, None], 400, 0).repeat(3, 2)
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    crops = PhotoCrops([tmp_path / "stripes.png"], DecodedImages(), 48, seed=0, motion=Motion(rotation=0.0))
    for k in range(10):
        blurred, sharp = crops.crop_at(k)
        assert set(np.unique(sharp)) == {0, 255}
        assert np.ptp(blurred.astype(int), axis=0).max() <= 1
        columns = blurred[0, :, 0].astype(int)
        np.testing.assert_allclose(columns[:34], columns[14:], atol=2)  # its period is that of the stripes, to the edge


def test_photographs_that_are_too_small_or_broken_are_named(photos, tmp_path):
    assert Motion().photo_side(190) == 220
    photos[0].write_bytes(photos[0].read_bytes()[:500])
    with pytest.raises(UserError) as error:
        check_photos(photos, DecodedImages(), 220)
    lines = str(error.value).splitlines()
    assert "a.png: cannot be read" in lines[0] and "b.png: 240x200 is smaller than 220x220" in lines[1]
    assert all("--skip-bad" in line for line in lines)
    good, problems = check_photos(photos, DecodedImages(), 200, skip_bad=True)
    assert good == (photos[1],) and len(problems) == 1 and "a.png: cannot be read" in problems[0]
    with pytest.raises(UserError, match="no usable photograph is left"):
        check_photos(photos, DecodedImages(), 220, skip_bad=True)
    with pytest.raises(UserError, match="smaller than 220x220"):
        PhotoCrops(photos[1:], DecodedImages(), 190, seed=0).crop_at(0)
    with pytest.raises(UserError, match="no such folder"):
        find_photos(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="no photographs"):
        find_photos(tmp_path / "empty")


@pytest.mark.slow
def test_a_camera_sees_still_and_shaken_scenes_and_things_that_move(tmp_path):
    """Photographs of one colour each: shaking them changes nothing, and a thing shows the other's colour."""
    for name, colour in (("red", (200, 40, 40)), ("blue", (40, 40, 200))):
        Image.fromarray(np.full((220, 220, 3), colour, np.uint8)).save(tmp_path / f"{name}.png")
    crops = CameraCrops(find_photos(tmp_path)[0], DecodedImages(), 96, seed=3)
    things = moved = exact = 0
    for k in range(400):
        blurred, sharp = crops.crop_at(k)
        assert blurred.dtype == sharp.dtype == np.uint8 and blurred.shape == sharp.shape == (96, 96, 3)
        thing = np.ptp(sharp.reshape(-1, 3).astype(int), axis=0).max() > 100
        things += thing
        moved += thing and np.abs(blurred.astype(int) - sharp).max() > 30
        exact += np.array_equal(blurred, sharp)
    assert 0.08 < things / 400 < 0.2  # of three in ten, in half the two photographs differ
    assert moved > 0.9 * things
    assert 0.35 < exact / 400 < 0.5  # no noise, half the crops, and no thing in sight; JPEG keeps one colour


def test_of_a_camera_s_crops_the_sharp_one_is_the_photograph_at_its_place(photos):
    photo = data.camera()[:200, :240]
    crops = CameraCrops(photos[1:], DecodedImages(), 64, seed=0)
    whole = {window.tobytes() for row in np.lib.stride_tricks.sliding_window_view(photo, (64, 64)) for window in row}
    found = [crops.crop_at(k)[1] for k in range(20)]
    assert 10 <= sum(sharp[..., 0].tobytes() in whole for sharp in found) < 20  # but where there is a thing
    np.testing.assert_array_equal(np.stack(found), [crops.crop_at(k)[1] for k in range(20)])


def test_a_video_s_crops_are_means_of_stored_values_without_noise(tmp_path):
    """Black and white stripes: the mean of stored values is what a box filter gives, linear light would be lighter."""
    stripes = np.zeros((220, 220, 3), np.uint8)
    stripes[:, ::2] = 255
    Image.fromarray(stripes).save(tmp_path / "stripes.png")
    crops = VideoCrops(find_photos(tmp_path)[0], DecodedImages(), 64, seed=0, motion=Motion(longest=40, rotation=0.0))
    pairs = [crops.crop_at(k) for k in range(60)]
    means = [blurred.mean() for blurred, _ in pairs]
    assert min(means) > 124 and max(means) < 131  # 186 in linear light
    assert 3 <= sum(np.array_equal(blurred, sharp) for blurred, sharp in pairs) <= 12  # still


def test_pairs_to_measure_are_of_their_number_and_seed_and_always_blurred(photos):
    crops = VideoCrops(photos, DecodedImages(), 64, seed=1)
    pairs = [crops.pair_of(number) for number in (0, 1)]
    again = VideoCrops(photos, DecodedImages(), 64, seed=1)
    for number in (1, 0):
        np.testing.assert_array_equal(again.pair_of(number), pairs[number])
    assert not np.array_equal(VideoCrops(photos, DecodedImages(), 64, seed=2).pair_of(0), pairs[0])
    training = [crops.crop_at(k) for k in range(60)]  # a tenth of which nothing moves in
    assert any(np.array_equal(*pair) for pair in training)
    assert not any(np.array_equal(*VideoCrops(photos, DecodedImages(), 64, seed).pair_of(0)) for seed in range(60))


def test_pairs_are_written_as_they_are_and_those_without_blur_named(photos, tmp_path):
    Image.fromarray(np.full((200, 200, 3), 90, np.uint8)).save(tmp_path / "grey.png")
    Image.fromarray(data.coffee()[:200, :240]).save(tmp_path / "a.jpg")
    crops = PhotoCrops(find_photos(tmp_path)[0], DecodedImages(), 64, seed=0)  # a.jpg, a.png, b.png, grey.png
    with pytest.raises(UserError, match=r"grey\.png: no blur changes it.*--skip-bad\)$"):
        write_pairs(crops, [3], tmp_path, tmp_path / "out")
    with pytest.raises(UserError, match="no usable photograph is left"):
        write_pairs(crops, [3], tmp_path, tmp_path / "out", skip_bad=True)
    pairs, problems = write_pairs(crops, [3, 0, 1], tmp_path, tmp_path / "out", skip_bad=True)
    assert [pair.name for pair in pairs] == ["a.jpg", "a.png"] and len(problems) == 1
    assert pairs[0].sharp == tmp_path / "out/sharp/a.jpg.png" and pairs[1].blurred == tmp_path / "out/blurred/a.png"
    for number, pair in enumerate(pairs):
        written = [to_uint8(read_image(path)) for path in (pair.blurred, pair.sharp)]
        np.testing.assert_array_equal(written, crops.pair_of(number))


def test_held_out_photographs_are_spread_over_all():
    names = [Path(f"{i:02}") for i in range(10)]
    train, held = hold_out_photos(names, 3)
    assert [int(path.name) for path in held] == [1, 5, 8] and sorted((*train, *held)) == names
    assert hold_out_photos(names, 0) == (tuple(names), ())
    for count in (10, -1):
        with pytest.raises(UserError, match=f"--held-photos {count}: of 10 photographs at least 1 must be left"):
            hold_out_photos(names, count)


def test_pairs_of_photographs_with_the_longest_names(tmp_path):
    for end in "ab":
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(data.camera()[:160, :160]).save(tmp_path / "in" / ("夏" * 83 + f"{end}.jpg"))
    crops = PhotoCrops(find_photos(tmp_path / "in")[0], DecodedImages(), 64, seed=0)
    pairs, _ = write_pairs(crops, range(2), tmp_path / "in", tmp_path / "out")
    names = [pair.blurred.name for pair in pairs]
    assert len(set(names)) == 2 and all(name.endswith(".png") and len(name.encode()) <= 255 for name in names)
    assert all(pair.sharp.is_file() and pair.blurred.is_file() for pair in pairs)
