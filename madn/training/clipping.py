"""Gradient clipping. MADN section 5.1 says only "setting the minimum value to 1e-5 and the maximum value to 2"."""

from collections.abc import Sequence

from keras import ops


def global_norm(gradients: Sequence):
    """Euclidean norm of all gradients together, float32."""
    return ops.sqrt(sum(ops.sum(ops.square(ops.cast(g, "float32"))) for g in gradients))


def clip(gradients: Sequence, mode: str, minimum: float = 1e-5, maximum: float = 2.0) -> list:
    """Clip a list of gradients.

    mode:
        "none": unchanged.
        "global_norm": scaled so that their norm is at most `maximum` (the default reading; the minimum is inert).
        "value": each element to [-maximum, maximum].
        "magnitude": each element's magnitude to [minimum, maximum], its sign kept, zeros left zero. Faithful to the
            words, but the minimum soon replaces most of the gradient.
        "literal": each element to [minimum, maximum], sign lost: a negative gradient becomes +minimum. Destroys
            training; here to show it.
    Raises:
        ValueError: an unknown mode.
    """
    if mode == "none":
        return list(gradients)
    if mode == "global_norm":
        scale = ops.minimum(1.0, maximum / ops.maximum(global_norm(gradients), 1e-30))
        return [g * ops.cast(scale, g.dtype) for g in gradients]
    if mode == "value":
        return [ops.clip(g, -maximum, maximum) for g in gradients]
    if mode == "magnitude":
        return [ops.sign(g) * ops.clip(ops.abs(g), minimum, maximum) for g in gradients]
    if mode == "literal":
        return [ops.clip(g, minimum, maximum) for g in gradients]
    raise ValueError(f"unknown clip mode {mode!r}")
