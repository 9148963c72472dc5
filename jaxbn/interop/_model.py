"""The layers of a model by their paths; one layer by itself has the path `""`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jaxbn.interop import _own_checks
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState

Layer = tuple[BatchNormParams, BatchNormState]
Layers = Mapping[str, Layer]


def given(params: Any, state: Any) -> dict[str, Layer]:
    """One layer in two arguments, or those of a model in one."""
    whole = state is None and isinstance(params, Mapping)
    layers = _own_checks.by_path("params", params) if whole else {"": (params, state)}
    for path, layer in layers.items():
        _own_checks.one(*layer, path)
    return layers


def joined(start: str, path: str, separator: str) -> str:
    """Two paths, of which either may be empty."""
    return separator.join(filter(None, (start, path)))
