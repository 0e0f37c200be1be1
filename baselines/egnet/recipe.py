"""EGNet's recipes: the published training in parts, and the ablations of the paper's Tables 3, 4 and 6.

The published run: `python -m madn.train --recipe egnet --data GOPRO --validation none --run runs/egnet`
    6,000,000 steps of one crop for the backbone, as many for EGN, and 100,000 of 8 crops for the self-ensemble network.
    27 EFLOP by count for the backbone (75 hours at a sustained 100 TFLOP/s), two thirds of that for EGN. Not run here.
    With the weights of MPRNet's authors, converted by `python -m baselines.egnet.convert`, in place of the first part:
    `python -m madn.train --recipe egnet-official --weights mprnet.weights.h5 ...`
    Expected on the 1,111 GoPro test pairs: 33.00 dB (Table 1), 32.92 without the self-ensemble network, 32.52 without
    EGN (Table 4); Table 1's 32.66 of MPRNet is that of its authors' weights (recipe `egnet-mprnet`). No score of a full
    training run has been measured with this code.

Differences from the paper, all of them choices where it says nothing or contradicts itself:
- "training strategy in [7]" is read as its optimiser and its cosine schedule 2e-4 -> 1e-6, without its warm-up; the
  loss is Eq. 17 in every part (`--loss mprnet`: that of [7]).
- augmentation is flips, as section 4.2 says; [7] also turns images and changes their saturation.
- the training of the self-ensemble network is not described: a third part, with all else frozen, loss of Eq. 17 with
  S = 1, 1e-4 -> 1e-6, 100,000 steps of 8 crops. The paper caches nothing that we know of; nor does this.
- no paper's control tells EGN's capacity from its longer training: `egnet-train-longer` spends the second 6,000,000
  steps on the backbone itself.
- images are padded to multiples of 16, not 8, for the self-ensemble network's half-size and quarter images.
- left out: other readings of EGM (attention without sigmoid or sum, other levels and orders).
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
SEN_LR, SEN_BATCH = 1e-4, 8
"""Initial learning rate and batch of the self-ensemble network's training, which the paper does not describe."""
PART_NAMES = {"backbone": "the backbone", "egn": "the enhanced gradient networks", "sen": "the self-ensemble network"}

Part = Literal["backbone", "egn", "sen"]


