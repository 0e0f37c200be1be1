"""Blur in linear light against hand-computed values."""

import numpy as np
import pytest
from skimage import data, measure

from madn.data.synthesis import (
    blob,
    blur_photo,
    blur_scene,
    camera_noise,
    camera_shake,
    jpeg,
    reach,
    short_exposure,
)


def test_black_and_white_average_in_linear_light():
    edge = np.zeros((4, 8, 3), np.uint8)
    edge[:, 4:] = 255
    poses = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])  # column 4 is white in one frame, and black in the other
    blurred = blur_photo(edge, poses)
    assert blurred.dtype == np.float32 and blurred.shape == (4, 8, 3)
    np.testing.assert_allclose(blurred[:, 4], 0.5 ** (1 / 2.2), atol=1e-6)  # 0.7297, not 0.5
    np.testing.assert_allclose(blur_photo(edge, poses, gamma=1.0)[:, 4], 0.5, atol=1e-6)
    np.testing.assert_allclose(blur_photo(edge / np.float32(255), poses), blurred, atol=1e-6)


def test_a_camera_at_rest_gives_the_photograph():
    photo = data.coffee()[:60, :80]
    np.testing.assert_allclose(blur_photo(photo, np.zeros((5, 3))), photo / 255.0, atol=1e-6)


def test_a_horizontal_move_is_a_box_filter_in_linear_light():
    photo = data.coffee()[:60, :80]
    blurred = blur_photo(photo, np.array([[dx, 0.0, 0.0] for dx in (-2, -1, 0, 1, 2)]))
    linear = (photo / 255.0) ** 2.2
    box = sum(linear[:, 2 + dx : 78 + dx] for dx in (-2, -1, 0, 1, 2)) / 5
    np.testing.assert_allclose(blurred[:, 2:-2], box ** (1 / 2.2), atol=1e-5)


def test_a_positive_dx_moves_right_and_dy_down():
    photo = np.zeros((9, 9, 3), np.float32)
    photo[4, 4] = 1.0
    moved = blur_photo(photo, np.array([[2.0, 1.0, 0.0]]))
    assert moved[5, 6, 0] == pytest.approx(1.0) and moved.sum() == pytest.approx(3.0)


def test_a_quarter_turn_about_the_centre():
    photo = np.random.default_rng(0).random((9, 9, 3)).astype(np.float32)
    turned = blur_photo(photo, np.array([[0.0, 0.0, np.pi / 2]]))
    np.testing.assert_allclose(turned, np.rot90(photo), atol=1e-4)


def furthest_corner(poses, side):
    """How far a corner of a square window gets from its place, in pixels along an axis."""
    corners = np.array([(x, y) for x in (-side / 2, side / 2) for y in (-side / 2, side / 2)])
    turned = [corners @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) + (x, y) for x, y, a in poses]
    return np.abs(np.stack(turned) - corners).max()


