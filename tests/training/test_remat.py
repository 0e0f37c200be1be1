"""Rematerialisation: the network's own outputs and gradients, from fewer tensors kept."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from helpers import TINY, batch, eager, values
from keras import layers, ops
from narrow import narrow

from madn.training import remat
from madn.training.gradients import losses_and_gradients
from madn.training.precision import dtype_policy
from madn.training.remat import _bytes, _plan, rematerialised

NETWORKS = {"madn": {}, "sisnet": {}, "structure_guided": {}, "msr2b": {}, "egnet": {"parts": ("backbone", "egn")}}


def network(name: str, precision: str = "float32") -> keras.Model:
    recipe = narrow(name, **NETWORKS[name])
    keras.utils.set_random_seed(0)
    with dtype_policy(precision):
        return recipe.build_generator()


def results(generator: keras.Model, restore) -> tuple:
    """Outputs, and the gradients of two losses from one pass."""
    images = ops.convert_to_tensor(batch(1, 64)[0])

    def compute():
        outputs = restore(images, training=True)
        whole = sum(ops.mean(ops.square(ops.cast(x, "float32") - 0.3)) for x in keras.tree.flatten(outputs))
        return [whole, ops.mean(outputs["deblurred"])], outputs

    _, outputs, gradients = losses_and_gradients(compute, [generator.trainable_variables] * 2)
    return outputs, [ops.convert_to_numpy(g) for own in gradients for g in own]


def check(generator: keras.Model, tolerance: float) -> None:
    """Plain and rematerialised agree: outputs to the last bit, gradients to a share of the largest."""
    plain, restore = results(generator, generator), rematerialised(generator)
    found = results(generator, restore)
    keras.tree.assert_same_structure(plain[0], found[0])
    for a, b in zip(keras.tree.flatten(plain[0]), keras.tree.flatten(found[0]), strict=True):
        assert a.dtype == b.dtype and np.array_equal(*(ops.convert_to_numpy(ops.cast(x, "float32")) for x in (a, b)))
    largest = max(np.abs(g).max() for g in plain[1])
    for a, b in zip(plain[1], found[1], strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * largest)


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "madn" else [pytest.mark.slow]) for name in NETWORKS]
)
def test_the_same_from_less_than_half(name):
    generator = network(name)
    check(generator, 1e-6)
    _, _, segments = _plan(generator, (1, 64, 64, 3), True)
    sizes = [sum(_bytes(x) for step in inside for x in step.outputs) for inside, _, _ in segments]
    kept = sum(_bytes(x) for _, _, given in segments for x in given)
    assert len(segments) > 3 and kept + max(sizes) < 0.5 * sum(sizes)


@pytest.mark.slow
def test_the_same_in_bfloat16():
    check(network("madn", "mixed_bfloat16"), 1e-2)


@pytest.mark.slow
def test_a_step_moves_the_weights_as_without():
    """With a critic whose loss shares the pass, and the batch in two parts."""
    plain, other = (
        eager(replace(TINY, clip_norm=None, **changes)) for changes in ({}, {"remat": "blocks", "accumulate": 2})
    )
    names = [v.path for v in plain.generator.variables]
    for model in (plain, other):
        model.train_on_batch(*batch())
    assert [v.path for v in other.generator.variables] == names
    for a, b in zip(
        *(values([*model.generator.variables, *model.critic_variables]) for model in (plain, other)), strict=True
    ):
        np.testing.assert_allclose(a, b, atol=2e-5)


def ladder() -> keras.Model:
    """One block, called four times; the loss takes what it makes on the way, the next block what it makes at last."""
    x = keras.Input((None, None, 8))
    early = layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    late = layers.Conv2D(8, 3, padding="same")(layers.Conv2D(8, 3, padding="same", activation="relu")(early))
    block = keras.Model(x, [early, layers.Add()([x, late])])
    images = keras.Input((None, None, 3))
    x, taps = layers.Conv2D(8, 3, padding="same")(images), []
    for _ in range(4):
        early, x = block(x)
        taps.append(early)
    return keras.Model(images, {"deblurred": layers.Conv2D(3, 3, padding="same")(x), "taps": taps})


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="looks at TensorFlow's graph")
def test_in_a_graph_each_segment_runs_again_when_all_its_gradients_have_come(monkeypatch):
    """PyTorch goes backward in order; TensorFlow's executor would run at once whatever waits for nothing."""
    from madn.nn.graphs import trace

    monkeypatch.setattr(remat, "_cut", lambda *_: [(0, 1), *((i, i + 4) for i in range(1, 17, 4)), (17, 18)])
    generator = ladder()
    restore, variables = rematerialised(generator), generator.trainable_variables

    def losses(images):
        outputs = restore(images)
        generator_loss = sum(ops.mean(ops.square(x)) for x in keras.tree.flatten(outputs))
        return [generator_loss, ops.mean(ops.stop_gradient(outputs["deblurred"])) * variables[0][0, 0, 0, 0]], None

    def gradients(images):  # the second loss, as a critic's, needs no second run
        return losses_and_gradients(lambda: losses(images), [variables, variables[:1]])[2]

    operations = trace(gradients, (1, 16, 16, 3)).get_operations()
    backward = next(i for i, o in enumerate(operations) if "gradient_tape" in o.name)
    assert sum(o.type == "Conv2D" for o in operations[:backward]) == 14
    again = [i for i, o in enumerate(operations) if o.type == "Conv2D" and i > backward]
    assert len(again) == 14
    for i in again:
        before = {o.name for o in operations[:i] if o.type == "Conv2DBackpropInput"}
        assert before <= needs(operations[i])


def needs(operation) -> set[str]:
    """Names of all operations that one waits for."""
    found, left = set(), [operation]
    while left:
        o = left.pop()
        for before in (*(t.op for t in o.inputs), *o.control_inputs):
            if before.name not in found:
                found.add(before.name)
                left.append(before)
    return found


def test_state_that_a_second_run_would_change_is_refused():
    x = keras.Input((8, 8, 3))
    for layer in (layers.BatchNormalization(), layers.Dropout(0.5)):
        restore = rematerialised(keras.Model(x, layer(layers.Conv2D(3, 1)(x))))
        with pytest.raises(ValueError, match="changes in training"):
            restore(np.zeros((1, 8, 8, 3), "float32"))
        restore(np.zeros((1, 8, 8, 3), "float32"), training=False)
