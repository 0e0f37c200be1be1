"""The registry, the published settings and Figure 9's variants."""

import dataclasses
import json
from pathlib import Path

import pytest

from madn import recipes
from madn.data.sets import DataOptions
from madn.errors import UserError
from madn.models.madn.recipe import MADN, MADN_SRN
from madn.models.madn_small.recipe import SMALL
from madn.train import RunOptions
from madn.training.perceptual import PerceptualRecipe
from madn.training.recipe import Recipe


def test_the_default_is_the_published_setting():
    assert (MADN.batch, MADN.crop, MADN.epochs, MADN.steps) == (16, 256, 2000, None)
    assert (MADN.lr_g, MADN.lr_d, MADN.lr_power) == (1e-4, 4e-4, 0.3)
    assert MADN.adam == (0.9, 0.999, 1e-8)
    assert (MADN.adversarial, MADN.phi1, MADN.alpha, MADN.gradient_weight, MADN.image_weight) == (
        0.05,
        0.5,
        0.01,
        0.01,
        1,
    )
    assert (MADN.widths, MADN.clip_norm, MADN.update_order) == ((64, 128, 256), 2.0, "simultaneous")


def test_figure_9_changes_the_loss_alone():
    a, b, c = (recipes.get(f"madn-fig9{letter}") for letter in "abc")
    assert set(recipes.differences(MADN, a)) == {"adversarial_domains", "phi1", "gradient_weight"}
    assert set(recipes.differences(a, b)) == {"adversarial_domains"} and c == MADN
    assert not a.build_critics() and set(b.build_critics()) == {"image"}


# Fields whose values the paper gives: in its words and equations, its printed numbers, or (SIS-Net) its authors' code.
STATED = {
    "madn": {
        *("widths", "res_blocks", "scales", "kernels", "lr_power", "d_widths", "d_dense"),
        *("adversarial", "phi1", "alpha", "gradient_weight", "image_weight"),
    },
    "sisnet": {
        *("width", "stem_width"),  # the code's
        *("d_width", "tau_1", "tau_2", "tau_3"),  # Table 1, Eq. 7
    },
    "structure_guided": {
        *("n_mbrb", "rgcl_r"),  # section 3.1.2
        *("content_weight", "gradient_weight", "adversarial", "critic_steps"),  # Eq. 11, section 4.2
    },
    "msr2b": {"perceptual_weight", "lr_end", "lr_constant"},  # section 4.2
    "egnet": {
        *("lr_end", "part_shares", "alpha", "beta", "gamma"),  # section 4.2, Eq. 17
        "egm_per_stage",  # "several", which Table 2's 26.60 says how many
    },
}


def of_paper(name):
    """The paper's named recipes and their stages."""
    kind = type(recipes.get(name))
    named = [each for each in map(recipes.get, recipes.named()) if type(each) is kind]
    return [stage for recipe in named for stage, _ in [(recipe, 0), *recipe.stages(1000)]]


@pytest.mark.parametrize("name", STATED)
def test_no_field_that_neither_the_paper_states_nor_a_named_recipe_varies(name):
    shared = {field.name for kind in (Recipe, PerceptualRecipe) for field in dataclasses.fields(kind)}
    own = {field.name for field in dataclasses.fields(recipes.get(name))} - shared
    varied = {field for field in own if len({getattr(recipe, field) for recipe in of_paper(name)}) > 1}
    assert STATED[name] <= own <= STATED[name] | varied
    assert len(own) <= 22


@pytest.mark.parametrize("name", recipes.named())
def test_a_recipes_command_line_is_short(name):
    groups = (RunOptions, DataOptions, recipes.get(name))
    options = [field for group in groups for field in dataclasses.fields(group) if not field.metadata.get("internal")]
    assert len(options) <= 60


def test_settings_of_every_kept_run_are_read():
    files = list((Path(__file__).parents[1] / "notebooks" / "records").rglob("settings.json"))
    assert len(files) > 20
    for file in files:
        stored = json.loads(file.read_text(encoding="utf-8"))
        assert type(recipes.from_fields(stored["recipe"], stored["fields"])) is type(recipes.get(stored["recipe"]))


def test_madn_srn_trains_what_is_new_first_and_the_whole_at_a_low_rate():
    (first, some), (second, rest) = MADN_SRN.stages(1000)
    assert (some, rest) == (150, 850)
    assert first.frozen == ("sn",) and not second.frozen and first.needs_weights
    assert first.lr_g == MADN_SRN.gn_lr == 6e-4 and second.lr_g == MADN_SRN.lr_g
    assert first.stages(150) == [(first, 150)]  # a stage is not cut into stages again


def test_figure_9_from_srns_weights_has_the_papers_losses():
    nine = {letter: recipes.get(f"madn-srn-fig9{letter}") for letter in "abc"}
    losses = ("adversarial", "adversarial_domains", "phi1", "alpha", "gradient_weight", "image_weight", "error")
    for letter in "abc":
        expected = recipes.get(f"madn-fig9{letter}")
        assert {name: getattr(nine[letter], name) for name in losses} == {
            name: getattr(expected, name) for name in losses
        }
    assert set(recipes.differences(nine["a"], nine["c"])) == {"adversarial_domains", "phi1", "gradient_weight"}