@dataclass(frozen=True, kw_only=True)
class EGNetRecipe(Recipe):
    """EGNet (Zhao et al.): MPRNet with enhanced gradient networks, then a self-ensemble network; trained in parts."""

    paper: ClassVar[str] = "EGNet, Zhao et al."
    retired: ClassVar[dict] = {
        **Recipe.retired,
        "sen_lr": SEN_LR,
        "sen_batch": SEN_BATCH,
        "egn_stages": [1, 2],
        "pa_scale": False,
        "sen_branches": ["half", "whole", "quarters"],
        "grad_operator": "eq15",
        "grad_norm": "minmax",
    }

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
    n_feat: int = 96
    """Channels at full resolution."""
    scale_unetfeats: int = 48
    """Channels that each coarser level of the U-Nets has more."""
    scale_orsnetfeats: int = 32
    """Channels that stage 3 has more."""
    num_cab: int = 8
    """Channel attention blocks in a block of stage 3."""
    egn_input: Literal["gradient", "random_add", "random_add_wide", "random_mul"] = "gradient"
    """Input of the enhanced gradient networks: the gradient map, or Table 3's random vectors, which learn and whose
    result is added (from N(0, 0.02), or N(0, 0.2)) or multiplied (N(1, 0.02))."""
    egn_attention: bool = True
    """Attention in the enhanced gradient modules, or plain convolutions (Table 3)."""
    gradient_norm: Literal["absmax", "minmax"] = "absmax"
    """Eq. 15's normalisation, in the networks' input and in the loss: by the largest absolute value, or by minimum and
    maximum."""
    egm_per_stage: int = 2
    """Enhanced gradient modules in an EGN."""
    pa_dim: int = 24
    """Channels of queries, keys and values of the position attention."""
    pa_mode: Literal["auto", "window", "pooled"] = "auto"
    """Position attention: to all positions, within windows, or to averaged ones; these of a training crop's size."""
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
        if min(self.num_cab, self.egm_per_stage, self.pa_dim) < 1:
            raise UserError("--num-cab, --egm-per-stage and --pa-dim must be at least 1")
        if self.test_average and "sen" in self.parts:
            raise UserError("--test-average takes the place of the self-ensemble network: leave sen out of --parts")
        if not 0 <= self.lr_end <= min(self.lr_g, SEN_LR) or self.lr_g == 0:
            raise UserError(f"--lr-end must be 0 or more, and at most --lr-g and the {SEN_LR:g} of the last part")

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

    @classmethod
    def renamed(cls, fields):
        fields = super().renamed(fields)
        spread = fields.pop("random_mean", 0.0), fields.pop("random_std", None)
        if spread[1] is not None and fields.get("egn_input", "gradient") != "gradient":
            known = {
                ("random_add", 0.0, 0.02): "random_add",
                ("random_add", 0.0, 0.2): "random_add_wide",
                ("random_mul", 1.0, 0.02): "random_mul",
            }
            if (fields["egn_input"], *spread) not in known:
                raise UserError(
                    f"egn_input {fields['egn_input']} of mean {spread[0]:g} and deviation {spread[1]:g} is no longer "
                    "built; earlier versions of madn read what has it"
                )
            fields["egn_input"] = known[fields["egn_input"], *spread]
        # Before there was a choice, gradient maps were normalised by minimum and maximum.
        fields.setdefault("gradient_norm", "minmax")
        if fields.get("pa_mode") in ("dense", "chunked"):  # These compute the same function.
            fields["pa_mode"] = "auto"
        window, crop = fields.pop("pa_window", None), fields.get("crop", cls.crop)
        if window and fields.get("pa_mode", "auto") != "auto" and 8 * window != crop:
            raise UserError(
                f"pa_window {window} is no longer built for crops of {crop}, only {crop // 8}; earlier versions of "
                "madn read what has it"
            )
        return fields

    def build_generator(self):
        from baselines.egnet.generator import build_egnet, build_self_ensemble

        egnet = build_egnet(
            n_feat=self.n_feat,
            scale_unetfeats=self.scale_unetfeats,
            scale_orsnetfeats=self.scale_orsnetfeats,
            num_cab=self.num_cab,
            egn="egn" in self.parts,
            egn_input=self.egn_input,
            egn_attention=self.egn_attention,
            gradient_norm=self.gradient_norm,
            egm_per_stage=self.egm_per_stage,
            pa_dim=self.pa_dim,
            pa_mode=self.pa_mode,
            pa_window=self.crop // 8,  # A stage-1 patch has so many rows at the encoder's deepest level.
            zero_outputs=self.zero_outputs,
        )
        if "sen" in self.parts:
            return build_self_ensemble(egnet)
        return build_self_ensemble(egnet, "average") if self.test_average else egnet

    def build_critics(self):
        return {}

    def build_objective(self):
        from baselines.egnet.objective import EGNetObjective

        stages = 1 if "sen" in self.parts else 3
        return EGNetObjective(self.alpha, self.beta, self.gamma, self.loss, stages, self.gradient_norm)

    def learning_rate(self, initial, total_steps):
        """A cosine from `initial` to `lr_end`."""
        import keras

        return keras.optimizers.schedules.CosineDecay(initial, total_steps, alpha=self.lr_end / initial)

    @property
    def needs_weights(self):
        return self.train != "all" and len(self.parts) > 1

    @property
    def frozen(self):
        """Every layer with weights but those of the last part, where `train` is "last"."""
        if self.train != "last":
            return ()
        layers = {"backbone": BACKBONE, "egn": ("egn1", "egn2"), "sen": ("sen",)}
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
            settings |= {"lr_g": SEN_LR, "batch": SEN_BATCH}
        return replace(self, **settings)


