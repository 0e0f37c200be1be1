"""Memory of a training step: hand counts of small graphs, and what precision, rematerialisation and parts save."""

from dataclasses import replace

import keras
import pytest

from madn.benchmarks import tables
from madn.errors import UserError
from madn.models.madn.recipe import MADN
from madn.nn.graphs import peak_bytes, trace
from madn.training import step_memory
from madn.training.step_memory import check_memory, training_memory

if keras.backend.backend() != "tensorflow":
    pytest.skip("memory is computed from TensorFlow's graph", allow_module_level=True)

MAP = 32 * 32 * 4  # bytes
TINY = replace(
    MADN,
    widths=(4, 8, 16),
    res_blocks=1,
    d_widths=(4, 4, 4, 4, 8),
    d_dense=8,
    crop=32,
    batch=4,
    scales=1,
    adversarial_domains="none",
)


def most(call) -> int:
    return peak_bytes(trace(call, (32, 32)))


def test_results_live_from_the_first_to_the_last_that_needs_them():
    import tensorflow as tf

    def product(x):
        return tf.matmul(x, x)

    assert most(product) == 2 * MAP
    assert most(lambda x: product(product(x))) == 2 * MAP + MAP  # the input is the caller's to the end
    assert most(lambda x: product(tf.reshape(x, (32, 32)))) == 2 * MAP  # a view
    assert most(lambda x: tf.nn.relu(product(x))) == 2 * MAP  # in place
    assert most(lambda x: tf.cast(product(x), "bfloat16")) == 2 * MAP + MAP // 2
    assert most(lambda x: (product(x), tf.matmul(x, x + 1))[1]) == 3 * MAP  # nobody takes the first


def test_a_gradient_keeps_what_it_needs():
    import tensorflow as tf

    def gradient(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.exp(tf.exp(tf.exp(x) * 0.5) * 0.5)
        return tape.gradient(y, x)

    assert 4 * MAP <= most(gradient) <= 5 * MAP


@pytest.mark.slow
def test_each_means_saves():
    plain, remat, parts, bfloat16 = (
        training_memory(replace(TINY, **changes))
        for changes in ({}, {"remat": "blocks"}, {"accumulate": 4}, {"precision": "mixed_bfloat16"})
    )
    weights = 4 * TINY.build_generator().count_params()
    assert plain.state == remat.state == parts.state == pytest.approx(3 * weights, abs=64)
    assert remat.step < 0.6 * plain.step
    assert 0.25 * plain.step < parts.step < 0.4 * plain.step
    assert 0.5 * plain.step < bfloat16.step < 0.75 * plain.step


@pytest.mark.slow
def test_parts_are_computed_as_two():
    """Four parts of one crop: as two of them, with the other two crops beside."""
    two = training_memory(replace(TINY, batch=2, accumulate=2))
    assert training_memory(replace(TINY, accumulate=4)).step == two.step + 2 * 2 * 32**2 * 3 * 4


@pytest.mark.slow
def test_a_step_that_cannot_fit_is_refused_before_it_is_run(monkeypatch):
    """The memory at hand is set just below and just above what the step takes at least."""
    least = training_memory(TINY).peak / step_memory.MARGIN
    monkeypatch.setattr(step_memory, "WORTH_TRACING", 1)
    monkeypatch.setattr(step_memory.memory, "available", lambda: int(least) + 2)
    check_memory(TINY)
    monkeypatch.setattr(step_memory.memory, "available", lambda: int(least) - 2)
    with pytest.raises(UserError, match="a training step takes about .* --remat blocks .* --accumulate N"):
        check_memory(TINY)
    monkeypatch.setattr(step_memory, "WORTH_TRACING", TINY.batch * TINY.crop**2 + 1)
    check_memory(TINY)  # small steps are not traced


@pytest.mark.slow
def test_table(monkeypatch):
    def found(recipe):
        return step_memory.Memory(2**30, recipe.batch * recipe.crop * 2**30 // recipe.accumulate)

    monkeypatch.setattr(tables, "training_memory", found)
    lines = list(tables.memory_table(["madn-budget"], batch=2, crop=32))
    assert len(lines) == 2 + 8 and all(line.count("|") == lines[0].count("|") for line in lines)
    assert " ".join(lines[3].split()) == "| `madn-budget` | 2, 32 | float32 | none | 2 | 1.0 | 32.0 | 33.0 |"
