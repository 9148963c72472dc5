"""Checks of what goes out: our own layers, one or those of a model by their paths, and where they are put."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbn._checks import shown
from jaxbn.interop._checks import array, count, inexact, listed


def one(params: Any, state: Any, path: str = "") -> None:
    """What is to be converted are known values of one layer."""
    if not (hasattr(params, "scale") and hasattr(params, "bias")):
        raise TypeError(f"`{_at('params', path)}` must be BatchNormParams, got {_kind(params)}; see init_batch_norm.")
    if not (hasattr(state, "mean") and hasattr(state, "var") and hasattr(state, "count")):
        raise TypeError(f"`{_at('state', path)}` must be BatchNormState, got {_kind(state)}; see init_batch_norm.")
    parts = {
        "params.scale": params.scale,
        "params.bias": params.bias,
        "state.mean": state.mean,
        "state.var": state.var,
    }
    made = {name: array(_at(name, path), part) for name, part in parts.items() if part is not None or "state" in name}
    count(_at("state.count", path), array(_at("state.count", path), state.count))
    if np.iscomplexobj(made["state.var"]):
        raise TypeError(f"`{_at('state.var', path)}` must be real, got {made['state.var'].dtype}; take its real part.")
    for name, part in made.items():
        inexact(_at(name, path), part)
    for name, part in made.items():
        if part.shape != made["state.mean"].shape:
            raise ValueError(
                f"`{_at(name, path)}` must have the shape {made['state.mean'].shape} of `state.mean`, got "
                f"{part.shape}; all must be of one layer."
            )


def one_axis(framework: str, state: Any, path: str) -> None:
    if np.ndim(state.mean) != 1:
        raise ValueError(
            f"`{_at('state.mean', path)}` must have one feature axis for {framework}, got the shape "
            f"{np.shape(state.mean)}; make one axis of them."
        )


def real(framework: str, params: Any, state: Any, path: str) -> None:
    for name, part in {"params.scale": params.scale, "params.bias": params.bias, "state.mean": state.mean}.items():
        if np.iscomplexobj(part):
            raise TypeError(
                f"`{_at(name, path)}` must be real for {framework}, got {part.dtype}; only Flax and Equinox hold it."
            )


def by_path(argument: str, value: Any) -> dict[str, tuple[Any, Any]]:
    """Layers as `from_torch` returns those of a model."""
    if not isinstance(value, Mapping) or not all(isinstance(path, str) for path in value):
        raise TypeError(
            f"`{argument}` must be a dict of layers by their paths, got {_kind(value)}; from_torch and its like return "
            "one for a model."
        )
    for path, layer in value.items():
        if not isinstance(layer, tuple) or len(layer) != 2:
            raise TypeError(
                f"`{argument}[{path!r}]` must be a pair (params, state), got {_kind(layer)}; from_torch and its like "
                "return one for every layer."
            )
    return dict(value)


def of_layer(argument: str, values: Mapping[str, Any], path: str) -> Any:
    if path not in values:
        raise ValueError(f"`{argument}` must be given for {path!r}, got {listed([*values]) or 'none'}; add it.")
    return values[path]


def new_names(paths: Collection[str], names: Any) -> list[str]:
    """The names of layers, in their order, all of them different."""
    if isinstance(names, Mapping):
        if unknown := [name for name in names if name not in paths]:
            raise ValueError(f"`names` must be for {listed(paths)}, got one for {listed(unknown)}; check its keys.")
        new = [names.get(path, path) for path in paths]
    elif callable(names):
        new = [names(path) for path in paths]
    elif isinstance(names, Sequence) and not isinstance(names, str):
        new = [*names]
        if len(new) != len(paths):
            raise ValueError(
                f"`names` must be {len(paths)}, one for each of {listed(paths)}, got {len(new)}; give all of them, in "
                "this order."
            )
    else:
        raise TypeError(
            f"`names` must be a dict, a list or a function, got {_kind(names)}; it says what each layer is called."
        )
    for path, name in zip(paths, new, strict=True):
        if not isinstance(name, str):
            raise TypeError(f"`names` must give strings, got {shown(name)} for {path!r}; write a path as 'Block_0/bn'.")
    if twice := [name for name in dict.fromkeys(new) if new.count(name) > 1]:
        raise ValueError(f"`names` must differ, got {listed(twice)} more than once; every layer needs one of its own.")
    return new


def named(module: str) -> None:
    if not module:
        raise ValueError(
            "`module` must be the name of the layer's module, got ''; only the layers of a model bring their own."
        )


def there(path: str, found: bool, norms: Callable[[], Iterable[str]]) -> None:
    """There is a layer in what is merged into."""
    if not found:
        raise ValueError(
            f"`into` must hold a batch norm at {path!r}, got {listed([*norms()]) or 'none'}; call the layers as there, "
            "by interop.rename."
        )


def fits(path: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    """The layer has the parts and the shape of the one that it replaces, and is no more complex."""
    if set(old) != set(new):
        raise ValueError(
            f"`into` must have at {path!r} what the layer has, {listed(sorted(new))}, got {listed(sorted(old))}; build "
            "the model with the same scales and biases."
        )
    for name, part in new.items():
        shape = getattr(old[name], "shape", None)
        if shape is not None and tuple(shape) != np.shape(part):
            raise ValueError(
                f"`into` must have the shape {np.shape(part)} at {path!r}, got {tuple(shape)} for {name!r}; check that "
                "the two layers are the same."
            )
        dtype = getattr(old[name], "dtype", part.dtype)
        if not jnp.issubdtype(dtype, jnp.integer if part.dtype.kind == "i" else jnp.inexact):
            raise TypeError(
                f"`into` must hold numbers of the kind of {part.dtype} at {path!r}, got {dtype} for {name!r}; check "
                "that the two layers are the same."
            )
        if np.iscomplexobj(part) and dtype.kind != "c":
            raise TypeError(
                f"`into` must be complex at {path!r}, got {dtype} for {name!r}; build the model with complex data."
            )


def _at(name: str, path: str) -> str:
    return f"{name} at {path!r}" if path else name


def _kind(value: Any) -> str:
    return type(value).__name__
