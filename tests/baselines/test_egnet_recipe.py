"""EGNet's recipes: parts trained one after the other, what is frozen, how each starts."""

from dataclasses import replace

import numpy as np
import pytest
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal

from baselines.egnet.recipe import BACKBONE, BUDGET, EGNET
from madn import recipes
from madn.errors import UserError
from madn.training.checkpoint import load_start, save_generator

TINY = {
    "n_feat": 8,
    "scale_unetfeats": 4,
    "scale_orsnetfeats": 4,
    "num_cab": 1,
    "egm_per_stage": 1,
    "pa_dim": 4,
    "crop": 32,
    "batch": 2,
    "lr_g": 1e-3,
}
AVERAGE, OFFICIAL, LONGER = (recipes.get(f"egnet-{name}") for name in ("mean", "official", "train-longer"))
BLURRED, SHARP = np.random.default_rng(0).random((2, 2, 32, 32, 3), dtype=np.float32)


def array(tensor):
    return ops.convert_to_numpy(tensor)


def weights(generator):
    return {layer.name: [w.copy() for w in layer.get_weights()] for layer in generator.layers if layer.weights}


def train_step(model):
    """One step without a graph, which for so small a network takes longer to trace than to run."""
    return model.train_step((ops.convert_to_tensor(BLURRED), ops.convert_to_tensor(SHARP)))


def moved(before, after):
    return {
        name for name, values in before.items() if any((a != b).any() for a, b in zip(values, after[name], strict=True))
    }


def test_published_settings():
    assert (EGNET.batch, EGNET.crop, EGNET.augment, EGNET.lr_g, EGNET.lr_end) == (1, 256, "flips", 2e-4, 1e-6)
    assert (EGNET.alpha, EGNET.beta, EGNET.gamma) == (1, 0.05, 0.1)
    stages = EGNET.stages(EGNET.steps)
    assert [(stage.parts, stage.train, steps) for stage, steps in stages] == [
        (("backbone",), "last", 6_000_000),
        (("backbone", "egn"), "last", 6_000_000),
        (("backbone", "egn", "sen"), "last", 100_000),
    ]
    assert [(stage.batch, stage.lr_g, stage.multiple) for stage, _ in stages] == [
        (1, 2e-4, 8),
        (1, 2e-4, 8),
        (8, 1e-4, 16),
    ]
    assert EGNET.build_critics() == {}


def test_schedule():
    rate = EGNET.learning_rate(2e-4, 1000)
    rates = [float(rate(step)) for step in range(0, 1001, 50)]
    assert_allclose([rates[0], rates[-1]], [2e-4, 1e-6], rtol=1e-4)
    assert_allclose(rates[10], (2e-4 + 1e-6) / 2, rtol=1e-4)
    assert (np.diff(rates) < 0).all()


@pytest.mark.parametrize("total", [1, 3, 121, 200])
def test_every_part_gets_steps(total):
    stages = EGNET.stages(total)
    assert len(stages) == 3
    assert all(steps >= 1 for _, steps in stages)
    assert sum(steps for _, steps in stages) == max(total, 3)


def test_a_stage_is_a_recipe_of_its_own():
    for recipe in (EGNET, OFFICIAL, LONGER, AVERAGE, recipes.get("egnet-backbone")):
        for stage, steps in recipe.stages(100):
            assert stage.stages(steps) == [(stage, steps)]


def test_variants_stages():
    assert [stage.parts for stage, _ in OFFICIAL.stages(61)] == [("backbone", "egn"), ("backbone", "egn", "sen")]
    assert [(stage.parts, stage.frozen) for stage, _ in LONGER.stages(10)] == [
        (("backbone",), ()),
        (("backbone", "backbone"), ()),
    ]
    assert [(stage.parts, stage.test_average) for stage, _ in AVERAGE.stages(10)] == [
        (("backbone",), False),
        (("backbone", "egn"), True),
    ]


def test_who_needs_weights():
    assert not EGNET.needs_weights
    assert not EGNET.stages(100)[0][0].needs_weights
    assert OFFICIAL.stages(100)[0][0].needs_weights
    assert EGNET.stages(100)[1][0].needs_weights


@pytest.mark.slow
def test_each_stage_moves_its_part_and_starts_where_the_one_before_ended():
    recipe, previous = replace(EGNET, **TINY), None
    expected = [set(BACKBONE), {"egn1", "egn2"}, {"sen"}]
    for (stage, steps), own in zip(recipe.stages(121), expected, strict=True):
        model = stage.build_model(steps)
        if previous is not None:
            stage.transfer(previous.generator, model.generator)
            kept = weights(previous.generator)
            assert moved(kept, weights(model.generator)) == set()
        if own == {"egn1", "egn2"}:  # the start is the backbone, bit for bit
            for mine, theirs in zip(
                model.generator(BLURRED)["stages"], previous.generator(BLURRED)["stages"], strict=True
            ):
                assert_array_equal(array(mine), array(theirs))
        before = weights(model.generator)
        train_step(model)
        if own == {"egn1", "egn2"}:
            train_step(model)  # all but the convolution that starts at zero moves from the second step on
        assert moved(before, weights(model.generator)) - {"egnet"} == own
        assert set(stage.frozen) == set(before) - own - {"egnet"}
        previous = model


