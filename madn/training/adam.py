"""Adam in few operations: one for a variable on TensorFlow, a few for all on PyTorch. Licence of this file: MIT."""

import keras
from keras import ops


def adam(learning_rate, **options) -> keras.optimizers.Adam:
    """Adam in the backend's fastest form: `Adam` on TensorFlow, Keras' own elsewhere.

    On PyTorch Keras updates all variables in a few operations, which it does not for a class of ours.
    """
    kind = Adam if keras.backend.backend() == "tensorflow" else keras.optimizers.Adam
    return kind(learning_rate, **options)


class Adam(keras.optimizers.Adam):
    """`keras.optimizers.Adam`, which on TensorFlow updates a variable and both moments in one pass.

    Keras' update is a dozen operations, each of which goes through the memory of a whole variable, and on a GPU is
    started for each variable. TensorFlow's own operation computes the same formula. What it takes of a training step:
    `scripts/profile_steps.py`.
    """

    def update_step(self, gradient, variable, learning_rate):
        if self.amsgrad:
            super().update_step(gradient, variable, learning_rate)
            return
        import tensorflow as tf

        index, dtype = self._get_variable_index(variable), variable.dtype
        step = ops.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,  # Keras hands its backend's own variable in, or a device's part of one.
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=ops.power(ops.cast(self.beta_1, dtype), step),
            beta2_power=ops.power(ops.cast(self.beta_2, dtype), step),
            lr=ops.cast(learning_rate, dtype),
            beta1=ops.cast(self.beta_1, dtype),
            beta2=ops.cast(self.beta_2, dtype),
            epsilon=ops.cast(self.epsilon, dtype),
            grad=ops.cast(gradient, dtype),
        )
