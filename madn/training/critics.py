"""What an objective sees of the discriminators: their scores, a gradient penalty, and random numbers."""

import keras
from keras import ops

from madn.training.gradients import input_gradient
from madn.training.random_numbers import Draws


class Critics:
    """Discriminators by domain, and the random numbers of the update at hand."""

    def __init__(self, networks: dict[str, keras.Model], draws: Draws):
        self.networks, self.draws = networks, draws

    def __call__(self, images, domain: str):
        """Scores of the domain's discriminator; a one-channel map is repeated for a three-channel network."""
        network = self.networks[domain]
        channels = network.input_shape[-1]
        if images.shape[-1] == 1 and channels > 1:
            images = ops.repeat(images, channels, axis=-1)
        return network(images, training=True)

    def uniform(self, count: int):
        """`count` fresh random numbers in [0, 1), float32, the same for all images of the batch."""
        return self.draws.uniform(count)

    def gradient_penalty(self, real, fake, domain: str):
        """E[(||grad_x D(x)||_2 - 1)^2] between real and fake images (Gulrajani et al. 2017, Eq. 3), a float32 scalar.

        x = e real + (1 - e) fake with e ~ U(0, 1) for each image, D(x) the mean of an image's scores, and the norm over
        all values of an image. Its own gradient stays finite where D is flat: 1e-12 is added under the root.
        """
        real, fake = (ops.stop_gradient(ops.cast(images, "float32")) for images in (real, fake))
        share = self.draws.uniform_per_image(real)

        def score(images):  # the images of a batch do not meet in D, so the gradient of the sum is that of each
            scores = ops.cast(self(images, domain), "float32")
            return ops.sum(ops.mean(ops.reshape(scores, (ops.shape(scores)[0], -1)), axis=1))

        gradient = ops.cast(input_gradient(score, share * real + (1 - share) * fake), "float32")
        squares = ops.sum(ops.square(gradient), axis=(1, 2, 3))
        return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1))
