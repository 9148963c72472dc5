"""What the statistics of one layer do to the output of the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.inference._diagnosis.observed import Observed, broken
from jaxbn.inference._population.leaves import put
from jaxbn.inference._population.program import Program


def harms(
    program: Program, leaves: Sequence[Any], layers: Sequence[Observed], batch: Any, unchanged: Sequence[bool]
) -> list[float]:
    """For each layer the change of the output if it alone were recalibrated, on one batch.

    Outputs that are variables as they are, the running statistics themselves, do not count.
    """
    call = program.outputs(list(leaves), batch)

    def outputs(own: list[Any]) -> list[Any]:
        return [output for output, same in zip(call(own), unchanged, strict=True) if not same]

    before = outputs(list(leaves))
    return [_harm(outputs, leaves, one, before) for one in layers]


def _harm(outputs: Callable[[list[Any]], list[Any]], leaves: Sequence[Any], one: Observed, before: list[Any]) -> float:
    if np.any(broken(one.running_mean, one.running_var)) and not all(map(_is_finite, before)):
        return float("inf")
    if one.now.spoilt:
        return float("nan")
    changed = list(leaves)
    put(changed, one.layer, one.now.population, one.name)
    return change(before, outputs(changed))


def change(before: Sequence[Any], after: Sequence[Any]) -> float:
    """The largest over all outputs of `rms(after - before) / rms(before)`; of whole numbers, the share that differs."""
    return max((_change(a, b) for a, b in zip(before, after, strict=True)), default=0.0)


def _change(before: Any, after: Any) -> float:
    if jnp.issubdtype(before.dtype, jax.dtypes.extended) or not before.size:
        return 0.0
    if not jnp.issubdtype(before.dtype, jnp.inexact):
        return float(np.mean(np.asarray(before) != np.asarray(after)))
    a, b = (np.asarray(part).astype(np.result_type(np.asarray(part).real.dtype, complex)) for part in (before, after))
    both = np.isfinite(a) & np.isfinite(b)
    if np.any(np.isfinite(a) != np.isfinite(b)):
        return float("inf")
    # An infinite logit that stays is none of the change.
    a, b = np.where(both, a, 0), np.where(both, b, 0)
    moved, size = np.linalg.norm(b - a), np.linalg.norm(a)
    return float(moved / size) if size else float("inf") if moved else 0.0


def _is_finite(output: Any) -> bool:
    inexact = jnp.issubdtype(output.dtype, jnp.inexact)
    return not inexact or bool(np.all(np.isfinite(np.asarray(output).astype(complex))))
