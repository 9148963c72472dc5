"""What a recalibration has changed, as data and as a table."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxbn.inference._layers import line_of
from jaxbn.inference._population.population import Population, namespace


class Moved(NamedTuple):
    """How far the statistics of one batch norm have moved; all arrays are `[features]`.

    Attributes:
        samples: how many entries along the batch axis were used; a layer that is called twice counts both.
        mean: new minus old, in running standard deviations, the new ones.
        mean_errors: the same, in standard errors of the mean.
        std: new minus old standard deviation, in running standard deviations.
        std_errors: the same, in standard errors of the standard deviation.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import BatchNormParams, batch_norm, init_state
        >>> from jaxbn.inference import recalibrate
        >>> apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, train=False)[0]
        >>> _, report = recalibrate(apply, init_state(1), jnp.array([[1.0], [5.0]]))
        >>> moved = report["batch_norm"]
        >>> print(moved.samples, moved.mean, moved.std)
        [2.] [1.5] [0.5]
    """

    samples: Any
    mean: Any
    mean_errors: Any
    std: Any
    std_errors: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Report:
    """How far each batch norm has moved, in the order of their calls.

    `report[name]` is a `Moved`, and `print(report)` shows a table: of each layer the samples, and of the feature that
    moved furthest by how much. It is a pytree, so that a jitted function may return it.

    Attributes:
        names: the layers, by the paths of their statistics.
        moved: a `Moved` for each of them.

    Raises:
        KeyError: `report[name]` for a layer that is not there.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import BatchNormParams, batch_norm, init_state
        >>> from jaxbn.inference import recalibrate
        >>> apply = lambda states, x: batch_norm(BatchNormParams(None, None), states["bn"], x, train=False)[0]
        >>> _, report = recalibrate(apply, {"bn": init_state(1)}, jnp.array([[1.0], [5.0]]))
        >>> print(report.names, report["bn"].mean)
        ('bn',) [1.5]
    """

    names: tuple[str, ...] = dataclasses.field(metadata={"static": True})
    moved: tuple[Moved, ...]

    def __getitem__(self, name: str) -> Moved:
        return line_of(name, self.names, self.moved)

    def __str__(self) -> str:
        head = [
            ("", "samples", "mean moved", "", "std moved", ""),
            ("batch norm", "", "in std", "in errors", "in std", "in errors"),
        ]
        rows = [
            (name, f"{np.max(moved.samples, initial=0):.0f}", *(f"{_largest(part):.3g}" for part in moved[1:]))
            for name, moved in zip(self.names, self.moved, strict=True)
        ]
        widths = [max(map(len, column)) for column in zip(*head, *rows, strict=True)]
        lines = [
            "  ".join([cells[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells[1:], widths[1:], strict=True))])
            for cells in [*head, *rows]
        ]
        return "\n".join(
            [*(line.rstrip() for line in lines), "Each figure is that of the feature that moved furthest."]
        )


def moved(old_mean: Any, old_var: Any, new: Population, mean: Any, var: Any) -> Moved:
    """From old statistics to these, where the standard errors are those of the new data."""
    xp = namespace((old_mean, old_var, new, mean, var))
    std, old_std = xp.sqrt(var), xp.sqrt(xp.maximum(old_var, 0))
    far, wide = _ratio(xp.abs(mean - old_mean), std), _ratio(std - old_std, std)
    # Of a real mean the direction is known.
    far = far if xp.iscomplexobj(mean) else far * xp.sign(mean - old_mean)
    return Moved(new.samples, far, _ratio(far, new.mean_error), wide, _ratio(wide, new.std_error))


def _ratio(a: Any, b: Any) -> Any:
    """Where nothing moved, 0."""
    xp = namespace((a, b))
    ratio = xp.where(b > 0, a / xp.where(b > 0, b, xp.ones_like(b)), xp.copysign(xp.inf, a))
    return xp.where(a == 0, xp.zeros_like(ratio), ratio)


def _largest(part: Any) -> float:
    flat = np.ravel(part)
    return float(flat[np.argmax(np.abs(flat))]) if flat.size else 0.0
