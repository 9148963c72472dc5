"""One layer of Equinox, as a plain dict of what it and its state keep."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import jax.numpy as jnp
import numpy as np

from jaxbn._numbers import statistics_dtype
from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._model import Layer
from jaxbn.interop.conventions import EQUINOX
from jaxbn.interop.debiasing import weight_of_batches
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState

Mode = Literal["batch", "ema"]
# What tells how many updates there were, and the pair of statistics.
MODES: Final[dict[Mode, tuple[str, str]]] = {
    "batch": ("batch_counter", "batch_state_index"),
    "ema": ("ema_first_time_index", "ema_state_index"),
}


def from_one(arrays: Any, momentum: float, remove_excess: bool, path: str = "") -> Layer:
    start, argument = (f"{path}.", f"arrays[{path!r}]") if path else ("", "arrays")
    mode = _checks.mode_held(argument, arrays, MODES)
    progress, name = MODES[mode]
    parts = take(argument, arrays, (EQUINOX.scale, EQUINOX.bias, progress))
    pair = _checks.pair(f"{argument}['{name}']", arrays[name], "mean, variance", "what state.get returns")
    both = dict(zip((EQUINOX.mean, EQUINOX.var), pair, strict=True))
    parts |= take(f"{argument}['{name}']", both, both)
    mean, var = (_checks.inexact(start + name, parts[name]) for name in both)
    # Of complex data Equinox keeps a complex variance, whose imaginary part is 0.
    mean, var = mean.astype(statistics_dtype(mean.dtype)), var.real.astype(statistics_dtype(var.real.dtype))
    if mode == "ema":
        count = np.array(0 if _checks.boolean(start + progress, parts.pop(progress)) else 1)
    else:
        count = _checks.count(start + progress, parts[progress])
    if mode == "batch" and count > 0:
        weight = _weight(momentum, count)
        excess = (1 - weight) * EQUINOX.var_start if remove_excess else 0
        # Only rounding makes it negative.
        mean, var = mean / weight, np.maximum((var - excess) / weight, 0)
    return layer(EQUINOX, parts | {EQUINOX.mean: mean, EQUINOX.var: var, "batch_counter": count}, start)


def to_one(params: BatchNormParams, state: BatchNormState, momentum: float, mode: Mode) -> dict[str, Any]:
    running = statistics(EQUINOX, state)
    mean, var, count = running[EQUINOX.mean], running[EQUINOX.var], running["batch_counter"]
    # Equinox's own counter is weakly typed, and only a Python number is so too.
    progress = int(count) if mode == "batch" else np.array(count == 0)
    if mode == "batch" and count > 0:
        mean, var = mean * _weight(momentum, count), var * _weight(momentum, count)
    trained = {EQUINOX.scale: None, EQUINOX.bias: None} | parameters(EQUINOX, params)
    return trained | dict(zip(MODES[mode], (progress, (mean, var.astype(mean.dtype))), strict=True))


def parts(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a layer by their names in the conventions, as far as there are any."""
    pair = next(arrays[names[1]] for names in MODES.values() if names[1] in arrays)
    trained = {name: arrays[name] for name in (EQUINOX.scale, EQUINOX.bias) if arrays[name] is not None}
    return trained | {EQUINOX.mean: pair[0], EQUINOX.var: pair[1]}


def _weight(momentum: float, count: np.ndarray) -> float:
    return weight_of_batches(momentum, int(count), jnp.result_type(float))
