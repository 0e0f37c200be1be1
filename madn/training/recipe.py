"""What every recipe says: batch, crop, optimisers, schedule, clipping. A paper's recipe adds its own fields."""

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

import keras

from madn.errors import UserError
from madn.training.distribution import Devices
from madn.training.model import AdversarialModel
from madn.training.muon import ConvolutionMuon


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Settings of one training run; a subclass adds its paper's networks and objective.

    Raises `UserError` for a value out of range, naming the field.
    """

    paper: ClassVar[str] = ""
    crop_multiple: ClassVar[int] = 32
    retired: ClassVar[dict] = {}  # fields that stored files may have -> the value that is still built; ...: any
    critics_float32: ClassVar[bool] = False  # a gradient penalty asks for it, whatever `precision` says

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
    optimizer: Literal["adam", "muon"] = "adam"
    """Muon: for the generator's convolutions, Adam for the rest of it; see madn.training.muon."""
    bias_lr_ratio: float = 1.0
    """With Muon: the learning rate of biases, as a share of the others'."""
    adam_beta_1: float = 0.9
    """Adam's decay of the first moment."""
    adam_beta_2: float = 0.999
    """Adam's decay of the second moment."""
    adam_epsilon: float = 1e-8
    """Adam's epsilon."""
    update_order: Literal["simultaneous", "alternating"] = "simultaneous"
    """Simultaneous: both gradients at the same weights. Alternating: the discriminator first."""
    critic_steps: int = 1
    """Discriminator updates for each generator update; alternating order only."""
    critic_batches: Literal["fresh", "same"] = "fresh"
    """Critic steps each on a batch of their own, or all on the generator's."""
    clip_mode: Literal["none", "global_norm", "value", "magnitude", "literal"] = "none"
    """Gradient clipping: see madn.training.clipping."""
    clip_minimum: float = 1e-5
    """Least magnitude of a gradient's element (magnitude and literal)."""
    clip_maximum: float = 2.0
    """Greatest norm, or magnitude of an element."""
    clip_scope: Literal["generator", "both"] = "generator"
    """Whose gradients are clipped."""
    augment: Literal["none", "flips", "dihedral"] = "none"
    """Flips, or flips and 90-degree turns, of both images alike."""
    blur_kind: Literal["blur", "blur_gamma"] = "blur"
    """Which of GoPro's blurred folders to use."""
    precision: Literal["float32", "mixed_bfloat16"] = "float32"
    """mixed_bfloat16 computes the networks in bfloat16; losses and metrics stay in float32."""
    remat: Literal["none", "blocks"] = "none"
    """Blocks: keep little of the generator's forward pass and compute it again going backward: less memory, slower."""
    accumulate: int = 1
    """Parts that a batch is computed in, one after the other, to save memory."""
    jit: bool = False
    """Compile the training step with XLA; JAX always does."""
    seed: int = 0
    """Seed of the weights, the crops and the held-out pairs."""

    def __post_init__(self):
        for field in ("batch", "crop", "epochs", "critic_steps", "accumulate"):
            if getattr(self, field) < 1:
                raise UserError(f"--{field.replace('_', '-')} must be at least 1; received {getattr(self, field)}")
        if self.seed < 0:
            raise UserError(f"--seed must be 0 or more; received {self.seed}")
        if self.steps is not None and self.steps < 1:
            raise UserError(f"--steps must be at least 1; received {self.steps}")
        if self.crop % self.crop_multiple:
            raise UserError(f"--crop must be a multiple of {self.crop_multiple}; received {self.crop}")
        if self.batch % self.accumulate:
            raise UserError(f"--accumulate must divide the batch of {self.batch}; received {self.accumulate}")
        if self.update_order == "simultaneous" and self.critic_steps != 1:
            raise UserError("--critic-steps above 1 needs --update-order alternating")

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
        """The generator: (batch, height, width, 3) in [0, 1] -> dictionary with `deblurred`."""
        raise NotImplementedError

    def build_critics(self) -> dict[str, keras.Model]:
        """Domain -> discriminator; empty where the recipe has no adversarial loss."""
        raise NotImplementedError

    def build_objective(self):
        """The paper's losses; see `AdversarialModel`."""
        raise NotImplementedError

    @property
    def frozen(self) -> tuple[str, ...]:
        """Names of the generator's layers that do not train."""
        return ()

    @property
    def needs_weights(self) -> bool:
        """Whether training only makes sense from given weights."""
        return False

    def prepare(self) -> dict:
        """Fetch and check what training needs beside the images; returns what the run's settings are to say of it.

        Raises `UserError` where it is not to be had.
        """
        return {}

    def stages(self, total_steps: int) -> list[tuple["Recipe", int]]:
        """(recipe, steps) of each stage: one after the other, each with optimisers and a schedule of its own."""
        return [(self, total_steps)]

    @property
    def stage_name(self) -> str:
        """What a stage of several is called on the screen."""
        return "all of the network"

    @classmethod
    def renamed(cls, fields: dict) -> dict:
        """Stored fields under the names that they have today; `retired` ones may stay."""
        return fields

    def grows_from(self, fields: dict) -> dict | None:
        """The changed fields of the smaller network that `transfer` starts this one from, where a weights file with the
        stored `fields` holds one; None where the file must hold this very network."""
        return None

    def transfer(self, previous: keras.Model, generator: keras.Model) -> None:
        """Take a stage's start from the generator of the stage before: every layer of it, by name."""
        for layer in previous.layers:
            if layer.weights:
                generator.get_layer(layer.name).set_weights(layer.get_weights())

    @property
    def crops_per_step(self) -> int:
        """Crops that one generator update consumes, those of its critic steps included."""
        return self.batch * (self.critic_steps if self.critic_batches == "fresh" else 1)

    def steps_per_epoch(self, pairs: int) -> int:
        """Generator updates in one pass over `pairs`, the last, incomplete batch dropped; at least 1."""
        return max(1, pairs // self.crops_per_step)

    def total_steps(self, pairs: int) -> int:
        """Generator updates of the whole run."""
        return self.steps or self.epochs * self.steps_per_epoch(pairs)

    def learning_rate(self, initial: float, total_steps: int):
        """The schedule, step by step; constant unless a recipe says otherwise."""
        return initial

    def build_optimizer(self, kind: str, initial: float, total_steps: int) -> keras.optimizers.Optimizer:
        """An optimiser, "adam" or "muon", with this recipe's schedule."""
        rate = self.learning_rate(initial, total_steps)
        if kind == "muon":
            return ConvolutionMuon(rate, bias_lr_ratio=self.bias_lr_ratio, adam_beta_1=self.adam_beta_1,
                                   adam_beta_2=self.adam_beta_2, epsilon=self.adam_epsilon)
        return keras.optimizers.Adam(rate, beta_1=self.adam_beta_1, beta_2=self.adam_beta_2, epsilon=self.adam_epsilon)

    def build_model(self, total_steps: int, devices: Devices | None = None) -> AdversarialModel:
        """Networks, objective and optimisers, seeded and compiled; `total_steps` long the schedule."""
        devices = devices or Devices()
        parts = devices.count * self.accumulate
        if self.batch % parts:
            raise UserError(f"--batch must be a multiple of {parts}, for {devices.count} devices and --accumulate "
                            f"{self.accumulate}; received {self.batch}")
        if self.jit and devices.count > 1:
            raise UserError("--jit compiles for one device; leave it out with --strategy")
        keras.utils.set_random_seed(self.seed)
        with devices.scope():
            with dtype_policy(self.precision):
                generator = self.build_generator()
            with dtype_policy("float32" if self.critics_float32 else self.precision):
                critics = self.build_critics()
            for name in self.frozen:
                generator.get_layer(name).trainable = False
            optimizers = (self.build_optimizer(self.optimizer, self.lr_g, total_steps),
                          self.build_optimizer("adam", self.lr_d, total_steps) if critics else None)
        model = AdversarialModel(generator, self.build_objective(), critics, self.seed, devices)
        model.compile(
            *optimizers, update_order=self.update_order, critic_steps=self.critic_steps,
            critic_batches=self.critic_batches, clip_mode=self.clip_mode, clip_minimum=self.clip_minimum,
            clip_maximum=self.clip_maximum, clip_scope=self.clip_scope, remat=self.remat,
            accumulate=self.accumulate, jit_compile=self.jit)
        return model

    def fields(self) -> dict:
        """All settings as plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value
                for name, value in dataclasses.asdict(self).items()}


@contextlib.contextmanager
def dtype_policy(policy: str) -> Iterator[None]:
    """Build layers under a dtype policy."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
