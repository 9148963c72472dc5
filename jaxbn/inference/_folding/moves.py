"""Layout operations on known arrays, forth and back: what lies beside the result, and what beside the input."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from jaxbn.inference._folding.known import KnownArray, as_view, cast, derived
from jaxbn.inference._folding.program import Operation


def reshaped(k: KnownArray, shape: Sequence[Any]) -> KnownArray:
    """Reshape; axes are expanded only where they are mixed with others along which the array varies."""
    compact: list[Any] = []
    middle: list[Any] = []
    for old, new in _groups(k.shape, tuple(shape)):
        varies = any(k.varies(a) for a in old)
        middle += [k.shape[a] if varies else 1 for a in old]
        compact += [shape[a] if varies else 1 for a in new]
    made = derived(compact, shape, k.dtype, [k], lambda a: jnp.broadcast_to(a, tuple(middle)).reshape(tuple(compact)))
    return as_view(k, made)


def transposed(k: KnownArray, permutation: Sequence[int]) -> KnownArray:
    shape, compact = ([part[a] for a in permutation] for part in (k.shape, k.compact))
    made = derived(compact, shape, k.dtype, [k], lambda a: a.transpose(permutation))
    made.is_view = k.is_view
    return made


def broadcast(k: KnownArray, shape: Sequence[Any], axes: Sequence[int]) -> KnownArray:
    compact: list[Any] = [1] * len(shape)
    for own, axis in enumerate(axes):
        compact[axis] = k.compact[own]
    return as_view(k, derived(compact, shape, k.dtype, [k], lambda a: a.reshape(tuple(compact))))


def move(operation: Operation, k: KnownArray) -> KnownArray | None:
    """An operation that changes nothing but the layout, on a known array; `None` if it is another."""
    params, aval = operation.eqn.params, operation.outputs[0].aval
    match operation.name:
        case "reshape" if params.get("dimensions") is None:
            return reshaped(k, aval.shape)
        case "squeeze":
            return reshaped(k, aval.shape)
        case "transpose":
            return transposed(k, params["permutation"])
        case "broadcast_in_dim":
            return broadcast(k, aval.shape, params["broadcast_dimensions"])
        case "convert_element_type":
            return cast(k, aval.dtype)
        case "copy" | "copy_p":
            return k
    return None


def move_back(operation: Operation, k: KnownArray) -> KnownArray | None:
    """Of an array that lies beside the result of a layout operation, what lies beside its input."""
    params, shape = operation.eqn.params, operation.inputs[0].aval.shape
    match operation.name:
        case "reshape" | "squeeze":
            return reshaped(k, shape)
        case "transpose":
            order = params["permutation"]
            return transposed(k, sorted(range(len(order)), key=lambda a: order[a]))
        case "broadcast_in_dim":
            axes = params["broadcast_dimensions"]
            repeated = [a for a in range(len(k.shape)) if a not in axes or shape[axes.index(a)] != k.shape[a]]
            if any(k.varies(a) for a in repeated):
                return None
            compact = tuple(k.compact[a] for a in axes)
            return derived(compact, shape, k.dtype, [k], lambda a: a.reshape(compact))
    return k


def _groups(old: tuple[Any, ...], new: tuple[Any, ...]) -> list[tuple[range, range]]:
    """Runs of axes of equal size, as short as they are seen to be, into which a reshape falls apart."""
    start = 0
    while start < min(len(old), len(new)) and _same(old[start], new[start]):
        start += 1
    tail = 0
    while tail < min(len(old), len(new)) - start and _same(old[-1 - tail], new[-1 - tail]):
        tail += 1
    groups = [(range(a, a + 1), range(a, a + 1)) for a in range(start)]
    i, j, end_i, end_j = start, start, len(old) - tail, len(new) - tail
    if all(isinstance(d, int) and d > 0 for d in (*old[i:end_i], *new[j:end_j])):
        while i < end_i and j < end_j:
            next_i, next_j, left, right = i + 1, j + 1, old[i], new[j]
            while left != right:
                if left < right:
                    left, next_i = left * old[next_i], next_i + 1
                else:
                    right, next_j = right * new[next_j], next_j + 1
            groups.append((range(i, next_i), range(j, next_j)))
            i, j = next_i, next_j
    if i < end_i or j < end_j:
        groups.append((range(i, end_i), range(j, end_j)))
    return [*groups, *((range(end_i + a, end_i + a + 1), range(end_j + a, end_j + a + 1)) for a in range(tail))]


def _same(a: Any, b: Any) -> bool:
    return a is b or bool(a == b)
