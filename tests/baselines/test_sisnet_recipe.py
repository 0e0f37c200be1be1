"""SIS-Net's recipes: published settings, variants, schedule, warm-up, and a few steps of training."""

import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from baselines.sisnet.recipe import BUDGET, SISNET
from madn import recipes
from madn.errors import UserError

TINY = {
    "backbone": "blocks",
    "backbone_weights": "none",
    "block_widths": (8, 8, 8, 8, 8),
    "width": 8,
    "stem_width": 8,
    "d_width": 4,
    "crop": 32,
    "batch": 2,
}


class Distance:
    """A stand-in for the perceptual loss, which needs VGG's weights."""

    def __init__(self, *arguments, **options):
        self.arguments = arguments

    def distance(self, images, sharp):
        return ops.mean(ops.square(images - sharp))

    def facts(self):
        return {"gain": 1.0}


def tiny(recipe, **changes):
    return dataclasses.replace(recipe, **{**TINY, **changes})


def eager(recipe):
    """The recipe's model, its steps run eagerly: tracing a graph takes longer than a few steps."""
    model = recipe.build_model(100)
    model.run_eagerly = True
    return model


def pairs(batch=2, size=32):
    sharp = np.random.default_rng(0).random((batch, size, size, 3), dtype=np.float32)
    return np.clip(sharp * 0.8 + 0.05, 0, 1), sharp


def values(variables):
    return [ops.convert_to_numpy(variable) for variable in variables]


def same(before, variables):
    return [np.array_equal(a, b) for a, b in zip(before, values(variables), strict=True)]


def test_the_default_is_the_published_setting():
    assert (SISNET.tau_1, SISNET.tau_2, SISNET.tau_3, SISNET.adversarial) == (0.5, 0.006, 0.01, "ralsgan")
    assert (SISNET.batch, SISNET.crop, SISNET.steps, SISNET.lr_g, SISNET.lr_d) == (1, 704, 1_500_000, 1e-4, 1e-4)
    assert SISNET.adam == (0.9, 0.999, 1e-8)
    assert (SISNET.backbone, SISNET.backbone_weights, SISNET.infobox) == ("inception_resnet_v2", "imagenet", "direct")
    assert (SISNET.width, SISNET.stem_width) == (256, 128)


def test_the_ablations_change_one_thing():
    for variant, changed in (
        ("nolatent", {"laterals"}),
        ("noploss", {"tau_2"}),
        ("nosis", {"infobox"}),
        ("inception-v3", {"backbone"}),
        ("three-products", {"products"}),
        ("shared", {"d_shared"}),
        ("wgan", {"adversarial", "d_activation"}),
        ("cyclegan", {"adversarial", "d_activation"}),
        ("rsgan", {"adversarial", "d_activation"}),
    ):
        assert set(recipes.differences(SISNET, recipes.get(f"sisnet-{variant}"))) == changed
    assert recipes.get("sisnet-wgan").critics_float32 and not SISNET.critics_float32


def test_every_variant_and_sweep_is_registered():
    mine = {name for name in recipes.named() if name.startswith("sisnet")}
    assert len(mine) == 7 + 9 + 27 + 6
    assert (recipes.get("sisnet-fig5-3").tau_1, recipes.get("sisnet-fig5-3").tau_2) == (0.3, 0.005)
    assert (recipes.get("sisnet-fig6-4-7").tau_1, recipes.get("sisnet-fig6-4-7").tau_2) == (0.4, 0.007)
    assert recipes.get("sisnet-fig6-5-6") == recipes.get("sisnet") == SISNET


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"backbone": "blocks"}, "--backbone blocks has no ImageNet weights: add --backbone-weights none"),
        ({"crop": 96}, "--crop must be at least 128 for --backbone inception_resnet_v2; received 96"),
        ({"crop": 720}, "--crop must be a multiple of 32; received 720"),
        ({"block_widths": (8, 8, 8, 8, 6)}, "--block-widths must be multiples of 4"),
        ({"tau_3": -1.0}, "--tau-1, --tau-2 and --tau-3 must be 0 or more"),
        ({"stem_width": 1}, "--stem-width at least 2"),
    ],
)
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(UserError) as problem:
        dataclasses.replace(SISNET, **change)
    assert said in str(problem.value)


def test_the_learning_rate_of_1500_epochs():
    rate = SISNET.learning_rate(1e-4, 1_500_000)
    for epoch, expected in ((0, 1e-4), (149, 1e-4), (150, 1e-4), (1499, 1e-4 - (1e-4 - 1e-7) / 1500 * 1349)):
        assert float(rate(epoch * 1000)) == pytest.approx(expected, rel=1e-4)
    assert float(rate(1_499_000)) == pytest.approx(1.0157e-5, rel=1e-3)


def test_three_epochs_of_warm_up():
    (first, warmup), (second, rest) = SISNET.stages(1_500_000)
    assert (warmup, rest) == (3000, 1_497_000)
    assert first.frozen == ("backbone",) and second == SISNET and not second.frozen
    assert first.learning_rate(1e-4, warmup) == 1e-4
    assert first.stage_name != second.stage_name
    none = dataclasses.replace(SISNET, backbone_weights="none")
    assert none.stages(1_500_000) == [(none, 1_500_000)] and SISNET.stages(100) == [(SISNET, 100)]


