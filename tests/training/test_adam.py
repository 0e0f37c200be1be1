"""Adam's single operation computes what Keras' dozen compute."""

import keras
import numpy as np
import pytest
from other_backend import run_on

from madn.training.adam import Adam, adam


def three_steps(optimizer, graph: bool) -> tuple[np.ndarray, list[np.ndarray]]:
    """A variable after three steps, and the optimiser's own variables."""
    variable = keras.Variable(np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4))
    gradients = np.random.default_rng(0).normal(size=(3, 3, 4)).astype(np.float32)
    optimizer.build([variable])

    def step(gradient):
        optimizer.apply([gradient], [variable])

    if graph:
        import tensorflow as tf

        step = tf.function(step)
    for gradient in gradients:
        step(keras.ops.convert_to_tensor(gradient))
    return keras.ops.convert_to_numpy(variable), [keras.ops.convert_to_numpy(each) for each in optimizer.variables]


@pytest.mark.parametrize("graph", [False, True])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_it_takes_keras_steps(graph, clip):
    rate = keras.optimizers.schedules.PolynomialDecay(0.1, 4, 0.0, 0.3)
    settings = {"beta_1": 0.5, "beta_2": 0.9, "epsilon": 1e-8, "global_clipnorm": clip}
    ours, own = three_steps(Adam(rate, **settings), graph)
    keras_, keras_own = three_steps(keras.optimizers.Adam(rate, **settings), graph)
    assert np.allclose(ours, keras_, rtol=1e-6, atol=1e-7) and not np.allclose(
        ours, np.linspace(-1, 1, 12).reshape(3, 4)
    )
    assert len(own) == len(keras_own) and all(np.allclose(a, b, rtol=1e-6, atol=1e-7) for a, b in zip(own, keras_own))


def test_by_hand():
    """One step from zero moments: m / (1 - beta_1) = g and v / (1 - beta_2) = g^2, so each moves by the rate."""
    variable = keras.Variable(np.zeros(2, np.float32))
    optimizer = Adam(0.25, epsilon=1e-12)
    optimizer.build([variable])
    optimizer.apply([keras.ops.convert_to_tensor([3.0, -0.5])], [variable])
    assert np.allclose(keras.ops.convert_to_numpy(variable), [-0.25, 0.25], atol=1e-6)


def test_its_variables_are_named_as_those_of_earlier_runs():
    variable = keras.Variable(np.zeros(2, np.float32), name="kernel")
    names = []
    for optimizer in (Adam(0.1), keras.optimizers.Adam(0.1)):
        optimizer.build([variable])
        names.append([each.path.partition("/")[2] for each in optimizer.variables])
        assert optimizer.name.startswith("adam")
    assert names[0] == names[1]


def test_the_graph_has_one_operation_for_a_variable():
    tf = pytest.importorskip("tensorflow")
    variables = [keras.Variable(np.ones(3, np.float32)) for _ in range(2)]
    optimizer = Adam(0.1)
    optimizer.build(variables)
    graph = (
        tf.function(lambda gradient: optimizer.apply([gradient] * 2, variables)).get_concrete_function(tf.ones(3)).graph
    )
    kinds = [operation.type for operation in graph.get_operations()]
    assert kinds.count("ResourceApplyAdam") == 2
    assert not {"Square", "AssignSubVariableOp"} & set(kinds)


def test_tensorflow_takes_ours():
    pytest.importorskip("tensorflow")
    assert type(adam(0.1)) is Adam


@pytest.mark.process
@pytest.mark.torch
def test_pytorch_takes_keras_own_which_updates_all_variables_at_once():
    pytest.importorskip("torch", reason="PyTorch is not installed: make test-all TORCH=1 installs it")
    code = """
from madn.training.adam import adam
import keras, torch
variables = [keras.Variable([1.0, 2.0]) for _ in range(40)]
optimizer = adam(0.25, epsilon=1e-12)
optimizer.build(variables)
with torch.profiler.profile() as profile:
    optimizer.apply([keras.ops.convert_to_tensor([3.0, -0.5])] * 40, variables)
assert torch.allclose(variables[7].value.cpu(), torch.tensor([0.75, 2.25])), variables[7]
print(max(sum(e.name == name for e in profile.events()) for name in ("aten::_foreach_add_", "aten::_foreach_mul_")))
"""
    assert 0 < int(run_on("torch", code)) < 5
