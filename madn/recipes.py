"""The registry: recipe name -> recipe, imported only when it is asked for."""

import dataclasses
import difflib
import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from madn.errors import UserError

if TYPE_CHECKING:  # importing it starts Keras, which a list of names can do without
    from madn.training.recipe import Recipe


@dataclass(frozen=True)
class Entry:
    """Where a recipe lives and what it is, in a line that names its paper."""

    module: str
    attribute: str
    summary: str


RECIPES = {
    "madn": Entry("madn.models.madn.recipe", "MADN", "MADN (Zhu et al. 2023) as published"),
    "madn-fig9a": Entry("madn.models.madn.recipe", "FIGURE_9A",
                        "MADN, Figure 9: pixel and content loss, image domain only"),
    "madn-fig9b": Entry("madn.models.madn.recipe", "FIGURE_9B",
                        "MADN, Figure 9: A and the adversarial loss, image domain only"),
    "madn-fig9c": Entry("madn.models.madn.recipe", "FIGURE_9C", "MADN, Figure 9: the full loss (the same as madn)"),
    "madn-sn": Entry("madn.models.madn.recipe", "SCALE_NETWORK", "MADN without its gradient network"),
    "madn-by-scale": Entry("madn.models.madn.recipe", "BY_SCALE",
                           "MADN whose gradient network takes the features of the coarser scales"),
    "madn-image": Entry("madn.models.madn.recipe", "IMAGE",
                        "MADN whose gradient network takes the images of the coarser scales"),
    "madn-stop-gradient": Entry("madn.models.madn.recipe", "STOP_GRADIENT",
                                "MADN in which no gradient crosses the scales, as in the scale-recurrent lineage"),
    "srn": Entry("madn.models.madn.recipe", "SRN",
                 "MADN's scale network alone, at the sizes of the one that it is made after (Tao et al. 2018)"),
    "madn-srn": Entry("madn.models.madn.recipe", "MADN_SRN",
                      "MADN from SRN's weights, for photos: about an hour on two CPU cores"),
    **{f"madn-srn-fig9{letter.lower()}": Entry("madn.models.madn.recipe", f"SRN_FIGURE_9{letter}",
                                               f"MADN, Figure 9's loss {letter}, from SRN's weights")
       for letter in "ABC"},
    "madn-sample": Entry("madn.models.madn.recipe", "SAMPLE",
                         "MADN, narrow and short: minutes on two CPU cores, for the samples"),
    "madn-small": Entry("madn.models.madn_small.recipe", "SMALL",
                        "MADN at reduced width, for photos: hours on two CPU cores"),
    "madn-budget": Entry("madn.models.madn.recipe", "BUDGET",
                         "MADN, narrow: the same compute as the other -budget recipes"),
    "sisnet": Entry("baselines.sisnet.recipe", "SISNET", "SIS-Net (Liu et al. 2020) as published"),
    "sisnet-nolatent": Entry("baselines.sisnet.recipe", "NOLATENT",
                             "SIS-Net (Liu et al. 2020), Table 2: Nolatent, no intermediate layer path"),
    "sisnet-noploss": Entry("baselines.sisnet.recipe", "NOPLOSS",
                            "SIS-Net (Liu et al. 2020), Table 2: NoPloss, no perceptual loss"),
    "sisnet-nosis": Entry("baselines.sisnet.recipe", "NOSIS",
                          "SIS-Net (Liu et al. 2020), Table 2: Nosis, no semantic information"),
    "sisnet-wgan": Entry("baselines.sisnet.recipe", "WGAN", "SIS-Net (Liu et al. 2020), Figure 4: WGAN's loss"),
    "sisnet-cyclegan": Entry("baselines.sisnet.recipe", "CYCLEGAN",
                             "SIS-Net (Liu et al. 2020), Figure 4: cycleGAN's loss, least squares"),
    "sisnet-rsgan": Entry("baselines.sisnet.recipe", "RSGAN",
                          "SIS-Net (Liu et al. 2020), Figure 4: the relativistic standard GAN's loss"),
    **{f"sisnet-fig5-{t}": Entry("baselines.sisnet.recipe", f"FIGURE_5_{t}",
                                 f"SIS-Net (Liu et al. 2020), Figure 5: tau_1 0.{t}, tau_2 0.005")
       for t in range(1, 10)},
    **{f"sisnet-fig6-{t}-{p}": Entry("baselines.sisnet.recipe", f"FIGURE_6_{t}_{p}",
                                     f"SIS-Net (Liu et al. 2020), Figure 6: tau_1 0.{t}, tau_2 0.00{p}")
       for t in (4, 5, 6) for p in range(1, 10)},
    "sisnet-cascade": Entry("baselines.sisnet.recipe", "CASCADE",
                            "SIS-Net (Liu et al. 2020): info-box of pixel shuffles by two, one after the other"),
    "sisnet-bilinear": Entry("baselines.sisnet.recipe", "BILINEAR",
                             "SIS-Net (Liu et al. 2020): info-box of bilinear enlargements"),
    "sisnet-inception-v3": Entry("baselines.sisnet.recipe", "INCEPTION_V3",
                                 "SIS-Net (Liu et al. 2020) with the cited backbone, Inception-v3"),
    "sisnet-budget": Entry("baselines.sisnet.recipe", "BUDGET",
                           "SIS-Net (Liu et al. 2020), narrow: 8 GMACs, for a comparison at the same compute"),
    "msr2b": Entry("baselines.msr2b.recipe", "MSR2B", "MSR2B (Qi and Wang 2023) as published"),
    "msr2b-k3": Entry("baselines.msr2b.recipe", "K3", "MSR2B (Qi and Wang 2023), Figure 5: 3 blocks in place of 9"),
    "msr2b-k6": Entry("baselines.msr2b.recipe", "K6", "MSR2B (Qi and Wang 2023), Figure 5: 6 blocks"),
    "msr2b-k12": Entry("baselines.msr2b.recipe", "K12", "MSR2B (Qi and Wang 2023), Figure 5: 12 blocks"),
    "msr2b-resnet": Entry("baselines.msr2b.recipe", "RESNET",
                          "MSR2B (Qi and Wang 2023), Table 1: ResNet's bottleneck blocks"),
    "msr2b-resnet-basic": Entry("baselines.msr2b.recipe", "RESNET_BASIC",
                                "MSR2B (Qi and Wang 2023), Table 1: ResNet blocks of two 3x3 convolutions"),
    "msr2b-res2net": Entry("baselines.msr2b.recipe", "RES2NET", "MSR2B (Qi and Wang 2023), Table 1: Res2Net blocks"),
    "msr2b-conv3": Entry("baselines.msr2b.recipe", "CONV3",
                         "MSR2B (Qi and Wang 2023): Part B without its 5x5 convolution"),
    "msr2b-conv5": Entry("baselines.msr2b.recipe", "CONV5",
                         "MSR2B (Qi and Wang 2023): Part B without its 3x3 convolution"),
    "msr2b-noparts": Entry("baselines.msr2b.recipe", "NOPARTS",
                           "MSR2B (Qi and Wang 2023): no Part B (the network of msr2b-res2net)"),
    "msr2b-narrow": Entry("baselines.msr2b.recipe", "NARROW", "MSR2B (Qi and Wang 2023): four groups of 16 channels"),
    "msr2b-wide": Entry("baselines.msr2b.recipe", "WIDE",
                        "MSR2B (Qi and Wang 2023): four groups of 64 channels, bypasses of 64"),
    "msr2b-nolocal": Entry("baselines.msr2b.recipe", "NOLOCAL",
                           "MSR2B (Qi and Wang 2023): without the local skip connections"),
    "msr2b-noglobal": Entry("baselines.msr2b.recipe", "NOGLOBAL",
                            "MSR2B (Qi and Wang 2023): without the global skip connection"),
    "msr2b-instance-norm": Entry("baselines.msr2b.recipe", "INSTANCE_NORM",
                                 "MSR2B (Qi and Wang 2023): instance normalisation in the generator"),
    "msr2b-noadversarial": Entry("baselines.msr2b.recipe", "NOADVERSARIAL",
                                 "MSR2B (Qi and Wang 2023): the perceptual loss alone"),
    "msr2b-conditional": Entry("baselines.msr2b.recipe", "CONDITIONAL",
                               "MSR2B (Qi and Wang 2023): a critic that sees the blurred image too"),
    "msr2b-literal-strides": Entry("baselines.msr2b.recipe", "LITERAL_STRIDES",
                                   "MSR2B (Qi and Wang 2023): a critic of four strided convolutions"),
    "msr2b-budget": Entry("baselines.msr2b.recipe", "BUDGET",
                          "MSR2B (Qi and Wang 2023), narrow: 8 GMACs, for a comparison at the same compute"),
    "structure_guided": Entry("baselines.structure_guided.recipe", "STRUCTURE_GUIDED",
                              "Structures Guided (Qi 2022) as published"),
    "structure_guided-nocontent": Entry("baselines.structure_guided.recipe", "NO_CONTENT",
                                        "Structures Guided, Table 4: without the content loss"),
    "structure_guided-nogradient": Entry("baselines.structure_guided.recipe", "NO_GRADIENT",
                                         "Structures Guided, Table 4: without the gradient loss"),
    "structure_guided-norgcl": Entry("baselines.structure_guided.recipe", "NO_RGCL",
                                     "Structures Guided, Table 5: 3x3 convolutions in the place of RGCLs"),
    "structure_guided-nombrb": Entry("baselines.structure_guided.recipe", "NO_MBRB",
                                     "Structures Guided, Table 5: a single path in the place of multipath reuse"),
    "structure_guided-nogradientnet": Entry("baselines.structure_guided.recipe", "NO_GRADIENT_NET",
                                            "Structures Guided, Table 5: without GradientNet"),
    "structure_guided-fnorm": Entry("baselines.structure_guided.recipe", "FNORM",
                                    "Structures Guided: RGCL's end as in Cross-SRN, another reading of Eq. 7"),
    "structure_guided-gate": Entry("baselines.structure_guided.recipe", "GATE",
                                   "Structures Guided: RGCL's end as a gate, another reading of Eq. 7"),
    "structure_guided-budget": Entry("baselines.structure_guided.recipe", "BUDGET",
                                     "Structures Guided, narrow: 8 GMACs at 256x256, for a comparison on a CPU"),
    "egnet": Entry("baselines.egnet.recipe", "EGNET", "EGNet (Zhao et al.) as published"),
    "egnet-backbone": Entry("baselines.egnet.recipe", "TABLE_4_BACKBONE",
                            "EGNet (Zhao et al.), Table 4: without EGN, its backbone MPRNet"),
    "egnet-nosen": Entry("baselines.egnet.recipe", "TABLE_4_EGN",
                         "EGNet (Zhao et al.), Table 4: with EGN, without the self-ensemble network"),
    "egnet-noattention": Entry("baselines.egnet.recipe", "TABLE_3_NO_ATTENTION",
                               "EGNet (Zhao et al.), Table 3: EGN of plain convolutions"),
    "egnet-random-add": Entry("baselines.egnet.recipe", "TABLE_3_RANDOM_ADD",
                              "EGNet (Zhao et al.), Table 3: random input N(0, 0.02), added"),
    "egnet-random-add-wide": Entry("baselines.egnet.recipe", "TABLE_3_RANDOM_ADD_WIDE",
                                   "EGNet (Zhao et al.), Table 3: random input N(0, 0.2), added"),
    "egnet-random-mul": Entry("baselines.egnet.recipe", "TABLE_3_RANDOM_MUL",
                              "EGNet (Zhao et al.), Table 3: random input N(1, 0.02), multiplied"),
    "egnet-nogradientloss": Entry("baselines.egnet.recipe", "TABLE_6_NO_GRADIENT_LOSS",
                                  "EGNet (Zhao et al.), Table 6: without the gradient loss"),
    "egnet-mean": Entry("baselines.egnet.recipe", "AVERAGE",
                        "EGNet (Zhao et al.), section 3.2: plain average in place of the self-ensemble network"),
    "egnet-mprnet-loss": Entry("baselines.egnet.recipe", "MPRNET_LOSS",
                               "EGNet (Zhao et al.) with the loss of its backbone, MPRNet"),
    "egnet-official": Entry("baselines.egnet.recipe", "OFFICIAL",
                            "EGNet (Zhao et al.) from the authors' MPRNet weights, converted, by --weights"),
    "egnet-train-longer": Entry("baselines.egnet.recipe", "TRAIN_LONGER",
                                "EGNet (Zhao et al.), a control: EGN's steps spent on the backbone"),
    "egnet-window": Entry("baselines.egnet.recipe", "WINDOW",
                          "EGNet (Zhao et al.), position attention within windows of a training crop's size"),
    "egnet-pooled": Entry("baselines.egnet.recipe", "POOLED",
                          "EGNet (Zhao et al.), position attention to averaged positions"),
    "egnet-budget": Entry("baselines.egnet.recipe", "BUDGET",
                          "EGNet (Zhao et al.), narrow: 8 GMACs, for a comparison at the same compute"),
}


