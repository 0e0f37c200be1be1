"""The base of all recipes: batch, crop, optimisers, schedule, clipping. A paper's recipe adds its own fields.

A recipe is plain data, and so is the module that holds it: networks, losses and optimisers are imported by the methods
that build them. So recipes can be listed, and a command line refused, before Keras and its backend are imported.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

from madn.errors import UserError

if TYPE_CHECKING:
    import keras

    from madn.training.distribution import Devices
    from madn.training.model import AdversarialModel

INTERNAL = {"internal": True}
"""Marks a field that the stages of a recipe set, and no command line."""


class Named(NamedTuple):
    """A recipe of the registry, with a line that names its paper."""

    recipe: Recipe
    summary: str


@dataclass(frozen=True, kw_only=True)
class Optimisation:
    """Training: batches, learning rates, length"""

    batch: int = 16
    """Crops in a batch."""
    crop: int = 256
    """Side of a training crop, in pixels."""
    epochs: int = 2000
    """Passes over all pairs, one random crop of each."""
    steps: int | None = None
    """Generator updates in all; overrides --epochs. The learning rate decays over them."""
    lr_g: float = 1e-4
    """Initial learning rate of the generator."""
    lr_d: float = 4e-4
    """Initial learning rate of the discriminator."""
    adam: tuple[float, float, float] = (0.9, 0.999, 1e-8)
    """Adam's decays of the first and the second moment, and its epsilon."""
    clip_norm: float | None = None
    """Gradients of the generator with a larger global norm are scaled down to it; None: never."""
    augment: Literal["none", "flips", "dihedral"] = "none"
    """Flips, or flips and 90-degree turns, of both images alike."""
    blur_kind: Literal["blur", "blur_gamma"] = "blur"
    """Which of GoPro's blurred folders to use."""
    seed: int = 0
    """Seed of the weights, the crops and the held-out pairs."""


@dataclass(frozen=True, kw_only=True)
class Computation:
    """Computation: precision, memory, speed"""

    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """mixed_bfloat16 computes the networks in bfloat16; losses and metrics stay in float32."""
    remat: Literal["none", "blocks"] = "none"
    """Blocks: keep little of the generator's forward pass and compute it again going backward: less memory, slower."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, to save memory."""
    jit: bool = False
    """Compile the training step with XLA; JAX always does."""


