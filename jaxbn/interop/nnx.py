"""Flax nnx: the pure dict of a layer's or a model's state."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import _checks as core_checks
from jaxbn.interop import _checks, _own_checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._model import Layer, Layers, given
from jaxbn.interop._tree import COUNTING, Path, as_there, descend, held, layers, names, put, shown, steps
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, BatchNormState


@overload
def from_nnx(state: Any, path: Path) -> Layer: ...
@overload
def from_nnx(state: Any) -> Any: ...
def from_nnx(state: Any, path: Path = "") -> Layer | dict[str, Layer]:
    """Parameters and state of a batch norm layer of Flax nnx, or of all those of a model.

    `scale = state["scale"]`, and `bias`, `mean`, `var` and, where it is kept, `count` alike. Training goes on with
    `batch_norm(..., **presets.FLAX)`.

    Args:
        state: a model, or the pure dict of the layer or of a whole model, or its `nnx.State` itself; `[features]`,
            floating or complex.
        path: the layer's place in the model, `"blocks/0/bn"` or `("blocks", 0, "bn")`. Without it all layers are
            converted that have a `mean` and a `var`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `use_scale=False`, is
        `None`; without a count it is 0, with which only `averaging="ema"` continues as it should.
        Of a model, without `path`, a dict `{path: (params, state)}` in the order of the state.

    Raises:
        TypeError: `state` is no model and no dict, or a value no floating or complex array.
        ValueError: there are no running statistics at `path`, or shapes differ.

    Example:
        >>> import numpy as np
        >>> layer = {"mean": np.array([3.0, 4.0]), "var": np.array([1.0, 2.0])}
        >>> params, state = from_nnx({"blocks": {0: {"bn": layer}}}, "blocks/0/bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]
        >>> print(*from_nnx({"blocks": {0: {"bn": layer}}}))
        blocks/0/bn

    Reference:
        `flax/nnx/nn/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    if _is_model(state):
        state = sys.modules["flax.nnx"].state(state)
    whole = [] if steps(path) else list(layers(_checks.mapping("state", state)))

    def one(path: Path) -> Layer:
        arrays = take("state", descend("state", state, path), ("scale", "bias", "mean", "var", "count"))
        _checks.has_statistics("state", "path", path, arrays, ("mean", "var"), lambda: list(layers(state)))
        return layer(COUNTING, arrays, "".join(f"{step}/" for step in steps(path)))

    return one(path) if not whole or "" in whole else {path: one(path) for path in whole}


def to_nnx(
    params: BatchNormParams | Layers,
    state: BatchNormState | None = None,
    path: Path = "",
    *,
    averaging: Averaging = "ema",
    into: Any = None,
) -> Any:
    """The pure dict of one batch norm layer of Flax nnx, or of all those of a model, or a model with them.

    `state = {scale, bias, mean, var}`, nested by `path`; `model = to_nnx(layers, into=model)` puts them in place.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them; Flax's own layer has one real feature axis.
            Or, without `state`, the layers of a model, `{path: (params, state)}`, by their paths here (see `rename`).
        state: `BatchNormState` of `[features]` arrays.
        path: the layer's place in the model, `"blocks/0/bn"` or `("blocks", 0, "bn")`, or that of the part of it that
            the layers are of.
        averaging: the option of the layers, if they are `jaxbn.nnx.BatchNorm`: with all but `"ema"` they keep the count
            too. Without effect beside `into`, which has a count or has none.
        into: the model, or the pure dict of its state; batch norms that get no layer stay as they are there.

    Returns:
        Nested dicts of NumPy arrays, copies that may be written to; without what is `None`. With `into`, a model or a
        pure dict as it is, with these arrays in their places and in the dtypes of `into`, which is not changed itself.

    Raises:
        TypeError: traced values, no `BatchNormParams` and `BatchNormState`, or complex ones where `into` is real.
        ValueError: shapes that differ, another `averaging`, or layers that are not in `into`, or are different there.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(to_nnx(*init_batch_norm(2, use_scale=False), path="bn")["bn"]["mean"])
        [0. 0.]
        >>> from flax import nnx
        >>> model = nnx.Sequential(nnx.Linear(3, 2, rngs=nnx.Rngs(0)), nnx.BatchNorm(2, rngs=nnx.Rngs(0)))
        >>> params, state = from_nnx(model)["layers/1"]
        >>> model = to_nnx({"layers/1": (params, state._replace(mean=state.mean + 3))}, into=model)
        >>> print(model.layers[1].mean[...])
        [3. 3.]

    Reference:
        `flax/nnx/nn/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    core_checks.update_rule(averaging, 0)
    if _is_model(into):
        return _with(into, lambda pure: to_nnx(params, state, path, into=pure))
    tree = {} if into is None else {**_checks.mapping("into", into)}
    for where, own in given(params, state).items():
        place = (*steps(path), *steps(where))
        convention = names(averaging)
        if into is not None:
            old = held(descend("into", into, place))
            _own_checks.there(shown(place), "mean" in old, lambda: layers(into))
            convention = COUNTING if "count" in old else names("ema")
        parts = parameters(convention, own[0]) | statistics(convention, own[1])
        if into is not None:
            _own_checks.fits(shown(place), old, parts)
            parts = as_there(parts, old)
        tree = put(tree, place, parts)
    return tree


def _is_model(value: Any) -> bool:
    # Whoever has a model has loaded Flax.
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, nnx.Module)


def _with(model: Any, arrays: Callable[[dict[Any, Any]], dict[Any, Any]]) -> Any:
    """A copy of the model, with other arrays in its variables."""
    nnx = sys.modules["flax.nnx"]
    graph, state = nnx.split(model)
    # The variables of the copy; those of the model stay as they are.
    state = jax.tree.map(lambda part: part, state)
    nnx.replace_by_pure_dict(state, jax.tree.map(_as_jax, arrays(nnx.to_pure_dict(state))))
    return nnx.merge(graph, state)


def _as_jax(array: Any) -> Any:
    return jnp.asarray(array) if isinstance(array, np.ndarray) else array
