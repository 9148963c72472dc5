"""One thing that is wrong with a batch norm, and the codes of all that can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

# What explains that running statistics are not those of the data is a decision list: the first that applies is named.
DIAGNOSES: Final = {
    "BN101": "statistics never updated",
    "BN102": "initial values not forgotten",
    "BN103": "batches that are not alike",
    "BN104": "average too noisy for its momentum",
    "BN105": "dropout before the norm",
    "BN106": "old statistics on new data or new weights",
    "BN107": "broken statistics",
    "BN108": "input that is not finite",
    "BN109": "tiny normalised batch",
    "BN110": "random numbers in evaluation",
    "BN111": "constant channels",
    "BN112": "mean far from zero",
    "BN113": "bias before the norm",
    "BN114": "few channels far from their data",
}
"""What `diagnose` can find, by the codes of the findings."""


class Finding(NamedTuple):
    """One thing that is wrong with a batch norm, what shows it, and what to do next.

    Attributes:
        code: one of `DIAGNOSES`, for `report.without(code)`.
        evidence: in words.
        next_step: what to do.
        numbers: the figures of the evidence, by name.
        diagnosis: the name of what is wrong, `DIAGNOSES[code]`.

    Example:
        >>> finding = Finding("BN101", "mean 0 and variance 1 to the bit", "recalibrate", {"gap": 3.0})
        >>> print(finding)
        statistics never updated; mean 0 and variance 1 to the bit; recalibrate
    """

    code: str
    evidence: str
    next_step: str
    numbers: Mapping[str, float]

    @property
    def diagnosis(self) -> str:
        """The trouble by its name."""
        return DIAGNOSES[self.code]

    def __str__(self) -> str:
        return f"{self.diagnosis}; {self.evidence}; {self.next_step}"


def found(code: str, evidence: str, next_step: str, **numbers: float) -> Finding:
    return Finding(code, evidence, next_step, {name: float(value) for name, value in numbers.items()})