@dataclass(frozen=True, kw_only=True)
class Recipe(Computation, Optimisation):
    """Settings of one training run; a subclass adds its paper's networks and objective.

    Raises `UserError` for a value out of range, naming the field.
    """

    paper: ClassVar[str] = ""
    crop_multiple: ClassVar[int] = 32
    update_order: ClassVar[str] = "simultaneous"
    """Simultaneous takes both gradients at the same weights; alternating updates the discriminator first."""
    critic_steps: ClassVar[int] = 1
    """Discriminator updates for each generator update, all on its batch; alternating order only."""
    critics_float32: ClassVar[bool] = False
    """Whether discriminators compute in float32 whatever `precision` says, as a gradient penalty asks."""
    vgg_network: ClassVar[str | None] = None
    """The network of its perceptual loss, whose weights the field `vgg_weights` names."""
    retired: ClassVar[dict] = {
        "optimizer": "adam",
        "bias_lr_ratio": ...,
        "clip_minimum": ...,
        "clip_scope": "generator",
        "critic_batches": ...,
    }
    """Fields that stored files may have, each with the only value that is still built; ... stands for any value."""

    def __post_init__(self):
        for field in ("batch", "crop", "epochs", "critic_steps", "accumulate"):
            if getattr(self, field) < 1:
                raise UserError(f"--{field.replace('_', '-')} must be at least 1; received {getattr(self, field)}")
        if self.clip_norm is not None and not self.clip_norm > 0:
            raise UserError(f"--clip-norm must be above 0; received {self.clip_norm:g}")
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more; received {self.seed}")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps must be at least 1; received {self.steps}")
        if self.crop % self.crop_multiple:
            raise UserError(f"--crop must be a multiple of {self.crop_multiple}; received {self.crop}")
        if self.batch % self.accumulate:
            raise UserError(f"--accumulate must divide the batch of {self.batch}; received {self.accumulate}")

    @property
    def multiple(self) -> int:
        """Heights and widths that the generator takes are multiples of this."""
        raise NotImplementedError

    @property
    def tile_blend(self) -> int:
        """Pixels over which a large photo's tiles fade into each other; 0 where they agree with the whole photo."""
        return 0

    @property
    def tile_pixels(self) -> int | None:
        """Pixels of a tile, at most, for a network that is slow or another with more; None for as many as fit."""
        return None

    def build_generator(self) -> keras.Model:
        """The generator: it takes (batch, height, width, 3) in [0, 1], and gives a dictionary with `deblurred`."""
        raise NotImplementedError

    def build_critics(self) -> dict[str, keras.Model]:
        """The discriminator of each domain; empty where the recipe has no adversarial loss."""
        raise NotImplementedError

    def build_objective(self):
        """The paper's losses; see `AdversarialModel`."""
        raise NotImplementedError

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the generator's layers that do not train."""
        return ()

    def without_downloads(self) -> Recipe:
        """The recipe with random weights where training would start from weights that are downloaded; for timing."""
        return self

    @property
    def needs_weights(self) -> bool:
        """Whether training only makes sense from given weights."""
        return False

    def prepare(self) -> dict:
        """Fetch and check what training needs beside the images; returns what the run's settings are to say of it.

        Raises `UserError` where it is not to be had.
        """
        return {}

    def stages(self, total_steps: int) -> list[tuple[Recipe, int]]:
        """The stages, one after the other, each as (recipe, steps) with optimisers and a schedule of its own."""
        return [(self, total_steps)]

    @property
    def stage_name(self) -> str:
        """What a stage of several is called on the screen."""
        return "all of the network"

    @classmethod
    def renamed(cls, fields: dict) -> dict:
        """Stored fields under the names that they have today; `retired` ones may stay.

        Raises `UserError` for a value that is no longer built.
        """
        fields = dict(fields)
        for name in ("update_order", "critic_steps"):
            if name in fields and not _is_field(cls, name) and fields.pop(name) != getattr(cls, name):
                raise UserError(f"{name} is no longer a setting; earlier versions of madn read what has another")
        if "adam_beta_1" in fields:
            fields["adam"] = tuple(fields.pop(f"adam_{name}") for name in ("beta_1", "beta_2", "epsilon"))
        if "clip_mode" in fields:
            mode, norm = fields.pop("clip_mode"), fields.pop("clip_maximum", 2.0)
            if mode not in ("none", "global_norm"):
                raise UserError(f"clip_mode {mode} is no longer built; earlier versions of madn read what has it")
            fields["clip_norm"] = norm if mode == "global_norm" else None
        return fields

    def grows_from(self, fields: dict) -> dict | None:
        """How this recipe is changed for the smaller network whose weights `transfer` starts from.

        `fields` are those of a weights file; None where such a file must hold this very network.
        """
        return None

    def transfer(self, previous: keras.Model, generator: keras.Model) -> None:
        """Take a stage's start from the generator of the stage before: every layer of it, by name."""
        for layer in previous.layers:
            if layer.weights:
                generator.get_layer(layer.name).set_weights(layer.get_weights())

    def steps_per_epoch(self, pairs: int) -> int:
        """Generator updates that an epoch of `pairs` counts for, whole batches alone; at least 1."""
        return max(1, pairs // self.batch)

    def total_steps(self, pairs: int) -> int:
        """Generator updates of the whole run."""
        return self.steps or self.epochs * self.steps_per_epoch(pairs)

    def learning_rate(self, initial: float, total_steps: int):
        """The learning rate, or its schedule over the steps; constant unless a recipe says otherwise."""
        return initial

    def build_g_optimizer(self, total_steps: int) -> keras.optimizers.Optimizer:
        """The generator's optimiser, with its schedule and clipping."""
        return self._adam(self.lr_g, total_steps, global_clipnorm=self.clip_norm)

    def build_d_optimizer(self, total_steps: int) -> keras.optimizers.Optimizer:
        """The discriminators' optimiser, with its schedule."""
        return self._adam(self.lr_d, total_steps)

    def _adam(self, initial: float, total_steps: int, **options) -> keras.optimizers.Adam:
        from madn.training.adam import adam

        beta_1, beta_2, epsilon = self.adam
        rate = self.learning_rate(initial, total_steps)
        return adam(rate, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon, **options)

    def build_model(self, total_steps: int, devices: Devices | None = None) -> AdversarialModel:
        """Build networks, objective and optimisers, seeded and compiled, with a schedule over `total_steps`."""
        import keras

        from madn.training.distribution import Devices
        from madn.training.model import AdversarialModel
        from madn.training.precision import dtype_policy

        devices = devices or Devices()
        parts = devices.count * self.accumulate
        if self.batch % parts:
            raise UserError(
                f"--batch must be a multiple of {parts}, for {devices.count} devices and --accumulate "
                f"{self.accumulate}; received {self.batch}"
            )
        if self.jit and devices.count > 1:
            raise UserError("--jit compiles for one device; leave it out with --strategy")
        if self.jit and keras.backend.backend() == "torch":
            raise UserError(
                "--jit compiles with XLA, which PyTorch has not; leave it out, or train on TensorFlow or JAX"
            )
        keras.utils.set_random_seed(self.seed)
        with devices.scope():
            with dtype_policy(self.precision):
                generator = self.build_generator()
            with dtype_policy("float32" if self.critics_float32 else self.precision):
                critics = self.build_critics()
            for name in self.frozen:
                generator.get_layer(name).trainable = False
            optimizers = (self.build_g_optimizer(total_steps), self.build_d_optimizer(total_steps) if critics else None)
        if optimizers[0].global_clipnorm:
            # Keras clips what a device hands in, and that is its share of the gradient: see `apply_gradients`.
            optimizers[0].global_clipnorm /= devices.count
        model = AdversarialModel(generator, self.build_objective(), critics, self.seed, devices)
        model.compile(
            *optimizers,
            update_order=self.update_order,
            critic_steps=self.critic_steps,
            remat=self.remat,
            accumulate=self.accumulate,
            jit_compile=self.jit,
        )
        return model

    def fields(self) -> dict:
        """All settings as plain JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()
        }


def _is_field(recipe: type, name: str) -> bool:
    return name in {field.name for field in dataclasses.fields(recipe)}
