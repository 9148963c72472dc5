"""What a transform promises of the data it was fitted to, and that it can be undone."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxbn.preprocess import fit_pca, inverse_transform, transform
from tests.preprocess.fits import FEW, FITS, FITTED, LAYOUTS, PROJECTIONS, SCALINGS, SHORTER, layout, table, to_rows
from tests.strategies import OFFSETS
from tests.tolerances import assert_close

every_layout = pytest.mark.parametrize(("shape", "axis"), LAYOUTS)
apply, undo = jax.jit(transform), jax.jit(inverse_transform)
few = settings(max_examples=10)


@st.composite
def draws(draw):
    """Data of any layout, offset and seed."""
    offset, seed = draw(st.sampled_from(OFFSETS)), draw(st.integers(0, 99))
    return layout(*draw(st.sampled_from(LAYOUTS)), offset=offset, seed=seed)


def last_digit(x):
    return np.spacing(np.max(np.abs(np.asarray(x))))


def covariance(rows, ddof=0):
    return np.atleast_2d(np.cov(rows, rowvar=False, ddof=ddof))


@pytest.mark.slow
@pytest.mark.parametrize("name", FEW)
@few
@given(data=draws())
def test_the_inverse_undoes_it(name, data):
    x, axis = data
    t = FITS[name](x, axis=axis)
    back = undo(t, apply(t, x))
    assert (back.shape, back.dtype) == (x.shape, x.dtype)
    assert np.max(np.abs(back - x)) <= FITTED + 2 * last_digit(x)


@pytest.mark.parametrize("name", SCALINGS | PROJECTIONS)
@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_the_inverse_is_undone(name, offset):
    """From the other side, where the offset is not in the result."""
    y = table(seed=1)
    t = FITS[name](table(offset=offset))
    # Half the last digit of the offset, in each feature, by the factor of the narrowest component.
    lost = 0.0 if offset == 0 else 0.5 * last_digit(np.float32(offset)) * 2 / float(t.spread.min())
    assert np.max(np.abs(apply(t, undo(t, y)) - y)) <= FITTED + lost


@few
@given(data=draws())
def test_centred_data_has_mean_0(data):
    rows = to_rows(apply(SCALINGS["center"](data.x, axis=data.axis), data.x), data.axis)
    expected = to_rows(data.x, data.axis)
    assert np.max(np.abs(rows.mean(0))) <= 1e-6
    assert_close(rows, expected - expected.mean(0), 1e-6)


@pytest.mark.parametrize(("name", "ddof"), [("standardize", 0), ("standardize-unbiased", 1)])
@few
@given(data=draws())
def test_standardised_data_has_mean_0_and_variance_1(name, ddof, data):
    rows = to_rows(apply(SCALINGS[name](data.x, axis=data.axis), data.x), data.axis)
    assert np.max(np.abs(rows.mean(0))) <= 2e-6
    assert np.max(np.abs(rows.var(0, ddof=ddof) - 1)) <= 5e-6


@pytest.mark.slow
@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 255.0), (-0.3, 0.1)])
@few
@given(data=draws())
def test_scaled_data_fills_its_range_to_the_last_digit(low, high, data):
    rows = to_rows(apply(SCALINGS["min-max"](data.x, axis=data.axis, low=low, high=high), data.x), data.axis)
    assert np.all(rows.min(0) == np.float32(low))
    assert np.max(np.abs(rows.max(0) - high)) <= 2.0**-22 * max(high - low, abs(high))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "ddof"), [("pca", 0), ("pca-unbiased", 1)])
@few
@given(data=draws())
def test_coordinates_are_uncorrelated_and_sorted(name, ddof, data):
    x, axis = data
    t = PROJECTIONS[name](x, axis=axis)
    rows = to_rows(apply(t, x), -1)
    assert np.max(np.abs(rows.mean(0))) <= 1e-6
    assert_close(covariance(rows, ddof), np.diag(t.explained_variance), FITTED)
    assert np.all(np.diff(t.explained_variance) <= 0)
    variances = np.linalg.eigvalsh(covariance(to_rows(x, axis), ddof))[::-1]
    assert_close(t.explained_variance, variances, FITTED)
    assert_close(t.explained_variance_ratio, variances / variances.sum(), FITTED)
    flat = np.reshape(t.components, [len(variances), -1])
    assert t.components.shape[1:] == tuple(x.shape[a] for a in data.axes)
    assert_close(flat @ flat.T, np.eye(len(flat)), 1e-6)
    assert np.all(flat.max(1) > -flat.min(1) * 0.999)


def pairs(seed):
    """Two standardised features: both entries of each component are of one size, and either may be rounded down."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(40, 2)) @ random.normal(size=(2, 2))
    return ((x - x.mean(0)) / x.std(0)).astype("float32")


