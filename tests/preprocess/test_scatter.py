"""The sum of outer products of deviations, against NumPy in float64."""

import jax
import numpy as np
import pytest

from jaxbn.preprocess import _comoments, fit_pca, fit_whiten, transform
from tests.preprocess.fits import FITTED
from tests.tolerances import assert_close

FEATURES, EXAMPLES = 13, [53, 5]


def data(examples, offset=0.0):
    rng = np.random.default_rng(0)
    return (rng.standard_normal((examples, FEATURES)) * np.arange(1, FEATURES + 1) + offset).astype(np.float32)


def variances(x, weights=None):
    cov = np.cov(np.asarray(x, np.float64), rowvar=False, ddof=0, aweights=weights)
    return np.linalg.eigvalsh(cov)[::-1]


@pytest.mark.parametrize("offset", [0.0, 1e4])
@pytest.mark.parametrize("examples", EXAMPLES)
def test_variances_are_those_of_float64(examples, offset):
    x = data(examples, offset)
    expected = variances(x)
    assert_close(fit_pca(x).explained_variance, expected, 1e-6)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_the_sum_of_outer_products_is_symmetric_and_whole(examples):
    x = data(examples)
    wide = x - x.mean(0, dtype=np.float64)
    scatter = _comoments.comoments(jax.numpy.asarray(x), None, (1,)).scatter
    assert_close(scatter, wide.T @ wide, 1e-6)


@pytest.mark.parametrize("examples", EXAMPLES)
def test_weights_follow_their_examples(examples):
    x, weights = data(examples), np.random.default_rng(1).uniform(0, 2, examples).astype(np.float32)
    weights[::3] = 0
    expected = variances(x, weights)
    x[::3] = np.nan
    assert_close(fit_pca(x, mask=weights[:, None]).explained_variance, expected, 1e-6)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_total_variance():
    x = data(53)
    found = jax.grad(lambda x: fit_pca(x).explained_variance.sum())(x)
    assert_close(found, 2 * (x - x.mean(0, dtype=np.float64)) / len(x), 1e-5)


def test_whitened_data_is_white():
    x = data(53, offset=1e4)
    y = np.asarray(transform(fit_whiten(x), x), np.float64)
    assert_close(np.cov(y, rowvar=False, ddof=0), np.eye(FEATURES), FITTED)
