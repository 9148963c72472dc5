"""Every check of arguments of the core and the layers, and the wording of their errors.

`interop`, `preprocess`, `inference` and `variants` each have a file of checks for what only they can be given.

Only static facts raise: dtypes, shapes, ranges of Python numbers. Values inside `jit` never do. A wrong dtype or type
is a `TypeError`, a wrong shape or value a `ValueError`; the sentence names the argument, what was expected, what
arrived and the remedy.
"""

from __future__ import annotations

import contextlib
import functools
import operator
import reprlib
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike

from jaxbn._numbers import statistics_dtype


def shown(value: object) -> str:
    """What arrived, on one line, however large it is."""
    return " ".join(reprlib.repr(value).split())


def is_reference(value: Any) -> bool:
    """A reference of JAX, or a list with one: inside of `jit` it would be read for ever, as a list without an end."""
    return isinstance(value, jax.Ref) or (isinstance(value, list | tuple) and any(map(is_reference, value)))


def no_reference(name: str, value: Any) -> None:
    if is_reference(value):
        raise TypeError(f"`{name}` must be an array, got a Ref; read it with ref[...].")


def array(value: ArrayLike, name: str) -> jax.Array:
    no_reference(name, value)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        # Of a NumPy array `asarray` makes two copies.
        return jnp.asarray(jax.device_put(value) if isinstance(value, np.ndarray) else value)
    raise TypeError(f"`{name}` must be an array, got {type(value).__name__}; convert it with jnp.asarray.")


def data(x: ArrayLike, name: str = "x") -> jax.Array:
    x = array(x, name)
    if not jnp.issubdtype(x.dtype, jnp.inexact):
        raise TypeError(
            f"`{name}` must be floating or complex, got {x.dtype}; convert it, e.g. with {name}.astype('float32')."
        )
    if x.dtype.itemsize < 2:
        # Neither have all of them a 0, nor is there a wider dtype that they go into by themselves.
        raise TypeError(f"`{name}` must have at least 16 bits, got {x.dtype}; convert it, e.g. to bfloat16.")
    if x.ndim == 0:
        raise ValueError(f"`{name}` must have a feature axis, got a scalar; give it the shape [..., features].")
    return x


def axes(axis: int | Sequence[int], ndim: int) -> tuple[int, ...]:
    """The feature axes counted from 0, in the order given."""
    given = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    try:
        given = tuple(operator.index(a) for a in given)
    except TypeError:
        raise TypeError(f"`axis` must be an int or a tuple of ints, got {shown(axis)}.") from None
    if not given:
        raise ValueError("`axis` must name at least one feature axis, got an empty tuple.")
    for a in given:
        if not -ndim <= a < ndim:
            raise ValueError(f"`axis` must lie in [{-ndim}, {ndim}) for `x` with {ndim} dimensions, got {shown(axis)}.")
    counted = tuple(a % ndim for a in given)
    if len(set(counted)) < len(counted):
        raise ValueError(f"`axis` must not name an axis twice, got {shown(axis)} for `x` with {ndim} dimensions.")
    return counted


def weights(mask: ArrayLike) -> jax.Array:
    made: Any = None
    no_reference("mask", mask)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        made = jnp.asarray(mask)
    if not is_array(made, jnp.bool_, jnp.integer, jnp.floating):
        got = type(mask).__name__ if made is None else made.dtype
        raise TypeError(f"`mask` must be bool or real weights, got {got}.")
    return made


def mask(mask: ArrayLike | None, x: jax.Array) -> jax.Array | None:
    if mask is None:
        return None
    mask = weights(mask)
    if mask.ndim != x.ndim:
        raise ValueError(
            f"`mask` must have as many dimensions as `x` {x.shape}, got the shape {mask.shape}; give it size 1 along "
            f"the axes where it does not vary, for one weight per example {(*x.shape[:1], *[1] * (x.ndim - 1))}."
        )
    if any(m not in (1, n) for m, n in zip(mask.shape, x.shape, strict=True)):
        raise ValueError(f"`mask` must broadcast to `x` {x.shape}, got the shape {mask.shape}.")
    # Once and for all in the precision of the sums: a weight must not be 0 in one place and not in another.
    if mask.dtype == jnp.bool_:
        return mask
    return jax.lax.stop_gradient(mask.astype(jnp.finfo(statistics_dtype(x.dtype)).dtype))


