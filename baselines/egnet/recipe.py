"""EGNet's recipes: the published training in parts, and the ablations of the paper's Tables 3, 4 and 6.

The published run: `python -m madn.train --recipe egnet --data GOPRO --validation none --run runs/egnet`
    6,000,000 steps of one crop for the backbone, as many for EGN, and 100,000 of 8 crops for the self-ensemble network.
    27 EFLOP by count for the backbone (75 hours at a sustained 100 TFLOP/s), two thirds of that for EGN. Not run here.
    With the authors' MPRNet weights, converted by `python -m baselines.egnet.convert`, in place of the first part:
    `python -m madn.train --recipe egnet-official --weights mprnet.weights.h5 ...`
    Expected on the 1,111 GoPro test pairs: 33.00 dB (Table 1), 32.92 without the self-ensemble network, 32.52 without
    EGN (Table 4). No score of a full training run has been measured with this code.
Table 3's columns "w/o A" of the random inputs: `--no-egn-attention` beside `--recipe egnet-random-add` and so on.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- "training strategy in [7]" is read as its optimiser and its cosine schedule 2e-4 -> 1e-6, without its warm-up; the
  loss is Eq. 17 in every part (`--loss mprnet`: that of [7]).
- augmentation is flips, as section 4.2 says; [7] also turns images and changes their saturation.
- the training of the self-ensemble network is not described: a third part, with all else frozen, loss of Eq. 17 with
  S = 1, 1e-4 -> 1e-6, 100,000 steps of 8 crops. The paper caches nothing that we know of; nor does this.
- no paper's control tells EGN's capacity from its longer training: `egnet-train-longer` spends the second 6,000,000
  steps on the backbone itself.
- images are padded to multiples of 16, not 8, for the self-ensemble network's half-size and quarter images.
- left out: RealBlur's scores after alignment (`evaluate` compares pixel by pixel, as the paper's numbers suggest that
  it did), and other readings of EGM (attention without sigmoid or sum, other levels and orders).
The networks' and the losses' own choices are listed in generator.py, egn.py, mprnet.py and objective.py.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

from madn.errors import UserError
from madn.training.recipe import Named, Recipe

BACKBONE = (
    "shallow_feat1",
    "stage1_encoder",
    "stage1_decoder",
    "sam12",
    "shallow_feat2",
    "concat12",
    "stage2_encoder",
    "stage2_decoder",
    "sam23",
    "shallow_feat3",
    "concat23",
    "stage3_orsnet",
    "tail",
)
PART_NAMES = {"backbone": "the backbone", "egn": "the enhanced gradient networks", "sen": "the self-ensemble network"}

Part = Literal["backbone", "egn", "sen"]


@dataclass(frozen=True, kw_only=True)
class EGNetRecipe(Recipe):
    """EGNet (Zhao et al.): MPRNet with enhanced gradient networks, then a self-ensemble network; trained in parts."""

    paper: ClassVar[str] = "EGNet, Zhao et al."

    batch: int = 1
    """Crops in a batch."""
    steps: int | None = 12_100_000
    """Updates in all, of every part; overrides --epochs."""
    lr_g: float = 2e-4
    """Initial learning rate."""
    augment: Literal["none", "flips", "dihedral"] = "flips"
    """Flips, or flips and 90-degree turns, of both images alike."""
    lr_end: float = 1e-6
    """Learning rate at the end of each part, by a cosine."""
    parts: tuple[Part, ...] = ("backbone", "egn", "sen")
    """Parts of the network, in the order of their training; backbone twice trains it for as long again."""
    train: Literal["all", "rest", "last"] = "all"
    """Train all parts one after the other, the earlier ones frozen; all but the first; or the last part alone.
    The others' weights come by --weights."""
    part_shares: tuple[float, float, float] = (60.0, 60.0, 1.0)
    """Shares of backbone, EGN and SEN in the steps."""
    sen_lr: float = 1e-4
    """Initial learning rate of the self-ensemble network."""
    sen_batch: int = 8
    """Crops in its batches."""
    n_feat: int = 96
    """Channels at full resolution."""
    scale_unetfeats: int = 48
    """Channels that each coarser level of the U-Nets has more."""
    scale_orsnetfeats: int = 32
    """Channels that stage 3 has more."""
    num_cab: int = 8
    """Channel attention blocks in a block of stage 3."""
    egn_stages: tuple[int, ...] = (1, 2)
    """Stages with an enhanced gradient network."""
    egn_input: Literal["gradient", "random_add", "random_mul"] = "gradient"
    """Its input: the gradient map, or Table 3's learned vectors, whose result is added or multiplied."""
    random_mean: float = 0.0
    """Mean of a random input's initial values (Table 3)."""
    random_std: float = 0.02
    """Their standard deviation."""
    egn_attention: bool = True
    """Attention in the enhanced gradient modules, or plain convolutions (Table 3)."""
    egm_per_stage: int = 2
    """Enhanced gradient modules in an EGN."""
    pa_dim: int = 24
    """Channels of queries, keys and values of the position attention."""
    pa_mode: Literal["auto", "dense", "chunked", "window", "pooled"] = "auto"
    """Position attention: all scores at once, in blocks (the same function), within windows, or to averaged positions.
    Auto: dense in training, chunked in inference."""
    pa_window: int = 32
    """Rows of a window of positions, a quarter of the pixels; 32 is what training crops of 256 have."""
    pa_scale: bool = False
    """Divide the scores by the root of --pa-dim."""
    sen_branches: tuple[Literal["half", "whole", "quarters"], ...] = ("half", "whole", "quarters")
    """Results that the self-ensemble joins."""
    test_average: bool = False
    """In place of a self-ensemble network: the plain average of the results, in inference."""
    zero_outputs: bool = False
    """Start at the blurred image: the convolutions before the outputs are zero."""
    alpha: float = 1.0
    """Weight of the content loss (Eq. 17)."""
    beta: float = 0.05
    """Weight of the gradient loss (Eq. 17)."""
    gamma: float = 0.1
    """Weight of the MS-SSIM loss (Eq. 17)."""
    loss: Literal["eq17", "mprnet"] = "eq17"
    """Eq. 17, or the backbone's own: Charbonnier and edges."""
    grad_operator: Literal["eq15", "laplacian", "edge_mpr"] = "eq15"
    """Gradient map of loss and EGN: see baselines.egnet.gradient_map."""
    grad_norm: Literal["minmax", "absmax", "maxabs", "std"] = "minmax"
    """Eq. 15's normalisation G."""

    def __post_init__(self):
        super().__post_init__()
        if self.parts[:1] != ("backbone",) or "sen" in self.parts[:-1] or self.parts.count("egn") > 1:
            raise UserError(
                "--parts begins with backbone, has egn at most once, and sen only at its end; "
                f"received {' '.join(self.parts)}"
            )
        if self.train == "rest" and len(self.parts) == 1:
            raise UserError("--train rest needs a second part in --parts; received backbone alone")
        if len(self.part_shares) != 3 or min(self.part_shares) <= 0:
            raise UserError("--part-shares takes three numbers above 0")
        if min(self.n_feat, self.n_feat + 2 * self.scale_unetfeats) < 4 or self.n_feat + self.scale_orsnetfeats < 4:
            raise UserError("--n-feat with --scale-unetfeats and --scale-orsnetfeats must be at least 4 channels")
        if min(self.num_cab, self.egm_per_stage, self.pa_dim, self.pa_window, self.sen_batch) < 1:
            raise UserError("--num-cab, --egm-per-stage, --pa-dim, --pa-window and --sen-batch must be at least 1")
        if not set(self.egn_stages) <= {1, 2} or ("egn" in self.parts and not self.egn_stages):
            raise UserError(f"--egn-stages are 1, 2 or both; received {self.egn_stages}")
        if not self.sen_branches or len(set(self.sen_branches)) < len(self.sen_branches):
            raise UserError(f"--sen-branches takes each branch once; received {' '.join(self.sen_branches)}")
        if "whole" not in self.sen_branches:
            raise UserError("--sen-branches needs whole: the network that the others share is built on it")
        if self.test_average and "sen" in self.parts:
            raise UserError("--test-average takes the place of the self-ensemble network: leave sen out of --parts")
        if not 0 <= self.lr_end <= min(self.lr_g, self.sen_lr) or self.lr_g == 0:
            raise UserError("--lr-end must be 0 or more, and at most --lr-g and --sen-lr")

    @property
    def multiple(self):
        return 16 if "sen" in self.parts or self.test_average else 8

    @property
    def tile_blend(self):
        """Channel and position attention go by what they are given: those of a tile are not those of the photo."""
        return 64

    @property
    def tile_pixels(self):
        """A tile stands for a patch: a quarter of 1280x720 and its overlap. Attention grows with its square."""
        return 640 * 640

    def build_generator(self):
        from baselines.egnet.generator import build_egnet, build_self_ensemble

        egnet = build_egnet(
            n_feat=self.n_feat,
            scale_unetfeats=self.scale_unetfeats,
            scale_orsnetfeats=self.scale_orsnetfeats,
            num_cab=self.num_cab,
            egn_stages=self.egn_stages if "egn" in self.parts else (),
            egn_input=self.egn_input,
            egn_attention=self.egn_attention,
            egm_per_stage=self.egm_per_stage,
            pa_dim=self.pa_dim,
            pa_mode=self.pa_mode,
            pa_window=self.pa_window,
            pa_scale=self.pa_scale,
            random=(self.random_mean, self.random_std),
            grad_operator=self.grad_operator,
            grad_norm=self.grad_norm,
            zero_outputs=self.zero_outputs,
        )
        if "sen" in self.parts:
            return build_self_ensemble(egnet, "network", self.sen_branches)
        return build_self_ensemble(egnet, "average", self.sen_branches) if self.test_average else egnet

    def build_critics(self):
        return {}

    def build_objective(self):
        from baselines.egnet.objective import EGNetObjective

        return EGNetObjective(
            self.alpha,
            self.beta,
            self.gamma,
            self.grad_operator,
            self.grad_norm,
            self.loss,
            stages=1 if "sen" in self.parts else 3,
        )

    def learning_rate(self, initial, total_steps):
        """A cosine from `initial` to `lr_end`."""
        import keras

        return keras.optimizers.schedules.CosineDecay(initial, total_steps, alpha=self.lr_end / initial)

    @property
    def needs_weights(self):
        return self.train != "all" and len(self.parts) > 1

    @property
    def frozen(self):
        """With `train="last"`: every layer with weights but those of the last part."""
        if self.train != "last":
            return ()
        layers = {"backbone": BACKBONE, "egn": tuple(f"egn{stage}" for stage in self.egn_stages), "sen": ("sen",)}
        others = dict.fromkeys(part for part in self.parts if part != self.parts[-1])
        return tuple(name for part in others for name in layers[part])

    @property
    def stage_name(self):
        return PART_NAMES[self.parts[-1]]

    def stages(self, total_steps):
        """Part after part, each with its share of the steps, at least one."""
        if self.train == "last" or len(self.parts) == 1:
            return [(self, total_steps)]
        lengths = range(1 if self.train == "all" else 2, len(self.parts) + 1)
        shares = [self.part_shares[list(PART_NAMES).index(self.parts[length - 1])] for length in lengths]
        stages, done = [], 0
        for i, length in enumerate(lengths, start=1):
            end = min(round(total_steps * sum(shares[:i]) / sum(shares)), total_steps - (len(shares) - i))
            end = max(end, done + 1)
            stages.append((self._first_parts(length), end - done))
            done = end
        return stages

    def grows_from(self, fields):
        """The network without its last part."""
        if self.needs_weights and tuple(fields.get("parts", ())) == self.parts[:-1]:
            return {"parts": self.parts[:-1], "train": "all", "test_average": False}
        return None

    def _first_parts(self, count: int) -> "EGNetRecipe":
        """The stage that trains part `count`, on what the parts before it make."""
        settings: dict[str, Any] = {
            "parts": self.parts[:count],
            "train": "last",
            "test_average": self.test_average and count == len(self.parts),
        }
        if self.parts[count - 1] == "sen":
            settings |= {"lr_g": self.sen_lr, "batch": self.sen_batch}
        return replace(self, **settings)


