"""A way out of `vmap`, for a layer that is no argument of what is mapped: `nnx.vmap(model)(x)`.

A user of `nnx.vmap(model)` in training gains by it: with Flax's own layer that is an error (flax issue 4760), here the
running statistics get the moments of all members.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn.moments import Moments, sync_moments


def outside_of_vmap(action: Callable[[Moments, jax.Array], None], moments: Moments, members: jax.Array) -> bool:
    """Call `action` outside of the innermost `vmap`, with the moments of all its members, merged.

    Args:
        action: acts by side effects, on what belongs to the trace around the `vmap`; its second argument is `members`
            as they are there.
        moments: of this member; no gradient flows through them.
        members: anything that differs between the members, even where moments that are merged already do not.

    Returns:
        Whether the innermost transformation is a `vmap`, so that it was called.
    """
    called = False

    @jax.custom_batching.custom_vmap
    def leave(moments: Moments, members: jax.Array) -> jax.Array:
        del moments, members
        return jnp.zeros(())

    # The batching rule, unlike the function, runs in the trace around the `vmap`, once, and with values that belong to
    # it: what it stores there are no tracers of the inside.
    @leave.def_vmap
    def _(size: int, mapped: Any, moments: Moments, members: jax.Array) -> tuple[jax.Array, bool]:
        nonlocal called
        called = True
        if size == 0:
            return jnp.zeros(()), False
        if any(mapped[0]):
            axes = jax.tree.map(lambda one: 0 if one else None, mapped[0])
            merged = jax.vmap(lambda m: sync_moments(m, "members"), (axes,), axis_name="members", axis_size=size)(
                moments
            )
            moments = jax.tree.map(lambda part: part[0], merged)
        action(moments, members)
        return jnp.zeros(()), False

    leave(*lax.stop_gradient((moments, members)))
    return called
