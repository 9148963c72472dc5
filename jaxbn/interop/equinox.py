"""Equinox: BatchNorm in both modes, of which `"batch"` keeps averages that evaluation debiases.

Whole models go in and out as they are, `from_equinox(model, state)` and `to_equinox(layers, into=(model, state))`. Of
one layer plain dicts hold what it and its `equinox.nn.State` keep, by the names of its attributes. Out of a layer:

    NAMES = ("batch_counter", "batch_state_index")  # mode="ema": ("ema_first_time_index", "ema_state_index")
    arrays = {"weight": bn.weight, "bias": bn.bias} | {name: state.get(getattr(bn, name)) for name in NAMES}

and back into one:

    parameters = arrays["weight"], arrays["bias"]
    bn = eqx.tree_at(lambda bn: (bn.weight, bn.bias), bn, parameters, is_leaf=lambda part: part is None)
    for name in NAMES: state = state.set(getattr(bn, name), arrays[name])
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from jaxbn import _checks as core_checks
from jaxbn.interop import _checks, _own_checks
from jaxbn.interop._equinox_layer import MODES, Mode, from_one, parts, to_one
from jaxbn.interop._equinox_model import mode_of, norms, read, write
from jaxbn.interop._model import Layer, Layers, given
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


@overload
def from_equinox(arrays: Mapping[str, Any], *, momentum: float = 0.99, remove_excess: bool = False) -> Any: ...
@overload
def from_equinox(
    arrays: Any, state: Any, *, momentum: float = 0.99, remove_excess: bool = False
) -> dict[str, Layer]: ...
def from_equinox(
    arrays: Any, state: Any = None, *, momentum: float = 0.99, remove_excess: bool = False
) -> Layer | dict[str, Layer]:
    """Parameters and state of a batch norm layer of Equinox, or of all those of a model.

    `mean, var = hidden_mean / w, hidden_var / w` with `w = 1 - momentum**count` in mode `"batch"`, or `w = 1` in mode
    `"ema"` and for a count of 0: what Equinox evaluates with.

    Training goes on with `batch_norm(..., axis=1, momentum=debiased_momentum(0.99, state.count))`, without the excess
    that is told of below if the count is 0. In mode `"ema"` it goes on with
    `momentum=jnp.where(state.count == 0, 0, 0.99)`; but Equinox itself trains there with the running statistics, and
    only evaluation agrees.

    Args:
        arrays: `weight`, `bias` and `batch_counter`, `batch_state_index`, or `ema_first_time_index`,
            `ema_state_index`, where the second is the pair (mean, variance); `[features]`, floating or complex.
            The mode is that whose pair is there; how to get them out of a layer is shown in `jaxbn/interop/equinox.py`.
            Or a dict of such dicts by path; or, with `state`, a model.
        state: the `equinox.nn.State` of the model; it stays usable.
        momentum: that of the layer; used in mode `"batch"`. In a model each layer has its own.
        remove_excess: Equinox 0.13.8 starts the hidden variance at 1 and yet divides it, which adds
            `momentum**count / (1 - momentum**count)` to the variance it evaluates with. `True` takes that off, and
            evaluation is then right and no longer as in Equinox. Only for a layer that Equinox has trained from the
            start: one that `to_equinox` filled has no such excess. Without effect in mode `"ema"`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing or `None`, as with
        `channelwise_affine=False`, is `None`. Mode `"ema"` knows only whether there was an update: the count is 0 or 1.
        Of a model, or a dict of dicts, a dict `{path: (params, state)}`, with paths like `"layers.0.bn"`.

    Raises:
        TypeError: `arrays` is no dict, or a value no floating or complex array.
        ValueError: neither mode's pair is there, there is no batch norm in the model, shapes differ, or `momentum` is
            out of its range.

    Example:
        >>> import numpy as np
        >>> pair = np.array([1.0, 2.0]), np.array([0.5, 1.0])
        >>> params, state = from_equinox({"batch_counter": np.array(1), "batch_state_index": pair}, momentum=0.5)
        >>> print(state.mean, state.var, state.count)
        [2. 4.] [1. 2.] 1

    Reference:
        `equinox/nn/_batch_norm.py`; `jaxbn.interop.conventions.EQUINOX`.
    """
    _checks.known("momentum", momentum)
    _checks.decay("momentum", momentum)
    core_checks.flag("remove_excess", remove_excess)
    if state is not None:
        found = norms(arrays)
        _checks.has_norms("arrays", arrays, found)
        return {path: from_one(read(norm, state), norm.momentum, remove_excess, path) for path, norm in found.items()}
    if isinstance(arrays, Mapping) and arrays and all(isinstance(part, Mapping) for part in arrays.values()):
        return {path: from_one(part, momentum, remove_excess, path) for path, part in arrays.items()}
    return from_one(arrays, momentum, remove_excess)


@overload
def to_equinox(
    params: BatchNormParams | Layers,
    state: BatchNormState | None = None,
    *,
    momentum: float = 0.99,
    mode: Mode = "batch",
) -> dict[str, Any]: ...
@overload
def to_equinox(params: Layers, *, into: tuple[Any, Any]) -> tuple[Any, Any]: ...
def to_equinox(
    params: BatchNormParams | Layers,
    state: BatchNormState | None = None,
    *,
    momentum: float = 0.99,
    mode: Mode = "batch",
    into: tuple[Any, Any] | None = None,
) -> dict[str, Any] | tuple[Any, Any]:
    """What a batch norm layer of Equinox and its state keep, or all those of a model.

    `hidden_mean, hidden_var = mean * w, var * w` with `w = 1 - momentum**count` in mode `"batch"`, and `w = 1` in mode
    `"ema"` and for a count of 0. With these Equinox evaluates as we do. Unless the count is 0, it then trains without
    the excess of the variance that `from_equinox` tells of.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them; or, without `state`, the layers of a model,
            `{path: (params, state)}`, with paths like `"layers.0.bn"`.
        state: `BatchNormState` of `[features]` arrays.
        momentum: that of the layer, at least 0 and less than 1; used in mode `"batch"`.
        mode: that of the layer, `"batch"` or `"ema"`.
        into: the pair of a model and its `equinox.nn.State`, whose layers have momentum and mode of their own; batch
            norms that get no layer stay as they are there.

    Returns:
        A dict of NumPy arrays, copies that may be written to: `weight`, `bias`, in the dtype they have or `None`, and
        `batch_counter` (an int), `batch_state_index`, or `ema_first_time_index`, `ema_state_index`, of which the second
        is the pair (mean, variance). How to put them into a layer is shown in `jaxbn/interop/equinox.py`. Of the layers
        of a model a dict of such dicts by path. With `into`, a new pair of a model and its state; the old ones stay
        usable.

    Raises:
        TypeError: traced values, or no `BatchNormParams` and `BatchNormState`.
        ValueError: several feature axes, an argument out of its range, shapes that differ, or layers that are not in
            `into`, or are different there.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> arrays = to_equinox(*init_batch_norm(2), mode="batch")
        >>> print(*arrays, arrays["batch_state_index"][1])
        weight bias batch_counter batch_state_index [1. 1.]

    Reference:
        `equinox/nn/_batch_norm.py`; `jaxbn.interop.conventions.EQUINOX`.
    """
    _checks.known("momentum", momentum)
    _checks.decay("momentum", momentum)
    core_checks.choice("mode", mode, tuple(MODES))
    layers = given(params, state)
    for path, own in layers.items():
        _own_checks.one_axis("Equinox", own[1], path)
    if into is None:
        arrays = {path: to_one(*own, momentum, mode) for path, own in layers.items()}
        return arrays if state is None else arrays[""]
    model, model_state = _checks.pair("into", into, "model, state", "what make_with_state returns")
    found, new = norms(model), {}
    for path, own in layers.items():
        _own_checks.there(path, path in found, lambda: found)
        new[path] = to_one(*own, found[path].momentum, mode_of(found[path]) or mode)
        old = read(found[path], model_state)
        _own_checks.fits(path, parts(old), parts(new[path]))
    return write(model, model_state, new)
