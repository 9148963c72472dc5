"""All that is wrong with the batch norms of a model."""

from __future__ import annotations

from collections.abc import Sequence, Set

from jaxbn.inference._diagnosis import gaps, signs
from jaxbn.inference._diagnosis.channels import Channels
from jaxbn.inference._diagnosis.finding import Finding
from jaxbn.inference._diagnosis.observed import Observed


def findings(
    layers: Sequence[Observed], judged: Sequence[Channels], names: Sequence[str], taken_away: Set[int]
) -> list[tuple[Finding, ...]]:
    """Of each batch norm first why its statistics are wrong, then what is wrong beside that.

    Args:
        layers: the batch norms, in the order of their calls.
        judged: their statistics beside the data.
        names: of the leaves of the variables.
        taken_away: the leaves that get nowhere but into batch norms, which take them away with the mean.
    """
    causes = [signs.broken(one, its) or gaps.cause(its) for one, its in zip(layers, judged, strict=True)]
    clear = max((f.numbers for f in causes if f and f.code == "BN102"), key=lambda n: n["gap"], default=None)
    if clear:
        again = [gaps.cause(its, clear["residual"]) for its in judged]
        causes = [b if a and a.code == "BN106" else a for a, b in zip(causes, again, strict=True)]
    found = []
    for one, its, cause in zip(layers, judged, causes, strict=True):
        before = [other for other in layers if {*other.layer[:2]} & one.layer.after]
        every = (
            signs.not_finite(one, before),
            cause,
            signs.random(one),
            signs.tiny(one),
            signs.constant(one, its),
            signs.far(one, its),
            signs.bias([names[leaf] for leaf in one.layer.biases & taken_away]),
        )
        found.append(tuple(finding for finding in every if finding is not None))
    return found
