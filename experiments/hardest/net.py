"""What the training here asks of a net, and the product that such nets are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
from jax import lax

from jaxbn import presets

Pytree = Any
# Statistics of the last ten batches: enough where the learning rate ends at 0, and no initial values in them.
MOMENTUM, EPSILON = 0.9, presets.SLIM["epsilon"]


class Net(NamedTuple):
    """A classifier of images.

    Attributes:
        init: `key -> (params, state)`; the state holds the running statistics.
        apply: `(params, state, images [28, 28, batch], *, train, averaging="warmup") -> (logits [batch, 10], state)`.
    """

    init: Callable[[jax.Array], tuple[Pytree, Pytree]]
    apply: Callable[..., tuple[jax.Array, Pytree]]


def contract(matrix: jax.Array, x: jax.Array) -> jax.Array:
    """`[m, n]`, `[m, ...]` -> `[n, ...]`."""
    # Of two matrices: with more axes to sum over, a whole training step takes twice as long.
    y = lax.dot_general(matrix, x.reshape(len(x), -1), (((0,), (0,)), ((), ())))
    return y.reshape(-1, *x.shape[1:])
