"""Flax linen: variables in the collections `params` and `batch_stats`, of Flax's own layer and of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbn import _checks as core_checks
from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._tree import COUNTING, Path, descend, layers, names, nest
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, BatchNormState


def from_linen(variables: Mapping[str, Any], path: Path = "") -> tuple[BatchNormParams, BatchNormState]:
    """Parameters and state of a batch norm layer of Flax linen.

    `scale, bias` from `variables["params"]`, `mean, var` and, where it is kept, `count` from
    `variables["batch_stats"]`. It continues with `batch_norm(..., **presets.FLAX)`.

    Args:
        variables: `{"params": ..., "batch_stats": ...}` of the layer or of a whole model; `[features]`, floating or
            complex.
        path: the layer's place in the model, `"Block_0/BatchNorm_0"` or `("Block_0", "BatchNorm_0")`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `use_scale=False`, is
        `None`; without a count it is 0, with which only `averaging="ema"` continues as it should.

    Raises:
        TypeError: `variables` is no dict, or a value no floating or complex array.
        ValueError: there are no running statistics at `path`, or shapes differ.

    Example:
        >>> import numpy as np
        >>> variables = {"batch_stats": {"bn": {"mean": np.array([3.0, 4.0]), "var": np.array([1.0, 2.0])}}}
        >>> params, state = from_linen(variables, "bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]

    Reference:
        `flax/linen/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    collections = _checks.mapping("variables", variables)
    parts, stats = collections.get("params", {}), collections.get("batch_stats", {})
    arrays = take("params", descend("params", parts, path), ("scale", "bias"))
    arrays |= take("batch_stats", descend("batch_stats", stats, path), ("mean", "var", "count"))
    _checks.has_statistics("batch_stats", "path", path, arrays, ("mean", "var"), lambda: list(layers(stats)))
    return layer(COUNTING, arrays)


def to_linen(
    params: BatchNormParams, state: BatchNormState, path: Path = "", *, averaging: Averaging = "ema"
) -> dict[str, Any]:
    """The variables of one batch norm layer of Flax linen.

    `{"params": {scale, bias}, "batch_stats": {mean, var}}`, nested by `path`.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays.
        path: the layer's place in the model, `"Block_0/BatchNorm_0"` or `("Block_0", "BatchNorm_0")`.
        averaging: that of the layer, if it is `jaxbn.linen.BatchNorm`: all but `"ema"` keep the count too.

    Returns:
        Nested dicts of NumPy arrays, copies that may be written to; without what is `None`, and without `params` if
        there are none.

    Raises:
        TypeError: traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: shapes that differ, or another `averaging`.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(to_linen(*init_batch_norm(2, use_scale=False), path="Block_0/bn")["params"])
        {'Block_0': {'bn': {'bias': array([0., 0.], dtype=float32)}}}

    Reference:
        `flax/linen/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    _checks.ours(params, state)
    core_checks.update_rule(averaging, 0)
    collections = {
        "params": parameters(names(averaging), params),
        "batch_stats": statistics(names(averaging), state),
    }
    return {name: nest(path, arrays) for name, arrays in collections.items() if arrays}
