"""One layer between another framework's names, with arrays of any kind, and our parameters and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn._numbers import statistics_dtype
from jaxbn.interop import _checks
from jaxbn.interop._model import Layer
from jaxbn.interop.conventions import Convention
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


def take(argument: str, source: Any, keys: Iterable[str], *, prefix: str = "") -> dict[str, np.ndarray]:
    """The arrays under these keys, as far as there are any; nothing else in `source` is looked at."""
    source = _checks.mapping(argument, source)
    found = {key: source.get(prefix + key) for key in keys}
    return {key: _checks.array(f"{argument}['{prefix}{key}']", v) for key, v in found.items() if v is not None}


def layer(names: Convention, arrays: Mapping[str, np.ndarray], start: str = "") -> Layer:
    """Parameters in the dtype they have, statistics in at least float32; `start` is where they are, for errors."""
    _checks.one_layer(names, arrays, start)

    def parameter(name: str) -> jax.Array | None:
        return _as_jax(arrays[name], arrays[name].dtype) if name in arrays else None

    mean, var = (_as_jax(arrays[name], statistics_dtype(arrays[name].dtype)) for name in (names.mean, names.var))
    count = 0 if names.count is None else arrays.get(names.count, 0)
    return (
        BatchNormParams(parameter(names.scale), parameter(names.bias)),
        BatchNormState(mean, var, jnp.asarray(count, jnp.int32)),
    )


def parameters(names: Convention, params: BatchNormParams) -> dict[str, np.ndarray]:
    """By their names there, as copies that may be written to; what is `None` is left out."""
    named = {names.scale: params.scale, names.bias: params.bias}
    return {name: np.array(part) for name, part in named.items() if part is not None}


def statistics(names: Convention, state: BatchNormState) -> dict[str, np.ndarray]:
    """The running statistics by their names there, as copies that may be written to; what has no name is left out."""
    named = {names.mean: state.mean, names.var: state.var, names.count: state.count}
    return {name: np.array(part) for name, part in named.items() if name is not None}


def _as_jax(array: np.ndarray, dtype: Any) -> jax.Array:
    # A copy, since frameworks that train in place share their memory with NumPy, and NumPy with JAX.
    return jnp.asarray(array.astype(jax.dtypes.canonicalize_dtype(dtype), copy=True))
