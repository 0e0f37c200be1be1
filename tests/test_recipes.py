"""The registry, the published settings and Figure 9's variants."""

import dataclasses
import json

import pytest

from madn import recipes
from madn.errors import UserError
from madn.models.madn.recipe import FIGURE_9A, FIGURE_9B, FIGURE_9C, MADN


def test_the_default_is_the_published_setting():
    assert (MADN.batch, MADN.crop, MADN.epochs, MADN.steps) == (16, 256, 2000, None)
    assert (MADN.lr_g, MADN.lr_d, MADN.lr_power) == (1e-4, 4e-4, 0.3)
    assert (MADN.adam_beta_1, MADN.adam_beta_2, MADN.adam_epsilon) == (0.9, 0.999, 1e-8)
    assert (MADN.adversarial, MADN.phi1, MADN.phi2, MADN.alpha, MADN.gradient_weight, MADN.image_weight) == (
        0.05, 0.5, 1, 0.01, 0.01, 1)
    assert (MADN.widths, MADN.clip_mode, MADN.clip_maximum) == ((64, 128, 256), "global_norm", 2.0)


def test_figure_9_changes_the_loss_alone():
    assert set(recipes.differences(MADN, FIGURE_9A)) == {"adversarial_domains", "phi1", "gradient_weight"}
    assert set(recipes.differences(FIGURE_9A, FIGURE_9B)) == {"adversarial_domains"}
    assert FIGURE_9C == MADN
    assert not FIGURE_9A.build_critics() and set(FIGURE_9B.build_critics()) == {"image"}


@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_comes_back_from_its_json(name):
    recipe = recipes.get(name)
    fields = json.loads(json.dumps(recipe.fields()))
    assert recipes.from_fields(name, fields) == recipe
    assert recipe.paper.split(",")[0] in recipes.RECIPES[name].summary


@pytest.mark.parametrize(("change", "said"), [
    ({"batch": 0}, "--batch must be at least 1; received 0"),
    ({"crop": 100}, "--crop must be a multiple of 32; received 100"),
    ({"steps": 0}, "--steps must be at least 1"),
    ({"critic_steps": 5}, "--critic-steps above 1 needs --update-order alternating"),
    ({"scales": 2}, "--scale-weights takes one weight for each of the 2 scales; received 3"),
    ({"scales": 2, "scale_weights": (1.0, 1.0), "scale_taps": "image"}, "--scale-taps image needs --scales 3"),
    ({"crop": 160, "scales": 4, "scale_weights": (1.0,) * 4, "stem_stride": 2},
     "--crop must be a multiple of 64 for --scales 4 and --stem-stride 2; received 160"),
    ({"stem_stride": 2, "fusion": "half"}, "--stem-stride 2 halves the resolution itself: leave out --fusion half"),
    ({"residual_from": "restored"}, "--residual-from restored needs --global-residual"),
    ({"residual_from": "restored", "global_residual": True, "coarsest_second_input": "zeros"},
     "--residual-from restored needs --global-residual and --coarsest-second-input blurred"),
    ({"widths": (0, 8, 16)}, "--widths"),
])
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(UserError) as problem:
        dataclasses.replace(MADN, **change)
    assert said in str(problem.value)


def test_unknown_names():
    with pytest.raises(UserError, match="unknown recipe 'madm': did you mean madn"):
        recipes.get("madm")
    with pytest.raises(UserError, match="recipe madn has no field depth"):
        recipes.from_fields("madn", {"depth": 3})


@pytest.mark.parametrize(("name", "count"), [
    ("madn", 29_071_817),
    ("sisnet-nosis", 35_122_915), ("sisnet-nolatent", 48_722_659), ("sisnet-inception-v3", 40_009_123),
    ("structure_guided", 5_371_475), ("structure_guided-norgcl", 5_762_395), ("structure_guided-nombrb", 5_489_195),
    ("structure_guided-nogradientnet", 756_739), ("structure_guided-fnorm", 5_371_475),
    ("msr2b-k3", 2_313_443), ("msr2b-k6", 3_879_107), ("msr2b-k12", 7_010_435), ("msr2b-narrow", 2_625_107),
    ("egnet-backbone", 20_127_073), ("egnet-nosen", 26_560_235), ("egnet", 26_611_255),
])
def test_names_build_the_networks_that_they_say(name, count):
    """Each specification's count, from the registry's name through all fields to the network."""
    assert recipes.get(name).build_generator().count_params() == count


def test_names_without_a_count_of_their_own():
    tails = {name: recipes.get(f"structure_guided{name}").rgcl_tail for name in ("", "-fnorm", "-gate")}
    assert tails == {"": "sigmoid", "-fnorm": "fnorm", "-gate": "gate"}
    egnet = {name: recipes.get(f"egnet-{name}") for name in ("noattention", "random-add", "random-mul", "window")}
    assert not egnet["noattention"].egn_attention and egnet["window"].pa_mode == "window"
    assert [egnet[f"random-{how}"].egn_input for how in ("add", "mul")] == ["random_add", "random_mul"]
