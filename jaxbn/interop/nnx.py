"""Flax nnx: the pure dict of a layer's or a model's state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbn import _checks as core_checks
from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._tree import COUNTING, Path, descend, layers, names, nest
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, BatchNormState


def from_nnx(state: Mapping[Any, Any], path: Path = "") -> tuple[BatchNormParams, BatchNormState]:
    """Parameters and state of a batch norm layer of Flax nnx.

    `scale, bias, mean, var` and, where it is kept, `count` have the same names there, in
    `nnx.to_pure_dict(nnx.state(model))`. It continues with `batch_norm(..., **presets.FLAX)`.

    Args:
        state: the pure dict of the layer or of a whole model; `[features]`, floating or complex.
        path: the layer's place in the model, `"blocks/0/bn"` or `("blocks", 0, "bn")`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `use_scale=False`, is
        `None`; without a count it is 0, with which only `averaging="ema"` continues as it should.

    Raises:
        TypeError: `state` is no dict, or a value no floating or complex array.
        ValueError: there are no running statistics at `path`, or shapes differ.

    Example:
        >>> import numpy as np
        >>> layer = {"mean": np.array([3.0, 4.0]), "var": np.array([1.0, 2.0])}
        >>> params, state = from_nnx({"blocks": {0: {"bn": layer}}}, "blocks/0/bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]

    Reference:
        `flax/nnx/nn/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    arrays = take("state", descend("state", state, path), ("scale", "bias", "mean", "var", "count"))
    _checks.has_statistics("state", "path", path, arrays, ("mean", "var"), lambda: list(layers(state)))
    return layer(COUNTING, arrays)


def to_nnx(
    params: BatchNormParams, state: BatchNormState, path: Path = "", *, averaging: Averaging = "ema"
) -> dict[Any, Any]:
    """The pure dict of one batch norm layer of Flax nnx.

    `{scale, bias, mean, var}`, nested by `path`; it is put in place by
    `s = nnx.state(model); nnx.replace_by_pure_dict(s, to_nnx(params, state, path)); nnx.update(model, s)`.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them; Flax's own layer has one real feature axis.
        state: `BatchNormState` of `[features]` arrays.
        path: the layer's place in the model, `"blocks/0/bn"` or `("blocks", 0, "bn")`.
        averaging: that of the layer, if it is one that keeps the count too: all but `"ema"` do.

    Returns:
        Nested dicts of NumPy arrays, copies that may be written to; without what is `None`.

    Raises:
        TypeError: traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: shapes that differ, or another `averaging`.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(to_nnx(*init_batch_norm(2, use_scale=False), path="bn")["bn"]["mean"])
        [0. 0.]

    Reference:
        `flax/nnx/nn/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    _checks.ours(params, state)
    core_checks.update_rule(averaging, 0)
    return nest(path, parameters(names(averaging), params) | statistics(names(averaging), state))
