"""In double precision, to 1e-10, what scikit-learn computes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.preprocess import fit_min_max, fit_pca, fit_standardize, fit_whiten, inverse_transform, transform
from tests.preprocess.fits import table
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow

preprocessing = pytest.importorskip("sklearn.preprocessing")
decomposition = pytest.importorskip("sklearn.decomposition")

TOLERANCE = 1e-10


@pytest.fixture(autouse=True)
def _double():
    with jax.enable_x64(True):
        yield


def data(seed=0):
    return table(offset=3.0, seed=seed, dtype="float64")


def assert_same_results(t, theirs):
    """On other data too, there and back."""
    for x in (data(), data(seed=9)):
        expected = theirs.transform(x)
        got = transform(t, x)
        assert got.dtype == "float64"
        assert_close(got, expected, TOLERANCE)
        assert_close(inverse_transform(t, expected), theirs.inverse_transform(expected), TOLERANCE)


def test_standard_scaler():
    x = data()
    x[:, 2] = 5.0
    theirs = preprocessing.StandardScaler().fit(x)
    t = fit_standardize(x)
    assert_close((t.center + t.rest, t.spread), (theirs.mean_, theirs.scale_), TOLERANCE)
    assert_same_results(t, theirs)


def test_standard_scaler_leaves_nan_out():
    x = data()
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    assert_same_results(fit_standardize(x, nan_policy="omit"), preprocessing.StandardScaler().fit(x))


def test_partial_fit_of_standard_scaler_with_sample_weights():
    x, weights = data(), np.random.default_rng(2).random(40)
    theirs = preprocessing.StandardScaler()
    for part in np.split(np.arange(40), 4):
        theirs.partial_fit(x[part], sample_weight=weights[part])
    assert_same_results(fit_standardize(np.split(x, 4), mask=np.split(weights[:, None], 4)), theirs)
    assert_same_results(fit_standardize(x, mask=weights[:, None]), theirs)


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 1.0), (-3.0, 0.5)])
def test_min_max_scaler(low, high):
    x = data()
    assert_same_results(fit_min_max(x, low=low, high=high), preprocessing.MinMaxScaler((low, high)).fit(x))
    x[np.random.default_rng(1).random(x.shape) < 0.3] = np.nan
    theirs = preprocessing.MinMaxScaler((low, high)).fit(x)
    assert_same_results(fit_min_max(x, low=low, high=high, nan_policy="omit"), theirs)


def test_min_max_scaler_of_a_constant_feature():
    """On the data itself; on other data theirs multiplies it by the width of the range, and ours does not."""
    x = data()
    x[:, 2] = 5.0
    theirs, t = preprocessing.MinMaxScaler((-1.0, 1.0)).fit(x), fit_min_max(x)
    assert_close(transform(t, x), theirs.transform(x), TOLERANCE)
    assert_close(inverse_transform(t, transform(t, x)), x, TOLERANCE)


def test_max_abs_scaler():
    x = data()
    assert_same_results(fit_min_max([x, -x]), preprocessing.MaxAbsScaler().fit(x))


@pytest.mark.parametrize("components", [None, 1, 4])
@pytest.mark.parametrize("whiten", [False, True])
def test_pca(whiten, components):
    x = data()
    theirs = decomposition.PCA(components, whiten=whiten).fit(x)
    t = (fit_whiten if whiten else fit_pca)(x, components=components, ddof=1)
    assert_same_results(t, theirs)
    assert_close(t.center + t.rest, theirs.mean_, TOLERANCE)
    assert_close(t.components, theirs.components_, TOLERANCE)
    assert_close(t.explained_variance, theirs.explained_variance_, TOLERANCE)
    assert_close(t.explained_variance_ratio, theirs.explained_variance_ratio_, TOLERANCE)


def test_pca_of_fewer_examples_than_features():
    x = data()[:4]
    theirs, t = decomposition.PCA(3).fit(x), fit_pca(x, components=3, ddof=1)
    assert_close(t.components, theirs.components_, TOLERANCE)
    assert_close(t.explained_variance_ratio, theirs.explained_variance_ratio_, TOLERANCE)


@pytest.mark.parametrize("whiten", [False, True])
def test_incremental_pca(whiten):
    """With all components, when it is exact; its signs are those of the last batch."""
    x = data()
    theirs = decomposition.IncrementalPCA(whiten=whiten, batch_size=10).fit(x)
    t = (fit_whiten if whiten else fit_pca)(np.split(x, 4), ddof=1)
    assert_close(t.explained_variance, theirs.explained_variance_, TOLERANCE)
    assert_close(t.explained_variance_ratio, theirs.explained_variance_ratio_, TOLERANCE)
    signs = jnp.sign(jnp.sum(t.components * theirs.components_, 1))
    assert_close(t.components * signs[:, None], theirs.components_, TOLERANCE)
    assert_close(transform(t, x) * signs[None], theirs.transform(x), TOLERANCE)
