"""MSR2B-CGAN's recipes: the published setting, its variants, the schedule and the updates."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from baselines.msr2b import recipe as module
from baselines.msr2b.objective import GRADIENT_PENALTY
from baselines.msr2b.recipe import BUDGET, MSR2B
from madn import recipes
from madn.errors import UserError
from madn.nn.macs import network_macs

NAMES = [name for name in recipes.named() if name.startswith("msr2b")]
TINY = {"widths": (4, 6, 8), "num_blocks": 2, "group_width": 2, "bypass_width": 3, "d_widths": (4, 4, 4, 4), "crop": 32}


class Pixels:
    """Stands in for the perceptual loss, which needs weights."""

    def __init__(self, *arguments, **options):
        self.arguments, self.options = arguments, options

    def distance(self, images, sharp):
        return ops.mean(ops.square(images - sharp))


@pytest.fixture
def pixels(monkeypatch):
    monkeypatch.setattr("madn.nn.vgg.PerceptualLoss", Pixels)


def test_the_default_is_the_published_setting(pixels):
    assert (MSR2B.batch, MSR2B.crop, MSR2B.epochs) == (1, 256, 300)
    assert (MSR2B.lr_g, MSR2B.lr_d, MSR2B.lr_end) == (1e-4, 1e-4, 1e-7)
    assert MSR2B.adam == (0.5, 0.999, 1e-8)
    assert (MSR2B.perceptual_weight, MSR2B.num_blocks) == (100, 9)
    assert (MSR2B.update_order, MSR2B.critic_steps) == ("alternating", 5)
    assert MSR2B.total_steps(2103) == 630_900
    objective = MSR2B.build_objective()
    assert objective.perceptual.arguments == ("vgg19", "block3_conv3", None)
    assert objective.perceptual.options == {"activated": False, "gain": None, "reference": module.VGG_REFERENCE}
    assert (objective.perceptual_weight, GRADIENT_PENALTY) == (100, 10)


def test_learning_rate():
    """Epochs as steps: 1e-4 for the epochs 0 to 199, then lr(e) = 1e-4 - (1e-4 - 1e-7) (e - 199) / 100."""
    schedule = MSR2B.learning_rate(1e-4, 300)
    rates = np.array([float(schedule(step)) for step in range(300)])
    np.testing.assert_allclose(rates[:200], 1e-4, rtol=1e-6)
    np.testing.assert_allclose(rates[200:], 1e-4 - (1e-4 - 1e-7) * (np.arange(200, 300) - 199) / 100, atol=1e-10)
    assert rates[-1] == pytest.approx(1e-7, rel=1e-3)
    assert (np.diff(rates) <= 0).all()
    whole = MSR2B.learning_rate(1e-4, 630_900)
    assert float(whole(199 * 2103)) == pytest.approx(1e-4)
    assert float(whole(250 * 2103)) == pytest.approx((1e-4 + 1e-7) / 2, rel=1e-4)
    assert float(whole(630_899)) == pytest.approx(1e-7, rel=1e-2)
    assert float(MSR2B.learning_rate(1e-4, 1)(0)) == pytest.approx(1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_builds(name, pixels):
    recipe = replace(recipes.get(name), **(TINY if name != "msr2b-k12" else {**TINY, "num_blocks": 12}))
    generator, critics = recipe.build_generator(), recipe.build_critics()
    assert set(critics) == (set() if name == "msr2b-noadversarial" else {"image"})
    image = np.random.default_rng(0).random((1, 16, 20, 3), dtype=np.float32)
    deblurred = ops.convert_to_numpy(generator(image)["deblurred"])
    assert deblurred.shape == image.shape
    assert np.isfinite(deblurred).all()
    assert set(recipe.build_objective().term_names) >= {"content"}


def test_variants_change_one_thing():
    changes = {name: set(recipes.differences(recipes.get(name), MSR2B)) for name in NAMES if name != "msr2b-budget"}
    two = {"msr2b-narrow", "msr2b-wide"}
    assert all(len(change) == 1 for name, change in changes.items() if name not in two | {"msr2b"}), changes
    assert all(changes[name] == {"group_width", "bypass_width"} for name in two)
    assert [recipes.get(f"msr2b-k{k}").num_blocks for k in (3, 6, 12)] == [3, 6, 12]


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="operations are counted there")
def test_budget():
    assert network_macs(BUDGET.build_generator(), 256, 256).total == pytest.approx(8e9, rel=0.1)
    assert (BUDGET.crop, BUDGET.batch, BUDGET.augment, BUDGET.precision) == (128, 2, "dihedral", "mixed_bfloat16")
    kept = ("update_order", "critic_steps", "perceptual_weight", "num_blocks", "block")
    assert all(getattr(BUDGET, field) == getattr(MSR2B, field) for field in kept)


def test_mixed_precision_leaves_the_critic_in_float32(pixels):
    model = replace(MSR2B, **TINY, precision="mixed_bfloat16").build_model(20)
    assert {layer.compute_dtype for layer in model.critics["image"].layers} == {"float32"}
    assert model.generator.get_layer("conv_2").compute_dtype == "bfloat16"


def pairs():
    sharp = np.random.default_rng(0).random((2, 32, 32, 3), dtype=np.float32)
    return 0.6 * sharp + 0.1, sharp


@pytest.mark.slow
def test_five_critic_updates_for_each_of_the_generator(pixels):
    model = replace(MSR2B, **{**TINY, "num_blocks": 1}, batch=2).build_model(20)
    model.run_eagerly = True  # building the graph of five second-order updates takes longer than two steps
    before = [ops.convert_to_numpy(v) for v in model.critic_variables]
    for _ in range(2):
        log = model.train_on_batch(*pairs(), return_dict=True)
    assert int(model.optimizer.iterations) == 2
    assert int(model.d_optimizer.iterations) == 10
    assert all(np.isfinite(float(value)) for value in log.values())
    moved = [
        np.abs(ops.convert_to_numpy(v) - start).max()
        for v, start in zip(model.critic_variables, before, strict=True)
        if v.name == "kernel"
    ]
    assert min(moved) > 0


@pytest.mark.slow
def test_the_content_loss_falls(pixels):
    model = replace(MSR2B, **TINY, batch=2, lr_g=2e-3, adversarial="none").build_model(40)
    content = []
    for _ in range(40):
        model.reset_metrics()
        content.append(float(model.train_on_batch(*pairs(), return_dict=True)["content"]))
    assert content[-1] < 0.8 * content[0]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"widths": (0, 8, 16)}, "--widths"),
        ({"num_blocks": 0}, "--num-blocks"),
        ({"lr_constant": 1.5}, "--lr-constant is a share of the run, from 0 to 1; received 1.5"),
        ({"perceptual_weight": -1.0}, "--perceptual-weight must be 0 or more; received -1"),
    ],
)
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(UserError, match=said):
        replace(MSR2B, **change)
