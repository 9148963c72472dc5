"""Operations that call another program, whose body counts as if it were written in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jax.extend import core

# These came with a derivative, or a way to be mapped, of their own.
WITH_OWN_RULE = {"custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr", "custom_vmap_call"}
CALLS = {"jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "remat2"} | WITH_OWN_RULE


def called(eqn: Any) -> tuple[Any, Sequence[Any]] | None:
    """The program that an operation calls and its constants, or `None` for an operation that is no call."""
    if eqn.primitive.name not in CALLS:
        return None
    body = next((p for p in eqn.params.values() if isinstance(p, core.Jaxpr | core.ClosedJaxpr)), None)
    return None if body is None else (getattr(body, "jaxpr", body), getattr(body, "consts", ()))