@pytest.mark.slow
@pytest.mark.parametrize("x", [table(offset=3.0), pairs(0), pairs(1), pairs(2), pairs(3), pairs(4)])
def test_signs_do_not_depend_on_the_order(x):
    t = fit_pca(x)
    order = np.random.default_rng(0).permutation(len(x))
    for other in (x[order], [x[:20], x[20:]], [x[order][:20], x[order][20:]], np.concatenate([x, x])):
        assert_close(fit_pca(other).components, t.components, FITTED)
    assert_close(fit_pca(-x).components, t.components, FITTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["whiten-pca", "whiten-zca"])
@few
@given(data=draws())
def test_white_data_has_the_identity_as_covariance(name, data):
    y = apply(PROJECTIONS[name](data.x, axis=data.axis), data.x)
    rows = to_rows(y, data.axis if name == "whiten-zca" else -1)
    assert np.max(np.abs(rows.mean(0))) <= 1e-5
    # The variance along the last component is 60 times smaller than along the first.
    assert_close(covariance(rows), np.eye(rows.shape[1]), 1e-4)


@every_layout
def test_zca_is_the_symmetric_whitening(shape, axis):
    """The data times the symmetric inverse root of the covariance, which no other whitening is."""
    x, _ = layout(shape, axis, offset=3.0)
    rows = to_rows(x, axis)
    variances, vectors = np.linalg.eigh(covariance(rows))
    for epsilon in (0.0, 0.1):
        root = vectors / np.sqrt(variances + epsilon) @ vectors.T
        y = transform(PROJECTIONS["whiten-zca"](x, axis=axis, epsilon=epsilon), x)
        assert y.shape == x.shape
        assert_close(to_rows(y, axis), (rows - rows.mean(0)) @ root, 1e-4)


def test_epsilon_shrinks_what_varies_little():
    x = table()
    plain, shrunk = (transform(PROJECTIONS["whiten-pca"](x, epsilon=e), x) for e in (0.0, 0.1))
    variances = np.asarray(fit_pca(x).explained_variance)
    assert_close(shrunk, np.asarray(plain) * np.sqrt(variances / (variances + 0.1)), FITTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", SHORTER)
@pytest.mark.parametrize(("shape", "axis"), [LAYOUTS[0], LAYOUTS[4]])
def test_few_components_are_the_first_ones(name, shape, axis):
    x, _ = data = layout(shape, axis, offset=2.0)
    short, full = SHORTER[name](x, axis=axis), FITS[name.removesuffix("-2")](x, axis=axis)
    for part in ("components", "spread", "explained_variance", "explained_variance_ratio"):
        assert_close(getattr(short, part), getattr(full, part)[:2], 1e-6)
    y, back = transform(short, x), inverse_transform(short, transform(short, x))
    if name != "whiten-zca-2":
        assert y.shape == (*(n for d, n in enumerate(shape) if d not in [a % len(shape) for a in data.axes]), 2)
        assert_close(y, transform(full, x)[..., :2], FITTED)
    # What comes back is the projection of the data onto the components.
    rows, kept = to_rows(x, axis), to_rows(short.components, tuple(range(1, short.components.ndim)))
    assert_close(to_rows(back, axis), (rows - rows.mean(0)) @ kept.T @ kept + rows.mean(0), FITTED)


@pytest.mark.parametrize("name", ["standardize", "min-max", "whiten-pca", "whiten-zca"])
@every_layout
def test_any_axis_is_a_moved_axis(name, shape, axis):
    x, _ = data = layout(shape, axis, offset=1.0)
    last = tuple(range(-len(data.axes), 0))
    moved = np.moveaxis(x, data.axes, last)
    t, t_moved = FITS[name](x, axis=axis), FITS[name](moved, axis=last)
    y, y_moved = transform(t, x), transform(t_moved, moved)
    if getattr(t, "rotate_back", True):
        y = np.moveaxis(y, data.axes, last)
    assert_close(y, y_moved, 1e-3)
    assert_close(t_moved.spread, t.spread, FITTED)
