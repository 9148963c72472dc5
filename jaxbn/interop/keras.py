"""Keras: BatchNormalization, whose variables have names or, in a model, paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbn.interop import _checks
from jaxbn.interop._prefix import from_flat, to_flat
from jaxbn.interop.conventions import KERAS
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


def from_keras(variables: Mapping[str, Any], prefix: str = "") -> tuple[BatchNormParams, BatchNormState]:
    """Parameters and state of a BatchNormalization layer of Keras.

    `scale, bias, mean, var = gamma, beta, moving_mean, moving_variance`, from `{v.name: v for v in layer.variables}` or
    `{v.path: v for v in model.variables}`. It continues with `batch_norm(..., **presets.KERAS)`.

    Args:
        variables: of the layer by their names, or of a model by their paths; `[features]`, floating.
        prefix: the layer's path in the model, e.g. `"net/bn"`, with or without the slash behind it.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `scale=False`, is
        `None`. Keras does not count updates: the count is 0, with which only `averaging="ema"` continues as it should.

    Raises:
        TypeError: `variables` is no dict, or a value no floating array that NumPy can read.
        ValueError: the running statistics are missing, or shapes differ.

    Example:
        >>> variables = {"bn/moving_mean": np.array([3.0, 4.0]), "bn/moving_variance": np.array([1.0, 2.0])}
        >>> params, state = from_keras(variables, "bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]

    Reference:
        `keras/src/layers/normalization/batch_normalization.py`; `jaxbn.interop.conventions.KERAS`.
    """
    return from_flat("variables", variables, KERAS, prefix, "/")


def to_keras(params: BatchNormParams, state: BatchNormState, prefix: str = "") -> dict[str, np.ndarray]:
    """The variables of one BatchNormalization layer of Keras, by name.

    `gamma, beta, moving_mean, moving_variance = scale, bias, mean, var`; they are put in place by
    `for v in layer.variables: v.assign(arrays[v.name])`, in a model by `v.path`.

    Args:
        params: `BatchNormParams` of real `[features]` arrays, or `None` in them.
        state: `BatchNormState` of real `[features]` arrays; its count is left out.
        prefix: the layer's path in the model, with or without the slash behind it.

    Returns:
        A dict of NumPy arrays `[features]`, copies that may be written to; without what is `None`.

    Raises:
        TypeError: complex or traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: several feature axes, or shapes that differ.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(*to_keras(*init_batch_norm(2), prefix="bn"))
        bn/gamma bn/beta bn/moving_mean bn/moving_variance

    Reference:
        `keras/src/layers/normalization/batch_normalization.py`; `jaxbn.interop.conventions.KERAS`.
    """
    _checks.ours(params, state)
    _checks.one_axis("Keras", state)
    _checks.real("Keras", params, state)
    return to_flat(params, state, KERAS, prefix, "/")
