"""Random numbers that know their place: uniform, and the same wherever and whenever they are drawn."""

import numpy as np
from keras import ops

from madn.training.random_numbers import RandomNumbers

IMAGES = np.zeros((6, 2, 2, 3), np.float32)


def per_image(draws, images=IMAGES):
    return ops.convert_to_numpy(draws.uniform_per_image(images)).ravel()


def test_uniform_and_uncorrelated_between_draws_images_and_steps():
    draws, rows = RandomNumbers(7), []
    for update in range(100):
        draws.begin(update)
        rows.append([*ops.convert_to_numpy(draws.uniform(50)), *per_image(draws, np.zeros((50, 1)))])
    numbers = np.array(rows)
    assert numbers.dtype == np.float32 and numbers.min() >= 0 and numbers.max() < 1
    counts = np.histogram(numbers, 10, (0, 1))[0]
    assert np.square(counts - 1000).sum() / 1000 < 27.9  # chi-square, 9 degrees of freedom, one in a thousand
    for other in (numbers[1:, :], np.roll(numbers, 1, 1)[1:, :]):
        assert abs(np.corrcoef(numbers[:-1].ravel(), other.ravel())[0, 1]) < 0.03


def test_each_draw_is_another_and_a_begun_step_repeats():
    draws = RandomNumbers(3)
    first, second = per_image(draws), per_image(draws)
    assert not np.array_equal(first, second)
    draws.begin(1)
    third = per_image(draws)
    draws.begin(0)
    assert np.array_equal(first, per_image(draws)) and not np.array_equal(first, third)
    assert not np.array_equal(first, per_image(RandomNumbers(4)))
    assert not np.array_equal(first, per_image(RandomNumbers(3 + 2**32)))


def test_a_batch_in_parts_draws_what_the_whole_draws():
    draws, parts = RandomNumbers(3), []
    whole, shared = per_image(draws), ops.convert_to_numpy(draws.uniform(2))
    for first in (0, 2, 4):
        draws.begin(0, first)
        parts.extend(per_image(draws, IMAGES[:2]))
        assert np.array_equal(shared, ops.convert_to_numpy(draws.uniform(2)))
    assert np.array_equal(whole, parts)


def test_known_numbers():
    """Computed with Python's integers; every backend and machine draws these, so that a run may move between them."""
    draws = RandomNumbers(0)
    draws.begin(5)
    np.testing.assert_array_equal(ops.convert_to_numpy(draws.uniform(3)), np.float32(KNOWN))


KNOWN = (0.967574954032898, 0.18106573820114136, 0.17096418142318726)
