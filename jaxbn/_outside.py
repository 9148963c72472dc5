"""The way out of transformations, for a layer of nnx that is no argument of the function that is transformed.

Two users gain by it, for whom Flax's own layer raises an error: one who calls `nnx.vmap(model)(x)` in training (flax
issue 4760), whose running statistics get the moments of all members; and one who asks `nnx.eval_shape` for the shapes
of a model in training (flax issue 4734). For all others it is an error here too.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from flax.errors import TraceContextError
from jax import lax

from jaxbn.moments import Moments, sync_moments


def learn(action: Callable[[Moments], None], seen: Moments, members: jax.Array) -> None:
    """Call `action` with the moments where the layer is at home, if the transformations around this place allow it.

    Args:
        action: learns from the moments of all members, merged; raises `TraceContextError` where it can't.
        seen: the moments of this member; no gradient flows through them.
        members: anything that differs between the members, even where moments that are merged already do not.

    Raises:
        TraceContextError: a transformation has no way out, and computes more than shapes.
    """

    def outside(seen: Moments, members: jax.Array) -> None:
        try:
            action(seen)
        except TraceContextError:
            learn(action, seen, members)

    if not _outside_of_vmap(outside, seen, members) and not _only_shapes():
        raise TraceContextError(
            "BatchNorm can't update its running statistics, since the layer is no argument of the transformed "
            "function; pass the model to it, e.g. nnx.jit(lambda model, x: model(x))(model, x)."
        )


def _only_shapes() -> bool:
    """Whether this is inside of `nnx.eval_shape`, which computes nothing that could be lost.

    Not of `jax.eval_shape`: what it traces, `jax.jit` of the same model would take from the cache, without an error.
    """
    code = inspect.unwrap(nnx.eval_shape).__code__
    return any(frame.f_code is code for frame, _ in traceback.walk_stack(None))


def _outside_of_vmap(action: Callable[[Moments, jax.Array], None], moments: Moments, members: jax.Array) -> bool:
    """Call `action` outside of the innermost `vmap`, with the moments of all its members, merged, and `members`.

    What it does there are side effects, on what belongs to the trace around the `vmap`. Returns whether the innermost
    transformation is a `vmap`, so that it was called.
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
