"""Keras: BatchNormalization, whose variables have names or, in a model, paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

import numpy as np

from jaxbn.interop import _checks, _own_checks
from jaxbn.interop._model import Layer, Layers, given, joined
from jaxbn.interop._prefix import from_flat, to_flat
from jaxbn.interop.conventions import KERAS
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


@overload
def from_keras(variables: Mapping[str, Any], prefix: str) -> Layer: ...
@overload
def from_keras(variables: Mapping[str, Any]) -> Any: ...
def from_keras(variables: Mapping[str, Any], prefix: str = "") -> Layer | dict[str, Layer]:
    """Parameters and state of a BatchNormalization layer of Keras, or of all those of a model.

    `scale, bias, mean, var = gamma, beta, moving_mean, moving_variance`, from `{v.name: v for v in layer.variables}` or
    `{v.path: v for v in model.variables}`. Training goes on with `batch_norm(..., **presets.KERAS)`.

    Args:
        variables: of the layer by their names, or of a model by their paths; `[features]`, floating. Names may end in
            `":0"`, and dicts may be nested: an open h5 file of weights with names, or a part of one, is such a dict
            (`.weights.h5` of Keras 3 has numbers in their place; load it into a model).
        prefix: the layer's path in the model, e.g. `"net/bn"`, with or without the slash behind it. Without it all
            layers are converted whose `moving_mean` and `moving_variance` are there.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `scale=False`, is
        `None`. Keras does not count updates: the count is 0, with which only `averaging="ema"` continues as it should.
        Of a model, without `prefix`, a dict `{path: (params, state)}` in the order of the variables, which files
        sort.

    Raises:
        TypeError: `variables` is no dict, or a value no floating array that NumPy can read.
        ValueError: the running statistics are missing, or shapes differ.

    Example:
        >>> variables = {"bn/moving_mean": np.array([3.0, 4.0]), "bn/moving_variance": np.array([1.0, 2.0])}
        >>> params, state = from_keras(variables, "bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]
        >>> print(*from_keras(variables))
        bn

    Reference:
        `keras/src/layers/normalization/batch_normalization.py`; `jaxbn.interop.conventions.KERAS`.
    """
    return from_flat("variables", _flattened(_checks.mapping("variables", variables)), KERAS, prefix, "/")


def to_keras(
    params: BatchNormParams | Layers, state: BatchNormState | None = None, prefix: str = ""
) -> dict[str, np.ndarray]:
    """The variables of one BatchNormalization layer of Keras, or of all those of a model, by name.

    `gamma, beta, moving_mean, moving_variance = scale, bias, mean, var`; they are put in place by
    `for v in layer.variables: v.assign(arrays[v.name])`, in a model by `v.path` where that is in `arrays`.

    Args:
        params: `BatchNormParams` of real `[features]` arrays, or `None` in them; or, without `state`, the layers of a
            model, `{path: (params, state)}`.
        state: `BatchNormState` of real `[features]` arrays; its count is left out.
        prefix: the layer's path in the model, or that of the part of it that the layers are of, with or without the
            slash behind it.

    Returns:
        A dict of NumPy arrays `[features]`, copies that may be written to; without what is `None`, and without `":0"`.

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
    layers = given(params, state)
    for path, own in layers.items():
        _own_checks.one_axis("Keras", own[1], path)
        _own_checks.real("Keras", *own, path)
    return to_flat(layers, KERAS, prefix, "/")


def _flattened(variables: Mapping[str, Any], path: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in variables.items():
        # TensorFlow numbers the outputs of an operation, and a variable is its only one.
        where = joined(path, str(name).removesuffix(":0"), "/")
        flat |= _flattened(value, where) if isinstance(value, Mapping) else {where: value}
    return flat