def flag(name: str, value: Any) -> bool | jax.Array:
    """A Python bool where the value is known without tracing, otherwise a bool scalar array."""
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if not hasattr(value, "dtype"):
        raise TypeError(f"`{name}` must be a bool, got {shown(value)}.")
    if value.dtype != jnp.bool_:
        raise TypeError(f"`{name}` must be a bool, got an array of {value.dtype}; compare it with something.")
    if value.shape != ():
        raise ValueError(f"`{name}` must be a scalar, got the shape {value.shape}; jax.vmap takes one per member.")
    return array(value, name)


def momentum(value: Any) -> None:
    scalar("momentum", value)
    if is_known(value) and not 0 <= value <= 1:
        raise ValueError(f"`momentum` must lie between 0 and 1, got {value}; it is the weight of the old statistics.")


def epsilon(value: Any) -> None:
    scalar("epsilon", value)
    if is_known(value) and not 0 <= value < float("inf"):
        raise ValueError(f"`epsilon` must be finite and at least 0, got {value}.")


def switch(name: str, value: Any) -> bool:
    """A flag that decides what there is, so that it can't be traced."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"`{name}` must be a bool, got {shown(value)}.")
    return bool(value)


def scalar(name: str, value: Any) -> None:
    if not isinstance(value, int | float) and not is_array(value, jnp.floating, jnp.integer):
        raise TypeError(f"`{name}` must be a real number, got {shown(value)}.")
    if np.ndim(value) != 0:
        raise ValueError(f"`{name}` must be a scalar, got the shape {np.shape(value)}.")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError(f"`{name}` must be a number of at most 64 bits, got {shown(value)}; write it as a float.")


def is_array(value: Any, *kinds: Any) -> bool:
    """Whether it is one, of JAX or NumPy or like theirs, with numbers of one of these kinds that JAX has too."""
    there = hasattr(value, "dtype") and hasattr(value, "astype") and not isinstance(value, np.ma.MaskedArray)
    return there and _is_of(value.dtype, kinds)


@functools.cache
def _is_of(dtype: Any, kinds: tuple[Any, ...]) -> bool:
    return any(jnp.issubdtype(dtype, kind) for kind in kinds) and dtype.char not in "gGm"


def is_known(value: Any) -> bool:
    return isinstance(value, int | float | np.number | np.ndarray)


def update_rule(averaging: object, ddof: object) -> None:
    choice("averaging", averaging, ("ema", "warmup", "cumulative"))
    choice("ddof", ddof, (0, 1))


def choice(name: str, value: object, allowed: Sequence[object]) -> None:
    if not any(type(value) is type(a) and value == a for a in allowed):
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, allowed))}, got {shown(value)}.")


def features(value: int | Sequence[int], name: str = "features") -> tuple[int, ...]:
    try:
        shape = tuple(map(operator.index, value)) if isinstance(value, Sequence) else (operator.index(value),)
    except TypeError:
        raise TypeError(f"`{name}` must be an int or a tuple of ints, got {shown(value)}.") from None
    if not shape or not all(0 <= number < 2**31 for number in shape):
        raise ValueError(f"`{name}` must be at least 0, less than 2**31 and not empty, got {shown(value)}.")
    return shape


def num_features(value: int | Sequence[int], x: jax.Array, feature_axes: Sequence[int]) -> None:
    expected = tuple(x.shape[a] for a in feature_axes)
    if features(value, "num_features") != expected:
        raise ValueError(
            f"`x` must have num_features={value} along the feature axes {tuple(feature_axes)}, got {expected} in the "
            f"shape {x.shape}; check `num_features` and `axis`."
        )


def float_dtype(name: str, value: DTypeLike) -> Any:
    try:
        # Of more, as of an array, NumPy would take the dtype.
        dtype = jnp.dtype(value) if value is None or isinstance(value, str | type | np.dtype) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None:
        raise TypeError(f"`{name}` must be a floating or complex dtype, got {shown(value)}.")
    if not jnp.issubdtype(dtype, jnp.inexact) or dtype.itemsize < 2:
        raise TypeError(f"`{name}` must be a floating or complex dtype of at least 16 bits, got {dtype}.")
    return jax.dtypes.canonicalize_dtype(dtype)


def keys(key: Any, number: int) -> Sequence[jax.Array | None]:
    """So many keys of one, or of none."""
    if key is None:
        return [None] * number
    try:
        return [*jax.random.split(key, number)]
    except (TypeError, ValueError):
        got = shown(key)
        raise TypeError(f"`key` must be a PRNG key, got {got}; make one with jax.random.key(0).") from None


def initial(
    name: str, init: Callable[..., Any], key: jax.Array | None, shape: tuple[int, ...], dtype: Any
) -> jax.Array:
    value = drawn(name, init, key, shape, dtype)
    with contextlib.suppress(TypeError, ValueError, OverflowError):
        value = value if is_reference(value) else jnp.asarray(value)
    kind = jnp.number if jnp.issubdtype(dtype, jnp.complexfloating) else jnp.floating
    if not is_array(value, kind, jnp.integer, jnp.bool_):
        raise TypeError(f"`{name}` must return an array of {dtype}, got {_kind(value)}.")
    if value.shape != shape:
        raise ValueError(f"`{name}` must return the shape {shape}, got {value.shape}.")
    return value.astype(dtype)


def drawn(name: str, init: Any, key: jax.Array | None, shape: tuple[int, ...], dtype: Any) -> Any:
    """What an initialiser returns, which for a layer of Flax may be more than an array."""
    try:
        return init(key, shape, dtype)
    except Exception as error:
        # That of a call that never began has no place in the function.
        if isinstance(error, TypeError) and error.__traceback__ is not None and error.__traceback__.tb_next is None:
            raise TypeError(
                f"`{name}` must be a function (key, shape, dtype) -> array, got {shown(init)}; see jax.nn.initializers."
            ) from error
        if key is not None:
            raise
        raise ValueError(
            f"`{name}` failed without a PRNG key ({type(error).__name__}); if it is random, pass e.g. "
            "key=jax.random.key(0)."
        ) from error


def fits(params: Any, state: Any, x: jax.Array, feature_axes: Sequence[int], *, of: str = "state.") -> None:
    """Parameters and statistics have the shape of the feature axes, and are complex only together with `x`."""
    expected = tuple(x.shape[a] for a in feature_axes)
    if not (hasattr(params, "scale") and hasattr(params, "bias")):
        raise TypeError(f"`params` must be BatchNormParams, got {type(params).__name__}; see init_batch_norm.")
    is_state(state)
    parts = {
        "params.scale": params.scale,
        "params.bias": params.bias,
        f"{of}mean": state.mean,
        f"{of}var": state.var,
    }
    for name, part in parts.items():
        if part is None:
            continue
        if not is_array(part, jnp.number, jnp.bool_):
            raise TypeError(f"`{name}` must be an array, got {_kind(part)}; convert it with jnp.asarray.")
        if jnp.shape(part) != expected:
            raise ValueError(
                f"`{name}` must have the shape {expected} of the feature axes of `x` {x.shape}, got {jnp.shape(part)}; "
                "check `axis`, and the `features` given to init_batch_norm."
            )
        if jnp.iscomplexobj(part) and (name == f"{of}var" or not jnp.iscomplexobj(x)):
            raise TypeError(f"`{name}` must be real for `x` of {x.dtype}, got {part.dtype}.")
    if jnp.iscomplexobj(x) and not jnp.iscomplexobj(state.mean):
        raise TypeError(
            f"`{of}mean` must be complex for `x` of {x.dtype}, got {state.mean.dtype}; "
            f"use init_batch_norm(..., dtype='{x.dtype}')."
        )


def is_state(state: Any) -> None:
    if not (hasattr(state, "mean") and hasattr(state, "var") and hasattr(state, "count")):
        raise TypeError(f"`state` must be BatchNormState, got {type(state).__name__}; see init_batch_norm.")


def statistic(name: str, part: Any) -> None:
    if not is_array(part, jnp.inexact) or part.dtype.itemsize < 2:
        raise TypeError(f"`{name}` must be a floating array, got {_kind(part)}; see init_batch_norm.")


def _state_parts(state: Any) -> None:
    """An average in half precision sticks, and one of integers does not move at all."""
    kinds = {
        "mean": (jnp.inexact, "a floating or complex"),
        "var": (jnp.floating, "a floating"),
        "count": (jnp.integer, "an integer"),
    }
    for name, (kind, words) in kinds.items():
        part = getattr(state, name)
        if not is_array(part, kind):
            raise TypeError(f"`state.{name}` must be {words} array, got {_kind(part)}; see init_batch_norm.")
        if kind is not jnp.integer and jnp.finfo(part.dtype).bits < 32:
            raise TypeError(
                f"`state.{name}` must be at least float32 to be updated, got {part.dtype}, in which an average sticks; "
                f"convert it with state.{name}.astype('float32')."
            )
    if state.var.shape != state.mean.shape:
        raise ValueError(f"`state.var` must have the shape {state.mean.shape} of `state.mean`, got {state.var.shape}.")


def state_values(state: Any) -> None:
    """Types, shapes and values of a state that is no tracer."""
    is_state(state)
    if any(isinstance(part, jax.core.Tracer) for part in (state.mean, state.var, state.count)):
        raise TypeError("`state` must hold values, got a traced array; call check_state outside of jit, vmap and grad.")
    _state_parts(state)
    if state.count.shape != ():
        raise ValueError(
            f"`state.count` must be a scalar, got the shape {state.count.shape}; of several states, check each."
        )
    for name in ("mean", "var", "count"):
        part = np.asarray(getattr(state, name))
        _values(f"state.{name}", part, ~np.isfinite(part), "finite")
        if name != "mean":
            _values(f"state.{name}", part, part < 0, "at least 0")


def _kind(value: Any) -> Any:
    """Its dtype, if it is an array, or its type."""
    return value.dtype if hasattr(value, "astype") and hasattr(value, "dtype") else type(value).__name__


def _values(name: str, part: np.ndarray, wrong: np.ndarray, words: str) -> None:
    if np.any(wrong):
        first = tuple(int(i) for i in np.argwhere(wrong)[0])
        where = f" for feature {first}, one of {np.sum(wrong)} such" if first else ""
        raise ValueError(f"`{name}` must be {words}, got {part[first]}{where}; restore an earlier state.")


def moments(name: str, value: Any) -> None:
    """Three arrays, of which only the mean may be complex."""
    if not (hasattr(value, "count") and hasattr(value, "mean") and hasattr(value, "m2")):
        raise TypeError(f"`{name}` must be Moments, got {type(value).__name__}; see batch_moments.")
    for part, kind in (("count", jnp.floating), ("mean", jnp.inexact), ("m2", jnp.floating)):
        if not is_array(getattr(value, part), kind) or getattr(value, part).dtype.itemsize < 2:
            got = _kind(getattr(value, part))
            raise TypeError(
                f"`{name}.{part}` must be a floating array, got {got}; convert it with jnp.asarray(..., 'float32')."
            )


def moments_fit_state(moments: Any, state: Any) -> None:
    is_state(state)
    _state_parts(state)
    for name, part in zip(("count", "mean", "m2"), moments, strict=True):
        if part.shape != state.mean.shape:
            raise ValueError(
                f"`moments.{name}` must have the shape {state.mean.shape} of `state.mean`, got {part.shape}."
            )
    if jnp.iscomplexobj(moments.mean) and not jnp.iscomplexobj(state.mean):
        raise TypeError(
            f"`state.mean` must be complex for complex moments, got {state.mean.dtype}; use init_state(..., "
            f"dtype='{moments.mean.dtype}')."
        )


def same_shapes(**moments: Any) -> None:
    shapes = [tuple(part.shape for part in m) for m in moments.values()]
    if len({shape for each in shapes for shape in each}) > 1:
        names, got = (" and ".join(map(str, found)) for found in ((f"`{name}`" for name in moments), shapes))
        raise ValueError(f"{names} must have arrays of one shape, got {got}.")


def axis_size(axis_name: Any) -> int:
    """How many members a mapped axis has, or several have together."""
    try:
        return lax.axis_size(axis_name)
    except (NameError, TypeError, ValueError):
        raise ValueError(
            f"`axis_name` must be a mapped axis, or several in a tuple, got {shown(axis_name)}, which is none here; "
            "leave it out, also where arrays are sharded under jit, or map over it."
        ) from None


def groups_cover(groups: Sequence[Sequence[int]], size: int) -> list[list[int]]:
    """The groups as lists of ints, every member of the mapped axis in exactly one."""
    try:
        members = [[operator.index(member) for member in group] for group in groups]
    except TypeError:
        raise TypeError(f"`axis_index_groups` must be a list of lists of ints, got {shown(groups)}.") from None
    if sorted(member for group in members for member in group) != list(range(size)):
        raise ValueError(
            f"`axis_index_groups` must name each of the {size} members of the axis exactly once, got {shown(groups)}."
        )
    return members


def groups_need_axis(groups: object, axis_name: object) -> None:
    if groups is not None and axis_name is None:
        raise ValueError("`axis_index_groups` needs `axis_name`, got None; name the mapped axis, or drop the groups.")
