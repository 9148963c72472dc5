"""Arrays that depend on the variables alone: computed when they are needed, and small where they only repeat."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from jaxbn.inference._folding.program import Value

Memo = dict[Any, Any]


@dataclasses.dataclass(eq=False)
class KnownArray:
    """An array, of which `compute` gives what does not repeat.

    Attributes:
        shape: of the whole array.
        compact: the same, with 1 along the axes where it repeats.
        dtype: of the array.
        sources: the names of the variables that it depends on, the one with the most numbers first.
        compute: gives the compact array.
        is_view: whether it holds the numbers of its only source, in another layout or dtype.
        origin: the shape of that source, if the numbers are in its order.
        rooted: whether a root of a variable went into it, as into every norm's multiplier.
        wide: the same before it was rounded to a narrower dtype.
    """

    shape: tuple[Any, ...]
    compact: tuple[Any, ...]
    dtype: Any
    sources: tuple[str, ...]
    compute: Callable[[Memo], jax.Array]
    is_view: bool = False
    origin: tuple[Any, ...] | None = None
    rooted: bool = False
    wide: KnownArray | None = None

    def value(self, memo: Memo) -> jax.Array:
        """The compact array, computed once per memo."""
        if self not in memo:
            memo[self] = self.compute(memo)
        return memo[self]

    def whole(self, memo: Memo) -> jax.Array:
        return jnp.broadcast_to(self.value(memo), self.shape)

    def varies(self, axis: int) -> bool:
        return not _is_one(self.compact[axis])


def leaf(value: Value, array: Any, name: str | None) -> KnownArray:
    """A variable, or without a name a number of the program."""
    shape, dtype = value.aval.shape, value.aval.dtype
    sources = () if name is None else (name,)
    return KnownArray(
        shape, shape, dtype, sources, lambda _: jnp.asarray(array, dtype), is_view=name is not None, origin=shape
    )


def derived(
    compact: Sequence[Any], shape: Sequence[Any], dtype: Any, inputs: Sequence[KnownArray], compute: Any
) -> KnownArray:
    """What is computed from other known arrays by `compute(*compact arrays)`."""
    by_size = sorted(inputs, key=lambda k: -_size(k.compact))
    sources = tuple(dict.fromkeys(name for k in by_size for name in k.sources))
    rooted = any(k.rooted for k in inputs)

    def from_inputs(memo: Memo) -> jax.Array:
        return compute(*(k.value(memo) for k in inputs))

    return KnownArray(tuple(shape), tuple(compact), dtype, sources, from_inputs, rooted=rooted)


def elementwise(
    function: Callable[..., Any], inputs: Sequence[KnownArray], shape: Sequence[Any], dtype: Any
) -> KnownArray:
    """A function of each number, on what does not repeat; scalars go with everything."""
    padded = [scalar_beside(k, len(shape)) if not k.shape else k for k in inputs]
    compact = [next((k.compact[a] for k in padded if k.varies(a)), 1) for a in range(len(shape))]

    def compute(*arrays: jax.Array) -> Any:
        return function(*(jnp.broadcast_to(a, tuple(compact)) for a in arrays))

    return derived(compact, shape, dtype, padded, compute)


def as_view(of: KnownArray, made: KnownArray) -> KnownArray:
    made.is_view, made.origin = of.is_view, of.origin
    return made


def scalar_beside(k: KnownArray, ndim: int) -> KnownArray:
    ones = (1,) * ndim
    return derived(ones, ones, k.dtype, [k], lambda a: a.reshape(ones))


def cast(k: KnownArray, dtype: Any) -> KnownArray:
    if k.dtype == dtype:
        return k
    made = as_view(k, derived(k.compact, k.shape, dtype, [k], lambda a: a.astype(dtype)))
    inexact = jnp.issubdtype(dtype, jnp.inexact) and jnp.issubdtype(k.dtype, jnp.inexact)
    if inexact and jnp.finfo(dtype).bits < jnp.finfo(k.dtype).bits:
        made.wide = k.wide or k
    return made


def _is_one(size: Any) -> bool:
    return isinstance(size, int) and size == 1


def _size(shape: Sequence[Any]) -> int:
    return math.prod(d for d in shape if isinstance(d, int))


def widest(*dtypes: Any) -> Any:
    """The dtype to fold in: at least single precision."""
    with jax.numpy_dtype_promotion("standard"):
        return jnp.promote_types(jnp.float32, jnp.result_type(*dtypes))


def combined(
    function: Callable[..., jax.Array], inputs: Sequence[KnownArray], shape: Sequence[Any], dtype: Any
) -> KnownArray:
    """A function of each number, in the precision to fold in."""
    inputs = [k.wide or k for k in inputs]
    return elementwise(lambda *a: function(*(lax.convert_element_type(v, dtype) for v in a)), inputs, shape, dtype)
