"""Blur in linear light against hand-computed values."""

import numpy as np
import pytest
from skimage import data

from madn.data.synthesis import average_frames, blur_photo, camera_shake, reach


def test_black_and_white_average_in_linear_light():
    frames = np.stack([np.zeros((4, 5, 3), np.uint8), np.full((4, 5, 3), 255, np.uint8)])
    blurred = average_frames(frames)
    assert blurred.dtype == np.float32 and blurred.shape == (4, 5, 3)
    np.testing.assert_allclose(blurred, 0.5 ** (1 / 2.2), atol=1e-6)  # 0.7297, not 0.5
    np.testing.assert_allclose(average_frames(frames, gamma=1.0), 0.5, atol=1e-6)
    np.testing.assert_array_equal(average_frames(frames / np.float32(255)), blurred)


def test_a_camera_at_rest_gives_the_photograph():
    photo = data.coffee()[:60, :80]
    np.testing.assert_allclose(blur_photo(photo, np.zeros((5, 3))), photo / 255.0, atol=1e-6)


def test_a_horizontal_move_is_a_box_filter_in_linear_light():
    photo = data.coffee()[:60, :80]
    blurred = blur_photo(photo, np.array([[dx, 0.0, 0.0] for dx in (-2, -1, 0, 1, 2)]))
    linear = (photo / 255.0) ** 2.2
    box = sum(linear[:, 2 + dx:78 + dx] for dx in (-2, -1, 0, 1, 2)) / 5
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


@pytest.mark.parametrize("seed", range(20))
def test_shake_has_its_length_its_middle_and_its_bounds(seed):
    frames, length, rotation = 513, 20.0, 0.01
    poses = camera_shake(np.random.default_rng(seed), frames, length, rotation)
    assert poses.shape == (frames, 3) and (poses[frames // 2] == 0.0).all()
    steps = np.linalg.norm(np.diff(poses[:, :2], axis=0), axis=1)
    assert steps.sum() == pytest.approx(length, rel=1e-6)
    assert np.ptp(steps) < 1e-9  # the camera's speed is even
    assert 0 < np.abs(poses[:, 2]).max() <= rotation
    corners = np.array([(x, y) for x in (-64, 64) for y in (-64, 64)])
    turned = [corners @ np.array([[np.cos(a), -np.sin(a)], [np.sin(a), np.cos(a)]]) + (x, y) for x, y, a in poses]
    assert np.abs(np.stack(turned) - corners).max() <= reach(length, rotation, 128) - 2  # linear interpolation's share
    again = camera_shake(np.random.default_rng(seed), frames, length, rotation)
    np.testing.assert_array_equal(poses, again)


def test_shakes_differ_and_frames_are_odd():
    paths = [camera_shake(np.random.default_rng(seed), 21, 10.0) for seed in (0, 1)]
    assert np.abs(paths[0] - paths[1]).max() > 1.0 and (paths[0][:, 2] == 0).all()
    with pytest.raises(ValueError, match="odd, to have a middle; received 4"):
        camera_shake(np.random.default_rng(0), 4, 10.0)