OLD_MADN = {  # what runs of recipe madn stored until MADN's generator kept what the paper or a recipe varies
    "widths": [16, 32, 64],
    "global_residual": True,
    "residual_from": "blurred",
    "scale_taps": "decoder",
    "scale_weights": [1.0, 1.0, 1.0],
    "nested_mode": "branch",
    "sn_skip": "add",
    "image_norm": "l1",
    "init": "zero_residual",
    "d_strides": "pair",
    "sobel_epsilon": 1e-6,
    "antialias": True,
    "stem_stride": 1,
}


def test_runs_of_earlier_versions_are_read():
    recipe = recipes.from_fields("madn", OLD_MADN)
    assert recipe == dataclasses.replace(MADN, widths=(16, 32, 64), residual="blurred")
    assert recipes.from_fields("madn", {"deconv_kernel": 4}).kernels == (3, 4)  # before SRN's own kernels
    assert recipes.from_fields("madn", {**OLD_MADN, "scales": 2, "scale_weights": [1.0, 1.0]}).scales == 2
    small = {
        "global_residual": True,
        "residual_from": "restored",
        "stem_stride": 2,
        "d_dense": 1024,
        "alpha": 0.05,
        "scale_weights": [1.0] * 4,
        "init": "he_zero_residual",
        "image_norm": "log",
        "pixel_norm": "log",
    }
    assert recipes.from_fields("madn-small", small) == dataclasses.replace(SMALL, alpha=0.05)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stem_stride": 2}, "no longer built with stem_stride 2, only with 1"),
        ({"scale_taps": "encoder"}, "gradient_network encoder is no longer built"),
        ({"scale_weights": [1.0, 0.5, 0.5]}, "no longer built with scale_weights"),
        ({"clip_mode": "literal"}, "clip_mode literal is no longer built"),
        ({"update_order": "alternating"}, "update_order is no longer a setting"),
        ({"gn_skip": "concat"}, "no longer built with gn_skip concat"),
    ],
)
def test_what_is_no_longer_built_is_named(change, said):
    with pytest.raises(UserError, match=said):
        recipes.from_fields("madn", {**OLD_MADN, **change})


@pytest.mark.parametrize(
    ("name", "stored", "became"),
    [
        ("sisnet", {"init": "zero_output", "mse_space": "imagenet", "lr_end": 1e-7}, {"zero_outputs": True}),
        ("sisnet", {"init": "glorot_uniform", "constant_share": 0.1, "warmup_share": 0.002}, {}),
        ("structure_guided", {"output_init_std": 0.0, "penalty": 10.0, "content_norm": "mse"}, {"zero_outputs": True}),
        ("structure_guided", {"output_init_std": 0.1, "init_std": 0.1, "rgcl_share": True}, {}),
        ("msr2b", {"split_groups": 4, "gp_norm": "sample", "vgg_activated": False, "d_first_norm": False}, {}),
    ],
)
def test_fields_that_the_baselines_had_are_read(name, stored, became):
    assert recipes.from_fields(name, stored) == dataclasses.replace(recipes.get(name), **became)


@pytest.mark.parametrize(
    ("name", "stored", "said"),
    [
        ("sisnet", {"mse_space": "unit"}, "no longer built with mse_space unit, only with imagenet"),
        ("structure_guided", {"rgcl_share": False}, "no longer built with rgcl_share False, only with True"),
        ("msr2b", {"clip_output": "always"}, "no longer built with clip_output always, only with inference"),
    ],
)
def test_what_the_baselines_no_longer_build_is_named(name, stored, said):
    with pytest.raises(UserError, match=said):
        recipes.from_fields(name, stored)


def test_what_became_one_field_is_read():
    stored = {
        "adam_beta_1": 0.5,
        "adam_beta_2": 0.99,
        "adam_epsilon": 1e-7,
        "clip_mode": "none",
        "sn_kernel": 5,
        "deconv_kernel": 4,
        "critic_steps": 1,
        "update_order": "simultaneous",
        "critic_batches": "fresh",
    }
    assert recipes.from_fields("madn", stored) == dataclasses.replace(
        MADN, adam=(0.5, 0.99, 1e-7), clip_norm=None, kernels=(5, 4)
    )
    assert recipes.from_fields("madn", {"clip_mode": "global_norm", "clip_maximum": 0.5}).clip_norm == 0.5


