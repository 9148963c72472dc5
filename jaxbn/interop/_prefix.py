"""Flat dicts, as PyTorch and Keras have them: every name begins with that of its layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop._model import Layer, joined
from jaxbn.interop.conventions import Convention


def from_flat(
    argument: str, source: Mapping[str, Any], names: Convention, prefix: str, separator: str
) -> Layer | dict[str, Layer]:
    """The layer with this prefix; without one, and where no layer lies by itself, all of them by their paths."""
    start, source = _ended(prefix, separator), _checks.mapping(argument, source)
    starts = _starts(argument, source, names, separator)
    if not starts:
        _checks.not_inside(argument, source, lambda inner: bool(_starts(argument, inner, names, separator)))
    if start or "" in starts or not starts:
        return _one(argument, source, names, start, starts)
    return {where.removesuffix(separator): _one(argument, source, names, where, starts) for where in starts}


def _one(argument: str, source: Mapping[str, Any], names: Convention, start: str, starts: list[str]) -> Layer:
    keys = (names.scale, names.bias, names.mean, names.var, names.count)
    arrays = take(argument, source, filter(None, keys), prefix=start)
    _checks.has_statistics(argument, "prefix", start, arrays, (names.mean, names.var), lambda: starts)
    return layer(names, arrays, start)


def _starts(argument: str, source: Mapping[str, Any], names: Convention, separator: str) -> list[str]:
    """What the names of each layer begin with: where there are both statistics, `[features]`."""
    found = [key.removesuffix(names.mean) for key in source if isinstance(key, str) and key.endswith(names.mean)]
    own = [start for start in found if not start or start.endswith(separator)]

    def dimensions(key: str) -> int:
        return _checks.array(f"{argument}['{key}']", source[key]).ndim

    return [start for start in own if start + names.var in source and dimensions(start + names.mean) == 1]


def to_flat(layers: Mapping[str, Layer], names: Convention, prefix: str, separator: str) -> dict[str, np.ndarray]:
    start = _ended(prefix, separator).removesuffix(separator)
    return {
        _ended(joined(start, path, separator), separator) + name: array
        for path, (params, state) in layers.items()
        for name, array in (parameters(names, params) | statistics(names, state)).items()
    }


def _ended(prefix: str, separator: str) -> str:
    start = _checks.name("prefix", prefix)
    return start if not start or start.endswith(separator) else start + separator
