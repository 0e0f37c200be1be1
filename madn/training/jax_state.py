"""JAX compiles functions of values, while our steps assign variables: here the values are handed in and out."""

import functools
from collections.abc import Callable

import keras

KINDS = ("trainable_variables", "non_trainable_variables", "optimizer_variables", "metrics_variables")


def with_state(step: Callable) -> Callable:
    """Decorate a step (data) -> logs of a `Stateful` model, so that Keras' JAX trainer can call it, too.

    That calls it as (state, data) -> (logs, state); the state has the values of the model's variables, kind by kind,
    and in a test step none of the optimisers'.
    """

    @functools.wraps(step)
    def call(model, *arguments):
        if len(arguments) == 1:
            return step(model, *arguments)
        state, data = arguments
        kinds = [kind for kind in KINDS if len(state) == len(KINDS) or kind != "optimizer_variables"]
        groups = [model.variables_of(kind) for kind in kinds]
        pairs = [pair for group, values in zip(groups, state, strict=True) for pair in zip(group, values, strict=True)]
        with keras.StatelessScope(pairs) as scope:
            logs = step(model, data)
        return logs, tuple([scope.get_current_value(v) for v in group] for group in groups)

    return call


class Stateful:
    """Mixin of a `keras.Model` whose steps, on JAX, take more variables than Keras' trainer knows of.

    On other backends nothing of this is called, and `sync` does nothing.
    """

    optimizer: keras.Optimizer

    @property
    def further_variables(self) -> list[keras.Variable]:
        """Variables that a training step assigns or reads beside the weights, the optimiser and the metrics."""
        return []

    def variables_of(self, kind: str) -> list[keras.Variable]:
        if kind == "optimizer_variables":
            return [*self.optimizer.variables, *self.further_variables]
        return getattr(self, kind)

    def sync(self) -> None:
        """Bring the variables up to date, whose values JAX keeps in the trainer between the steps of `fit`."""
        self.jax_state_sync()

    def jax_state_sync(self):
        if not getattr(self, "_jax_state", None) or self._jax_state_synced:
            return
        for kind, values in self._jax_state.items():
            for variable, value in zip(self.variables_of(kind), values or (), strict=True):
                variable.assign(value)
        self._jax_state_synced = True

    def _get_jax_state(self, purge_model_variables: bool = False, **wanted: bool) -> tuple:
        """The values that the steps take and give back.

        Keras would empty the variables (`purge_model_variables`). Without that, a compiled step frees what it takes all
        the same, and shapes can be read while it is traced.
        """
        return tuple([v.value for v in self.variables_of(kind)] for kind in KINDS if wanted.get(kind))