@pytest.mark.parametrize("name", recipes.named())
def test_every_recipe_comes_back_from_its_json(name):
    recipe = recipes.get(name)
    fields = json.loads(json.dumps(recipe.fields()))
    assert recipes.from_fields(name, fields) == recipe
    assert recipe.paper.split(",")[0] in recipes.named()[name].summary


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"batch": 0}, "--batch must be at least 1; received 0"),
        ({"crop": 100}, "--crop must be a multiple of 32; received 100"),
        ({"steps": 0}, "--steps must be at least 1"),
        ({"clip_norm": 0.0}, "--clip-norm must be above 0; received 0"),
        ({"scales": 2, "gradient_network": "image"}, "--gradient-network image needs --scales 3"),
        ({"crop": 96, "scales": 5}, "--crop must be a multiple of 64 for --scales 5; received 96"),
        ({"gradient_network": "none"}, "--gradient-network none makes no gradient maps to judge"),
        ({"gradient_network": "none", "adversarial_domains": "none", "sn_frozen": True}, "leaves nothing to train"),
        ({"gn_share": 1.0}, "--gn-share must be at least 0 and below 1; received 1"),
        ({"widths": (0, 8, 16)}, "--widths"),
    ],
)
def test_values_out_of_range_are_named(change, said):
    with pytest.raises(UserError) as problem:
        dataclasses.replace(MADN, **change)
    assert said in str(problem.value)


def test_unknown_names():
    with pytest.raises(UserError, match="unknown recipe 'madm': did you mean madn"):
        recipes.get("madm")
    with pytest.raises(UserError, match="recipe madn has no field depth"):
        recipes.from_fields("madn", {"depth": 3})


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("madn", 29_071_817),
        pytest.param("sisnet-nosis", 35_122_915, marks=pytest.mark.slow),
        pytest.param("sisnet-nolatent", 48_722_659, marks=pytest.mark.slow),
        pytest.param("sisnet-inception-v3", 40_009_123, marks=pytest.mark.slow),
        pytest.param("structure_guided", 5_371_475, marks=pytest.mark.slow),
        pytest.param("structure_guided-norgcl", 5_762_395, marks=pytest.mark.slow),
        pytest.param("structure_guided-nombrb", 5_489_195, marks=pytest.mark.slow),
        ("structure_guided-nogradientnet", 756_739),
        pytest.param("structure_guided-fnorm", 5_371_475, marks=pytest.mark.slow),
        ("structure_guided-parallel", 4_769_380),
        pytest.param("structure_guided-noresidual", 5_371_475, marks=pytest.mark.slow),
        ("msr2b-k3", 2_313_443),
        pytest.param("msr2b-k6", 3_879_107, marks=pytest.mark.slow),
        pytest.param("msr2b-k12", 7_010_435, marks=pytest.mark.slow),
        ("msr2b-narrow", 2_625_107),
        pytest.param("egnet-backbone", 20_127_073, marks=pytest.mark.slow),
        pytest.param("egnet-mprnet", 20_127_073, marks=pytest.mark.slow),
        pytest.param("egnet-nosen", 26_560_235, marks=pytest.mark.slow),
        pytest.param("egnet", 26_611_255, marks=pytest.mark.slow),
    ],
)
def test_names_build_the_networks_that_they_say(name, count):
    """Each specification's count, from the registry's name through all fields to the network."""
    assert recipes.get(name).build_generator().count_params() == count


def test_names_without_a_count_of_their_own():
    tails = {name: recipes.get(f"structure_guided{name}").rgcl_tail for name in ("", "-fnorm", "-gate")}
    assert tails == {"": "sigmoid", "-fnorm": "fnorm", "-gate": "gate"}
    egnet = {name: recipes.get(f"egnet-{name}") for name in ("noattention", "random-add", "random-mul", "window")}
    assert not egnet["noattention"].egn_attention and egnet["window"].pa_mode == "window"
    assert [egnet[f"random-{how}"].egn_input for how in ("add", "mul")] == ["random_add", "random_mul"]


def test_recipes_that_download_nothing():
    sisnet = recipes.get("sisnet")
    assert sisnet.without_downloads() == dataclasses.replace(sisnet, backbone_weights="none")
    assert recipes.get("madn").without_downloads() == recipes.get("madn")


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("madn", {"widths": "4096"}),
        ("madn", {"widths": [8, 16]}),
        ("madn", {"res_blocks": 1.5}),
        ("madn", {"res_blocks": None}),
        ("madn", {"residual": "os"}),
        ("sisnet", {"d_activation": {"module": "os", "class_name": "system"}}),
        ("egnet", {"parts": ["backbone", "os"]}),
    ],
)
def test_a_stored_value_of_another_type_is_refused_before_anything_is_built(name, fields):
    (field,) = fields
    with pytest.raises(UserError, match=f"^recipe {name}: {field} cannot be ") as problem:
        recipes.from_fields(name, fields)
    assert "\n" not in str(problem.value)


def test_stored_values_come_back_as_the_fields_types():
    recipe = recipes.from_fields("madn", {"widths": [8, 16, 32], "clip_norm": 1, "steps": None})
    assert recipe.widths == (8, 16, 32) and recipe.clip_norm == 1 and recipe.steps is None