@pytest.mark.slow
def test_the_average_trains_f_alone():
    stage, steps = replace(AVERAGE, **TINY).stages(4)[1]
    model = stage.build_model(steps)
    assert {layer.name for layer in model.generator.layers if layer.trainable_weights} == {"egn1", "egn2", "egnet"}
    assert len(model.generator.trainable_variables) == sum(
        len(model.generator.get_layer(name).weights) for name in ("egn1", "egn2")
    )
    assert "mse_stage_1" in model.objective.term_names


@pytest.mark.slow
def test_starts_from_the_weights_of_the_network_without_its_last_part(tmp_path):
    small, file = replace(recipes.get("egnet-backbone"), **TINY), tmp_path / "backbone.weights.h5"
    backbone = small.build_generator()
    save_generator(backbone, file, "egnet-backbone", small.fields())
    stage = replace(OFFICIAL, **TINY).stages(10)[0][0]
    network = stage.build_generator()
    load_start(network, file, stage)
    assert moved(weights(backbone), weights(network)) == set()
    assert EGNET.stages(100)[2][0].grows_from(small.fields()) is None  # EGN in between would be random
    assert small.grows_from(small.fields()) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"parts": ("egn",)}, "--parts begins with backbone"),
        ({"parts": ("backbone", "sen", "egn")}, "--parts begins with backbone"),
        ({"parts": ("backbone",), "train": "rest"}, "--train rest needs a second part"),
        ({"part_shares": (1.0, 0.0, 1.0)}, "--part-shares takes three numbers above 0"),
        ({"n_feat": 2}, "--n-feat"),
        ({"num_cab": 0}, "--num-cab"),
        ({"test_average": True}, "--test-average takes the place"),
        ({"lr_end": 1.0}, "--lr-end must be"),
    ],
)
def test_what_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        replace(EGNET, **change)


@pytest.mark.parametrize(
    ("stored", "became"),
    [
        ({"egn_input": "gradient", "random_mean": 0.0, "random_std": 0.02}, {}),
        ({"egn_input": "random_add", "random_mean": 0.0, "random_std": 0.2}, {"egn_input": "random_add_wide"}),
        ({"egn_input": "random_mul", "random_mean": 1.0, "random_std": 0.02}, {"egn_input": "random_mul"}),
        ({"pa_mode": "dense", "pa_window": 32, "crop": 128}, {"crop": 128}),
        ({"pa_mode": "window", "pa_window": 8, "crop": 64}, {"pa_mode": "window", "crop": 64}),
        ({"sen_lr": 1e-4, "sen_batch": 8, "egn_stages": [1, 2], "grad_norm": "minmax"}, {}),
    ],
)
def test_runs_of_earlier_versions_are_read(stored, became):
    # Before there was a choice, gradient maps were normalised by minimum and maximum.
    assert recipes.from_fields("egnet", stored) == replace(EGNET, gradient_norm="minmax", **became)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ({"egn_input": "random_add", "random_mean": 0.5, "random_std": 0.02}, "egn_input random_add of mean 0.5"),
        ({"pa_mode": "pooled", "pa_window": 16}, "pa_window 16 is no longer built for crops of 256, only 32"),
        ({"grad_norm": "std"}, "no longer built with grad_norm std, only with minmax"),
        ({"egn_stages": [2]}, "no longer built with egn_stages"),
    ],
)
def test_what_is_no_longer_built_is_named(stored, said):
    with pytest.raises(UserError, match=said):
        recipes.from_fields("egnet", stored)


def test_table_3_without_attention():
    for name in ("random-add", "random-add-wide", "random-mul"):
        pair = recipes.get(f"egnet-{name}"), recipes.get(f"egnet-{name}-noattention")
        assert set(recipes.differences(*pair)) == {"egn_attention"}


def test_registry():
    names = [name for name in recipes.named() if name.startswith("egnet")]
    assert len(names) == 20
    for name in names:
        recipe = recipes.get(name)
        assert recipe.fields() == recipes.from_fields(name, recipe.fields()).fields()
        assert "EGNet" in recipes.named()[name].summary


@pytest.mark.slow
def test_budget_starts_at_the_blurred_image():
    generator = BUDGET.build_model(10).generator
    assert generator.count_params() == 365_591
    for image in generator(BLURRED)["stages"]:
        assert_array_equal(array(image), BLURRED)
