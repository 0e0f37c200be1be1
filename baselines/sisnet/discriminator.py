"""SIS-Net's discriminator (section III-B, Table 1), used twice: on the whole image and on a part of it.

Paper: Liu et al., "Semantic Information Supplementary Pyramid Network for Dynamic Scene Deblurring", IEEE Access 8
(2020). Licence of this file: MIT.

Differences from Table 1, and why:
- Conv 1 takes three channels, not one: images are RGB.
- Conv 4 is a 3x3 convolution; its row in the table repeats that of the pooling ("2x2, stride 2"), and the
  (M/8)x(N/8) of the last pooling allows exactly three halvings.
- the global pooling leaves 64 numbers; a dense layer makes the one score of them.
- "completely consistent in network structure and parameters": two networks of one shape, each with its own weights, for
  "the parameters of the network are elaborated in Table 1", which are sizes. With one set of weights: `sisnet-shared`.
"""

import keras
from keras import layers


def build_discriminator(
    width: int = 64, activation: str = "sigmoid", name: str = "sisnet_discriminator"
) -> keras.Model:
    """D as a functional model: images (batch, height, width, 3) in [-1, 1], from 8 pixels -> scores (batch, 1).

    186,497 parameters. `activation`: "sigmoid" (Table 1; scores in (0, 1)) or "linear".
    """
    images = keras.Input((None, None, 3), name="images")
    x = images
    for row in range(1, 10):
        if row in (3, 5, 7):
            x = layers.MaxPooling2D(2, name=f"pool_{row}")(x)
        else:
            x = layers.Conv2D(width, 3, padding="same", activation="relu" if row < 9 else None, name=f"conv_{row}")(x)
    x = layers.GlobalAveragePooling2D(dtype="float32", name="pool_10")(x)
    scores = layers.Dense(1, dtype="float32", name="score")(x)
    if activation == "sigmoid":
        scores = layers.Activation("sigmoid", dtype="float32", name="sigmoid_11")(scores)
    return keras.Model(images, scores, name=name)
