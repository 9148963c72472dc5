"""Data that is constant, far from 0, missing, scarce, of low rank, tiny, huge, or too large to hold."""

import jax
import numpy as np
import pytest

from jaxbn.preprocess import fit_center, fit_min_max, fit_pca, fit_standardize, fit_whiten, inverse_transform, transform
from tests.data import noise
from tests.preprocess.fits import FEW, FITS, FITTED, SCALINGS, few_fits, table
from tests.tolerances import assert_close, assert_same

every_scaling = pytest.mark.parametrize("name", SCALINGS)
WHITENINGS = ["whiten-pca", "whiten-zca"]


def there_and_back(t, x):
    y = transform(t, x)
    return np.asarray(y), np.asarray(inverse_transform(t, y))


@every_scaling
@pytest.mark.parametrize("value", [0.0, 0.1, -1e6, 1e15, 1e-30])
def test_constant_features_are_not_divided_by_0_and_come_back_exactly(name, value):
    x = table()
    x[:, 2] = value
    for t in (SCALINGS[name](x), SCALINGS[name]([x[:20], x[20:]])):
        y, back = there_and_back(t, x)
        assert np.all(np.isfinite(y))
        assert np.all(y[:, 2] == (-1.0 if name == "min-max" else 0.0))
        assert np.all(back[:, 2] == np.float32(value))
        assert t.spread[2] == 1


@pytest.mark.slow
@pytest.mark.parametrize("batches", [1, 40])
def test_an_offset_costs_no_digit(batches):
    """Of 1e6 standard deviations, where one float32 can't hold the mean."""
    x = noise(4000, 6, mean=1e6)
    parts = np.split(x, batches) if batches > 1 else x
    exact = x.astype(float)
    for fit, spread in ((fit_center, 1.0), (fit_standardize, exact.std(0))):
        y = np.asarray(transform(fit(parts), x)).astype(float)
        assert np.max(np.abs(y.mean(0))) <= 2e-6
        assert_close(y, (exact - exact.mean(0)) / spread, 2e-6)
    assert np.max(np.abs(y.var(0) - 1)) <= 2e-6
    white = np.asarray(transform(fit_whiten(parts), x)).astype(float)
    assert np.max(np.abs(white.mean(0))) <= 2e-6
    assert_close(np.cov(white, rowvar=False, ddof=0), np.eye(6), 1e-5)


@pytest.mark.slow
@every_scaling
def test_features_without_data_are_left_as_they_are(name):
    x, mask = table(offset=5.0), np.arange(6) != 2
    x[:, 2] = np.nan
    for t in (SCALINGS[name](x, mask=np.broadcast_to(mask, x.shape)), SCALINGS[name](x, nan_policy="omit")):
        y, back = there_and_back(t, table(offset=5.0))
        assert_same(y[:, 2], table(offset=5.0)[:, 2])
        assert_same(back[:, 2], table(offset=5.0)[:, 2])
        assert np.max(np.abs(y[:, mask])) < 6
        # The others do not notice.
        assert_close(y[:, mask], transform(SCALINGS[name](x[:, mask]), table(offset=5.0)[:, mask]), 1e-6)


@pytest.mark.slow
@few_fits
def test_nothing_at_all(fit):
    x, nothing = table(), np.zeros([0, 6], "float32")
    for t in (fit(nothing), fit([nothing, nothing]), fit(x, mask=np.zeros([40, 1], bool))):
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(t))
        y, back = there_and_back(t, x)
        assert_same(np.sort(y, 1), np.sort(x, 1))
        assert_same(back, x)


@pytest.mark.parametrize("name", FITS)
def test_empty_data_is_transformed_to_empty_data(name):
    t = FITS[name](table())
    y, back = there_and_back(t, np.zeros([0, 6], "float32"))
    assert (y.shape, back.shape) == ((0, 2 if name in ("pca-2", "whiten-pca-2") else 6), (0, 6))


@pytest.mark.parametrize("name", FITS)
def test_one_example(name):
    x = table(1, offset=7.0)
    y, back = there_and_back(FITS[name](x), x)
    assert np.all(y == (-1.0 if name == "min-max" else 0.0))
    assert_same(back, x)


