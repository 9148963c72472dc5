"""The outputs with and without norms, one beside the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.inference._folding import checks as _checks

# Of the largest output, where something is rounded to these; the same number, computed in another way, may round apart.
BOUNDS = {"bfloat16": 5e-2, "float16": 1e-2}


def compared(
    expected: Sequence[jax.Array], actual: Sequence[jax.Array], rounded: Sequence[Iterable[str]]
) -> tuple[float, float]:
    """The largest difference of the output that comes closest to its bound, relative to its largest value; the bound.

    Args:
        expected: outputs.
        actual: the same, computed in another way.
        rounded: for each output the dtypes in which numbers were rounded on the way.
    """
    closest = 0.0, 1e-5
    for number, (a, b, dtypes) in enumerate(zip(expected, actual, rounded, strict=True)):
        if jnp.issubdtype(a.dtype, jax.dtypes.extended) or not a.size:
            continue
        bound = max((BOUNDS[dtype] for dtype in dtypes if dtype in BOUNDS), default=1e-5)
        error = _difference(a, b) if (a.shape, a.dtype) == (b.shape, b.dtype) else float("inf")
        _checks.same_outputs(error, bound, f" {number}" if len(expected) > 1 else "")
        closest = max(closest, (error, bound), key=lambda pair: (pair[0] / pair[1], pair[1]))
    return closest


def _difference(expected: Any, actual: Any) -> float:
    """Infinities, as masked logits are, must be the same; what is finite is compared with the largest of it."""
    a, b = (
        np.asarray(part).astype(np.result_type(np.asarray(part).real.dtype, complex)) for part in (expected, actual)
    )
    _checks.numbers(a)
    finite = np.isfinite(a)
    if not np.array_equal(a[~finite], b[~finite]):
        return float("inf")
    a, b = a[finite], b[finite]
    return float(np.max(np.abs(b - a), initial=0) / (np.max(np.abs(a), initial=0) or 1))
