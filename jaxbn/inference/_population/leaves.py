"""The running statistics of a layer where they lie: among the leaves of the variables."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from jaxbn.inference._population import checks as _checks
from jaxbn.inference._population.model import like
from jaxbn.inference._population.population import Population, is_traced, namespace
from jaxbn.inference._population.program import Layer


def running(leaves: list[Any], layer: Layer, beside: Population) -> tuple[Any, Any]:
    """Mean and variance in the shape and, where values are known, the precision of a population."""
    return _wide(leaves[layer.mean], beside.mean), _wide(leaves[layer.var], beside.m2)


def put(leaves: list[Any], layer: Layer, new: Population, name: str) -> tuple[Any, Any]:
    """Make these its statistics, in place, but where there are no data; what they then are is returned."""
    _checks.holds(name, leaves[layer.mean], new.mean)
    xp, known = namespace(new), new.count > 0
    mean, var = (
        xp.where(known, part, old) for part, old in zip((new.mean, new.var), running(leaves, layer, new), strict=True)
    )
    leaves[layer.mean], leaves[layer.var] = like(leaves[layer.mean], mean), like(leaves[layer.var], var)
    return mean, var


def _wide(leaf: Any, part: Any) -> Any:
    if is_traced((leaf, part)):
        return jnp.asarray(leaf).astype(part.dtype if leaf.dtype.kind != "c" else leaf.dtype).reshape(part.shape)
    return np.asarray(leaf).astype(np.result_type(leaf.dtype, np.float64)).reshape(part.shape)
