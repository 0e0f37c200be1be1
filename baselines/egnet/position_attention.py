"""Attention between all positions of a map, with its memory bounded at any image size.

Paper: Zhao, Di, Gao, "EGNet: Enhanced Gradient Network for Image Deblurring". Section 3.1.4, Eqs. 8 and 9; the layers
around it are in egn.py. Licence of this file: MIT.
"""

import keras
from keras import layers, ops

MASKED = -1e9  # Positions that are padding get this score.


@keras.saving.register_keras_serializable("madn")
class PositionAttention(layers.Layer):
    """softmax(q k^T) v over all positions of a map (Eqs. 8, 9): [q, k, v], each (batch, h, w, d) -> (batch, h, w, d).

    mode:
        "dense"     all n x n scores at once, n = h * w: 3.3 GB a half of a 1280x720 image, and as much to work on them.
        "chunked"   the same function, the scores of `block` positions of one map at a time: 118 MB there, 335 MB
                    measured with what the softmax needs.
        "auto"      dense in training, chunked in inference.
        "window"    scores within windows of `window` positions, as many as a training crop has: another function,
                    whose softmax sees at any size as many positions as in training.
        "pooled"    k and v averaged over a grid of at most `window` cells: another function again.
    """

    def __init__(self, mode: str = "auto", window: tuple[int, int] = (32, 32), block: int = 1024, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        if mode not in ("auto", "dense", "chunked", "window", "pooled"):
            raise ValueError(f"mode must be auto, dense, chunked, window or pooled; received {mode!r}")
        self.mode, self.window, self.block = mode, tuple(window), block

    def call(self, maps, training=False):
        q, k, v = maps
        if self.mode == "window":
            return self._windowed(q, k, v)
        if self.mode == "pooled":
            k, v = _pool(k, self.window), _pool(v, self.window)
        shape = ops.shape(q)
        attend = self._chunked if self.mode == "chunked" or (self.mode == "auto" and not training) else _attend
        return ops.reshape(attend(*(ops.reshape(x, (shape[0], -1, x.shape[-1])) for x in (q, k, v))), shape)

    def _chunked(self, q, k, v):
        """One block after the other, in graphs of unknown size too: each block of queries is replaced by its results in
        the loop's own variable, so that no two blocks are worked on at the same time."""
        batch, tokens, depth = ops.shape(q)
        blocks = (tokens + self.block - 1) // self.block
        q = ops.pad(q, [[0, 0], [0, blocks * self.block - tokens], [0, 0]])
        q = ops.reshape(q, (batch * blocks, self.block, depth))

        def step(i, rows):
            keys, values = ops.take(k, i // blocks, axis=0), ops.take(v, i // blocks, axis=0)
            return ops.scatter_update(rows, [[i]], _attend(ops.take(rows, i, axis=0), keys, values)[None])

        attended = ops.fori_loop(0, batch * blocks, step, q)
        return ops.reshape(attended, (batch, blocks * self.block, depth))[:, :tokens]

    def _windowed(self, q, k, v):
        """Attention within windows; the map is padded to whole ones, and padding gets no weight."""
        height, width = ops.shape(q)[1:3]
        rows, columns = self.window
        bottom, right = -height % rows, -width % columns
        pad = [[0, 0], [0, bottom], [0, right], [0, 0]]
        valid = ops.pad(ops.ones_like(k[:1, :, :, :1]), pad)
        q, k, v = (_to_windows(ops.pad(x, pad), rows, columns) for x in (q, k, v))
        valid = _to_windows(valid, rows, columns)
        batch = ops.shape(q)[0] // ops.shape(valid)[0]
        bias = ops.tile((1 - valid[:, None, :, 0]) * MASKED, (batch, 1, 1))
        x = ops.reshape(
            _attend(q, k, v, bias),
            (batch, (height + bottom) // rows, (width + right) // columns, rows, columns, v.shape[-1]),
        )
        x = ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (batch, height + bottom, width + right, v.shape[-1]))
        return x[:, :height, :width]

    def compute_output_shape(self, shapes):
        return shapes[0]

    def get_config(self):
        return {**super().get_config(), "mode": self.mode, "window": self.window, "block": self.block}


def _attend(q, k, v, bias=0.0):
    """softmax(q k^T + bias) v, each row's maximum subtracted first. Divided last, where there are fewest numbers."""
    scores = q @ ops.swapaxes(k, -1, -2) + bias
    weights = ops.exp(scores - ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True)))
    return weights @ v / ops.sum(weights, axis=-1, keepdims=True)


def _to_windows(x, rows: int, columns: int):
    """(batch, h, w, d) -> (batch * windows, rows * columns, d), for h and w of whole windows."""
    batch, height, width, depth = ops.shape(x)
    x = ops.reshape(x, (batch, height // rows, rows, width // columns, columns, depth))
    return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, rows * columns, depth))


def _pool(x, grid):
    """Mean of each cell of a grid laid over the map, of at most `grid` rows and columns."""

    def cells(size, most):
        count = ops.minimum(size, most)
        cell = ops.arange(size) * count // size
        members = ops.cast(ops.arange(count)[:, None] == cell[None, :], x.dtype)
        return members / ops.sum(members, axis=1, keepdims=True)

    height, width = ops.shape(x)[1:3]
    return ops.einsum("oh,bhwc,pw->bopc", cells(height, grid[0]), x, cells(width, grid[1]))
