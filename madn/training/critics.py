"""What an objective sees of the discriminators: their scores, a gradient penalty, and random numbers.

Options, messages and texts say "discriminator", the papers' word. In the code, whatever scores images for an objective
is its critic, whichever loss it is trained by: `Critics`, `critic_losses`, and the columns `critic_...` of a log.
"""

import keras
from keras import ops

from madn.training.gradients import input_gradient
from madn.training.random_numbers import RandomNumbers


class Critics:
    """Discriminators by domain, and the random numbers of the update at hand."""

    def __init__(self, networks: dict[str, keras.Model], random_numbers: RandomNumbers):
        self.networks, self.random_numbers = networks, random_numbers

    def __call__(self, images, domain: str):
        """The scores of the domain's discriminator. A one-channel map is repeated for a three-channel network."""
        network = self.networks[domain]
        channels = network.input_shape[-1]
        if images.shape[-1] == 1 and channels > 1:
            images = ops.repeat(images, channels, axis=-1)
        return network(images, training=True)

    def uniform(self, count: int):
        """Draw `count` random numbers in [0, 1), float32, which all images of the batch share."""
        return self.random_numbers.uniform(count)

    def gradient_penalty(self, real, fake, domain: str):
        """E[(||grad_x D(x)||_2 - 1)^2] between real and fake images (Gulrajani et al. 2017, Eq. 3), a float32 scalar.

        Here x = e real + (1 - e) fake with e ~ U(0, 1) for each image, D(x) is the mean of an image's scores, and the
        norm is taken over all values of an image. 1e-12 is added under its root, so that the penalty's own gradient
        stays finite where D is flat.
        """
        real, fake = (ops.stop_gradient(ops.cast(images, "float32")) for images in (real, fake))
        share = self.random_numbers.uniform_per_image(real)

        # D keeps the images of a batch apart, so the gradient of the sum holds the gradient of each.
        def score(images):
            scores = ops.cast(self(images, domain), "float32")
            return ops.sum(ops.mean(ops.reshape(scores, (ops.shape(scores)[0], -1)), axis=1))

        gradient = ops.cast(input_gradient(score, share * real + (1 - share) * fake), "float32")
        squares = ops.sum(ops.square(gradient), axis=(1, 2, 3))
        return ops.mean(ops.square(ops.sqrt(squares + 1e-12) - 1))
