"""Every way to fit a transform, and data whose principal components are far apart."""

import functools
from typing import NamedTuple

import jax
import numpy as np
import pytest

from jaxbn.preprocess import fit_center, fit_min_max, fit_pca, fit_standardize, fit_whiten, transform
from tests import reference
from tests.tolerances import assert_close

SCALINGS = {
    "center": fit_center,
    "standardize": fit_standardize,
    "standardize-unbiased": functools.partial(fit_standardize, ddof=1),
    "min-max": fit_min_max,
    "min-max-0-to-1": functools.partial(fit_min_max, low=0.0, high=1.0),
}
PROJECTIONS = {
    "pca": fit_pca,
    "pca-unbiased": functools.partial(fit_pca, ddof=1),
    "whiten-pca": fit_whiten,
    "whiten-zca": functools.partial(fit_whiten, kind="zca"),
    "whiten-epsilon": functools.partial(fit_whiten, kind="zca", epsilon=0.1),
}
SHORTER = {
    "pca-2": functools.partial(fit_pca, components=2),
    "whiten-pca-2": functools.partial(fit_whiten, components=2),
    "whiten-zca-2": functools.partial(fit_whiten, kind="zca", components=2),
}
FITS = SCALINGS | PROJECTIONS | SHORTER
# One of each kind of statistics, and of each that makes something else of them; for what takes long to compile.
FEW = {name: FITS[name] for name in ("standardize", "min-max", "pca-unbiased", "whiten-zca")}
few_fits = pytest.mark.parametrize("fit", FEW.values(), ids=FEW)
# Shapes of 40 examples with 6 features, and the feature axes in any order; more sizes would take longer to compile.
LAYOUTS = [
    ((40, 6), -1),
    ((6, 40), 0),
    ((10, 2, 2, 6), -1),
    ((20, 2, 3, 2), (1, 2)),
    ((20, 2, 2, 3), (3, 1)),
    ((40, 1, 2, 3), (1, 2, 3)),
]
# Of what was fitted, relative to the standard deviation; a direction 8 times narrower is known to 8 times less.
FITTED = 2e-5


class Data(NamedTuple):
    x: np.ndarray
    axis: int | tuple[int, ...]

    @property
    def axes(self):
        return self.axis if isinstance(self.axis, tuple) else (self.axis,)


def to_rows(x, axis):
    """`[examples, features]` in double precision, the features in the order of `axis`."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    x = np.moveaxis(reference.double(x), axes, range(-len(axes), 0))
    return x.reshape(-1, int(np.prod(x.shape[x.ndim - len(axes) :])))


def table(examples=40, features=6, *, offset=0.0, seed=0, dtype="float32"):
    """Correlated noise, each component 1.5 times as wide as the next, the widest of standard deviation 1."""
    random = np.random.default_rng(seed)
    rotation = np.linalg.qr(np.random.default_rng(features).normal(size=(features, features)))[0]
    x = random.normal(size=(examples, features)) * 1.5 ** -np.arange(features) @ rotation
    # An offset of each feature's own, all of one size.
    x = x + offset * (-1.0) ** np.arange(features)
    if np.issubdtype(dtype, np.complexfloating):
        x = x + 1j * x[::-1]
    return x.astype(dtype)


def layout(shape, axis, *, offset=0.0, seed=0):
    """A table of these features, as it lies in an array of this shape."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    features = [shape[a] for a in axes]
    rest = [n for d, n in enumerate(shape) if d not in [a % len(shape) for a in axes]]
    rows = table(int(np.prod(rest)), int(np.prod(features)), offset=offset, seed=seed)
    return Data(np.moveaxis(rows.reshape(*rest, *features), range(-len(axes), 0), axes), axis)


def assert_same_fit(got, expected, x, tolerance=FITTED):
    """Two transforms do the same, and hold the same statistics."""
    assert jax.tree.structure(got) == jax.tree.structure(expected)
    assert_close(transform(got, x), transform(expected, x), tolerance)
    for name in ("spread", "components", "explained_variance", "explained_variance_ratio"):
        if hasattr(expected, name):
            assert_close(getattr(got, name), getattr(expected, name), tolerance)


def compiled(function, *arguments):
    """Compiled in less time, to slower machine code of the same program."""
    return jax.jit(function).lower(*arguments).compile({"xla_backend_optimization_level": 0})
