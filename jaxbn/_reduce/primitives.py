"""Two linear maps between a batch and its features, each the transpose of the other.

`project` sums over the batch to numbers of each feature, `expand` spreads such numbers over the batch. Statistics, the
output, and the derivatives of both, forward and backward and of any order, are made of these two, so that each is one
pass over the batch. Both take `x` as it came, in half precision too, and so this is what the backward pass keeps.

The mean is two numbers, `pivot + offset`, which are never added: `x - pivot - offset` loses no digit.

As primitives they have a lowering per platform: the plain one, and another for a CPU.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from jaxbn._reduce import cpu, plain
from jaxbn._reduce.plain import beside

Center = tuple[jax.Array, jax.Array]


def project(values: jax.Array, x: jax.Array, center: Center, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
    """`(sum(values), sum(values * (x - center)))` over all axes but the feature axes.

    Args:
        values: of the shape of `x` and the dtype of `center`.
        x: the batch, in any precision.
        center: pivot and offset, `[features]`.
        axes: the feature axes, in ascending order.

    Returns:
        Two arrays `[features]`.
    """
    total, along = _project.bind(*varying_alike(values, x, *center), axes=tuple(axes))
    return total, along


def expand(constant: jax.Array, slope: jax.Array, x: jax.Array, center: Center, axes: Sequence[int]) -> jax.Array:
    """`constant + slope * (x - center)`.

    Args:
        constant: `[features]`.
        slope: `[features]`.
        x: the batch, in any precision.
        center: pivot and offset, `[features]`.
        axes: the feature axes, in ascending order.

    Returns:
        An array of the shape of `x` and the dtype of `center`.
    """
    (y,) = _expand.bind(*varying_alike(constant, slope, x, *center), axes=tuple(axes))
    return y


def varying_alike(*values: jax.Array) -> list[jax.Array]:
    """The values, all known to differ between the members of a mapped axis if one of them does."""
    own = [jax.typeof(value).manual_axis_type.varying for value in values]
    missing = [frozenset().union(*own) - axes for axes in own]
    return [lax.pcast(v, tuple(m), to="varying") if m else v for v, m in zip(values, missing, strict=True)]


def _primitive(name: str, shape: Callable[..., Any], default: Callable[..., Any]) -> Primitive:
    """A primitive of several results; `shape` is of them, `default` its lowering where there is no other."""
    primitive = Primitive(f"jaxbn_{name}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(shape)
    alone = jax.jit(primitive.bind, static_argnames="axes")

    def evaluate(*operands: Any, axes: Any) -> Any:
        # Where there is no program yet, it is one of this primitive alone, and lowered like any other.
        with jax.disable_jit(disable=False):
            return alone(*operands, axes=axes)

    primitive.def_impl(evaluate)
    mlir.register_lowering(primitive, mlir.lower_fun(default, multiple_results=True))
    return primitive


def _on_cpu(chosen: Callable[..., Any], default: Callable[..., Any]) -> Callable[..., Any]:
    """The lowering for a CPU."""

    def lower(context: mlir.LoweringRuleContext, *operands: Any, axes: Any) -> Any:
        batch: Any = context.avals_in[-3]  # x, before pivot and offset
        devices = devices_of(context)
        pays = devices is not None and cpu.pays(batch.shape, axes, devices)
        function = functools.partial(chosen, devices=devices) if pays else default
        return mlir.lower_fun(function, multiple_results=True)(context, *operands, axes=axes)

    return lower


def devices_of(context: mlir.LoweringRuleContext) -> int | None:
    """How many may share what is lowered, if that is known, whatever else the process sees."""
    where = context.module_context.axis_context
    if isinstance(where, mlir.ShardingContext):
        return where.num_devices
    if isinstance(where, mlir.SPMDAxisContext):
        return math.prod(n for name, n in where.mesh.shape.items() if name not in where.manual_axes)
    return None


def _of_features(values: Any, x: Any, pivot: Any, offset: Any, *, axes: Any) -> list[Any]:
    del values, x, offset, axes
    return [pivot.update(weak_type=False)] * 2


def _of_batch(constant: Any, slope: Any, x: Any, pivot: Any, offset: Any, *, axes: Any) -> list[Any]:
    del constant, slope, offset, axes
    return [x.update(dtype=pivot.dtype, weak_type=False)]


_project = _primitive("project", _of_features, plain.project)
_expand = _primitive("expand", _of_batch, plain.expand)
mlir.register_lowering(_project, _on_cpu(cpu.project, plain.project), platform="cpu")
mlir.register_lowering(_expand, _on_cpu(cpu.expand, plain.expand), platform="cpu")


Derivative = tuple[Sequence[jax.Array], Sequence[jax.Array]]


def _jvp_of_project(primals: Sequence[Any], tangents: Sequence[Any], *, axes: Any) -> Derivative:
    values, *data = primals
    total_dot, along_dot = _project.bind(ad.instantiate_zeros(tangents[0]), *data, axes=axes)
    if (moved := _moved(data, tangents[1:], axes)) is not None:
        along_dot += _project.bind(values * moved, *data, axes=axes)[0]
    return _project.bind(*primals, axes=axes), [total_dot, along_dot]


def _jvp_of_expand(primals: Sequence[Any], tangents: Sequence[Any], *, axes: Any) -> Derivative:
    _, slope, *data = primals
    (y_dot,) = _expand.bind(*map(ad.instantiate_zeros, tangents[:2]), *data, axes=axes)
    if (moved := _moved(data, tangents[2:], axes)) is not None:
        y_dot += beside(slope, data[0], axes) * moved
    return _expand.bind(*primals, axes=axes), [y_dot]


def _moved(data: Sequence[jax.Array], tangents: Sequence[Any], axes: Any) -> jax.Array | None:
    """The tangent of `x - center`, if it has one."""
    (x, pivot, _), (x_dot, *center_dot) = data, tangents
    moved = None if isinstance(x_dot, ad.Zero) else x_dot.astype(pivot.dtype)
    for part in center_dot:
        if not isinstance(part, ad.Zero):
            moved = (jnp.zeros(x.shape, pivot.dtype) if moved is None else moved) - beside(part, x, axes)
    return moved


def _transpose_of_project(cotangents: Sequence[Any], values: Any, *data: Any, axes: Any) -> list[Any]:
    del values
    return [*_expand.bind(*map(ad.instantiate_zeros, cotangents), *data, axes=axes), None, None, None]


def _transpose_of_expand(cotangents: Sequence[Any], constant: Any, slope: Any, *data: Any, axes: Any) -> list[Any]:
    found = _project.bind(ad.instantiate_zeros(cotangents[0]), *data, axes=axes)
    wanted = (ad.is_undefined_primal(part) for part in (constant, slope))
    return [part if want else None for part, want in zip(found, wanted, strict=True)] + [None, None, None]


def batched(primitive: Primitive) -> Callable[..., Any]:
    def rule(operands: Sequence[Any], mapped: Sequence[int | None], *, axes: Any) -> tuple[list[jax.Array], list[int]]:
        """The mapped axis is one more feature axis."""
        size = next(x.shape[a] for x, a in zip(operands, mapped, strict=True) if a is not None)
        fronted = [
            jnp.broadcast_to(x, (size, *x.shape)) if a is None else jnp.moveaxis(x, a, 0)
            for x, a in zip(operands, mapped, strict=True)
        ]
        results = primitive.bind(*fronted, axes=(0, *(d + 1 for d in axes)))
        return results, [0] * len(results)

    return rule


ad.primitive_jvps[_project] = _jvp_of_project
ad.primitive_jvps[_expand] = _jvp_of_expand
ad.primitive_transposes[_project] = _transpose_of_project
ad.primitive_transposes[_expand] = _transpose_of_expand
batching.primitive_batchers[_project] = batched(_project)
batching.primitive_batchers[_expand] = batched(_expand)
