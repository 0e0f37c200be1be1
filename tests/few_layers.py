"""MADN's recipe with networks of a few layers: for tests of what trains, saves and restores whatever a paper builds."""

from dataclasses import dataclass

import keras
from keras import layers

from madn.models.madn.recipe import MADNRecipe


def generator(recipe: MADNRecipe) -> keras.Model:
    """Takes and gives what MADN's does; its parts `sn`, `gn` and `upblock` are convolutions, with one more between."""

    def conv(width, name, activation=None):
        return layers.Conv2D(width, 3, padding="same", activation=activation, name=name)

    blurred = keras.Input((None, None, 3), name="blurred")
    features = conv(recipe.widths[0], "hidden", "relu")(conv(recipe.widths[0], "sn", "relu")(blurred))
    gradient = conv(3, "gn")(features)
    deblurred = conv(3, "upblock")(layers.Concatenate()([features, gradient]))
    scales = [layers.AveragePooling2D(2**i, name=f"scale_{i + 1}")(deblurred) for i in range(recipe.scales)]
    return keras.Model(blurred, {"deblurred": deblurred, "gradient": gradient, "scales": scales}, name="few_layers")


def critics(recipe: MADNRecipe) -> dict[str, keras.Model]:
    """One discriminator for the recipe's domains."""
    domains = {"both": ("image", "gradient"), "image": ("image",), "none": ()}[recipe.adversarial_domains]
    if not domains:
        return {}
    image = keras.Input((recipe.crop, recipe.crop, 3))
    x = layers.Conv2D(4, 3, 4, padding="same", activation="tanh", name="conv")(image)
    critic = keras.Model(image, layers.Dense(1, name="dense")(layers.Flatten()(x)), name="few_layers_critic")
    return dict.fromkeys(domains, critic)


@dataclass(frozen=True, kw_only=True)
class FewLayers(MADNRecipe):
    """MADN's fields, objective and optimisers."""

    build_generator = generator
    build_critics = critics


def few_layers(recipe: MADNRecipe) -> FewLayers:
    """A recipe of MADN's with these networks."""
    return FewLayers(**{name: getattr(recipe, name) for name in recipe.fields()})