EGNET = EGNetRecipe()
"""The published setting."""

TABLE_4_BACKBONE = replace(EGNET, parts=("backbone",), steps=6_000_000)
"""Without EGN: MPRNet."""

TABLE_4_EGN = replace(EGNET, parts=("backbone", "egn"), steps=12_000_000)
"""With EGN, without the self-ensemble network."""

TABLE_3_NO_ATTENTION = replace(TABLE_4_EGN, egn_attention=False)
"""Plain convolutions in EGN."""

TABLE_3_RANDOM_ADD = replace(TABLE_4_EGN, egn_input="random_add")
"""A learned vector from N(0, 0.02) in place of the gradient map."""

TABLE_3_RANDOM_ADD_WIDE = replace(TABLE_4_EGN, egn_input="random_add", random_std=0.2)
"""A learned vector from N(0, 0.2)."""

TABLE_3_RANDOM_MUL = replace(TABLE_4_EGN, egn_input="random_mul", random_mean=1.0)
"""A learned vector from N(1, 0.02), whose result is multiplied."""

TABLE_6_NO_GRADIENT_LOSS = replace(EGNET, beta=0.0)
"""Without the gradient loss."""

AVERAGE = replace(TABLE_4_EGN, test_average=True)
"""The plain average that section 3.2 compares the self-ensemble network with; no training of its own."""

