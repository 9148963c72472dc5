"""Convolutions and matrix products with a known kernel, and how numbers beside them move into it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbn.inference._folding.known import KnownArray, cast, combined, derived, widest
from jaxbn.inference._folding.program import Operation


class Linear(NamedTuple):
    """A linear operation on unknown data.

    Attributes:
        operation: the equation.
        data: which of its two inputs is the data; the other is the kernel.
        kernel: with all that has moved into it.
        of_result: the axis of the kernel for every axis of the result that it has too.
        of_data: the axis of the kernel for every axis of the data that it has too.
        groups: of features; in a group the axis of the data is that many times as long as that of the kernel.
        pads: whether zeros may meet the kernel that are no data.
    """

    operation: Operation
    data: int
    kernel: KnownArray
    of_result: Mapping[int, int]
    of_data: Mapping[int, int]
    groups: int = 1
    pads: bool = False

    @property
    def label(self) -> str:
        kind = "conv" if self.operation.name == "conv_general_dilated" else "dot"
        shape = "x".join(map(str, self.kernel.shape))
        return f"{kind} {self.kernel.sources[0] if self.kernel.sources else 'of a constant'} {shape}"


def linear(operation: Operation, known: Mapping[int, KnownArray]) -> Linear | None:
    """The operation as a linear one, if it is one.

    Args:
        operation: any.
        known: its known inputs, by position.
    """
    if operation.name not in ("conv_general_dilated", "dot_general") or len(known) != 1:
        return None
    if not all(jnp.issubdtype(v.aval.dtype, jnp.inexact) for v in (*operation.inputs, *operation.outputs)):
        return None
    ((position, kernel),) = known.items()
    if operation.name == "dot_general":
        return _dot(operation, position, kernel)
    return _conv(operation, kernel) if position == 1 else None


def _conv(operation: Operation, kernel: KnownArray) -> Linear:
    params = operation.eqn.params
    data, weights, result = params["dimension_numbers"]
    groups, batch_groups = params["feature_group_count"], params["batch_group_count"]
    numbers = [*(d for pair in params["padding"] for d in pair), *(d - 1 for d in params["lhs_dilation"])]
    pads = any(not isinstance(d, int) or d > 0 for d in numbers)
    of_data = {data[1]: weights[1]} if batch_groups == 1 else {}
    return Linear(operation, 0, kernel, {result[1]: weights[0]}, of_data, groups, pads)


def _dot(operation: Operation, position: int, kernel: KnownArray) -> Linear:
    (contracted, batch) = operation.eqn.params["dimension_numbers"]
    contract_kernel, contract_data = contracted[position], contracted[1 - position]
    batch_kernel, batch_data = batch[position], batch[1 - position]
    free = [a for a in range(len(kernel.shape)) if a not in (*contract_kernel, *batch_kernel)]
    others = len(operation.inputs[1 - position].aval.shape) - len(contract_data) - len(batch_data)
    first = len(batch_kernel) + (others if position == 1 else 0)
    of_result = dict(enumerate(batch_kernel)) | {first + i: a for i, a in enumerate(free)}
    of_data = dict(zip([*contract_data, *batch_data], [*contract_kernel, *batch_kernel], strict=True))
    return Linear(operation, 1 - position, kernel, of_result, of_data)


def fits(k: KnownArray, axes: Mapping[int, int]) -> bool:
    """Whether the array varies along these axes alone."""
    return all(a in axes for a in range(len(k.shape)) if k.varies(a))


def times_result(op: Linear, scale: KnownArray) -> Linear:
    """The operation whose result is multiplied."""
    return _times(op, _beside_kernel(op, scale, op.of_result))


def times_data(op: Linear, scale: KnownArray) -> Linear:
    """The operation whose data is multiplied."""
    return _times(op, _beside_kernel(op, scale, op.of_data))


def result_of(op: Linear, shift: KnownArray) -> KnownArray:
    """What the operation makes of known data, without padding: a shift beside the result."""
    factor, kernel = _beside_kernel(op, shift, op.of_data), op.kernel
    summed = tuple(a for a in range(len(kernel.shape)) if a not in op.of_result.values())
    product = _product(kernel, factor)
    shape = op.operation.outputs[0].aval.shape
    compact = [shape[a] if a in op.of_result else 1 for a in range(len(shape))]
    kept = sorted(op.of_result.values())
    order = [kept.index(op.of_result[a]) for a in sorted(op.of_result)]

    def compute(a: jax.Array) -> jax.Array:
        a = jnp.broadcast_to(a, kernel.shape)
        return a.sum(summed).transpose(order).reshape(tuple(compact))

    return derived(compact, shape, product.dtype, [product], compute)


def in_dtype(op: Linear) -> KnownArray:
    """The kernel in the dtype that the operation takes."""
    return cast(op.kernel, op.operation.inputs[1 - op.data].aval.dtype)


def bias_of(op: Linear, shift: KnownArray, returned: Any) -> KnownArray:
    """A shift beside the result as an array of the axes that the kernel has.

    Its dtype is that of the operation, which libraries of kernels then add and round at once (cuDNN in bfloat16), or
    that which is returned if it is wider.
    """
    dtype = max(op.operation.outputs[0].aval.dtype, returned, key=lambda each: jnp.finfo(each).bits)
    axes = sorted(op.of_result)
    full, compact = (tuple(part[a] for a in axes) for part in (shift.shape, shift.compact))
    return derived(full, full, dtype, [shift], lambda a: jnp.broadcast_to(a.reshape(compact), full).astype(dtype))


def _times(op: Linear, factor: KnownArray) -> Linear:
    return op._replace(kernel=_product(op.kernel, factor))


def _product(kernel: KnownArray, factor: KnownArray) -> KnownArray:
    product = combined(jnp.multiply, [kernel, factor], kernel.shape, widest(kernel.dtype, factor.dtype))
    # It goes by the name of the kernel, whatever else is in it.
    product.sources = tuple(dict.fromkeys([*kernel.sources, *factor.sources]))
    product.rooted = False
    return product


def _beside_kernel(op: Linear, k: KnownArray, axes: Mapping[int, int]) -> KnownArray:
    """An array beside the data or the result as it lies beside the kernel."""
    rank, shape = len(op.kernel.shape), op.kernel.shape
    chosen = sorted(axes, key=lambda a: axes[a])
    rest = [a for a in range(len(k.shape)) if a not in chosen]
    compact: list[Any] = [1] * rank
    for a in chosen:
        compact[axes[a]] = k.compact[a]
    grouped = op.groups > 1 and axes is op.of_data and any(k.varies(a) for a in chosen)
    if not grouped:
        return derived(compact, shape, k.dtype, [k], lambda a: a.transpose([*rest, *chosen]).reshape(tuple(compact)))
    (inner,), (outer,) = op.of_data.values(), op.of_result.values()
    compact[inner], compact[outer] = shape[inner], shape[outer]

    def compute(a: jax.Array) -> jax.Array:
        """Every output feature sees the input features of its own group."""
        per_group = jnp.repeat(a.reshape(op.groups, shape[inner]), shape[outer] // op.groups, axis=0)
        return (per_group if outer < inner else per_group.T).reshape(tuple(compact))

    return derived(compact, shape, k.dtype, [k], compute)
