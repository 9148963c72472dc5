"""Flat dicts, as PyTorch and Keras have them: every name begins with that of its layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxbn.interop import _checks
from jaxbn.interop._layer import layer, parameters, statistics, take
from jaxbn.interop.conventions import Convention
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


def from_flat(
    argument: str, source: Mapping[str, Any], names: Convention, prefix: str, separator: str
) -> tuple[BatchNormParams, BatchNormState]:
    start = _ended(prefix, separator)
    keys = (names.scale, names.bias, names.mean, names.var, names.count)
    arrays = take(argument, source, filter(None, keys), prefix=start)

    def layers() -> list[str]:
        found = [key.removesuffix(names.mean) for key in source if key.endswith(names.mean)]
        return [start for start in found if start + names.var in source]

    _checks.has_statistics(argument, "prefix", start, arrays, (names.mean, names.var), layers)
    return layer(names, arrays)


def to_flat(
    params: BatchNormParams, state: BatchNormState, names: Convention, prefix: str, separator: str
) -> dict[str, np.ndarray]:
    start = _ended(prefix, separator)
    return {start + name: array for name, array in (parameters(names, params) | statistics(names, state)).items()}


def _ended(prefix: str, separator: str) -> str:
    start = _checks.name("prefix", prefix)
    return start if not start or start.endswith(separator) else start + separator