MPRNET_LOSS = replace(EGNET, loss="mprnet")
"""With the backbone's own loss."""

OFFICIAL = replace(EGNET, train="rest", steps=6_100_000)
"""From the authors' MPRNet weights, converted by baselines.egnet.convert and given by --weights."""

TRAIN_LONGER = replace(EGNET, parts=("backbone", "backbone"), steps=12_000_000)
"""A control that the paper has not: the second half of the steps trains the backbone, without EGN."""

WINDOW = replace(EGNET, pa_mode="window")
"""Position attention within windows of as many positions as a training crop has."""

POOLED = replace(EGNET, pa_mode="pooled")
"""Position attention to at most 1,024 averaged positions, 2,048 in stage 2."""

BUDGET = replace(
    TABLE_4_EGN,
    n_feat=12,
    scale_unetfeats=6,
    scale_orsnetfeats=4,
    num_cab=3,
    pa_dim=8,
    crop=128,
    batch=2,
    steps=20_000,
    lr_g=5e-4,
    augment="dihedral",
    precision="mixed_bfloat16",
    zero_outputs=True,
)
"""Narrow, for a comparison of papers at the same compute on a CPU.

Departures, all for the short run: about an eighth of the widths and fewer blocks in stage 3, crops of 128 (with as many
scales of MS-SSIM as they allow), batches of 2, a higher learning rate, turned images, a start at the blurred image
itself, and no self-ensemble network, which would more than double the compute of an image.
"""

