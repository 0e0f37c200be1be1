"""Photos of any size and type, whole and in tiles, by networks whose results are known."""

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from madn.errors import UserError
from madn.restoration.restorer import MOST_PIXELS, Restorer, as_float, as_type
from madn.system import memory


def smooth(images):
    """Looks 3 pixels far, in all directions."""
    return uniform_filter(images, (1, 7, 7, 1), mode="constant").astype(np.float32)


def photo(height, width, channels=3, dtype=np.uint8, seed=0):
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype, endpoint=True)


def identity(images):
    return images


def in_tiles(network, multiple=4, tile=32, reach=4, **options):
    restorer = Restorer(network, multiple, tile=tile, **options)
    restorer._reach = reach
    return restorer


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (31, 33), (64, 64), (97, 131), (3, 200)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_are_the_whole_exactly_at_any_size(size, dtype):
    pixels = photo(*size, dtype=dtype)
    whole, plan = Restorer(smooth, 4)(pixels)
    assert plan.count == 1 and whole.dtype == dtype and whole.shape == pixels.shape
    tiled, plan = in_tiles(smooth)(pixels)
    assert (plan.count > 1) == (np.prod([-(-n // 4) * 4 for n in size]) > 32**2)
    assert np.abs(tiled.astype(int) - whole).max() <= 1  # a sum in another order, rounded
    assert np.mean(tiled != whole) < 1e-2


def test_blended_tiles_of_a_local_network_are_the_whole_too():
    pixels = photo(97, 131)
    blended, plan = in_tiles(smooth, tile=64, blend=8)(pixels)
    assert plan.count > 1 and plan.blend == 8
    assert np.abs(blended.astype(int) - Restorer(smooth, 4)(pixels)[0]).max() <= 1


def test_too_short_a_reach_shows():
    pixels = photo(97, 131)
    tiled, _ = in_tiles(smooth, reach=0)(pixels)
    assert np.abs(tiled.astype(int) - Restorer(smooth, 4)(pixels)[0]).max() > 10


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_pixels_pass_unharmed_through_a_network_that_does_nothing(dtype, channels):
    pixels = photo(45, 70, channels, dtype)
    for restorer in (Restorer(identity, 16), in_tiles(identity), in_tiles(identity, tile=64, blend=16)):
        restored, _ = restorer(pixels)
        assert restored.dtype == dtype and restored.shape == pixels.shape
        np.testing.assert_array_equal(restored, pixels)


def test_grey_is_given_as_three_channels_and_weighed_again():
    def coloured(images):
        assert images.shape[-1] == 3 and np.ptp(images, axis=-1).max() == 0
        return images * np.float32([1, 0.5, 0])

    restored, _ = Restorer(coloured, 16)(np.full((5, 6, 1), 200, np.uint8))
    assert np.unique(restored).tolist() == [round(200 * (0.299 + 0.5 * 0.587))]


def test_all_16_bit_values_survive_the_way_to_float_and_back():
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    np.testing.assert_array_equal(as_type(as_float(values), np.uint16), values)


def test_results_are_clipped_and_rounded():
    pixels = np.array([[[0, 60, 70], [150, 255, 127]]], np.uint8)
    restored, _ = Restorer(lambda images: images * 1.9 - 0.499, 16)(pixels)
    assert restored.tolist() == [[[0, 0, 6], [158, 255, 114]]]  # -127.2, -13.2, 5.8, 157.8, 357.3, 114.1 before it


def test_tiles_are_counted_as_they_are_done():
    told = []
    _, plan = in_tiles(identity)(photo(90, 90), lambda done, count: told.append((done, count)))
    assert told == [(i, plan.count) for i in range(1, plan.count + 1)] and plan.count > 4


def test_a_tile_follows_from_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    restorer = Restorer(identity, 16, bytes_per_pixel=1000, memory_gb=2)
    restorer._reach = 32
    largest = (10**9 - 2 * 3 * 3008 * 4000) / (2.2 * 1000 + 60)
    plan = restorer.plan(3000, 4000)
    assert 0.7 * largest < plan.height * plan.width <= largest
    assert Restorer(identity, 16, 1, memory_gb=1000).plan(3000, 4000).count > 1  # never larger than is of use
    assert Restorer(identity, 16, 1, memory_gb=1000).plan(1024, MOST_PIXELS // 1024 - 16).count == 1
    with pytest.raises(UserError, match=r"1280x720 do not fit into the 1\.00 GB.*1\.00 of them.*--memory-gb"):
        Restorer(identity, 16, 1000, memory_gb=1).plan(720, 1280)


def test_photos_are_cut_alike_whatever_came_before(monkeypatch):
    """A backend keeps the memory of the first photo, and uses it again."""
    held = [10**9]
    monkeypatch.setattr(memory, "used", lambda: held[0])
    restorer = Restorer(identity, 16, bytes_per_pixel=1000, memory_gb=1.5)
    restorer._reach = 32
    first = restorer.plan(900, 1200)
    held[0] = int(1.49e9)
    assert restorer.plan(900, 1200) == first and first.count > 1


def test_measuring_the_reach_keeps_to_the_memory(monkeypatch):
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    sides = []

    def network(images):
        sides.append(images.shape[1])
        return smooth(images)

    restorer = Restorer(network, 16, bytes_per_pixel=1000, memory_gb=1.2)
    assert restorer.reach == 16 and set(sides) == {288}  # of 0.2 GB, for 2260 bytes a pixel: 297 squared
    with pytest.raises(UserError, match=r"tiles of 64 pixels do not fit into the 1\.01 GB"):
        Restorer(network, 16, bytes_per_pixel=1000, memory_gb=1.01).plan(720, 1280)


@pytest.mark.parametrize("blend, most", [(0, 4), (64, 16)])
def test_a_panorama_needs_little_beside_itself(blend, most):
    """Peak memory of arrays, by tracemalloc, in bytes for each pixel of a photo of 3."""
    pixels = np.zeros((512, 30_000, 3), np.uint8)
    restorer = in_tiles(identity, 16, 384, 16, blend=blend)
    tracemalloc.start()
    try:
        restorer(pixels)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - 384 * 384 * 60 < most * 512 * 30_000


def test_the_default_budget_is_half_of_what_is_free(monkeypatch):
    monkeypatch.setattr(memory, "used", lambda: 3 * 10**9)
    monkeypatch.setattr(memory, "available", lambda: 8 * 10**9)
    assert Restorer(identity).budget == 7 * 10**9


def test_settings_that_cannot_be():
    for options, name in (
        ({"memory_gb": 0}, "--memory-gb"),
        ({"tile": -1}, "--tile"),
        ({"memory_gb": float("nan")}, "--memory-gb"),
    ):
        with pytest.raises(UserError, match=f"{name} must be above 0"):
            Restorer(identity, **options)


def test_the_reach_is_measured_when_it_is_needed_and_once():
    shapes = []

    def network(images):
        shapes.append(images.shape)
        return smooth(images)

    restorer = Restorer(network, 4, tile=128)
    restorer(photo(100, 100))
    assert shapes == [(1, 100, 100, 3)]
    restorer(photo(200, 200))
    restorer(photo(200, 200, seed=1))
    assert restorer.reach == 4 and shapes.count((1, 768, 768, 3)) == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_ensemble_is_the_mean_of_eight_views_in_tiles_too(dtype, channels):
    pixels, told = photo(45, 70, channels, dtype), []
    slanting = lambda images: images / 2 + np.linspace(0, 0.4, images.shape[2], dtype=np.float32)[:, None]
    whole, plan = Restorer(slanting, 1, ensemble=True)(pixels, lambda done, count: told.append((done, count)))
    assert plan.count == 1 and told == [(k, 8) for k in range(1, 9)] and whole.dtype == dtype
    expected = as_type(as_float(pixels) / 2 + np.float32(0.2), dtype)
    assert np.abs(whole.astype(int) - expected).max() <= 1  # each view is rounded
    told.clear()
    tiled, plan = in_tiles(identity, ensemble=True)(pixels, lambda done, count: told.append((done, count)))
    np.testing.assert_array_equal(tiled, pixels)
    assert plan.count > 1 and [done for done, _ in told] == list(range(1, 8 * plan.count + 1))
    assert told[-1] == (8 * plan.count, 8 * plan.count)


def test_the_ensemble_leaves_room_for_its_views(monkeypatch):
    monkeypatch.setattr(memory, "used", lambda: 10**9)
    one, eight = (Restorer(identity, 16, 1000, memory_gb=1.5, ensemble=each) for each in (False, True))
    assert one.plan(320, 480).count == 1
    one._reach = eight._reach = 32
    sides = [restorer.plan(3200, 4800) for restorer in (one, eight)]
    assert sides[0].height * sides[0].width > sides[1].height * sides[1].width
