"""Differences between runs of the same seeds, hence of the same batches, and how sure their mean is."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def standard_error(values: Sequence[float] | np.ndarray) -> float:
    """Of the mean of several values; NaN of one.

    Example:
        >>> standard_error([1.0, 3.0])
        1.0
    """
    return float(np.std(values, ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")


def points(after: Sequence[float] | np.ndarray, before: Sequence[float] | np.ndarray) -> str:
    """The mean difference of two accuracies, seed by seed, in points, ± its standard error where there are several.

    Args:
        after: one value per seed.
        before: one value per seed, of the same seeds in the same order.

    Example:
        >>> points([0.72, 0.91], [0.70, 0.90])
        '+1.50 ± 0.50'
    """
    differences = 100 * (np.asarray(after) - np.asarray(before))
    error = f" ± {standard_error(differences):.2f}" if len(differences) > 1 else ""
    return f"{differences.mean():+.2f}{error}"
