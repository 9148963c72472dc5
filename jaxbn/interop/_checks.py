"""Every check of this package, and the wording of its errors; the others it shares with the core."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import _checks
from jaxbn.interop.conventions import Convention


def mapping(argument: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise TypeError(
            f"`{argument}` must be a dict of arrays, got {type(value).__name__}; see the docstring's example."
        )
    return value


def array(label: str, value: Any) -> np.ndarray:
    known(label, value)
    _checks.no_reference(label, value)
    try:
        made = np.asarray(value)
        # Files may hold the other byte order, which JAX does not take.
        return made if made.dtype.isnative else made.astype(made.dtype.newbyteorder("="))
    except (TypeError, ValueError, RuntimeError):
        dtype = f" of {value.dtype}" if hasattr(value, "dtype") else ""
        grad = " that requires grad" if getattr(value, "requires_grad", False) else ""
        raise TypeError(
            f"`{label}` must be an array that NumPy can read, got {type(value).__name__}{dtype}{grad}; convert it, a "
            "tensor of torch with .detach().cpu().float()."
        ) from None


def known(label: str, value: Any) -> None:
    if isinstance(value, jax.core.Tracer):
        raise TypeError(f"`{label}` must hold values, got a traced array; convert outside of jit, vmap and grad.")


def inexact(label: str, value: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(value.dtype, jnp.inexact):
        raise TypeError(
            f"`{label}` must be floating or complex, got {value.dtype}; convert it with .astype('float32')."
        )
    return value


def count(label: str, value: np.ndarray) -> np.ndarray:
    if not jnp.issubdtype(value.dtype, jnp.integer):
        raise TypeError(f"`{label}` must be an integer, got {value.dtype}; convert it with .astype('int32').")
    if value.shape != ():
        raise ValueError(f"`{label}` must be a scalar, got the shape {value.shape}; convert layers one by one.")
    if not 0 <= int(value) < 2**31:
        raise ValueError(f"`{label}` must be at least 0 and less than 2**31, got {value}; set it to 0.")
    return value


def boolean(label: str, value: np.ndarray) -> bool:
    if value.dtype != np.bool_ or value.shape != ():
        raise TypeError(f"`{label}` must be a bool scalar, got {value.dtype} of the shape {value.shape}.")
    return bool(value)


def mode_held(argument: str, arrays: Any, modes: Mapping[Any, tuple[str, str]]) -> Any:
    """The mode both of whose entries are there."""
    mapping(argument, arrays)
    for mode, names in modes.items():
        if all(arrays.get(name) is not None for name in names):
            return mode
    either = ", or ".join(" and ".join(map(repr, names)) for names in modes.values())
    raise ValueError(f"`{argument}` must hold {either}, got {list(arrays)}; see jaxbn/interop/equinox.py.")


def pair(label: str, value: Any, members: str, remedy: str) -> tuple[Any, Any]:
    if not isinstance(value, Sequence) or len(value) != 2 or any(part is None for part in value):
        got = ", ".join(type(part).__name__ for part in (value if isinstance(value, Sequence) else [value]))
        raise TypeError(f"`{label}` must be the pair ({members}), got {got}; pass {remedy}.")
    return value[0], value[1]


def has_norms(argument: str, model: Any, found: Collection[str]) -> None:
    if not found:
        raise ValueError(
            f"`{argument}` must be a model with batch norms of Equinox, got {type(model).__name__} without one; pass "
            "what make_with_state returns."
        )


def not_inside(argument: str, arrays: Mapping[Any, Any], has_layers: Callable[[Mapping[Any, Any]], bool]) -> None:
    """No state dict of a model lies inside, as in a checkpoint."""
    for key, value in arrays.items():
        if isinstance(value, Mapping) and has_layers(value):
            raise ValueError(
                f"`{argument}` must hold the arrays themselves, got them inside of {key!r}; pass {argument}[{key!r}]."
            )


def has_statistics(
    argument: str,
    keyword: str,
    wanted: object,
    arrays: Collection[str],
    needed: Sequence[str],
    layers: Callable[[], list[str]],
) -> None:
    missing = [repr(name) for name in needed if name not in arrays]
    if missing:
        there = layers()
        raise ValueError(
            f"`{argument}` must hold {' and '.join(missing)} for the {keyword} {wanted!r}, got them for "
            + (
                f"{listed(there)}; pass one of these as `{keyword}`."
                if there
                else "no layer; one that keeps no running statistics begins with init_batch_norm."
            )
        )


def listed(names: Collection[str]) -> str:
    first = [repr(name) if isinstance(name, str) else _checks.shown(name) for name in [*names][:5]]
    return ", ".join([*first, *(["..."] if len(names) > 5 else [])])


def one_layer(names: Convention, arrays: Mapping[str, np.ndarray], start: str) -> None:
    """What was read is floating and of one shape, with a real variance and a scalar count.

    Args:
        names: of the parts.
        arrays: the parts by their names.
        start: what these names begin with in a model.
    """
    shape = arrays[names.mean].shape
    for name in (names.scale, names.bias, names.mean, names.var):
        if name in arrays and inexact(start + name, arrays[name]).shape != shape:
            raise ValueError(
                f"`{start}{name}` must have the shape {shape} of `{start}{names.mean}`, got {arrays[name].shape}; all "
                "must be of one layer."
            )
    if np.iscomplexobj(arrays[names.var]):
        raise TypeError(f"`{start}{names.var}` must be real, got {arrays[names.var].dtype}; take its real part.")
    if names.count is not None and names.count in arrays:
        count(start + names.count, arrays[names.count])


def name(keyword: str, value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(
            f"`{keyword}` must be a string, got {_checks.shown(value)}; it is what the layer's entries begin with."
        )
    return value


def path(value: Any) -> Any:
    if not isinstance(value, Sequence) or not all(isinstance(step, str | int) for step in value):
        raise TypeError(
            f"`path` must be a string or a sequence of names, got {_checks.shown(value)}; '' is for a layer by itself."
        )
    return value


def decay(name: str, value: Any) -> None:
    _checks.scalar(name, value)
    if _checks.is_known(value) and not 0 <= np.float32(value) < 1:
        raise ValueError(
            f"`{name}` must be at least 0 and, in single precision, less than 1, got {value}; it is the weight of the "
            "old average."
        )


def whole(name: str, value: Any) -> None:
    if not (isinstance(value, int) and not isinstance(value, bool)) and not _checks.is_array(value, jnp.integer):
        raise TypeError(f"`{name}` must be an integer, got {_checks.shown(value)}; pass state.count.")
    if isinstance(value, int) and not -(2**31) <= value < 2**31:
        raise ValueError(f"`{name}` must be less than 2**31, got {_checks.shown(value)}; pass state.count.")


def singletons(name: str, shape: Sequence[int], axes: Collection[int]) -> None:
    if any(n != 1 for d, n in enumerate(shape) if d not in axes):
        raise ValueError(
            f"`{name}` must have size 1 along all axes but the feature axes {tuple(axes)}, got the shape {shape}; "
            "check `axis`."
        )


def dimensions(value: Any, features: int) -> None:
    # No array of NumPy has more of them.
    if not isinstance(value, int) or isinstance(value, bool) or not features <= value <= 64:
        raise ValueError(
            f"`ndim` must be an int from {features} to 64, the dimensions of the data, got {_checks.shown(value)}."
        )


def feature_axes(axes: Collection[int], features: int) -> None:
    if len(axes) != features:
        raise ValueError(f"`axis` must name {features} feature axes, as the statistics have, got {tuple(axes)}.")
