"""TensorFlow's graph of a call: traced without running it, and the memory that running it would take."""

import math
from collections import Counter
from collections.abc import Callable, Sequence

VIEWS = {"Identity", "IdentityN", "Reshape", "Squeeze", "ExpandDims", "StopGradient", "PreventGradient", "Snapshot"}
IN_PLACE = set(
    (
        "BiasAdd Relu LeakyRelu Tanh Sigmoid Softplus AddV2 Add AddN Sub Mul Neg Abs Maximum Minimum RealDiv Sqrt "
        "Rsqrt Square Exp SelectV2 ReluGrad LeakyReluGrad TanhGrad SigmoidGrad SoftplusGrad SqrtGrad RsqrtGrad"
    ).split()
)
SIZES_ONLY = {"Shape", "ShapeN", "Size", "Rank", "ZerosLike", "OnesLike"}


def trace(call: Callable, *shapes: tuple[int, ...]):
    """The TensorFlow graph of a call for float32 inputs of these shapes, with the functions that it calls in line."""
    import tensorflow as tf

    eagerly = tf.config.functions_run_eagerly()
    # This traces inner functions in line, where they would be calls in the graph.
    tf.config.run_functions_eagerly(True)
    try:
        traced = tf.function(call, autograph=False)
        return traced.get_concrete_function(*(tf.TensorSpec(shape, "float32") for shape in shapes)).graph
    finally:
        tf.config.run_functions_eagerly(eagerly)


def needed(graph) -> list:
    """The operations that run, in their order: those that results or changed variables need.

    TensorFlow writes both gradients of every convolution into the graph, but runs only those that something takes.
    """
    waiting = [tensor.op for tensor in graph.outputs]
    waiting += [operation for operation in graph.get_operations() if operation.op_def.is_stateful]
    found = set()
    while waiting:
        operation = waiting.pop()
        if operation not in found:
            found.add(operation)
            waiting += [*(tensor.op for tensor in operation.inputs), *operation.control_inputs]
    return [operation for operation in graph.get_operations() if operation in found]


def peak_bytes(graph) -> int:
    """The most bytes that are alive at once where the graph's operations run one by one, in the order of the trace.

    - A result lives from the operation that makes it to the last that takes it; inputs of the call live to the end.
    - Operations that reshape or pass on (`VIEWS`) make no result; those that work element by element (`IN_PLACE`)
      write it over an input of the same size that nothing needs any more.
    - Weights and constants are not counted.
    Raises `ValueError` where the size of a result is unknown.
    """
    operations = needed(graph)
    holder = {}  # Each tensor is mapped to the tensor whose memory holds it.
    uses = Counter()
    for operation in operations:
        for i, tensor in enumerate(operation.outputs):
            view = operation.type in VIEWS and i < len(operation.inputs)
            holder[tensor.ref()] = holder[operation.inputs[i].ref()] if view else tensor.ref()
        uses.update(holder[tensor.ref()] for tensor in _read(operation))
    # The caller holds the batch to the end.
    held = [t for o in operations if o.type == "Placeholder" for t in o.outputs]
    uses.update(holder[t.ref()] for t in (*held, *graph.outputs))
    alive = {}
    now = most = 0
    for operation in operations:
        made = {t.ref(): _bytes(t) for t in operation.outputs if holder[t.ref()] == t.ref() and _bytes(t)}
        taken = Counter(holder[tensor.ref()] for tensor in _read(operation))
        ending = {ref: alive[ref] for ref, n in taken.items() if ref in alive and uses[ref] == n}
        reused = 0
        if operation.type in IN_PLACE and made:
            reused = max((n for n in ending.values() if n == sum(made.values())), default=0)
        most = max(most, now + sum(made.values()) - reused)
        uses.subtract(taken)
        for ref in ending:
            now -= alive.pop(ref)
        for ref, n in made.items():
            if uses[ref]:
                alive[ref] = n
                now += n
    return most


def _read(operation) -> Sequence:
    """The inputs whose values are read, for TensorFlow puts in constants for sizes that are known."""
    return () if operation.type in SIZES_ONLY else operation.inputs


def _bytes(tensor) -> int:
    """The bytes of a result; 0 for weights, constants and resources, which take no memory of their own."""
    if tensor.op.type in ("Const", "ReadVariableOp") or not tensor.dtype.size:
        return 0
    if not tensor.shape.is_fully_defined():
        raise ValueError(f"{tensor.name} has the unknown size {tensor.shape}")
    return math.prod(tensor.shape) * tensor.dtype.size
