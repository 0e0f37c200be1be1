"""One adversarial Keras model for every paper: a generator, any number of discriminators or none, and their updates."""

import functools
import time
from dataclasses import replace

import keras
from keras import ops

from madn.nn import replicas
from madn.nn.losses import batch_psnr
from madn.training.critics import Critics
from madn.training.distribution import Devices
from madn.training.finite_checks import Fault, FiniteChecks
from madn.training.gradients import apply_gradients, global_norm, in_parts, losses_and_gradients, without_gradients
from madn.training.jax_state import Stateful, with_state
from madn.training.random_numbers import RandomNumbers
from madn.training.remat import rematerialised

GENERATOR_GRADIENT, CRITIC_GRADIENT = "the generator's gradient", "the discriminator's gradient"


class AdversarialModel(Stateful, keras.Model):
    """Trains a generator against discriminators with an objective that knows the paper, so that this class need not.

    Args:
        generator: takes (batch, height, width, 3) in [0, 1], and gives a dictionary with `deblurred`.
        objective: has `generator_losses` and `critic_losses`, which take (blurred, sharp, outputs, critic) and give
            (total, terms), and `term_names`, the names of all terms.
        critics: the discriminator of each domain; one network may serve several domains. Empty where there is none.
        seed: of the random numbers that a loss draws (`RandomNumbers`).
        devices: share each batch; the networks and optimisers are built in their scope, this model is not.

    `first_step` is the number of steps of the stages before this one, `waited` the seconds that training has waited for
    its input since it was last set to 0. Call `compile`, then `fit` on (blurred, sharp) batches, float32 in [0, 1].
    """

    def __init__(
        self,
        generator: keras.Model,
        objective,
        critics: dict[str, keras.Model] | None = None,
        seed: int = 0,
        devices: Devices | None = None,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.devices = devices or Devices()
        self.generator, self.objective = generator, objective
        self.critics = dict(critics or {})
        self.random_numbers = RandomNumbers(seed)
        self.critic = Critics(dict(self.critics), self.random_numbers)
        self.first_step, self.waited = 0, 0.0
        self._returned: float | None = None
        with self.devices.scope():
            self.trackers = {
                name: keras.metrics.Mean(name=name)
                for name in ("loss", *objective.term_names, "gradient_norm", "psnr", "blurred_psnr")
            }
            if self.critics:
                self.trackers["critic_loss"] = keras.metrics.Mean(name="critic_loss")
            self.finite_checks = FiniteChecks(
                [*objective.term_names, "loss", "critic_loss", GENERATOR_GRADIENT, CRITIC_GRADIENT]
            )
        self.built = True

    def compile(
        self,
        g_optimizer,
        d_optimizer=None,
        update_order: str = "simultaneous",
        critic_steps: int = 1,
        accumulate: int = 1,
        remat: str = "none",
        jit_compile: bool = False,
    ):
        """Set the optimisers and the order of updates.

        update_order: "simultaneous" takes both gradients at the same weights in one pass (MADN's Algorithm 1);
            "alternating" updates the discriminators first, `critic_steps` times on the same batch, then the generator.
        remat: "blocks" computes most of the generator again in the backward pass (`rematerialised`); "none" keeps all.
        accumulate: the parts that a batch is computed in, one after the other, to save memory; a term that looks at
            the whole batch (relativistic losses) sees a part.
        jit_compile: with XLA; JAX always does.
        Both optimisers are built here, so that a checkpoint holds the state of both from the first step on.
        """
        if update_order == "simultaneous" and critic_steps != 1:
            raise ValueError(
                "simultaneous updates take one step of the discriminators; received critic_steps="
                f"{critic_steps}; use update_order='alternating'"
            )
        if update_order not in ("simultaneous", "alternating"):
            raise ValueError(f"update_order is simultaneous or alternating; received {update_order!r}")
        super().compile(optimizer=g_optimizer, jit_compile=jit_compile or keras.backend.backend() == "jax")
        self.d_optimizer = d_optimizer
        self.update_order, self.critic_steps, self.accumulate = update_order, critic_steps, accumulate
        self._restore = functools.partial(
            rematerialised(self.generator) if remat == "blocks" else self.generator, training=True
        )
        with self.devices.scope():
            g_optimizer.build(self.generator.trainable_variables)
            if self.critics:
                d_optimizer.build(self.critic_variables)

    @property
    def critic_variables(self) -> list:
        unique = {id(network): network for network in self.critics.values()}
        return [v for network in unique.values() for v in network.trainable_variables]

    @property
    def further_variables(self) -> list:
        """Variables that a step takes beside Keras' own: of the second optimiser, the finite checks and a loss."""
        critics = self.d_optimizer.variables if self.critics else []
        loss = getattr(getattr(self.objective, "perceptual", None), "variables", [])
        return [*critics, *self.finite_checks.variables, *loss]

    @property
    def metrics(self) -> list:
        return list(self.trackers.values())

    def call(self, blurred, training=None):
        return self.generator(blurred, training=training)

    @property
    def step(self) -> int:
        """Generator updates so far, those of earlier stages included."""
        return self.first_step + self.updates

    @property
    def updates(self) -> int:
        """Generator updates of this model."""
        self.sync()
        return int(ops.convert_to_numpy(self.optimizer.iterations))

    def fault(self) -> Fault | None:
        """The first step whose losses or gradients were not finite, if any. Waits for the device."""
        self.sync()
        fault = self.finite_checks.fault()
        return fault and replace(fault, step=self.first_step + fault.step)

    def empty_batch(self) -> int | None:
        """The last step whose sharp crops were all of one colour, if any. Waits for the device."""
        self.sync()
        step = self.finite_checks.last_empty()
        return self.first_step + step if step else None

    def make_train_function(self, force=False):
        """Keras' own function, which also serves several devices, and measures how long a step waits for its batch."""
        if self.train_function is not None and not force:
            return
        backend = keras.backend.backend()
        if backend != "tensorflow":
            super().make_train_function(force)
        step = self.devices.step(self) if backend == "tensorflow" else self.train_function
        here = self.devices.shares[1]

        def train_function(*arguments):
            *state, batches = arguments  # On JAX the state before the step comes first.
            start = time.perf_counter()
            if backend == "tensorflow":
                batches = [next(batches) for _ in range(here)]
            elif backend == "jax":
                batches = iter([next(batches)])
            elif self._returned is not None:  # Keras fetched the batch between the last step and now.
                start = self._returned
            self.waited += time.perf_counter() - start
            return step(*state, batches)

        self.train_function = train_function

    def step_ended(self) -> None:
        """Is called when nothing but the next batch is missing for the next step."""
        self._returned = time.perf_counter()

    def reset_metrics(self):
        with self.devices.scope():
            super().reset_metrics()
        self._returned = None  # The time between two rounds is not spent on waiting.

    def get_metrics_result(self):
        with self.devices.scope():
            return super().get_metrics_result()

    @with_state
    def train_step(self, data):
        blurred, sharp, _ = keras.utils.unpack_x_y_sample_weight(data)
        self.finite_checks.note_images(self.optimizer.iterations + 1, sharp)
        if not self.critics or self.update_order == "simultaneous":
            self._update(blurred, sharp, train_generator=True, train_critics=bool(self.critics))
        else:
            self._update_critics(blurred, sharp)
            self._update(blurred, sharp, train_generator=True, train_critics=False)
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    @with_state
    def test_step(self, data):
        blurred, sharp, _ = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self.generator(blurred, training=False)
        scores = _scores(blurred, sharp, outputs)
        for name, score in scores.items():
            self.trackers[name].update_state(score, sample_weight=ops.shape(blurred)[0])
        return {name: self.trackers[name].result() for name in scores}

    def _update_critics(self, blurred, sharp):
        """The discriminators' steps before a generator step, all on its batch, which is restored once."""
        with without_gradients():
            outputs = self.generator(blurred, training=True)
        for _ in range(self.critic_steps):
            self._update(blurred, sharp, train_generator=False, train_critics=True, outputs=outputs)

    def _update(self, blurred, sharp, train_generator: bool, train_critics: bool, outputs: dict | None = None):
        """Make the updates that are asked for, with all gradients taken at the same weights.

        `outputs` are the generator's, where it has run already and does not learn.
        """
        step = self.optimizer.iterations + 1
        update = self.optimizer.iterations + (self.d_optimizer.iterations if self.critics else 0)
        first_here = replicas.index() * ops.shape(blurred)[0]
        players = []
        if train_generator:
            players.append((self.optimizer, self.generator.trainable_variables, GENERATOR_GRADIENT))
        if train_critics:
            players.append((self.d_optimizer, self.critic_variables, CRITIC_GRADIENT))

        def compute(batch, first):
            self.random_numbers.begin(update, first_here + first)
            _, logs, gradients = losses_and_gradients(
                lambda: self._player_losses(*batch, train_generator, train_critics), [own for _, own, _ in players]
            )
            return gradients, {name: ops.stop_gradient(value) for name, value in logs.items()}

        gradients, logs = in_parts(compute, (blurred, sharp, outputs), self.accumulate)
        gradients = replicas.mean(gradients)
        norms = {what: ops.stop_gradient(global_norm(own)) for own, (*_, what) in zip(gradients, players, strict=True)}
        self.finite_checks.note_values(step, {**logs, **norms})
        for own, (optimizer, variables, _) in zip(gradients, players, strict=True):
            apply_gradients(optimizer, own, variables)
        if train_generator:
            logs["gradient_norm"] = norms[GENERATOR_GRADIENT]
        for name, value in logs.items():
            self.trackers[name].update_state(value)

    def _player_losses(self, blurred, sharp, outputs, train_generator: bool, train_critics: bool):
        """The losses to differentiate, and all terms that go into the log."""
        restored = self._restore(blurred) if outputs is None else outputs
        losses, logs = [], _scores(blurred, sharp, restored) if train_generator else {}
        for name, wanted, of_objective in (
            ("loss", train_generator, "generator_losses"),
            ("critic_loss", train_critics, "critic_losses"),
        ):
            if wanted:  # An objective without discriminators has no `critic_losses`.
                total, terms = getattr(self.objective, of_objective)(blurred, sharp, restored, self.critic)
                losses.append(total)
                logs |= {name: total, **terms}
        return losses, logs


def _scores(blurred, sharp, outputs: dict) -> dict:
    return {"psnr": batch_psnr(outputs["deblurred"], sharp), "blurred_psnr": batch_psnr(blurred, sharp)}
