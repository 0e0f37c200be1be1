"""The readings of the paper's clipping sentence (the specification's oracle 19)."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from madn.training.clipping import clip, global_norm

GRADIENT = np.array([-3, -1e-7, 0, 1e-7, 0.5], "float32")


def test_global_norm_scales_only_what_is_longer():
    long, short = [np.array([6.0, 0], "float32"), np.array([8.0], "float32")], [np.array([0.6, 0.8], "float32")]
    assert float(global_norm(long)) == pytest.approx(10)
    clipped = clip(long, "global_norm", maximum=2.0)
    assert_allclose(clipped[0], [1.2, 0], rtol=1e-6)
    assert_allclose(clipped[1], [1.6], rtol=1e-6)
    assert_allclose(clip(short, "global_norm", maximum=2.0)[0], short[0])
    assert_allclose(clip([np.zeros(3, "float32")], "global_norm")[0], 0)


@pytest.mark.parametrize(("mode", "expected"), [
    ("none", GRADIENT),
    ("magnitude", [-2, -1e-5, 0, 1e-5, 0.5]),
    ("value", [-2, -1e-7, 0, 1e-7, 0.5]),
    ("literal", [1e-5, 1e-5, 1e-5, 1e-5, 0.5]),
])
def test_element_wise_modes(mode, expected):
    assert_allclose(clip([GRADIENT], mode)[0], np.array(expected, "float32"), rtol=1e-6)


def test_unknown_mode():
    with pytest.raises(ValueError, match="unknown clip mode 'norm'"):
        clip([GRADIENT], "norm")