@pytest.mark.parametrize("seed", range(20))
def test_shake_has_its_length_its_middle_and_its_bounds(seed):
    frames, length, rotation = 513, 20.0, 0.01
    poses = camera_shake(np.random.default_rng(seed), frames, length, rotation)
    assert poses.shape == (frames, 3) and (poses[frames // 2] == 0.0).all()
    steps = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    assert steps.sum() == pytest.approx(length, rel=1e-6)
    assert np.ptp(steps) < 1e-9  # the camera's speed is even
    assert 0 < np.abs(poses[:, 2]).max() <= rotation
    assert furthest_corner(poses, 128) <= reach(length, rotation, 128) - 2  # linear interpolation's share
    again = camera_shake(np.random.default_rng(seed), frames, length, rotation)
    np.testing.assert_array_equal(poses, again)


@pytest.mark.parametrize("seed", range(20))
def test_a_short_exposure_is_a_smooth_path_within_its_bounds(seed):
    frames, length, rotation = 201, 20.0, 0.01
    poses = short_exposure(np.random.default_rng(seed), frames, length, rotation)
    assert poses.shape == (frames, 3) and (poses[frames // 2] == 0.0).all()
    steps = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    assert max(steps[:100].sum(), steps[100:].sum()) == pytest.approx(length / 2)
    np.testing.assert_allclose(np.diff(poses, 4, axis=0), 0, atol=1e-9)  # a cubic
    assert np.ptp(np.diff(poses[:, 2])) < 1e-12 and np.abs(poses[:, 2]).max() <= rotation
    assert furthest_corner(poses, 128) <= reach(length, rotation, 128) - 2
    np.testing.assert_array_equal(poses, short_exposure(np.random.default_rng(seed), frames, length, rotation))


def test_a_short_exposure_spans_more_of_its_length_than_a_shake():
    def span(path):
        spans = [path(np.random.default_rng(seed), 41, 40.0)[:, :2] for seed in range(50)]
        return np.median([np.linalg.norm(poses[:, None] - poses, axis=-1).max() for poses in spans])

    assert span(short_exposure) > 28 > 14 > span(camera_shake)
    with pytest.raises(ValueError, match="frames must be odd, to have a middle; received 4"):
        short_exposure(np.random.default_rng(0), 4, 10.0)


def test_shakes_differ_and_frames_are_odd():
    paths = [camera_shake(np.random.default_rng(seed), 21, 10.0) for seed in (0, 1)]
    assert np.abs(paths[0] - paths[1]).max() > 1.0 and (paths[0][:, 2] == 0).all()
    with pytest.raises(ValueError, match="odd, to have a middle; received 4"):
        camera_shake(np.random.default_rng(0), 4, 10.0)


def test_a_thing_moves_before_a_still_background():
    """A white bar, three columns wide, moved by -1, 0 and 1 before black."""
    black, white = np.zeros((5, 9, 3), np.float32), np.ones((5, 9, 3), np.float32)
    bar = np.zeros((5, 9), np.float32)
    bar[:, 3:6] = 1.0
    path = np.array([[dx, 0.0, 0.0] for dx in (-1, 0, 1)])
    blurred, sharp = blur_scene(black, white, bar, np.zeros((3, 3)), path)
    np.testing.assert_array_equal(sharp[..., 0], bar)
    np.testing.assert_allclose(blurred[2, :, 1] ** 2.2, np.array([0, 0, 1, 2, 3, 2, 1, 0, 0]) / 3, atol=1e-6)


def test_a_background_moves_behind_a_still_thing():
    photo = data.coffee()[:40, :60]
    bar = np.zeros((40, 60), np.float32)
    bar[:, :30] = 1.0
    path = np.array([[dx, 0.0, 0.0] for dx in (-2, 0, 2)])
    blurred, sharp = blur_scene(photo, np.full_like(photo, 255), bar, path, np.zeros((3, 3)))
    np.testing.assert_array_equal(blurred[:, :30], 1.0)
    np.testing.assert_allclose(blurred[:, 30:], blur_photo(photo, path)[:, 30:], atol=1e-6)
    np.testing.assert_allclose(sharp[:, 30:], photo[:, 30:] / 255.0, atol=1e-6)


@pytest.mark.parametrize("seed", range(10))
def test_a_blob_is_one_piece_with_a_soft_edge(seed):
    mask = blob(np.random.default_rng(seed), 160)
    assert mask.shape == (160, 160) and mask.dtype == np.float32 and mask.min() >= 0 and mask.max() == pytest.approx(1)
    assert measure.label(mask > 0.5).max() == 1
    assert 0.02 < mask.mean() < 0.6
    assert np.abs(np.diff(mask, axis=0)).max() < 0.5


@pytest.mark.parametrize("light", [0.01, 0.2, 0.6])
def test_sensor_noise_has_its_variance_in_linear_light(light):
    image = np.full((200, 200, 3), light ** (1 / 2.2), np.float32)
    noisy = camera_noise(np.random.default_rng(0), image, shot=1e-3, read=2e-3) ** 2.2
    assert noisy.mean() == pytest.approx(light, rel=0.01)
    assert noisy.std() == pytest.approx(np.sqrt(1e-3 * light + 4e-6), rel=0.02)


def test_jpeg_keeps_the_colours_and_loses_by_its_quality():
    photo = data.coffee()[:80, :120]
    errors = [np.abs(jpeg(photo, quality).astype(float) - photo).mean() for quality in (98, 80, 30)]
    assert 0 < errors[0] < errors[1] < errors[2] and errors[0] < 2.5
