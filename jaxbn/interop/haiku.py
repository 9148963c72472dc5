"""Haiku: BatchNorm, which keeps zero-debiased averages in the layout of the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, overload

import jax
import numpy as np

from jaxbn import _checks as core_checks
from jaxbn._layout import ascending, from_data_layout
from jaxbn.interop import _checks, _own_checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._model import Layer, Layers, given, joined
from jaxbn.interop.conventions import HAIKU
from jaxbn.interop.debiasing import weight_of_batches
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState

MEAN, VAR = "/~/mean_ema", "/~/var_ema"


@overload
def from_haiku(
    params: Mapping[str, Any], state: Mapping[str, Any], module: str, *, axis: int | Sequence[int] = -1
) -> Layer: ...
@overload
def from_haiku(params: Mapping[str, Any], state: Mapping[str, Any], *, axis: int | Sequence[int] = -1) -> Any: ...
def from_haiku(
    params: Mapping[str, Any], state: Mapping[str, Any], module: str = "", *, axis: int | Sequence[int] = -1
) -> Layer | dict[str, Layer]:
    """Parameters and state of a batch norm module of Haiku, or of all those of a model.

    `scale, bias = scale, offset`; `mean`, `var` are the `average`, and `count` the `counter`, of its moving averages.
    Training goes on with `batch_norm(..., momentum=debiased_momentum(decay_rate, state.count))`.

    Args:
        params: Haiku's parameters, `{module: {"scale", "offset"}}`, `[1, ..., features]`, floating.
        state: Haiku's state, `{module + "/~/mean_ema": {"average", "counter"}, module + "/~/var_ema": ...}`, floating.
        module: the module's name, e.g. `"net/~/batch_norm"`. Without it all modules are converted that have both
            averages.
        axis: the feature axis in that layout, or several.

    Returns:
        `(BatchNormParams, BatchNormState)` of `[features]` arrays: copies, parameters in the dtype they have,
        statistics in at least float32 (float64 becomes float32 unless JAX's 64-bit types are enabled). What is
        missing, as with `create_scale=False`, is `None`.
        Of a model, without `module`, a dict `{module: (params, state)}` in the order of Haiku's state.

    Raises:
        TypeError: `params` or `state` is no dict, or a value no floating array.
        ValueError: the module has no averages, or shapes that differ or do not fit `axis`.

    Example:
        >>> mean = {"average": np.array([[3.0, 4.0]]), "counter": np.array(7)}
        >>> state = {"bn/~/mean_ema": mean, "bn/~/var_ema": {"average": np.array([[1.0, 2.0]])}}
        >>> params, state = from_haiku({}, state, "bn")
        >>> print(state.mean, state.var, state.count)
        [3. 4.] [1. 2.] 7

    Reference:
        `haiku/_src/batch_norm.py`, `haiku/_src/moving_averages.py`; `jaxbn.interop.conventions.HAIKU`.
    """
    _checks.name("module", module)
    params, state = _checks.mapping("params", params), _checks.mapping("state", state)
    counted = [name for name, own in state.items() if isinstance(own, Mapping) and "counter" in own]
    found = [name.removesuffix(MEAN) for name in counted if isinstance(name, str) and name.endswith(MEAN)]
    modules = [name for name in found if name + VAR in state]

    def one(module: str) -> Layer:
        arrays = take("params", params.get(module, {}), (HAIKU.scale, HAIKU.bias))
        for name, keys in ((MEAN, ("average", "counter")), (VAR, ("average",))):
            found = take(f"state['{module}{name}']", state.get(module + name, {}), keys)
            arrays |= {f"{name.removeprefix('/~/')}/{key}": array for key, array in found.items()}
        needed = (HAIKU.mean, HAIKU.var, "mean_ema/counter")
        _checks.has_statistics("state", "module", module, arrays, needed, lambda: modules)
        trained, running = layer(HAIKU, arrays, f"{module}/")
        axes = core_checks.axes(axis, running.mean.ndim)
        _checks.singletons(f"{module}/{HAIKU.mean}", running.mean.shape, axes)
        trained, (mean, var) = jax.tree.map(lambda part: from_data_layout(part, axes), (trained, running[:2]))
        return trained, BatchNormState(mean, var, running.count)

    return one(module) if module or not modules else {module: one(module) for module in modules}


def to_haiku(
    params: BatchNormParams | Layers,
    state: BatchNormState | None = None,
    module: str = "",
    *,
    decay: float,
    ndim: int | Mapping[str, int],
    axis: int | Sequence[int] = -1,
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, np.ndarray]]]:
    """Parameters and state of one batch norm module of Haiku, or of all those of a model.

    `average = mean` or `var`, `hidden = average * (1 - decay**count)`, `counter = count`. They are put in place by
    `{**model_params, **params}, {**model_state, **state}`.

    Args:
        params: `BatchNormParams` of real `[features]` arrays, or `None` in them; or, without `state`, the layers of a
            model, `{module: (params, state)}`.
        state: `BatchNormState` of real `[features]` arrays.
        module: the module's name, e.g. `"net/~/batch_norm"`, or what the names of all of a model begin with.
        decay: the module's `decay_rate`, at least 0 and less than 1.
        ndim: the number of dimensions of the module's data; of a model also a dict from module to number.
        axis: the feature axis there, or several.

    Returns:
        `(params, state)`, dicts of dicts of NumPy arrays `[1, ..., features]`, copies that may be written to; without
        what is `None`.

    Raises:
        TypeError: complex or traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: an argument out of its range, or shapes that differ.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> params, state = to_haiku(*init_batch_norm(2), module="bn", decay=0.99, ndim=4)
        >>> print(params["bn"]["scale"].shape, *state)
        (1, 1, 1, 2) bn/~/mean_ema bn/~/var_ema

    Reference:
        `haiku/_src/batch_norm.py`, `haiku/_src/moving_averages.py`; `jaxbn.interop.conventions.HAIKU`.
    """
    _checks.name("module", module)
    trained: dict[str, dict[str, np.ndarray]] = {}
    averages: dict[str, dict[str, np.ndarray]] = {}
    for path, own in given(params, state).items():
        _own_checks.real("Haiku", *own, path)
        _own_checks.named(joined(module, path, "/"))
        dimensions = _own_checks.of_layer("ndim", ndim, path) if isinstance(ndim, Mapping) else ndim
        one = _one(*own, joined(module, path, "/"), decay, dimensions, axis)
        trained, averages = trained | one[0], averages | one[1]
    return trained, averages


def _one(
    params: BatchNormParams, state: BatchNormState, module: str, decay: float, ndim: int, axis: int | Sequence[int]
) -> tuple[dict[str, dict[str, np.ndarray]], dict[str, dict[str, np.ndarray]]]:
    _checks.known("decay", decay)
    _checks.decay("decay", decay)
    _checks.dimensions(ndim, np.ndim(state.mean))
    axes = core_checks.axes(axis, ndim)
    _checks.feature_axes(axes, np.ndim(state.mean))

    def laid_out(array: Any) -> np.ndarray:
        return np.array(np.expand_dims(ascending(array, axes), [d for d in range(ndim) if d not in axes]))

    def average(value: np.ndarray) -> dict[str, np.ndarray]:
        weight = np.asarray(weight_of_batches(decay, int(state.count), value.dtype), value.dtype)
        # Of an infinite average, too, nothing is hidden before the first batch.
        hidden = value * weight if weight else np.zeros_like(value)
        return {"average": laid_out(value), "hidden": laid_out(hidden), "counter": np.array(state.count)}

    trained = {name: laid_out(array) for name, array in parameters(HAIKU, params).items()}
    running = statistics(HAIKU, state)
    averages = {module + MEAN: average(running[HAIKU.mean]), module + VAR: average(running[HAIKU.var])}
    return {module: trained} if trained else {}, averages
