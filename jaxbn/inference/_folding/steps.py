"""How a lazy value is computed in the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jax import lax

from jaxbn.inference._folding.lazy import Lazy
from jaxbn.inference._folding.linear import Linear

Run = Callable[..., list[Any]]


def linear_step(op: Linear, lazy: Lazy, dtype: Any) -> Run:
    """The linear operation on its two inputs, and on a bias if there is one: added in the dtype of the bias."""

    def run(left: jax.Array, right: jax.Array, *bias: jax.Array) -> list[jax.Array]:
        y = op.operation.run(left, right)[0]
        for part in bias:
            beside = [y.shape[a] if a in op.of_result else 1 for a in range(y.ndim)]
            y = lax.convert_element_type(y, part.dtype) + part.reshape(beside)
        return [_laid_out(y, lazy, dtype)]

    return run


def layout_step(lazy: Lazy, dtype: Any) -> Run:
    """The base in the layout of the value."""
    return lambda y: [_laid_out(y, lazy, dtype)]


def _laid_out(y: jax.Array, lazy: Lazy, dtype: Any) -> jax.Array:
    for operation in lazy.layout:
        if operation.name != "convert_element_type":
            y = operation.run(y)[0]
    return lax.convert_element_type(y, dtype)