RECIPES = {
    "egnet": Named(EGNET, "EGNet (Zhao et al.) as published"),
    "egnet-backbone": Named(TABLE_4_BACKBONE, "EGNet (Zhao et al.), Table 4: without EGN, its backbone MPRNet"),
    "egnet-nosen": Named(TABLE_4_EGN, "EGNet (Zhao et al.), Table 4: with EGN, without the self-ensemble network"),
    "egnet-noattention": Named(TABLE_3_NO_ATTENTION, "EGNet (Zhao et al.), Table 3: EGN of plain convolutions"),
    "egnet-random-add": Named(TABLE_3_RANDOM_ADD, "EGNet (Zhao et al.), Table 3: random input N(0, 0.02), added"),
    "egnet-random-add-wide": Named(
        TABLE_3_RANDOM_ADD_WIDE, "EGNet (Zhao et al.), Table 3: random input N(0, 0.2), added"
    ),
    "egnet-random-mul": Named(TABLE_3_RANDOM_MUL, "EGNet (Zhao et al.), Table 3: random input N(1, 0.02), multiplied"),
    "egnet-nogradientloss": Named(TABLE_6_NO_GRADIENT_LOSS, "EGNet (Zhao et al.), Table 6: without the gradient loss"),
    "egnet-mean": Named(
        AVERAGE, "EGNet (Zhao et al.), section 3.2: plain average in place of the self-ensemble network"
    ),
    "egnet-mprnet-loss": Named(MPRNET_LOSS, "EGNet (Zhao et al.) with the loss of its backbone, MPRNet"),
    "egnet-official": Named(OFFICIAL, "EGNet (Zhao et al.) from the authors' MPRNet weights, converted, by --weights"),
    "egnet-train-longer": Named(TRAIN_LONGER, "EGNet (Zhao et al.), a control: EGN's steps spent on the backbone"),
    "egnet-window": Named(WINDOW, "EGNet (Zhao et al.), position attention within windows of a training crop's size"),
    "egnet-pooled": Named(POOLED, "EGNet (Zhao et al.), position attention to averaged positions"),
    "egnet-budget": Named(BUDGET, "EGNet (Zhao et al.), narrow: 8 GMACs, for a comparison at the same compute"),
}
"""The recipes of this paper by name, for `madn.recipes`."""
