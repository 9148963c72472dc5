"""What is wrong by itself, whatever the running statistics are beside those of the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jaxbn.inference._diagnosis.channels import Channels
from jaxbn.inference._diagnosis.finding import Finding, found
from jaxbn.inference._diagnosis.observed import Observed
from jaxbn.inference._population.nested import RANDOM

# Times the variance of the data: 1000 standard deviations make one, and all that the layer returns is its bias; or the
# other way round, and the layer returns a thousand times what it should.
HUGE = 1e6
# Values in a channel of a batch, below which its mean has a noise of a quarter of a standard deviation.
TINY = 16
# Standard deviations from 0, where float32 has lost three of its seven digits of what varies.
FAR = 1e3


def broken(seen: Observed, channels: Channels) -> Finding | None:
    mean, var, far = seen.running_mean, seen.running_var, np.zeros(channels.kept.shape, bool)
    far[channels.kept] = channels.far
    with np.errstate(invalid="ignore", over="ignore"):
        of = channels.data.population.var
        # Beside a channel that does not vary any more every variance is huge.
        varies = np.isfinite(of) & (of > (seen.layer.settings.epsilon or 0.0))
        kinds = {
            "NaN": np.isnan(mean) | np.isnan(var),
            "infinite": np.isinf(mean) | np.isinf(var),
            "of negative variance": np.isfinite(var) & (var < 0),
            "of huge variance": np.isfinite(var) & varies & (var > HUGE * of),
            # A variance of 0 in all channels is a start.
            "of tiny variance": far & (var * HUGE < of) & np.any(var != 0),
        }
    counts = {kind: int(np.sum(which)) for kind, which in kinds.items() if np.any(which)}
    if not counts:
        return None
    first = int(np.flatnonzero(np.any([which.ravel() for which in kinds.values()], axis=0))[0])
    return found(
        "BN107",
        f"{', '.join(f'{n} {kind}' for kind, n in counts.items())} of {var.size} channels, channel {first} first "
        f"(mean {mean.ravel()[first]:.3g}, variance {var.ravel()[first]:.3g})",
        "restore earlier statistics or recalibrate, and look for the step at which they broke",
        channels=np.sum(np.any([*kinds.values()], axis=0)),
        first=first,
    )


def not_finite(seen: Observed, before: Sequence[Observed]) -> Finding | None:
    # Of layers that see it one after the other the first is to blame.
    if not seen.right.spoilt or any(one.right.spoilt for one in before):
        return None
    of = seen.right.population
    bad = ~np.isfinite(of.mean) | ~np.isfinite(of.m2)
    return found(
        "BN108",
        f"NaN, inf or too large to be squared in {np.sum(bad)} of {bad.size} channels, first in batch "
        f"{seen.right.spoilt}",
        "look at that batch, and at the weights before this layer",
        channels=np.sum(bad),
        batch=seen.right.spoilt,
    )


def tiny(seen: Observed) -> Finding | None:
    size = float(np.median(seen.sizes))
    if not 0 < size < TINY:
        return None
    noise = 1 / np.sqrt(size)
    return found(
        "BN109",
        f"{size:g} values in a channel of a batch: in training their mean has a noise of {noise:.2g} std",
        "train with larger batches, or merge those of several devices (axis_name)",
        size=size,
        noise=noise,
    )


def random(seen: Observed) -> Finding | None:
    if RANDOM not in seen.layer.after:
        return None
    return found(
        "BN110",
        "its input depends on random numbers that `apply` draws, as of dropout that is on",
        "evaluate with dropout off (deterministic=True, model.eval()), here and where the model is used",
    )


def constant(seen: Observed, channels: Channels) -> Finding | None:
    of, epsilon = channels.data.population, seen.layer.settings.epsilon or 0.0
    finite = np.isfinite(of.mean) & np.isfinite(of.m2) & (of.count > 0)
    equal = finite & (of.m2 == 0)
    nearly = finite & (of.var < epsilon) & ~equal
    dead = equal & (of.mean == 0)
    counts = {"always 0": dead, "constant": equal & ~dead, f"varying by less than epsilon {epsilon:g}": nearly}
    words = [f"{np.sum(which)} {what}" for what, which in counts.items() if np.any(which)]
    if not words:
        return None
    return found(
        "BN111",
        f"{', '.join(words)} of {finite.size} channels",
        "look at what comes before: dead units, inputs that never vary, or a scale that epsilon drowns",
        dead=np.sum(dead),
        constant=np.sum(equal),
        nearly=np.sum(nearly),
    )


def far(seen: Observed, channels: Channels) -> Finding | None:
    ratio = np.abs(channels.mean) / channels.std
    which = ratio > FAR
    if not np.any(which):
        return None
    return found(
        "BN112",
        f"|mean| / std up to {np.max(ratio):.3g}, above 1000 in {np.sum(which)} of {seen.running_var.size} channels",
        "centre the data or what comes before: the digits are lost before batch norm sees them",
        ratio=np.max(ratio),
        channels=np.sum(which),
    )


def bias(biases: Sequence[str]) -> Finding | None:
    if not biases:
        return None
    return found(
        "BN113",
        f"{', '.join(sorted(biases))} is added to its input and taken away with the mean: its gradient is 0",
        "leave it out (use_bias=False)",
        biases=len(biases),
    )