def test_shared_discriminators_are_one_network():
    critics = tiny(recipes.get("sisnet-shared")).build_critics()
    assert set(critics) == {"global", "local"} and critics["global"] is critics["local"]
    assert len({id(critic) for critic in tiny(SISNET).build_critics().values()}) == 2


def test_imagenet_weights_that_cannot_be_had(monkeypatch):
    def fail(name, weights):
        raise Exception("URL fetch failure on\n https://example.org: None")

    monkeypatch.setattr("baselines.sisnet.generator.keras_backbone", fail)
    monkeypatch.setattr("madn.nn.vgg.PerceptualLoss", Distance)
    with pytest.raises(UserError, match="--backbone inception_resnet_v2 cannot be had .*--backbone-weights none"):
        SISNET.prepare()
    without = dataclasses.replace(SISNET, backbone_weights="none", vgg_weights="missing.h5")
    assert without.prepare() == {"perceptual": {"gain": 1.0}}
    monkeypatch.undo()
    with pytest.raises(UserError, match="missing.h5: no such file"):
        without.prepare()


def test_imagenet_weights_go_into_the_backbone(monkeypatch):
    """A network to be loaded from a file is built without them; one to be trained gets them."""
    import baselines.sisnet.generator as networks

    asked = []

    def small(name, weights=None):
        asked.append(weights)
        backbone = networks.inception_blocks((4, 4, 4, 4, 4))
        if weights:
            backbone.set_weights([np.full_like(value, 0.5) for value in backbone.get_weights()])
        return backbone

    monkeypatch.setattr(networks, "keras_backbone", small)
    recipe = dataclasses.replace(recipes.get("sisnet-noploss"), width=8, stem_width=8, d_width=4)
    assert not (recipe.build_generator().get_layer("backbone").get_weights()[0] == 0.5).any() and asked == [None]
    (first, warmup), _ = recipe.stages(1000)
    model = first.build_model(warmup)
    backbone = model.generator.get_layer("backbone")
    assert all((value == 0.5).all() for value in backbone.get_weights()) and asked == [None, None, "imagenet"]
    assert not backbone.trainable_variables and model.generator.trainable_variables


def test_training_moves_what_it_should(monkeypatch):
    monkeypatch.setattr("madn.nn.vgg.PerceptualLoss", Distance)
    model = eager(tiny(SISNET, freeze_backbone=True))
    assert model.objective.perceptual.arguments == ("vgg16", "block3_conv3", None)
    backbone = model.generator.get_layer("backbone")
    before = values(backbone.weights)
    moving = values(model.generator.trainable_variables), {d: values(c.weights) for d, c in model.critics.items()}
    model.fit(*pairs(), batch_size=2, verbose=0)
    assert all(same(before, backbone.weights))
    assert not all(same(moving[0], model.generator.trainable_variables))
    assert set(model.critics) == {"global", "local"}
    for domain, critic in model.critics.items():
        assert not any(same(moving[1][domain], critic.weights)), domain


@pytest.mark.parametrize("variant", [pytest.param("noploss", marks=pytest.mark.slow), "wgan"])
def test_mixed_precision_trains(variant, monkeypatch):
    monkeypatch.setattr("madn.nn.vgg.PerceptualLoss", Distance)
    model = eager(tiny(recipes.get(f"sisnet-{variant}"), precision="mixed_bfloat16", zero_outputs=True))
    critic = model.critics["local"]
    assert critic.get_layer("conv_1").compute_dtype == ("float32" if variant == "wgan" else "bfloat16")
    logs = model.fit(*pairs(), batch_size=2, verbose=0).history
    assert all(np.isfinite(value).all() for value in logs.values()) and ("perceptual" in logs) == (variant == "wgan")


@pytest.mark.slow
def test_content_falls_without_discriminators():
    model = eager(tiny(recipes.get("sisnet-noploss"), tau_3=0.0, zero_outputs=True, lr_g=4e-3))
    assert not model.critics
    logs = model.fit(*pairs(), batch_size=2, epochs=4, verbose=0).history
    assert logs["content"][-1] < 0.8 * logs["content"][0]


@pytest.mark.slow
def test_the_budget_is_8_gmacs_and_starts_at_its_input():
    pytest.importorskip("tensorflow")
    from madn.nn.macs import network_macs

    generator = BUDGET.build_generator()
    assert 7.2e9 < network_macs(generator, 256, 256).total < 8.8e9
    images = pairs(1, 64)[0]
    assert np.array_equal(ops.convert_to_numpy(generator(images)["deblurred"]), images)
    assert (BUDGET.crop, BUDGET.batch, BUDGET.augment, BUDGET.precision) == (128, 2, "dihedral", "mixed_bfloat16")


def test_operations_of_the_published_network():
    """The multiply-adds outside the backbone, which is counted once by `python -m madn.bench --counts`."""
    pytest.importorskip("tensorflow")
    from baselines.sisnet.generator import build_generator, inception_blocks
    from madn.nn.macs import network_macs

    widths = (32, 64, 192, 1088, 2080)  # what the laterals of the published backbone take
    whole = build_generator("blocks", widths)
    path = inception_blocks(widths)
    flat = keras.Model(path.input, path.outputs[-1])
    rest = network_macs(whole, 256, 256).total - network_macs(flat, 256, 256).total
    # 14.793 - 7.959 GMACs, less what the laterals' unpadded maps save there
    assert rest == pytest.approx(14.793e9 - 7.959e9, rel=0.01)
