"""Loss terms and the training-time score that more than one paper uses.

Every term is a float32 scalar, a mean over all its elements. Inputs may be of any float type (bfloat16 under mixed
precision); they are cast to float32 first.
"""

import math

from keras import ops

from madn.nn import replicas


def l1(a, b):
    """Mean absolute error of two tensors of one shape."""
    return ops.mean(ops.abs(_float32(a) - _float32(b)))


def l2(a, b):
    """Mean squared error of two tensors of one shape."""
    return ops.mean(ops.square(_float32(a) - _float32(b)))


def log_l2(a, b, least: float = 1e-4):
    """Mean over images of ln(1 + MSE / least), for images in [0, 1].

    This is PSNR up to a factor and a constant, but an image better than 40 dB counts for little. Every image has about
    the same weight in the gradient; with squared errors the worst ones have most of it.
    """
    return ops.mean(ops.log1p(ops.mean(ops.square(_float32(a) - _float32(b)), axis=(1, 2, 3)) / least))


def log_loss(logits, real: bool):
    """Binary cross-entropy from logits: mean of -log sigmoid(z) for `real`, of -log(1 - sigmoid(z)) otherwise.

    It is computed as softplus, so that it and its gradient stay finite at any logit.
    """
    logits = _float32(logits)
    return ops.mean(ops.softplus(-logits if real else logits))


def relativistic_least_squares(ahead, behind):
    """Relativistic average least squares (Jolicoeur-Martineau 2018): E[(a - E b - 1)^2] + E[(b - E a + 1)^2].

    `ahead` are the scores that should be higher by one than the mean of the others: those of real images when the
    discriminator learns, those of restored ones when the generator does. E is over the whole batch, also where several
    devices share it.
    """
    ahead, behind = _float32(ahead), _float32(behind)
    of_ahead, of_behind = replicas.mean([ops.mean(ahead), ops.mean(behind)])
    return ops.mean(ops.square(ahead - of_behind - 1)) + ops.mean(ops.square(behind - of_ahead + 1))


def batch_psnr(images, sharp):
    """Mean PSNR in dB over a batch in [0, 1], clipped and rounded to 8 bits as the GoPro protocol has it.

    An identical pair counts as 100 dB, so that the mean stays finite.
    """
    a, b = (ops.round(255 * ops.clip(ops.cast(x, "float32"), 0, 1)) for x in (images, sharp))
    error = ops.mean(ops.square(a - b), axis=(1, 2, 3))
    return ops.mean(ops.minimum(10 * ops.log(255.0**2 / ops.maximum(error, 1e-12)) / math.log(10), 100.0))


def _float32(x):
    return ops.cast(x, "float32")
