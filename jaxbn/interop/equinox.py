"""Equinox: BatchNorm in both modes, of which `"batch"` keeps averages that evaluation debiases.

Plain dicts hold what a layer and its `equinox.nn.State` keep, by the names of the layer's attributes. Out of a layer:

    NAMES = ("batch_counter", "batch_state_index")  # mode="ema": ("ema_first_time_index", "ema_state_index")
    arrays = {"weight": bn.weight, "bias": bn.bias} | {name: state.get(getattr(bn, name)) for name in NAMES}

and back into one:

    parameters = arrays["weight"], arrays["bias"]
    bn = eqx.tree_at(lambda bn: (bn.weight, bn.bias), bn, parameters, is_leaf=lambda part: part is None)
    for name in NAMES: state = state.set(getattr(bn, name), arrays[name])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Literal

import jax.numpy as jnp
import numpy as np

from jaxbn import _checks as core_checks
from jaxbn._numbers import statistics_dtype
from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
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


def from_equinox(
    arrays: Mapping[str, Any], *, momentum: float = 0.99, remove_excess: bool = False
) -> tuple[BatchNormParams, BatchNormState]:
    """Parameters and state of a batch norm layer of Equinox.

    `mean, var` are what Equinox evaluates with: in mode `"batch"` the hidden values over `1 - momentum**count`. It
    continues with `batch_norm(..., axis=1, momentum=debiased_momentum(0.99, state.count))`; in mode `"ema"` with
    `momentum=jnp.where(state.count == 0, 0, 0.99)`, but Equinox itself trains there with the running statistics, and
    only evaluation agrees. From count 0 on, ours never has the excess that is told of below.

    Args:
        arrays: `weight`, `bias` and `batch_counter`, `batch_state_index`, or `ema_first_time_index`,
            `ema_state_index`, where the second is the pair (mean, variance); `[features]`, floating or complex.
            The mode is that whose pair is there; how to get them out of a layer is shown in `jaxbn/interop/equinox.py`.
        momentum: the layer's; used in mode `"batch"`.
        remove_excess: Equinox 0.13.8 starts the hidden variance at 1 and yet divides it, which adds
            `momentum**count / (1 - momentum**count)` to the variance it evaluates with. `True` takes that off, and
            evaluation is then right and no longer as in Equinox. Only for a layer that Equinox has trained from the
            start: one that `to_equinox` filled has no such excess. Without effect in mode `"ema"`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing or `None`, as with
        `channelwise_affine=False`, is `None`. Mode `"ema"` knows only whether there was an update: the count is 0 or 1.

    Raises:
        TypeError: `arrays` is no dict, or a value no floating or complex array.
        ValueError: neither mode's pair is there, shapes differ, or `momentum` is out of its range.

    Example:
        >>> pair = np.array([1.0, 2.0]), np.array([0.5, 1.0])
        >>> params, state = from_equinox({"batch_counter": np.array(1), "batch_state_index": pair}, momentum=0.5)
        >>> print(state.mean, state.var, state.count)
        [2. 4.] [1. 2.] 1

    Reference:
        `equinox/nn/_batch_norm.py`; `jaxbn.interop.conventions.EQUINOX`.
    """
    _checks.decay("momentum", momentum)
    core_checks.flag("remove_excess", remove_excess)
    mode = _checks.mode_held(arrays, MODES)
    progress, pair = MODES[mode]
    parts = take("arrays", arrays, (EQUINOX.scale, EQUINOX.bias, progress))
    both = dict(zip((EQUINOX.mean, EQUINOX.var), _checks.pair(f"arrays['{pair}']", arrays[pair]), strict=True))
    parts |= take(f"arrays['{pair}']", both, both)
    mean, var = (_checks.inexact(name, parts[name]) for name in both)
    # Of complex data Equinox keeps a complex variance, whose imaginary part is 0.
    mean, var = mean.astype(statistics_dtype(mean.dtype)), var.real.astype(statistics_dtype(var.real.dtype))
    if mode == "ema":
        count = np.array(0 if _checks.boolean(progress, parts.pop(progress)) else 1)
    else:
        count = _checks.count(progress, parts[progress])
    if mode == "batch" and count > 0:
        weight = _weight(momentum, count)
        start = (1 - weight) * EQUINOX.var_start if remove_excess else 0
        # Only rounding makes it negative.
        mean, var = mean / weight, np.maximum((var - start) / weight, 0)
    return layer(EQUINOX, parts | {EQUINOX.mean: mean, EQUINOX.var: var, "batch_counter": count})


def to_equinox(
    params: BatchNormParams, state: BatchNormState, *, momentum: float = 0.99, mode: Mode = "batch"
) -> dict[str, Any]:
    """What a batch norm layer of Equinox and its state keep.

    In mode `"batch"` the hidden values are `mean` and `var` times `1 - momentum**count`, with which Equinox evaluates
    as we do, and from then on trains without its excess of the variance, unless the count is 0; in mode `"ema"` they
    are kept as they are.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays.
        momentum: the layer's, at least 0 and less than 1; used in mode `"batch"`.
        mode: the layer's, `"batch"` or `"ema"`.

    Returns:
        A dict of NumPy arrays, copies that may be written to: `weight`, `bias`, in the dtype they have or `None`, and
        `batch_counter` (an int), `batch_state_index`, or `ema_first_time_index`, `ema_state_index`, of which the second
        is the pair (mean, variance). How to put them into a layer is shown in `jaxbn/interop/equinox.py`.

    Raises:
        TypeError: traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: several feature axes, an argument out of its range, or shapes that differ.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> arrays = to_equinox(*init_batch_norm(2), mode="batch")
        >>> print(*arrays, arrays["batch_state_index"][1])
        weight bias batch_counter batch_state_index [1. 1.]

    Reference:
        `equinox/nn/_batch_norm.py`; `jaxbn.interop.conventions.EQUINOX`.
    """
    _checks.ours(params, state)
    _checks.one_axis("Equinox", state)
    _checks.decay("momentum", momentum)
    core_checks.choice("mode", mode, tuple(MODES))
    running = statistics(EQUINOX, state)
    mean, var, count = running[EQUINOX.mean], running[EQUINOX.var], running["batch_counter"]
    # Equinox's own counter is weakly typed, and only a Python number is so too.
    progress = int(count) if mode == "batch" else np.array(count == 0)
    if mode == "batch" and count > 0:
        mean, var = mean * _weight(momentum, count), var * _weight(momentum, count)
    trained = {EQUINOX.scale: None, EQUINOX.bias: None} | parameters(EQUINOX, params)
    return trained | dict(zip(MODES[mode], (progress, (mean, var.astype(mean.dtype))), strict=True))


def _weight(momentum: float, count: np.ndarray) -> float:
    return weight_of_batches(momentum, int(count), jnp.result_type(float))
