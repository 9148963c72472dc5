"""A convolution as one matrix product, for CPUs, where XLA's own are slow in a compiled loop and with few channels.

The batch is in the last axis. An image is cut into cells of 2x2 pixels, whose four pixels become channels; a kernel
of odd width k then spans (k + 1) / 2 cells, and one product gives the four outputs of every cell. Those four are what a
2x2 max-pool compares, so that pooling is a maximum of four contiguous arrays.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen import initializers
from flax.typing import Initializer
from jax import lax

from experiments.harness.placement import on_mesh


class CellConv(nn.Module):
    """A SAME convolution of odd width, whose output stays in cells of 2x2 pixels.

    Attributes:
        features: output channels.
        width: of the square kernel, odd.
        use_bias: whether a bias is added.
        kernel_init: of the kernel `[width, width, channels, features]`.
    """

    features: int
    width: int
    use_bias: bool = True
    kernel_init: Initializer = initializers.glorot_uniform()

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """`[channels, height, width, batch]` -> `[4, features, height / 2, width / 2, batch]`."""
        channels, height, width, batch = x.shape
        kernel = self.param("kernel", self.kernel_init, (self.width, self.width, channels, self.features))
        patches = cell_patches(x, self.width)
        # Several devices can share the batch if it keeps an axis of its own.
        places = (height // 2, width // 2, batch) if on_mesh() else (height * width // 4 * batch,)
        y = lax.dot_general(cell_kernel(kernel), patches.reshape(-1, *places), (((0,), (0,)), ((), ())))
        y = y.reshape(4, self.features, height // 2, width // 2, batch)
        if self.use_bias:
            y = y + self.param("bias", initializers.zeros, (self.features,))[None, :, None, None, None]
        return y


def cell_patches(x: jax.Array, width: int) -> jax.Array:
    """`[channels, H, W, batch]` -> `[cells, 4 * channels, H / 2, W / 2, batch]`, what a kernel sees from every cell."""
    channels, _, _, batch = x.shape
    margin, span = width // 2, (width + 1) // 2
    x = jnp.pad(x, ((0, 0), (margin, margin), (margin, margin), (0, 0)))
    rows, columns = x.shape[1] // 2, x.shape[2] // 2
    x = x.reshape(channels, rows, 2, columns, 2, batch).transpose(2, 4, 0, 1, 3, 5)
    x = x.reshape(4 * channels, rows, columns, batch)
    rows, columns = rows - span + 1, columns - span + 1
    # One direction after the other: the gradient then adds up 2 * span overlapping arrays instead of span**2.
    x = jnp.stack([x[:, i : i + rows] for i in range(span)])
    return jnp.stack([x[:, :, :, j : j + columns] for j in range(span)], axis=1)


def cell_kernel(kernel: jax.Array) -> jax.Array:
    """`[k, k, channels, features]` -> `[cells * 4 * channels, 4 * features]`: the kernel at each pixel of a cell."""
    width, _, channels, features = kernel.shape
    span = (width + 1) // 2
    shifted = jnp.stack([jnp.pad(kernel, ((i, 1 - i), (j, 1 - j), (0, 0), (0, 0))) for i in (0, 1) for j in (0, 1)])
    cells = shifted.reshape(4, span, 2, span, 2, channels, features).transpose(1, 3, 2, 4, 5, 0, 6)
    return cells.reshape(-1, 4 * features)


def pool_cells(cells: jax.Array) -> jax.Array:
    """`[4, ...]` -> `[...]`: 2x2 max-pooling. Pairwise, since the gradient of a `max` over an axis is far slower."""
    # Split and not sliced: the gradient then writes four parts side by side, instead of adding up four padded arrays.
    a, b, c, d = (part[0] for part in lax.split(cells, (1, 1, 1, 1)))
    return jnp.maximum(jnp.maximum(a, b), jnp.maximum(c, d))
