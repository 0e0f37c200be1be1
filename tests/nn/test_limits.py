"""A network is built no larger than the file that describes it."""

import threading
from concurrent.futures import ThreadPoolExecutor

import keras
import pytest

from madn.errors import UserError
from madn.nn.limits import weights_at_most


def build():
    inputs = keras.Input((None, None, 3))
    return keras.Model(inputs, keras.layers.Conv2D(4, 3)(inputs))  # 3 * 3 * 3 * 4 + 4 = 112 values


def test_what_has_just_so_many_weights_is_built():
    with weights_at_most(112, "a.weights.h5"):
        assert build().count_params() == 112


def test_one_more_is_refused_and_layers_are_as_before():
    before = keras.layers.Layer.add_weight
    with pytest.raises(UserError, match=r"^a\.weights\.h5: describes a larger network than it has weights for, 111"):
        with weights_at_most(111, "a.weights.h5"):
            build()
    assert keras.layers.Layer.add_weight is before
    assert build().count_params() == 112


def test_what_would_not_fit_into_memory_is_not_made():
    with pytest.raises(UserError, match="larger network"), weights_at_most(10, "a.weights.h5"):
        keras.layers.Dense(10**12).build((None, 10**9))


def test_blocks_of_several_threads_do_not_count_each_others_layers():
    before, in_block, built = keras.layers.Layer.add_weight, threading.Event(), threading.Event()

    def first():
        with weights_at_most(112, "first.weights.h5"):
            in_block.set()
            assert built.wait(60)  # A thread without a limit makes a layer meanwhile.
            return build().count_params()

    def second():
        in_block.wait(60)
        with weights_at_most(112, "second.weights.h5"):
            return build().count_params()

    with ThreadPoolExecutor(2) as threads:
        jobs = [threads.submit(call) for call in (first, second)]
        assert in_block.wait(60)
        assert build().count_params() == 112
        built.set()
        assert [job.result(60) for job in jobs] == [112, 112]
    assert keras.layers.Layer.add_weight is before
