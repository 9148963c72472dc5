"""What is wrong with each batch norm of a model, as data and as a table."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxbn.inference._diagnosis import checks as _checks
from jaxbn.inference._diagnosis.channels import Channels
from jaxbn.inference._diagnosis.finding import DIAGNOSES, Finding
from jaxbn.inference._diagnosis.observed import Observed
from jaxbn.inference._layers import line_of

# A fifth of the output is more than noise of the running average makes of it.
LARGE = 0.2
# What can explain a harm; all else is a trouble in training or of the data.
CAUSES = {"BN101", "BN102", "BN103", "BN104", "BN105", "BN106", "BN107", "BN108", "BN114"}


@dataclasses.dataclass(frozen=True, eq=False)
class DiagnosedNorm:
    """A batch norm, what is wrong with it, and the numbers to see it by.

    Attributes:
        name: the path of its statistics.
        harm: the change of the output, as a part of it, if this layer alone were recalibrated; infinite where this
            layer makes the output infinite or NaN, NaN where its own input is.
        findings: what is wrong, each a `Finding`; what explains the gap comes first.
        gap: how far the running statistics are from those of the data, in standard deviations of the data.
        error: how much of the gap can be chance, since the data are a sample.
        running_mean: `[features]`, as all arrays here, in double precision.
        running_var: `[features]`, in the square of the unit of the mean.
        mean: `[features]`, of the data that the layer sees; where the norms before it spoil these, of what it sees in
            training.
        var: `[features]`, of the same data.
        samples: how many entries along the batch axis were seen.
        codes: those of the findings.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import BatchNormParams, batch_norm, init_state
        >>> from jaxbn.inference import diagnose
        >>> apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, train=False)[0]
        >>> norm = diagnose(apply, init_state(1), jnp.linspace(3.0, 9.0, 100)[:, None])["batch_norm"]
        >>> print(norm.codes, norm.running_mean, norm.mean.round(2), f"{norm.gap:.1f}")
        ('BN101',) [0.] [6.] 3.0
    """

    name: str
    harm: float
    findings: tuple[Finding, ...]
    gap: float
    error: float
    running_mean: Any
    running_var: Any
    mean: Any
    var: Any
    samples: float

    @property
    def codes(self) -> tuple[str, ...]:
        return tuple(finding.code for finding in self.findings)


@dataclasses.dataclass(frozen=True, eq=False)
class DiagnosisReport:
    """What is wrong with each batch norm, the most harmful first; `print(report)` shows a table.

    `report["block/norm"]` is a `DiagnosedNorm`, by the path of its statistics.

    Attributes:
        norms: a `DiagnosedNorm` for each batch norm.
        codes: those of all findings, each once.

    Raises:
        KeyError: `report[name]` for a layer that is not there.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import BatchNormParams, batch_norm, init_state
        >>> from jaxbn.inference import diagnose
        >>> apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, train=False)[0]
        >>> report = diagnose(apply, init_state(1), jnp.linspace(3.0, 9.0, 100)[:, None])
        >>> for norm in report.norms:
        ...     for finding in norm.findings:
        ...         print(norm.name, finding.code, finding.diagnosis, f"{finding.numbers['gap']:.2f}")
        batch_norm BN101 statistics never updated 3.00
    """

    norms: tuple[DiagnosedNorm, ...]

    def __getitem__(self, name: str) -> DiagnosedNorm:
        return line_of(name, [norm.name for norm in self.norms], self.norms)

    @property
    def codes(self) -> tuple[str, ...]:
        """All that were found, each once."""
        return tuple(dict.fromkeys(code for norm in self.norms for code in norm.codes))

    def without(self, *codes: str) -> DiagnosisReport:
        """The report without the findings of these codes; this one stays as it is.

        Args:
            codes: each an argument of its own, as in `report.without("BN109", "BN113")`.

        Returns:
            `DiagnosisReport`: the same norms in the same order, harm and gap included.

        Raises:
            TypeError: a code is no string, for example a list of them.
            ValueError: a code is none of `jaxbn.inference.DIAGNOSES`.

        Example:
            >>> import jax.numpy as jnp
            >>> from jaxbn import BatchNormParams, batch_norm, init_state
            >>> from jaxbn.inference import diagnose
            >>> apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, train=False)[0]
            >>> report = diagnose(apply, init_state(1), jnp.linspace(3.0, 9.0, 8)[:, None])
            >>> print(report.codes, report.without("BN109").codes)
            ('BN101', 'BN109') ('BN101',)
        """
        _checks.codes(codes, DIAGNOSES)
        return DiagnosisReport(
            tuple(
                dataclasses.replace(norm, findings=tuple(f for f in norm.findings if f.code not in codes))
                for norm in self.norms
            )
        )

    def __str__(self) -> str:
        rows = [("batch norm", "harm", "code", "diagnosis; evidence; next step")]
        for norm in self.norms:
            harm = "unknown" if math.isnan(norm.harm) else f"{norm.harm:.3g}"
            first, *others = [*((finding.code, str(finding)) for finding in norm.findings), *_no_cause(norm)]
            rows.append((norm.name, harm, *first))
            rows += [("", "", *other) for other in others]
        widths = [max(map(len, column)) for column in zip(*(row[:3] for row in rows), strict=True)]
        lines = [
            f"{name:{widths[0]}}  {harm:>{widths[1]}}  {code:{widths[2]}}  {words}" for name, harm, code, words in rows
        ]
        return "\n".join(
            [*lines, "Harm: the change of the output, as a part of it, if this layer alone were recalibrated."]
        )


def _no_cause(norm: DiagnosedNorm) -> list[tuple[str, str]]:
    """The row that says that nothing is wrong, or that nothing is known to be."""
    gap = f"{norm.gap:.2g} std from the data, of which their sample explains {norm.error:.2g}"
    if norm.harm > LARGE and not CAUSES & {*norm.codes}:
        what = "give more batches, compare its channels (mean with running_mean, var with running_var), or recalibrate"
        return [("", f"no cause is named for a harm of {norm.harm:.2g}; {gap}; {what}")]
    return [] if norm.findings else [("", f"nothing found; {gap}")]


def report(
    layers: Sequence[Observed],
    judged: Sequence[Channels],
    found: Sequence[tuple[Finding, ...]],
    harms: Sequence[float],
) -> DiagnosisReport:
    norms = []
    for one, channels, findings, harm in zip(layers, judged, found, harms, strict=True):
        of = channels.data.population
        samples = float(np.max(of.samples, initial=0))
        gap, running = (channels.gap, channels.error), (one.running_mean, one.running_var)
        norms.append(DiagnosedNorm(one.name, harm, findings, *gap, *running, of.mean, of.var, samples))
    return DiagnosisReport(tuple(sorted(norms, key=_order)))


def _order(norm: DiagnosedNorm) -> float:
    """What can't be computed is worst where something is wrong, and else of no account."""
    if math.isnan(norm.harm):
        return -math.inf if norm.findings else math.inf
    return -norm.harm