def get(name: str) -> "Recipe":
    """The recipe of that name. Raises `UserError` naming the nearest, or all, where there is none."""
    check_name(name)
    entry = RECIPES[name]
    return getattr(importlib.import_module(entry.module), entry.attribute)


def check_name(name: str | None) -> None:
    """Raises `UserError` for the name of no recipe, at no cost; None passes."""
    if name is not None and name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(RECIPES)}."
        raise UserError(f"unknown recipe {name!r}: {hint} See python -m madn.train --list")


def from_fields(name: str, fields: dict) -> "Recipe":
    """The recipe `name` with the stored `fields`, those of earlier versions included.

    Raises `UserError` for a field that it does not have, and for a value that is no longer built.
    """
    recipe = get(name)
    fields = dict(recipe.renamed(fields))
    for field, only in recipe.retired.items():
        value = fields.pop(field, only)
        if only is not ... and value != only:
            raise UserError(f"recipe {name} is no longer built with {field} {value}, only with {only}; earlier versions "
                            "of madn read what has it")
    known = {field.name: getattr(recipe, field.name) for field in dataclasses.fields(recipe)}
    unknown = sorted(set(fields) - set(known))
    if unknown:
        raise UserError(f"recipe {name} has no field {', '.join(unknown)}; it was written by another version of madn")
    return dataclasses.replace(recipe, **{
        key: tuple(value) if isinstance(known[key], tuple) else value for key, value in fields.items()})


def differences(recipe: "Recipe", other: "Recipe") -> dict[str, tuple]:
    """Field -> (recipe's value, other's value), where they differ."""
    mine, theirs = recipe.fields(), other.fields()
    return {key: (mine[key], theirs.get(key)) for key in mine if mine[key] != theirs.get(key)}
