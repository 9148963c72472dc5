"""A layer of JAX whose scale, bias and running statistics are arguments, as in training."""

from __future__ import annotations

from typing import Any

import jax
from jax.extend.core import jaxpr_as_fun


def opened(norm: Any, x: jax.Array, *, train: bool) -> tuple[Any, list[jax.Array]]:
    """The layer as `(arrays, x) -> [y, *what it remembers]`, and its arrays: scale, bias, running statistics.

    As constants of the program a scale of 1 and a bias of 0 would be left out, which no training does.
    """
    closed = jax.make_jaxpr(lambda x: norm(x, train=train))(x)
    return lambda arrays, x: jaxpr_as_fun(closed.replace(consts=arrays))(x), closed.consts