@few_fits
def test_data_may_be_a_single_example(fit):
    """`[features]`, with no axis of examples at all."""
    t = fit(table())
    y, back = there_and_back(t, table()[3])
    assert_close(y, transform(t, table())[3], FITTED)
    assert_close(back, table()[3], FITTED)


@pytest.mark.slow
@pytest.mark.parametrize("rank", [1, 2])
@pytest.mark.parametrize("examples", [4, 40])
def test_low_rank(examples, rank):
    """Also of fewer examples than features: the rest of the components is arbitrary, but sound."""
    random = np.random.default_rng(3)
    x = (random.normal(size=(examples, rank)) @ random.normal(size=(rank, 6)) + 5).astype("float32")
    t = fit_pca(x)
    assert_close(t.components @ t.components.T, np.eye(6), 2e-6)
    assert np.all(t.explained_variance[:rank] > 0.1)
    assert np.all(t.explained_variance[rank:] <= 1e-6 * t.explained_variance[0])
    assert np.all(t.explained_variance >= 0)
    assert abs(np.sum(t.explained_variance_ratio) - 1) <= 1e-6
    for name in WHITENINGS:
        assert np.all(FITS[name](x).spread[rank:] == 1)
        y, back = there_and_back(FITS[name](x), x)
        variances = np.linalg.eigvalsh(np.cov(y, rowvar=False, ddof=0))
        assert_close(variances[-rank:], np.ones(rank), FITTED)
        # What is only rounding is not blown up to something.
        assert np.all(variances[:-rank] <= 1e-4)
        assert_close(back, x, FITTED)


@pytest.mark.parametrize("seed", range(4))
def test_low_rank_of_many_examples(seed):
    """The rounding of a long sum is no direction to be whitened: other data would be blown up along it."""
    random = np.random.default_rng(seed)
    x = (random.normal(size=(100_000, 1)) @ random.normal(size=(1, 2))).astype("float32")
    assert fit_whiten(x).spread[1] == 1


@pytest.mark.parametrize("kind", ["pca", "zca"])
def test_epsilon_whitens_what_does_not_vary(kind):
    x = table()
    x[:, 2] = 4.0
    t = fit_whiten(x, kind=kind, epsilon=0.01)
    assert_close(t.spread[-1], 0.1, 1e-6)
    assert_close(there_and_back(t, x)[1], x, FITTED)


@every_scaling
@pytest.mark.parametrize("size", [1e-45, 1.5e-38, 1e-37, 1e-30, 1e-20, 1e-19])
def test_tiny_values_never_become_nan(name, size):
    """Below 1.2e-38 they may count as 0."""
    x = np.float32(size) * np.arange(40, dtype="float32")[:, None]
    for some in (x, x[[0, 1] * 20]):
        y, back = there_and_back(SCALINGS[name](some), some)
        assert np.all(np.isfinite(y))
        assert np.max(np.abs(back - some)) <= 2e-6 * np.max(some) + 2.4e-38


@few_fits
@pytest.mark.parametrize("size", [1e15, 1e-15])
def test_the_unit_does_not_matter(fit, size):
    x = table()
    scaled = x * np.float32(size)
    y, back = there_and_back(fit(scaled), scaled)
    if fit is not FEW["pca-unbiased"]:
        assert_close(y, transform(fit(x), x), FITTED)
    assert_close(back / np.float32(size), x, FITTED)


def test_values_of_any_size_are_centred():
    x = table() * np.float32(1e30)
    y, back = there_and_back(FITS["center"](x), x)
    assert_close(y.mean(0) / np.float32(1e30), np.zeros(x.shape[1]), FITTED)
    assert_close(back / np.float32(1e30), x / np.float32(1e30), FITTED)


@pytest.mark.parametrize("name", ["standardize", "pca", "whiten-zca"])
def test_values_too_large_to_be_squared_are_refused(name):
    with pytest.raises(ValueError, match=r"`x` must be finite, and small enough to be squared, .* feature \(0,\)"):
        FITS[name](table() * np.float32(1e30))


def test_a_range_of_any_size_is_scaled():
    x = table() * np.float32(1e30)
    y, back = there_and_back(fit_min_max(x), x)
    assert_close((y.min(0), y.max(0)), (-np.ones(6), np.ones(6)), 2.0**-22)
    assert_close(back / np.float32(1e30), x / np.float32(1e30), 1e-6)
