"""The devices that share a batch: their number, this one's index and means over all. Distribution is TensorFlow's."""

import keras


def count() -> int:
    """How many devices share the current batch; 1 outside of a distributed step."""
    context = _context()
    return context.num_replicas_in_sync if context else 1


def index():
    """The number of this device, from 0: an int, or an int32 tensor in a distributed step."""
    context = _context()
    return context.replica_id_in_sync_group if context and context.num_replicas_in_sync > 1 else 0


def mean(tensors):
    """The mean of each float tensor over the devices, the same on all; differentiable. Nested lists are kept."""
    context = _context()
    if context is None or context.num_replicas_in_sync == 1:
        return tensors
    import tensorflow as tf

    return context.all_reduce(tf.distribute.ReduceOp.MEAN, tensors)


def _context():
    """The replica context of TensorFlow, None elsewhere."""
    if keras.backend.backend() != "tensorflow":
        return None
    import tensorflow as tf

    return tf.distribute.get_replica_context()
