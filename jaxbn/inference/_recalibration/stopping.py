"""When a pass over the data has seen enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxbn.inference._population.population import Population
from jaxbn.inference._population.seen import Seen


class Enough(NamedTuple):
    """What is enough.

    Attributes:
        samples: so many at each layer, or `None`.
        tolerance: no standard error above this, in standard deviations, or `None`.
    """

    samples: int | None
    tolerance: float | None

    def are(self, totals: Sequence[Seen | Population | None]) -> bool:
        """Whether layers that have seen so much, `None` for nothing, have seen enough; no layer never has."""
        known = [total for total in totals if isinstance(total, Population)]
        if not totals or len(known) < len(totals):
            return False
        if self.samples is not None and all(np.any(t.samples >= self.samples) or not t.samples.size for t in known):
            return True
        return self.tolerance is not None and all(t.is_known(self.tolerance) for t in known)
