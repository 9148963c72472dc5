"""Statistics of a batch, made otherwise where several devices share the program.

One pivot for all would be a message of its own, before the sums about it can begin. With a pivot for each device's part
there is a single message, a row of numbers from each; beyond `MOST` devices that one takes longer than two short ones.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

from jaxbn._reduce.primitives import batched, devices_of

# On paper the statistics of ResNet-50 wait less for the single message on 256 chips of TPU v3, v4, v5e, v5p and on 256
# H100; on 512 no longer on v4, see `docs/scaling.md`.
MOST = 256


def by_devices(name: str, whole: Callable[..., Any], of_parts: Callable[..., Any]) -> Primitive:
    """A primitive `(x, wide, weights or nothing) -> (pivot, count, offset, m2)`, `[features]` each.

    Args:
        name: of the primitive.
        whole: computes them, given `axes` as well.
        of_parts: computes the same from `parts`, as many as there are devices, of the leading axis.
    """
    primitive = Primitive(f"jaxbn_{name}")
    primitive.multiple_results = True

    def shape(x: Any, wide: Any, *weights: Any, axes: Any) -> list[Any]:
        del weights
        sharding = x.sharding.update(spec=jax.P(*(x.sharding.spec[a] for a in axes)))
        mean = wide.update(shape=tuple(x.shape[a] for a in axes), sharding=sharding, weak_type=False)
        real = mean.update(dtype=wide.dtype.type(0).real.dtype)
        return [mean, real, mean, real]

    primitive.def_abstract_eval(shape)
    alone = jax.jit(primitive.bind, static_argnames="axes")

    def evaluate(*operands: Any, axes: Any) -> Any:
        with jax.disable_jit(disable=False):
            return alone(*operands, axes=axes)

    def lower(context: mlir.LoweringRuleContext, *operands: Any, axes: Any) -> Any:
        x: Any = context.avals_in[0]
        devices = devices_of(context)
        function = functools.partial(of_parts, parts=devices) if _shares_evenly(x.shape, axes, devices) else whole
        return mlir.lower_fun(function, multiple_results=True)(context, *operands, axes=axes)

    primitive.def_impl(evaluate)
    mlir.register_lowering(primitive, lower)
    batching.primitive_batchers[primitive] = batched(primitive)
    return primitive


def _shares_evenly(shape: Sequence[Any], axes: Sequence[int], devices: int | None) -> bool:
    if devices is None or not 1 < devices <= MOST or 0 in axes or not isinstance(shape[0], int):
        return False
    return shape[0] > 0 and shape[0] % devices == 0
