"""Flax linen: variables in the collections `params` and `batch_stats`, of Flax's own layer and of ours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, overload

from jaxbn import _checks as core_checks
from jaxbn.interop import _checks, _own_checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._model import Layer, Layers, given
from jaxbn.interop._tree import COUNTING, Path, as_there, descend, held, layers, names, put, shown, steps
from jaxbn.normalization import BatchNormParams
from jaxbn.running import Averaging, BatchNormState


@overload
def from_linen(variables: Mapping[str, Any], path: Path) -> Layer: ...
@overload
def from_linen(variables: Mapping[str, Any]) -> Any: ...
def from_linen(variables: Mapping[str, Any], path: Path = "") -> Layer | dict[str, Layer]:
    """Parameters and state of a batch norm layer of Flax linen, or of all those of a model.

    `scale = variables["params"]["scale"]`, and `bias` alike; `mean = variables["batch_stats"]["mean"]`, and `var` and,
    where it is kept, `count` alike. Training goes on with `batch_norm(..., **presets.FLAX)`.

    Args:
        variables: `{"params": ..., "batch_stats": ...}` of the layer or of a whole model; `[features]`, floating or
            complex.
        path: the layer's place in the model, `"Block_0/BatchNorm_0"` or `("Block_0", "BatchNorm_0")`. Without it all
            layers are converted that have a `mean` and a `var`.

    Returns:
        `(BatchNormParams, BatchNormState)`: copies, parameters in the dtype they have, statistics in at least float32
        (float64 becomes float32 unless JAX's 64-bit types are enabled). What is missing, as with `use_scale=False`, is
        `None`; without a count it is 0, with which only `averaging="ema"` continues as it should.
        Of a model, without `path`, a dict `{path: (params, state)}` in the order of `batch_stats`.

    Raises:
        TypeError: `variables` is no dict, or a value no floating or complex array.
        ValueError: there are no running statistics at `path`, or shapes differ.

    Example:
        >>> import numpy as np
        >>> variables = {"batch_stats": {"bn": {"mean": np.array([3.0, 4.0]), "var": np.array([1.0, 2.0])}}}
        >>> params, state = from_linen(variables, "bn")
        >>> print(params.scale, state.mean, state.var)
        None [3. 4.] [1. 2.]
        >>> print(*from_linen(variables))
        bn

    Reference:
        `flax/linen/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    collections = _checks.mapping("variables", variables)
    parts, stats = collections.get("params", {}), collections.get("batch_stats", {})
    whole = [] if steps(path) else list(layers(stats))

    def one(path: Path) -> Layer:
        arrays = take("params", descend("params", parts, path), ("scale", "bias"))
        arrays |= take("batch_stats", descend("batch_stats", stats, path), ("mean", "var", "count"))
        _checks.has_statistics("batch_stats", "path", path, arrays, ("mean", "var"), lambda: list(layers(stats)))
        return layer(COUNTING, arrays, "".join(f"{step}/" for step in steps(path)))

    return one(path) if not whole or "" in whole else {path: one(path) for path in whole}


def to_linen(
    params: BatchNormParams | Layers,
    state: BatchNormState | None = None,
    path: Path = "",
    *,
    averaging: Averaging = "ema",
    into: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The variables of one batch norm layer of Flax linen, or of all those of a model.

    `variables = {"params": {scale, bias}, "batch_stats": {mean, var}}`, nested by `path`.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them; or, without `state`, the layers of a model,
            `{path: (params, state)}`, by their paths here (see `rename`).
        state: `BatchNormState` of `[features]` arrays.
        path: the layer's place in the model, `"Block_0/BatchNorm_0"` or `("Block_0", "BatchNorm_0")`, or that of the
            part of it that the layers are of.
        averaging: the option of the layers, if they are `jaxbn.linen.BatchNorm`: with all but `"ema"` they keep the
            count too. Without effect beside `into`, which has a count or has none.
        into: variables of the model, as `init` returns them; batch norms that get no layer stay as they are there.

    Returns:
        Nested dicts of NumPy arrays, copies that may be written to; without what is `None`, and without `params` if
        there are none. With `into`, all that it has, with these arrays in their places and in the dtypes of `into`,
        which is not changed itself; a `FrozenDict` becomes a dict.

    Raises:
        TypeError: traced values, no `BatchNormParams` and `BatchNormState`, or complex ones where `into` is real.
        ValueError: shapes that differ, another `averaging`, or layers that are not in `into`, or are different there.

    Example:
        >>> from jaxbn import init_batch_norm
        >>> print(to_linen(*init_batch_norm(2, use_scale=False), path="Block_0/bn")["params"])
        {'Block_0': {'bn': {'bias': array([0., 0.], dtype=float32)}}}
        >>> bare = init_batch_norm(2, use_scale=False, use_bias=False)
        >>> variables = {"params": {"Dense_0": 7}} | to_linen(*bare, path="bn")
        >>> print(to_linen({"bn": bare}, into=variables)["params"])
        {'Dense_0': 7}

    Reference:
        `flax/linen/normalization.py`; `jaxbn.interop.conventions.FLAX`.
    """
    core_checks.update_rule(averaging, 0)
    tree = {} if into is None else {**_checks.mapping("into", into)}
    for where, own in given(params, state).items():
        place = (*steps(path), *steps(where))
        convention = names(averaging)
        if into is not None:
            old = {kind: held(descend(kind, into.get(kind, {}), place)) for kind in ("params", "batch_stats")}
            found = "mean" in old["batch_stats"]
            _own_checks.there(shown(place), found, lambda: layers(into.get("batch_stats", {})))
            convention = COUNTING if "count" in old["batch_stats"] else names("ema")
        parts = {"params": parameters(convention, own[0]), "batch_stats": statistics(convention, own[1])}
        if into is not None:
            _own_checks.fits(shown(place), old["params"] | old["batch_stats"], parts["params"] | parts["batch_stats"])
            parts = {kind: as_there(arrays, old[kind]) for kind, arrays in parts.items()}
        tree |= {kind: put(tree.get(kind, {}), place, arrays) for kind, arrays in parts.items() if arrays}
    return tree
