"""What is wrong with the batch norms of a trained net: from one look at the data to causes, numbers and remedies."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from typing import Any, TypeVar

from jaxbn.inference._diagnosis import checks as _checks
from jaxbn.inference._diagnosis.channels import judged
from jaxbn.inference._diagnosis.finding import DIAGNOSES as DIAGNOSES
from jaxbn.inference._diagnosis.finding import Finding as Finding
from jaxbn.inference._diagnosis.flow import flow
from jaxbn.inference._diagnosis.harm import harms
from jaxbn.inference._diagnosis.observed import observe
from jaxbn.inference._diagnosis.report import DiagnosedNorm as DiagnosedNorm
from jaxbn.inference._diagnosis.report import DiagnosisReport as DiagnosisReport
from jaxbn.inference._diagnosis.report import report
from jaxbn.inference._diagnosis.rules import findings
from jaxbn.inference._population.batches import reader
from jaxbn.inference._population.model import opened
from jaxbn.inference._population.program import Program

Variables = TypeVar("Variables")


def diagnose(
    apply: Callable[[Variables, Any], Any],
    variables: Variables,
    batches: Any,
    *,
    step: int | None = None,
    groups: Iterable[Hashable] | None = None,
) -> DiagnosisReport:
    """Say what is wrong with every batch norm of a model that is fine in training and bad in evaluation.

    `gap = mean over channels of |(running_mean - mean, running_std - std)| / std`,  `running = r * start + (1 - r) *
    population`,  `harm = rms(output if this layer alone were recalibrated - output) / rms(output)`.

    The running statistics are compared with those of the data, read once. A layer whose statistics do not fit what it
    sees is compared with what it would see if the norms before it used the statistics of their batch, as in training,
    so that a fault is not found again in all layers after it. Of what explains a gap the first in this list is named:

    - `BN101` statistics never updated: mean 0 and variance 1 (or 0) to the bit, or a count of 0 and a gap.
    - `BN102` initial values not forgotten: `r = momentum**step`, or `r` fitted to all means and variances together.
    - `BN103` batches, or groups, that are not alike: more of the variance lies between them than sampling explains.
    - `BN114` few channels far from their data: at most a quarter of them, and the others fit. A gap is an average, in
      which one channel of many is lost, though it may spoil the output alone.
    - `BN104` average too noisy: a spread of `sigma * sqrt((1 - m) / ((1 + m) * B))`, and a gap no larger.
    - `BN105` dropout before the norm: variances fall and means stay when it is turned off. Layers of dropout of Flax
      are seen, also where they are off. In plain functions the figures speak alone, and any other noise that only
      training has, or data of smaller spread, does the same to them.
    - `BN106` old statistics on new data or new weights: a gap, and none of the above.

    Apart from a gap: `BN107` NaN, infinite, negative, huge or tiny variances; `BN108` input that is not finite;
    `BN109` fewer than 16 values in a channel of a batch; `BN110` random numbers drawn in evaluation; `BN111` dead,
    constant or nearly constant channels; `BN112` |mean| / std above 1000; `BN113` a bias of the variables that is added
    just before a norm and reaches nothing else, so that its gradient is 0.

    A gap below 0.1, or not above three standard errors, is none. The errors are measured between batches if there are
    at least 8, and otherwise taken for those of independent samples.

    Layers are found as by `recalibrate`; in a shard_map the batch is taken to be spread over all of its axes. The
    momentum is that of the layer, or in plain functions that with which `apply` calls `batch_norm`; `normalize` has
    none, and then nothing is said of noise, and `r` is fitted. Data whose values are all smaller than those of before
    can look like a start that is not forgotten, if neither `step` nor a count says otherwise.

    Args:
        apply: `(variables, batch) -> anything`, your own call of the model in evaluation; JAX must be able to trace it.
        variables: a tree of arrays, or a model of nnx; nothing of it changes.
        batches: an iterable of batches, of the size and the kind that training has, or one array, which is one batch.
            A batch is what `apply` takes.
        step: the number of training steps so far. A layer that keeps a `count` knows better.
        groups: one label for each batch, say its domain or its class: the groups are compared, and not the batches.
            This shows one batch norm that serves several domains.

    Returns:
        `DiagnosisReport`: the norms by their harm, each with its findings (code, diagnosis, evidence, next step,
            numbers), and with running and population statistics, `[features]`. `print(report)` shows a table;
            `report.without("BN113")` is silent about that. The harm is computed on the first batch; of several outputs
            the largest counts, of whole numbers the share that changes, and variables that are returned do not count.

    Raises:
        TypeError: an argument of the wrong type, something is traced, or complex data where the running mean is real.
        ValueError: no batch norm is found, or one trains; there is no data; a label is missing.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import BatchNormParams, batch_norm, init_state
        >>> apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, train=False)[0]
        >>> x = jnp.linspace(3.0, 9.0, 100)[:, None]
        >>> report = diagnose(apply, init_state(1), x)
        >>> print(report.codes, f"{report['batch_norm'].harm:.2f}")
        ('BN101',) 0.97
        >>> print(report["batch_norm"].findings[0].evidence)
        mean 0 and variance 1 to the bit, 3 std from the data

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithm 2: the running statistics. Li et al.,
        "Understanding the disharmony between dropout and batch normalization by variance shift", CVPR 2019: `BN105`.
    """
    _checks.arguments(apply, step)
    labels = _checks.labels(groups)
    model, read = opened(variables), reader(batches, keep=False)
    _checks.values("variables", model.leaves)
    program = Program(lambda own, batch: apply(model.given(own), batch), every_axis=True)
    layers, first = observe(program, model, read, step, labels)
    channels = [judged(one) for one in layers]
    flows = flow(program, model.leaves, first)
    found = findings(layers, channels, model.names, flows.taken_away)
    return report(layers, channels, found, harms(program, model.leaves, layers, first, flows.unchanged))
