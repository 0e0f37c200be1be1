import numpy as np
import pytest

from madn.restoration.ensemble import ensembled


def noise(height, width, kind=np.float32):
    random = np.random.default_rng(0)
    return (
        random.random((height, width, 3), kind)
        if kind == np.float32
        else random.integers(0, np.iinfo(kind).max, (height, width, 3), kind, endpoint=True)
    )


def test_the_eight_views_are_the_flips_and_turns():
    image, views = noise(4, 6), []

    def kept(view):
        views.append(view)
        return view

    np.testing.assert_allclose(ensembled(kept, image), image, rtol=1e-6)
    upright = [image, image[::-1], image[:, ::-1], image[::-1, ::-1]]
    expected = [*upright, *(view.transpose(1, 0, 2) for view in upright)]
    assert {view.tobytes() for view in views} == {view.tobytes() for view in expected} and len(views) == 8


def test_what_depends_on_the_view_is_averaged():
    """A slant from 0.0 to 0.4 along each view's columns: its mean over the views is 0.2 everywhere."""
    image = noise(5, 9)
    slanting = lambda view: view + np.linspace(0, 0.4, view.shape[1], dtype=np.float32)[:, None]
    np.testing.assert_allclose(ensembled(slanting, image), image + 0.2, atol=1e-6)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_whole_numbers_come_back_and_are_rounded(kind):
    image = noise(8, 8, kind)
    result = ensembled(lambda view: view, image)
    assert result.dtype == kind
    np.testing.assert_array_equal(result, image)
    for often, expected in ((3, 10), (4, 11), (5, 11)):  # 10 and `often` eighths
        answers = iter([11] * often + [10] * (8 - often))
        assert np.all(ensembled(lambda view, answers=answers: np.full_like(view, next(answers)), image) == expected)
