"""Structures Guided's recipes: the published setting, the tables' variants, and the updates that they make."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from keras import ops

from baselines.structure_guided import recipe as module
from baselines.structure_guided.objective import GRADIENT_PENALTY
from baselines.structure_guided.recipe import BUDGET, STRUCTURE_GUIDED
from madn import recipes
from madn.errors import UserError
from madn.nn.macs import network_macs

TINY = {
    "width": 4,
    "gradient_width": 8,
    "n_mbrb": 1,
    "d_widths": (4, 4, 4, 4),
    "crop": 32,
    "batch": 2,
    "precision": "float32",
}


class Perceptual:
    """Stands in for VGG: twice as large features as the image."""

    gain = 1.0

    def __init__(self, network, layer, weights=None, **options):
        assert (network, layer, weights) == ("vgg19", "block4_conv3", None)
        assert options == {"reference": module.VGG_REFERENCE, "gain": None}

    def facts(self):
        return {"network": "vgg19"}

    def distance(self, images, sharp):
        return 4 * ops.mean(ops.square(ops.convert_to_tensor(images) - sharp))


@pytest.fixture(autouse=True)
def no_vgg(monkeypatch):
    monkeypatch.setattr("madn.nn.vgg.PerceptualLoss", Perceptual)


def batch(n=2, size=32):
    """(blurred, sharp), float32 (n, size, size, 3) in [0, 1]."""
    coarse = np.random.default_rng(0).random((n, size // 4, size // 4, 3), dtype=np.float32)
    sharp = coarse.repeat(4, axis=1).repeat(4, axis=2)
    return sum(np.roll(sharp, k, axis=2) for k in range(5)) / np.float32(5), sharp


def copies(variables):
    return [ops.convert_to_numpy(v).copy() for v in variables]


def same(before, after):
    return [np.array_equal(a, b) for a, b in zip(before, copies(after), strict=True)]


def test_the_default_is_the_published_setting():
    r = STRUCTURE_GUIDED
    assert (r.batch, r.crop, r.epochs, r.lr_g, r.lr_d) == (4, 256, 150, 1e-4, 1e-4)
    assert (r.adam, r.learning_rate(1e-4, 100)) == ((0.5, 0.999, 1e-8), 1e-4)
    assert (r.content_weight, r.gradient_weight, r.adversarial, GRADIENT_PENALTY) == (10, 1, 1, 10)
    assert (r.update_order, r.critic_steps, r.critics_float32) == ("alternating", 5, True)
    assert r.total_steps(2103) == 78_750
    assert (r.multiple, r.augment) == (4, "none")


@pytest.mark.parametrize(
    "name, changed",
    [
        ("nocontent", {"content_weight"}),
        ("nogradient", {"gradient_weight"}),
        ("norgcl", {"block"}),
        ("nombrb", {"mbrb"}),
        ("nogradientnet", {"gradient_net"}),
        ("fnorm", {"rgcl_tail"}),
        ("gate", {"rgcl_tail"}),
        ("parallel", {"mbrb", "gradient_width"}),
        ("noresidual", {"global_residual"}),
    ],
)
def test_a_variant_changes_one_thing(name, changed):
    variant = recipes.get(f"structure_guided-{name}")
    assert set(recipes.differences(STRUCTURE_GUIDED, variant)) == changed


def test_the_registry_names_them():
    assert recipes.get("structure_guided") is STRUCTURE_GUIDED
    assert recipes.get("structure_guided-budget") is BUDGET


@pytest.mark.parametrize(
    "change, said",
    [
        ({"gradient_width": 6}, "--gradient-width must be a multiple of 4; received 6"),
        ({"n_mbrb": 0}, "--n-mbrb"),
        ({"d_widths": (0, 1, 1, 1)}, "--d-widths"),
        ({"zero_outputs": True, "global_residual": False}, "--zero-outputs with --no-global-residual"),
        ({"adversarial": -1.0}, "--content-weight, --gradient-weight and --adversarial must be 0 or more"),
    ],
)
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(UserError) as problem:
        replace(STRUCTURE_GUIDED, **change)
    assert said in str(problem.value)


def test_vgg_is_asked_for_where_the_content_loss_needs_it():
    assert STRUCTURE_GUIDED.prepare() == {"perceptual": {"network": "vgg19"}}
    recipe = recipes.get("structure_guided-nocontent")
    assert recipe.prepare() == {}
    assert recipe.build_objective().perceptual is None


@pytest.mark.slow
def test_the_budget_starts_at_the_image_and_costs_8_gmacs():
    assert set(recipes.differences(STRUCTURE_GUIDED, BUDGET)) == {
        "width",
        "gradient_width",
        "d_widths",
        "zero_outputs",
        "crop",
        "batch",
        "augment",
        "precision",
    }
    generator = BUDGET.build_generator()
    if keras.backend.backend() == "tensorflow":
        assert network_macs(generator, 256, 256).total == pytest.approx(8e9, rel=0.1)
    blurred = batch(1)[0]
    np.testing.assert_array_equal(ops.convert_to_numpy(generator(blurred)["deblurred"]), blurred)


def test_one_step_is_five_of_the_critic_and_each_moves_its_own_network():
    model = replace(BUDGET, **TINY, lr_g=0.0).build_model(10)
    model.run_eagerly = True
    blurred, sharp = batch()
    generator, critic = copies(model.generator.trainable_variables), copies(model.critics["image"].trainable_variables)
    model.train_on_batch(blurred, sharp)
    assert (int(model.optimizer.iterations), int(model.d_optimizer.iterations)) == (1, 5)
    assert all(same(generator, model.generator.trainable_variables))  # at a learning rate of 0
    assert not any(same(critic, model.critics["image"].trainable_variables)[::2])  # kernels


def test_critics_stay_in_float32():
    model = replace(BUDGET, **{**TINY, "precision": "mixed_bfloat16"}).build_model(10)
    assert model.generator.get_layer("e1_conv").compute_dtype == "bfloat16"
    assert model.generator.get_layer("e1_norm").compute_dtype == "float32"
    assert model.critics["image"].get_layer("conv_2").compute_dtype == "float32"


@pytest.mark.slow
def test_training_lowers_the_content_loss():
    model = replace(BUDGET, **TINY, rgcl_r=1, critic_steps=1, lr_g=1e-2).build_model(15)
    blurred, sharp = batch()
    history = model.fit(blurred, sharp, batch_size=2, epochs=15, verbose=0).history
    assert set(model.objective.term_names) <= set(history)
    assert np.isfinite(list(history.values())).all()
    assert history["content"][-1] < 0.8 * history["content"][0]