EGNET = EGNetRecipe()
"""The published setting."""

BUDGET = replace(
    EGNET,
    parts=("backbone", "egn"),
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


def _variant(summary: str, **changes) -> Named:
    """The published setting with other values; `summary` says of what."""
    return Named(replace(EGNET, **changes), f"EGNet (Zhao et al.){summary}")


def _without_sen(summary: str, **changes) -> Named:
    """A variant of backbone and EGN, which Tables 3 and 4 compare without the self-ensemble network."""
    return _variant(summary, parts=("backbone", "egn"), steps=12_000_000, **changes)


def _backbone(summary: str, **changes) -> Named:
    """A variant of the backbone alone."""
    return _variant(summary, parts=("backbone",), steps=6_000_000, **changes)


RECIPES = {
    "egnet": Named(EGNET, "EGNet (Zhao et al.) as published"),
    "egnet-backbone": _backbone(", Table 4: without EGN, its backbone MPRNet"),
    # It has its own paper's loss. Not trained here: its authors' weights, converted, are Table 1's 32.66 dB.
    "egnet-mprnet": _backbone(", Table 1: MPRNet, for its authors' weights, converted", loss="mprnet"),
    "egnet-nosen": _without_sen(", Table 4: with EGN, without the self-ensemble network"),
    "egnet-noattention": _without_sen(", Table 3: EGN of plain convolutions", egn_attention=False),
    # A learned vector takes the place of the gradient map.
    "egnet-random-add": _without_sen(", Table 3: random input N(0, 0.02), added", egn_input="random_add"),
    "egnet-random-add-wide": _without_sen(", Table 3: random input N(0, 0.2), added", egn_input="random_add_wide"),
    "egnet-random-mul": _without_sen(", Table 3: random input N(1, 0.02), multiplied", egn_input="random_mul"),
    "egnet-random-add-noattention": _without_sen(
        ", Table 3: random input N(0, 0.02), added; plain convolutions", egn_input="random_add", egn_attention=False
    ),
    "egnet-random-add-wide-noattention": _without_sen(
        ", Table 3: random input N(0, 0.2), added; plain convolutions", egn_input="random_add_wide", egn_attention=False
    ),
    "egnet-random-mul-noattention": _without_sen(
        ", Table 3: random input N(1, 0.02), multiplied; plain convolutions",
        egn_input="random_mul",
        egn_attention=False,
    ),
    "egnet-nogradientloss": _variant(", Table 6: without the gradient loss", beta=0.0),
    "egnet-minmax": _variant(", gradient maps brought to [0, 1] by minimum and maximum", gradient_norm="minmax"),
    # The average has no training of its own.
    "egnet-mean": _without_sen(", section 3.2: plain average in place of the self-ensemble network", test_average=True),
    "egnet-mprnet-loss": _variant(" with the loss of its backbone, MPRNet", loss="mprnet"),
    "egnet-official": _variant(
        " from the authors' MPRNet weights, converted, by --weights", train="rest", steps=6_100_000
    ),
    # The paper does not have this control.
    "egnet-train-longer": _variant(
        ", a control: EGN's steps spent on the backbone", parts=("backbone", "backbone"), steps=12_000_000
    ),
    "egnet-window": _variant(", position attention within windows of a training crop's size", pa_mode="window"),
    # There are at most 1,024 averaged positions, 2,048 in stage 2.
    "egnet-pooled": _variant(", position attention to averaged positions", pa_mode="pooled"),
    "egnet-budget": Named(BUDGET, "EGNet (Zhao et al.), narrow: 8 GMACs, for a comparison at the same compute"),
}
"""The recipes of this paper by name, for `madn.recipes`."""
