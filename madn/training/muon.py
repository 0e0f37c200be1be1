"""Muon for convolutions: updates of about one size in every direction of a kernel. Licence of this file: MIT.

Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024; the update's scale is that of Liu et
al., "Muon is scalable for LLM training", 2025, Eq. 4.
"""

import keras
from keras import ops


class ConvolutionMuon(keras.optimizers.Muon):
    """`keras.optimizers.Muon`, which leaves kernels of convolutions to Adam, for these as well.

    A kernel (height, width, a, b) counts as a matrix of height * width * a rows and b columns, as Jordan et al. have it
    for convolutions. Adam updates biases, and kernels to or from fewer than `least` channels (images, gradient maps).
    There is no weight decay. Biases learn at `bias_lr_ratio` of the learning rate, for a bias that outruns its kernel
    leaves a ReLU dead. The other arguments are those of `keras.optimizers.Muon`.
    """

    def __init__(
        self,
        learning_rate=0.001,
        least: int = 16,
        bias_lr_ratio: float = 1.0,
        weight_decay=None,
        adam_weight_decay=None,
        **kwargs,
    ):
        super().__init__(learning_rate, weight_decay=weight_decay, adam_weight_decay=adam_weight_decay, **kwargs)
        self.least, self.bias_lr_ratio = least, bias_lr_ratio

    def _should_use_adamw(self, variable):
        return len(variable.shape) != 4 or min(variable.shape[2:]) < self.least

    def _adamw_update_step(self, gradient, variable, learning_rate, m, v):
        if len(variable.shape) == 1:
            learning_rate = learning_rate * self.bias_lr_ratio
        super()._adamw_update_step(gradient, variable, learning_rate, m, v)

    def _muon_update_step(self, gradient, variable, lr, m):
        """Keras' own step, with the kernel seen as a matrix."""
        self.assign(m, self.momentum * m + gradient)
        direction = gradient + self.momentum * m if self.nesterov else m
        update = self.zeropower_via_newtonschulz5(ops.reshape(direction, (-1, variable.shape[-1])), self.ns_steps)
        self.assign_sub(variable, ops.reshape(self.lr_adjust(lr * update), variable.shape))

    def zeropower_via_newtonschulz5(self, x, steps: int):
        """Keras' iteration x <- x (a + b g + c g^2), g = x'x, on g instead of x: a kernel's g is many times smaller."""
        x = x / (ops.norm(x) + 1e-7)
        identity = ops.eye(x.shape[1], dtype=x.dtype)
        product, gram = identity, ops.matmul(ops.transpose(x), x)
        for _ in range(steps):
            factor = self.muon_a * identity + self.muon_b * gram + self.muon_c * ops.matmul(gram, gram)
            product, gram = ops.matmul(product, factor), ops.matmul(ops.matmul(factor, gram), factor)
        return ops.matmul(x, product)

    def get_config(self):
        return {**super().get_config(), "least": self.least, "bias_lr_ratio": self.bias_lr_ratio}
