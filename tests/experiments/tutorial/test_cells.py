"""The convolution and the pooling of cells, against those of XLA and Flax."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from experiments.tutorial import cells


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "channels", "features", "batch"), [(1, 2, 3, 2), (3, 1, 6, 4), (5, 6, 4, 1), (7, 3, 2, 3)]
)
def test_a_cell_convolution_is_a_same_convolution(width: int, channels: int, features: int, batch: int) -> None:
    draw = np.random.default_rng(width).normal
    x = jnp.asarray(draw(size=(channels, 6, 8, batch)), jnp.float32)
    layer = cells.CellConv(features, width)
    params = {
        "kernel": jnp.asarray(draw(size=(width, width, channels, features)), jnp.float32),
        "bias": jnp.asarray(draw(size=features), jnp.float32),
    }
    weights = jnp.asarray(draw(size=(features, 6, 8, batch)), jnp.float32)

    def by_cells(params: Any, x: jax.Array) -> jax.Array:
        y = layer.apply({"params": params}, x).reshape(2, 2, features, 3, 4, batch)
        return y.transpose(2, 3, 0, 4, 1, 5).reshape(features, 6, 8, batch)

    def by_xla(params: Any, x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=("CHWN", "HWIO", "CHWN"))
        return y + params["bias"][:, None, None, None]

    # A square, so that the gradient depends on the value.
    got, expected = (
        jax.jit(jax.value_and_grad(lambda p, x, f=f: (weights * f(p, x) ** 2).sum(), argnums=(0, 1)))(params, x)
        for f in (by_cells, by_xla)
    )
    np.testing.assert_allclose(by_cells(params, x), by_xla(params, x), rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)


def test_pooling_cells_is_max_pooling() -> None:
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 8, 3)), jnp.float32)
    cut = image.reshape(4, 3, 2, 4, 2, 3).transpose(2, 4, 0, 1, 3, 5).reshape(4, 4, 3, 4, 3)
    np.testing.assert_array_equal(cells.pool_cells(cut), nn.max_pool(image, (2, 2), (2, 2)))
