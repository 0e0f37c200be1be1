"""Learning-rate schedules that Keras does not have."""

import keras
from keras import ops


@keras.saving.register_keras_serializable("madn")
class ConstantThenLinear(keras.optimizers.schedules.LearningRateSchedule):
    """`initial` up to step number `constant_steps`, then a straight line to `end` over `linear_steps`; then `end`.

    Steps are numbered from 0.
    """

    def __init__(self, initial: float, constant_steps: int, linear_steps: int, end: float = 0.0):
        self.initial, self.constant_steps, self.linear_steps, self.end = initial, constant_steps, linear_steps, end

    def __call__(self, step):
        past = ops.cast(step, "float32") - self.constant_steps
        share = ops.clip(past / max(1, self.linear_steps), 0.0, 1.0)
        return self.initial + (self.end - self.initial) * share

    def get_config(self):
        return {
            "initial": self.initial,
            "constant_steps": self.constant_steps,
            "linear_steps": self.linear_steps,
            "end": self.end,
        }


def polynomial(initial: float, steps: int, power: float) -> keras.optimizers.schedules.PolynomialDecay:
    """The schedule lr = initial (1 - step / steps) ** power, which ends at 0."""
    return keras.optimizers.schedules.PolynomialDecay(initial, decay_steps=steps, end_learning_rate=0.0, power=power)
