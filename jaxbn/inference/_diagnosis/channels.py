"""How far running statistics lie from those of the data, and how much of that is the start, or noise."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from jaxbn.inference._diagnosis.observed import Data, Observed, broken

# In standard deviations. Less moves the output of a layer by less than a batch of 64 moves it in training.
GAP = 0.1
# A gap this many times what the sample of the data explains is one.
ERRORS = 3.0
# Batches whose spread is known well enough.
ENOUGH = 8
# In standard deviations: beyond this a channel is as wrong as can be, and must not speak for all others.
FAR = 3.0
# In standard deviations, the smaller of both: a channel that is further off is looked at alone.
ALONE = 1.0
# Samples: what an average over so few may be off by is not looked at.
BATCH = 64
# What a squared coefficient must reach, on average, to say anything.
DETERMINED = 0.01


class Channels:
    """The channels that vary and whose statistics can be compared; all arrays are `[channels]`.

    Lengths are in standard deviations of the data, and averages over channels of the length of the pair (mean,
    standard deviation).
    """

    def __init__(self, seen: Observed, data: Data) -> None:
        self.seen, self.data, of = seen, data, data.population
        with_data = of.count > 0
        with np.errstate(invalid="ignore", over="ignore"):
            self.kept = with_data & ~broken(seen.running_mean, seen.running_var) & ~broken(of.mean, of.var)
            self.kept &= of.var > max(seen.layer.settings.epsilon or 0.0, 1e-30)
        kept = self.kept
        self.mean, self.var, self.std = of.mean[kept], of.var[kept], np.sqrt(of.var[kept])
        self.running_mean, self.running_var = seen.running_mean[kept], seen.running_var[kept]
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            between = (of.m2 - data.within)[kept] / of.m2[kept]
        self.between = np.maximum(between, 0)
        self.mean_error, self.std_error = self._standard_errors()
        self.batches, self.size = len(seen.sizes), float(np.median(seen.sizes))

    def _standard_errors(self) -> tuple[Any, Any]:
        """Standard errors of mean and standard deviation of the data, in standard deviations.

        What batches differ by, where there are enough of them, since values of one sample depend on one another, and
        count for less than their number but for more than one.
        """
        data, kept = self.data, self.kept
        if len(self.seen.sizes) < ENOUGH:
            # Those of channels that are not kept may not be finite.
            with np.errstate(invalid="ignore", over="ignore"):
                return data.population.mean_error[kept], data.population.std_error[kept]
        batches = np.maximum(data.batches[kept], 2)
        spread = np.maximum(data.squares[kept] / batches - (data.vars[kept] / batches) ** 2, 0)
        return np.sqrt(self.between / (batches - 1)), np.sqrt(spread / (batches - 1)) / (2 * self.var)

    @property
    def any(self) -> bool:
        return bool(np.any(self.kept))

    @property
    def is_gap(self) -> bool:
        """Whether the running statistics are not those of the data."""
        return self._is_gap(np.ones(self.mean.shape, bool))

    @property
    def others_fit(self) -> bool:
        """Whether the running statistics are those of the data but for the channels that are far."""
        return not self._is_gap(~self.far)

    def _is_gap(self, among: Any) -> bool:
        return _mean(self._aparts[among]) > max(GAP, ERRORS * _mean(self._errors[among]))

    @property
    def far(self) -> Any:
        """Which channels are far from their data, whatever the others are."""
        return self.far_by > 0

    @functools.cached_property
    def far_by(self) -> Any:
        """By how much, in the smaller of both standard deviations: one too small counts like one too large; or 0.

        What a batch may differ by does not count, nor then any average over more. That is measured by the larger of
        both, so that a unit that seldom fires, and has fired more or less often than usual, is not far.
        """
        epsilon = self.seen.layer.settings.epsilon or 0.0
        std, running_std = np.sqrt(self.var + epsilon), np.sqrt(self.running_var + epsilon)
        mean_apart, std_apart = np.abs(self.running_mean - self.mean), np.abs(running_std - std)
        batches = np.maximum(self.data.population.samples[self.kept] / BATCH, 1)
        unit = ERRORS * np.sqrt(batches) * np.maximum(std, running_std)
        differs = (mean_apart > unit * self.mean_error) | (std_apart > unit * self.std_error)
        with np.errstate(divide="ignore"):
            by = np.hypot(mean_apart, std_apart) / np.minimum(std, running_std)
        return np.where(differs & (by > ALONE), by, 0)

    @functools.cached_property
    def mean_gap(self) -> Any:
        """Running minus population mean."""
        return (self.running_mean - self.mean) / self.std

    @functools.cached_property
    def std_gap(self) -> Any:
        """Running minus population standard deviation."""
        return np.sqrt(self.running_var) / self.std - 1

    @functools.cached_property
    def gap(self) -> float:
        """How far the running statistics are from the data."""
        return _mean(self._aparts)

    @functools.cached_property
    def error(self) -> float:
        """How far they could be, had they been those of all data: the data are a sample, and the mean is rounded."""
        return _mean(self._errors)

    @functools.cached_property
    def _errors(self) -> Any:
        rounded = 2.0**-22 * np.abs(self.mean) / self.std
        return np.hypot(self.mean_error + rounded, self.std_error)

    @functools.cached_property
    def _aparts(self) -> Any:
        return self._apart(self.mean, self.var)

    def _apart(self, mean: Any, var: Any) -> Any:
        """How far the running statistics of each channel are from these."""
        std = (np.sqrt(self.running_var) - np.sqrt(np.maximum(var, 0))) / self.std
        return np.minimum(np.hypot(np.abs(self.running_mean - mean) / self.std, std), FAR)

    def left(self, residual: float, start: float) -> float:
        """How far they are from a mixture of the data and of the initial values, a mean of 0 and this variance."""
        rest = 1 - residual
        return _mean(self._apart(rest * self.mean, residual * start + rest * self.var))

    def fitted(self, start: float) -> float:
        """The share of the initial values that explains the gap best: `running = r * start + (1 - r) * population`."""
        return _slope(*(np.concatenate(part) for part in zip(self._of_means, self._of_vars(start), strict=True)))[0]

    def agree(self, start: float) -> bool | None:
        """Whether means and variances, each alone, say the same share; `None` if one of them says nothing."""
        (a, a_says), (b, b_says) = _slope(*self._of_means), _slope(*self._of_vars(start))
        return abs(a - b) <= 0.25 * max(a, b) if a_says and b_says else None

    @property
    def _of_means(self) -> tuple[Any, Any]:
        x, y = -self.mean / self.std, self.mean_gap
        return np.concatenate([x.real, x.imag]), np.concatenate([y.real, y.imag])

    def _of_vars(self, start: float) -> tuple[Any, Any]:
        return (start - self.var) / self.var, self.running_var / self.var - 1

    def noise(self, momentum: float) -> float:
        """The spread of a running mean about what it averages: `sigma * sqrt((1 - m) / ((1 + m) * B))`.

        `sigma / sqrt(B)` is the spread of the means of batches, measured where there are enough of them: pixels of an
        image are not independent, and count for less than their number.
        """
        measured = np.mean(self.between) * self.batches / max(self.batches - 1, 1)
        spread = np.sqrt(measured if self.batches >= 4 else 1 / max(self.size, 1))
        return float(spread * np.sqrt((1 - momentum) / (1 + momentum)))


def judged(seen: Observed) -> Channels:
    """Its statistics beside the data by which they are to be judged.

    What a layer sees now is spoilt where those before it are wrong. What it sees in training is not, if the batches are
    like those of training. Statistics are right that fit either.
    """
    now = Channels(seen, seen.now)
    return Channels(seen, seen.right) if seen.now.spoilt or now.is_gap or np.any(now.far) else now


def _mean(of: Any) -> float:
    return float(np.mean(of)) if of.size else 0.0


def _slope(x: Any, y: Any) -> tuple[float, bool]:
    """Least squares through 0, in which no point has more than a weight of 1; and whether that is determined."""
    weight = 1 / (1 + x**2)
    square = np.sum(weight * x**2)
    slope = np.sum(weight * x * y) / (square or 1)
    return float(np.clip(slope, 0, 1)), bool(x.size) and square > DETERMINED * x.size
