"""Values that are not computed yet: a linear operation, or any value, and what happens to it channel by channel."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp

from jaxbn.inference._folding.known import KnownArray, combined, widest
from jaxbn.inference._folding.linear import Linear, fits
from jaxbn.inference._folding.moves import move, move_back
from jaxbn.inference._folding.program import Operation, Value
from jaxbn.inference._folding.report import Item

LAYOUT = {"reshape", "squeeze", "transpose", "broadcast_in_dim", "convert_element_type", "copy", "copy_p"}
AFFINE = {"add", "sub", "mul", "div", "neg", "add_any"}


class Lazy(NamedTuple):
    """`layout(base * scale + shift)`.

    Attributes:
        base: the value, or the data of the linear operation whose result it is.
        linear: that operation, or `None`.
        frame: shape and dtype before the layout changed.
        wide: the widest dtype on the way.
        scale: beside the frame, or `None` for 1.
        shift: beside the frame, or `None` for 0.
        steps: all operations so far with their known input, in order.
        items: what is said of them in the report.
    """

    base: Value
    linear: Linear | None
    frame: Any
    wide: Any
    scale: KnownArray | None = None
    shift: KnownArray | None = None
    steps: tuple[tuple[Operation, KnownArray | None], ...] = ()
    items: tuple[Item, ...] = ()

    @property
    def layout(self) -> list[Operation]:
        return [operation for operation, _ in self.steps if operation.name in LAYOUT]

    @property
    def depends_on_variables(self) -> bool:
        return any(item.sources for item in self.items)


def begin(base: Value, op: Linear | None = None) -> Lazy:
    frame = base.aval if op is None else op.operation.outputs[0].aval
    return Lazy(base, op, frame, widest(frame.dtype))


def moved(lazy: Lazy, operation: Operation) -> Lazy | None:
    """After a layout operation, if the channels can still be told apart."""
    if operation.name not in LAYOUT:
        return None
    before, after = operation.inputs[0].aval, operation.outputs[0].aval
    if move(operation, _anything(before)) is None:
        return None
    if not jnp.issubdtype(before.dtype, jnp.inexact) or not jnp.issubdtype(after.dtype, jnp.inexact):
        return None
    if jnp.issubdtype(before.dtype, jnp.complexfloating) != jnp.issubdtype(after.dtype, jnp.complexfloating):
        return None
    return lazy._replace(steps=(*lazy.steps, (operation, None)), wide=widest(lazy.wide, after.dtype))


def changed(lazy: Lazy, operation: Operation, known: KnownArray | None, position: int) -> Lazy | None:
    """After `+ - * /` by a known array, if that can move to where the frame is.

    Args:
        lazy: the value.
        operation: with the value and the known array as inputs.
        known: that array, `None` for a change of sign.
        position: where the value is among the inputs.
    """
    name = operation.name
    if name not in AFFINE or (name == "div" and position == 1):
        return None
    out = operation.outputs[0].aval
    if tuple(operation.inputs[position].aval.shape) != tuple(out.shape):
        return None
    wide, beside, items = widest(lazy.wide, out.dtype), None, lazy.items
    if known is not None:
        beside = _beside_frame(lazy, known, out)
        if beside is None or (lazy.linear is not None and not fits(beside, lazy.linear.of_result)):
            return None
        items = (*items, Item(name in ("mul", "div"), known.sources, known.rooted))
    scale, shift = _scale_and_shift(lazy, name, beside, position, wide)
    return lazy._replace(scale=scale, shift=shift, wide=wide, steps=(*lazy.steps, (operation, known)), items=items)


def _scale_and_shift(
    lazy: Lazy, name: str, k: KnownArray | None, position: int, wide: Any
) -> tuple[KnownArray | None, KnownArray | None]:
    """Those of `value + k`, `value - k` or `k - value`, `value * k`, `value / k`, `-value`."""
    scale, shift = lazy.scale, lazy.shift

    def made(function: Any, *arrays: KnownArray) -> KnownArray:
        return combined(function, arrays, lazy.frame.shape, wide)

    if k is None:
        return _negative(lazy, wide), shift and made(jnp.negative, shift)
    if name == "mul":
        return k if scale is None else made(jnp.multiply, scale, k), shift and made(jnp.multiply, shift, k)
    if name == "div":
        quotient = made(jnp.reciprocal, k) if scale is None else made(jnp.divide, scale, k)
        return quotient, shift and made(jnp.divide, shift, k)
    if name == "sub" and position == 1:
        return _negative(lazy, wide), k if shift is None else made(jnp.subtract, k, shift)
    if name == "sub":
        return scale, made(jnp.negative, k) if shift is None else made(jnp.subtract, shift, k)
    return scale, k if shift is None else made(jnp.add, shift, k)


def at_the_end(lazy: Lazy, known: KnownArray | None) -> KnownArray | None:
    """What lies beside the frame as it lies beside the value."""
    for operation in lazy.layout:
        if known is not None and operation.name != "convert_element_type":
            known = move(operation, known)
    return known


def _beside_frame(lazy: Lazy, known: KnownArray, out: Any) -> KnownArray | None:
    full = combined(lambda a: a, [known], out.shape, widest(known.dtype))
    found: KnownArray | None = full
    for operation in reversed(lazy.layout):
        if found is not None and operation.name != "convert_element_type":
            found = move_back(operation, found)
    return found


def _anything(aval: Any) -> KnownArray:
    """A known array beside a value, of which only the shape matters."""
    return KnownArray(tuple(aval.shape), tuple(aval.shape), aval.dtype, (), lambda _: jnp.zeros(aval.shape, aval.dtype))


def _negative(lazy: Lazy, dtype: Any) -> KnownArray:
    """The scale with the other sign."""
    shape = tuple(lazy.frame.shape)
    if lazy.scale is not None:
        return combined(jnp.negative, [lazy.scale], shape, dtype)
    ones = (1,) * len(shape)
    return KnownArray(shape, ones, dtype, (), lambda _: jnp.full(ones, -1, dtype))
