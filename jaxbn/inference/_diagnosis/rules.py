"""All that is wrong with one batch norm."""

from __future__ import annotations

from collections.abc import Sequence

from jaxbn.inference._diagnosis import gaps, signs
from jaxbn.inference._diagnosis.channels import judged
from jaxbn.inference._diagnosis.finding import Finding
from jaxbn.inference._diagnosis.observed import Observed


def findings(seen: Observed, layers: Sequence[Observed], names: Sequence[str]) -> tuple[Finding, ...]:
    """Why its statistics are wrong first, then what is wrong beside that.

    Args:
        seen: the batch norm.
        layers: all of them.
        names: of the leaves of the variables.
    """
    channels = judged(seen)
    before = [one for one in layers if {*one.layer[:2]} & seen.layer.after]
    broken = signs.broken(seen, channels)
    every = (
        signs.not_finite(seen, before),
        broken or gaps.cause(channels),
        signs.random(seen),
        signs.tiny(seen),
        signs.constant(seen, channels),
        signs.far(seen, channels),
        signs.bias(seen, names),
    )
    return tuple(finding for finding in every if finding is not None)
