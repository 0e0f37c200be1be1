"""One adversarial Keras model for every paper: a generator, any number of critics (or none), and their updates."""

import keras
from keras import ops

from madn.losses import batch_psnr
from madn.training.clipping import clip, global_norm
from madn.training.critics import Critics
from madn.training.gradients import apply_gradients, losses_and_gradients, without_gradients


class AdversarialModel(keras.Model):
    """Trains a generator against critics with an objective that knows the paper, so that this class need not.

    Args:
        generator: (batch, height, width, 3) in [0, 1] -> dictionary with `deblurred`.
        objective: has `generator_losses` and `critic_losses`, each (blurred, sharp, outputs, critic) -> (total, terms),
            and `term_names`, the names of all terms.
        critics: domain -> discriminator; one network may serve several domains. Empty: no adversarial part.
        seed: of the random numbers that a loss draws (`Critics.uniform`).

    `first_step` is the number of steps of the stages before this one. Call `compile`, then `fit` on (blurred, sharp)
    batches, float32 in [0, 1].
    """

    def __init__(self, generator: keras.Model, objective, critics: dict[str, keras.Model] | None = None,
                 seed: int = 0, **kwargs):
        super().__init__(**kwargs)
        self.generator, self.objective = generator, objective
        self.critics = dict(critics or {})
        self.seeds = keras.random.SeedGenerator(seed)
        self.critic = Critics(dict(self.critics), self.seeds)
        self.first_step = 0
        self.trackers = {name: keras.metrics.Mean(name=name)
                         for name in ("loss", *objective.term_names, "gradient_norm", "psnr", "blurred_psnr")}
        if self.critics:
            self.trackers["critic_loss"] = keras.metrics.Mean(name="critic_loss")
        self.built = True

    def compile(self, g_optimizer, d_optimizer=None, update_order: str = "simultaneous", critic_steps: int = 1,
                critic_batches: str = "fresh", clip_mode: str = "none", clip_minimum: float = 1e-5,
                clip_maximum: float = 2.0, clip_scope: str = "generator", jit_compile: bool = False):
        """Set the optimisers and the order of updates.

        update_order: "simultaneous" takes both gradients at the same weights in one pass (MADN's Algorithm 1);
            "alternating" updates the critics first, `critic_steps` times, then the generator.
        critic_batches: of these critic steps. "same": all take the whole batch, restored once. "fresh": each takes a
            part of its own, and the generator the last one: the batch holds `critic_steps` times as many crops.
        clip_scope: "generator" or "both".
        Both optimisers are built here, so that a checkpoint holds the state of both from the first step on.
        """
        if update_order == "simultaneous" and critic_steps != 1:
            raise ValueError("simultaneous updates take one critic step; received critic_steps="
                             f"{critic_steps}; use update_order='alternating'")
        for name, value, known in (("update_order", update_order, ("simultaneous", "alternating")),
                                   ("critic_batches", critic_batches, ("fresh", "same"))):
            if value not in known:
                raise ValueError(f"{name} is one of {', '.join(known)}; received {value!r}")
        super().compile(optimizer=g_optimizer, jit_compile=jit_compile)
        self.d_optimizer = d_optimizer
        self.update_order, self.critic_steps, self.critic_batches = update_order, critic_steps, critic_batches
        self.clipping = (clip_mode, clip_minimum, clip_maximum)
        self.clip_scope = clip_scope
        g_optimizer.build(self.generator.trainable_variables)
        if self.critics:
            d_optimizer.build(self.critic_variables)

    @property
    def critic_variables(self) -> list:
        unique = {id(network): network for network in self.critics.values()}
        return [v for network in unique.values() for v in network.trainable_variables]

    @property
    def metrics(self) -> list:
        return list(self.trackers.values())

    def call(self, blurred, training=None):
        return self.generator(blurred, training=training)

    @property
    def step(self) -> int:
        """Generator updates so far, those of earlier stages included."""
        return self.first_step + int(self.optimizer.iterations)

    def train_step(self, data):
        blurred, sharp, _ = keras.utils.unpack_x_y_sample_weight(data)
        if not self.critics or self.update_order == "simultaneous":
            outputs = self._update(blurred, sharp, train_generator=True, train_critics=bool(self.critics))
        else:
            blurred, sharp = self._update_critics(blurred, sharp)
            outputs = self._update(blurred, sharp, train_generator=True, train_critics=False)
        self.trackers["psnr"].update_state(batch_psnr(outputs["deblurred"], sharp))
        self.trackers["blurred_psnr"].update_state(batch_psnr(blurred, sharp))
        return {name: tracker.result() for name, tracker in self.trackers.items()}

    def test_step(self, data):
        blurred, sharp, _ = keras.utils.unpack_x_y_sample_weight(data)
        outputs = self.generator(blurred, training=False)
        scores = {"psnr": batch_psnr(outputs["deblurred"], sharp), "blurred_psnr": batch_psnr(blurred, sharp)}
        for name, score in scores.items():
            self.trackers[name].update_state(score, sample_weight=ops.shape(blurred)[0])
        return {name: self.trackers[name].result() for name in scores}

    def _update_critics(self, blurred, sharp):
        """The critic steps before a generator step; returns the crops that the generator is to learn from."""
        same = self.critic_batches == "same"
        parts = [(blurred, sharp)] if same else list(zip(
            ops.split(blurred, self.critic_steps), ops.split(sharp, self.critic_steps), strict=True))
        for part_blurred, part_sharp in parts:
            with without_gradients():
                outputs = self.generator(part_blurred, training=True)
            for _ in range(self.critic_steps if same else 1):
                self._update(part_blurred, part_sharp, train_generator=False, train_critics=True, outputs=outputs)
        return parts[-1]

    def _update(self, blurred, sharp, train_generator: bool, train_critics: bool, outputs: dict | None = None):
        """One pass and the updates asked for, all gradients taken at the same weights; returns the outputs.

        `outputs`: the generator's, where it has run already and does not learn.
        """

        def compute():
            restored = self.generator(blurred, training=True) if outputs is None else outputs
            losses = {}
            if train_generator:
                losses["loss"] = self.objective.generator_losses(blurred, sharp, restored, self.critic)
            if train_critics:
                losses["critic_loss"] = self.objective.critic_losses(blurred, sharp, restored, self.critic)
            return [total for total, _ in losses.values()], (restored, losses)

        players = []
        if train_generator:
            players.append((self.optimizer, self.generator.trainable_variables))
        if train_critics:
            players.append((self.d_optimizer, self.critic_variables))
        _, (restored, losses), gradients = losses_and_gradients(compute, [variables for _, variables in players])
        for (optimizer, variables), own in zip(players, gradients, strict=True):
            if optimizer is self.optimizer:
                self.trackers["gradient_norm"].update_state(ops.stop_gradient(global_norm(own)))
            if optimizer is self.optimizer or self.clip_scope == "both":
                own = clip(own, *self.clipping)
            apply_gradients(optimizer, own, variables)
        for name, (total, terms) in losses.items():
            for term, value in {name: total, **terms}.items():
                self.trackers[term].update_state(ops.stop_gradient(value))
        return restored
