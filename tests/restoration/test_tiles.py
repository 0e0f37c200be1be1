"""Plans and joints against brute force; reach and statistics against networks whose are known."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from madn.errors import UserError
from madn.nn.statistic_kinds import MEAN, MOMENTS, RANGE
from madn.restoration.tiles import (
    PROBE,
    combine,
    join,
    measured_reach,
    photo_statistics,
    plan_tiles,
    restore_batch,
)


def test_a_plan_covers_overlaps_and_lies_on_the_grid():
    rng = np.random.default_rng(0)
    planned = 0
    for _ in range(170):
        multiple, blend = int(rng.choice([4, 16, 32])), int(rng.choice([0, 64]))
        height, width = (int(n) * multiple for n in rng.integers(1, 60, 2))
        reach, largest = int(rng.integers(0, 5)) * multiple, int(rng.integers(multiple**2, 200 * 300))
        try:
            plan = plan_tiles(height, width, multiple, largest, reach, blend)
        except UserError:
            continue
        planned += 1
        assert plan.height * plan.width <= largest
        for spans, size, length in ((plan.rows, plan.height, height), (plan.columns, plan.width, width)):
            assert spans[0].start == spans[0].first == 0 and spans[-1].start + size == spans[-1].last == length
            for before, after in zip(spans, spans[1:], strict=False):
                assert before.last == after.first
                assert after.first - after.start >= reach + blend / 2 <= before.start + size - before.last
            assert all(edge % multiple == 0 for span in spans for edge in (span.start, span.first))
        image = rng.random((height, width, 3), np.float32)
        joined = np.full_like(image, np.nan)

        def store(top, left, part, joined=joined):
            place = joined[top : top + part.shape[0], left : left + part.shape[1]]
            assert np.isnan(place).all()
            place[:] = part

        join(
            plan,
            lambda row, column, image=image, plan=plan: image[
                row.start : row.start + plan.height, column.start : column.start + plan.width
            ],
            store,
        )
        np.testing.assert_allclose(joined, image, atol=1e-6)
    assert planned > 100


def test_the_plan_with_the_least_work():
    # 64 pixels in two tiles of 40, which overlap by 2 x 8: the least that both reaches ask for
    plan = plan_tiles(8, 64, 8, 8 * 48, 8)
    assert (plan.height, plan.width) == (8, 40)
    assert ([span.start for span in plan.columns], plan.columns[1].first) == ([0, 24], 32)
    assert str(plan) == "2 tiles of 40x8" and str(plan_tiles(8, 64, 8, 8 * 64, 8)) == "whole"
    assert plan_tiles(6000, 8000, 16, 1.5 * 2**20, 48).count == 36


def test_no_room_for_the_overlap_is_said():
    with pytest.raises(UserError, match=r"no room for the 128 pixels.*--memory-gb"):
        plan_tiles(512, 512, 16, 128 * 128, 64)


def test_joints_are_hard_or_blended():
    for blend, levels in ((0, []), (16, np.arange(16) / 16 + 1 / 32)):
        plan = plan_tiles(32, 128, 16, 32 * 100, 16, blend)
        assert plan.count == 2
        found = np.full((32, 128, 3), np.nan)

        def store(top, left, part, found=found):
            found[top : top + part.shape[0], left : left + part.shape[1]] = part

        join(
            plan,
            lambda row, column, plan=plan: np.full((plan.height, plan.width, 3), column.start > 0, np.float32),
            store,
        )
        assert found[0, 0, 0] == 0 and found[0, -1, 0] == 1
        line = found[0, :, 0]
        np.testing.assert_allclose(line[(line > 0) & (line < 1)], levels)
        np.testing.assert_array_equal(found, np.broadcast_to(line[:, None], found.shape))


@pytest.mark.parametrize("radius, reach", [(0, 4), (3, 4), (12, 12), (13, 16)])
def test_the_reach_of_a_known_filter(radius, reach):
    def network(images):
        return uniform_filter(images, (1, 2 * radius + 1, 2 * radius + 1, 1))

    picture = np.tile(np.float32([[[0.1], [0.9]], [[0.8], [0.3]]]), (PROBE // 2, PROBE // 2, 3))
    picture[:, PROBE // 2 :] *= 0.5
    assert measured_reach(network, 4, picture) == reach


def test_the_reach_of_a_network_that_sees_everything_is_bounded():
    picture = np.full((PROBE, PROBE, 3), 0.2, np.float32)
    assert measured_reach(lambda images: images * 0 + images.mean(), 16, picture) == 256


def test_statistics_of_parts_are_those_of_the_whole():
    values = np.random.default_rng(0).normal(3, 2, (1, 12, 10, 5)).astype(np.float32)
    parts = [values[:, :4], values[:, 4:7], values[:, 7:]]
    found = [
        [
            (p.mean((1, 2), keepdims=True),),
            (p.mean((1, 2), keepdims=True), p.var((1, 2), keepdims=True)),
            (p.min((1, 2), keepdims=True), p.max((1, 2), keepdims=True)),
        ]
        for p in parts
    ]
    (mean,), (mean2, variance), (least, most) = combine([MEAN, MOMENTS, RANGE], found, [4, 3, 5])
    for got, expected in (
        (mean, values.mean((1, 2))),
        (mean2, values.mean((1, 2))),
        (variance, values.var((1, 2))),
        (least, values.min((1, 2))),
        (most, values.max((1, 2))),
    ):
        assert got.dtype == np.float32 and got.shape == (1, 1, 1, 5)
        np.testing.assert_allclose(got[:, 0, 0], expected, rtol=1e-6)


def test_a_photo_of_many_tiles_is_sampled():
    class Counting:
        """Its images do not depend on its statistics."""

        kinds, knows_tiles = [MEAN], True

        def __call__(self, images, statistics):
            return images * 0

        def __init__(self):
            self.cores = []

        def measure(self, tile, core, statistics):
            self.cores.append(tuple(core))
            return [(np.full((1, 1, 1, 1), len(self.cores)),)]

    network, plan = Counting(), plan_tiles(640, 640, 16, 96 * 96, 16)
    assert plan.count > 24
    photo_statistics(network, plan, lambda row, column: np.zeros((1, 4, 4, 3)))
    assert len(network.cores) == 2 * 24 and network.cores[0][0] == 0  # one pass, and one to see that it was enough
    assert photo_statistics(lambda images: images, plan, None) is None
    network.kinds = []
    assert photo_statistics(network, plan, None) == []  # it is told that they are tiles


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(UserError, match="not numbers.*another checkpoint"):
        restore_batch(lambda images: images * np.float32("nan"), np.ones((1, 4, 4, 3), np.float32))
