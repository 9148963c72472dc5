"""When it stops, what the standard errors are, how the old statistics count; what dropout does, and dtypes."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormState, batch_norm, init_state
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import NONE, TENS, X, errors, expected, functional, one, state_of
from tests.tolerances import assert_close, assert_same

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("samples", "used"), [(1, 10), (10, 10), (15, 20), (1000, 40)])
def test_samples_are_enough(samples, used):
    net = functional()
    new, report = recalibrate(net.apply, net.variables, TENS, samples=samples)
    assert_close(net.read(new), expected(X[:used]))
    assert_same(report["two"].samples, np.full(3, float(used)))


def test_an_endless_generator_is_read_as_far_as_needed():
    read = []

    def endless():
        while True:
            read.append(None)
            yield TENS[0]

    net = functional()
    recalibrate(net.apply, net.variables, endless(), samples=25)
    assert len(read) == 3


def test_a_sample_is_an_image_and_not_a_pixel():
    images = np.random.default_rng(0).normal(size=[6, 4, 4, 3]).astype("float32")
    _, report = recalibrate(one, init_state(3), [images])
    assert_same(report["batch_norm"].samples, np.full(3, 6.0))
    first = lambda state, x: batch_norm(NONE, state, x, False, axis=1)  # noqa: E731
    new, report = recalibrate(first, init_state(3), [images.transpose(0, 3, 1, 2)])
    assert_same(report["batch_norm"].samples, np.full(3, 6.0))
    assert_close(new.var, images.astype("float64").var((0, 1, 2)))


NORMAL = np.random.default_rng(1).normal(5, 3, (2000, 1)).astype("float32")
# Rarely far away: excess kurtosis about 70.
HEAVY = NORMAL * np.where(np.random.default_rng(2).random((2000, 1)) < 0.02, 12, 1).astype("float32")


@pytest.mark.parametrize("x", [NORMAL, HEAVY], ids=["normal", "heavy"])
@pytest.mark.parametrize(("size", "tolerance"), [(1, 0.2), (20, 0.1)])
def test_tolerance_is_a_standard_error(x, size, tolerance):
    _, report = recalibrate(one, init_state(1), np.split(x, len(x) // size), tolerance=tolerance)
    enough = (n for n in range(size, len(x) + 1, size) if max(*errors(x[:n])) <= tolerance)
    assert report["batch_norm"].samples[0] == next(enough)


def grouped(state, x):
    """A device merges what its members see."""
    return jax.lax.scan(lambda c, part: (c, one(state, part)), 0, x.reshape(5, -1, 1))[1]


@pytest.mark.parametrize("apply", [one, grouped, lambda s, x: [one(s, x[:2]), one(s, x[2:])]], ids=["1", "scan", "2"])
@pytest.mark.parametrize("cut", [[], [5, 10, 150], [*range(5, 200, 5)]], ids=len)
def test_standard_errors_do_not_depend_on_the_cut(apply, cut):
    """Of skewed data whose batches are not alike: third and fourth moments merge too."""
    x = np.sort(np.random.default_rng(6).gamma(1.0, 3.0, (200, 1)), 0).astype("float32")
    moved = recalibrate(apply, init_state(1), np.split(x, cut))[1]["batch_norm"]
    assert_close(moved.std / moved.std_errors, errors(x)[1], 1e-5)


def test_standard_errors_of_complex_data():
    x = (NORMAL[:1000] + 1j * NORMAL[1000:]).astype("complex64")
    moved = [recalibrate(one, init_state(1, dtype="complex64"), b)[1]["batch_norm"] for b in (x, np.split(x, 50))]
    square = np.abs(x.astype("complex128") - x.mean(0, dtype="complex128")) ** 2
    exact = square.std(0) / square.mean(0) / np.sqrt(4 * 1000)
    for one_way, bound in zip(moved, (1e-5, 0.01), strict=True):
        np.testing.assert_allclose(one_way.std / one_way.std_errors, exact, rtol=bound)


def test_heavy_tails_need_more():
    used = [recalibrate(one, init_state(1), np.split(x, 100), tolerance=0.05)[1] for x in (NORMAL, HEAVY)]
    normal, heavy = (report["batch_norm"].samples[0] for report in used)
    assert normal == 400
    assert heavy > 2 * normal


def test_the_standard_errors_are_those_of_repeated_draws():
    """Each of 2000 features is one draw of 400 numbers."""
    draws = np.random.default_rng(3).gamma(2.0, 1.0, (400, 2000)).astype("float32")
    new, report = recalibrate(one, init_state(2000), [draws[:300], draws[300:]])
    moved, std = report["batch_norm"], np.sqrt(np.asarray(new.var, "float64"))
    said = np.mean(moved.std / moved.std_errors * std), np.mean(moved.mean / moved.mean_errors * std)
    np.testing.assert_allclose(said, (std.std(), np.asarray(new.mean, "float64").std()), rtol=0.1)


def test_a_prior_is_data_seen_before():
    """Statistics of 25 samples that count as 25, and 15 more, are those of all 40."""
    before, _ = recalibrate(one, init_state(5), X[:25])
    new, report = recalibrate(one, before, X[25:], prior=25)
    assert_close(new[:2], (X.mean(0, dtype="float64"), X.var(0, dtype="float64")))
    assert_same(report["batch_norm"].samples, np.full(5, 15.0))


@pytest.mark.parametrize("n", [4, 16])
def test_the_best_prior_is_variance_over_squared_shift(n):
    """Each of 8000 features is one draw; the data have moved by half a standard deviation, so that the best is 4."""
    x = np.random.default_rng(n).normal(0.5, 1.0, (n, 8000)).astype("float32")
    old = state_of(np.zeros(8000), np.ones(8000))

    def mean_squared_error(prior):
        new, _ = recalibrate(one, old, [x], prior=prior)
        return np.mean((np.asarray(new.mean) - 0.5) ** 2)

    measured = {prior: mean_squared_error(prior) for prior in (0, 1, 2, 4, 8, 16)}
    assert min(measured, key=measured.get) == 4
    for prior, error in measured.items():
        closed = (n + (prior * 0.5) ** 2) / (n + prior) ** 2
        np.testing.assert_allclose(error, closed, rtol=0.05)


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_dropout_is_off_and_inflates_the_variance_if_turned_on(keep):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(20000, 6)) + 1).astype("float32")

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, *, drop=False):
            x = flax.linen.Dropout(1 - keep, deterministic=not drop)(x)
            x = flax.linen.Dense(3, use_bias=False)(x)
            return flax.linen.BatchNorm(use_running_average=True)(x)

    net = Net()
    variables = net.init(jax.random.key(0), x[:2])

    def var(apply):
        return np.asarray(recalibrate(apply, variables, [x])[0]["batch_stats"]["BatchNorm_0"]["var"], "float64")

    kernel = np.asarray(variables["params"]["Dense_0"]["kernel"], "float64")
    off = (x.astype("float64") @ kernel).var(0)
    assert_close(var(net.apply), off, 1e-5)
    on = var(lambda v, x: net.apply(v, x, drop=True, rngs={"dropout": jax.random.key(1)}))
    factor = 1 + (1 - keep) / keep * ((x.astype("float64") ** 2).mean(0) @ kernel**2) / off
    np.testing.assert_allclose(on / off, factor, rtol=0.04)
    assert np.all(factor > 1.2)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "complex64"])
def test_other_dtypes(dtype):
    x = (X + 1j * X[::-1]).astype(dtype) if dtype == "complex64" else jnp.asarray(X).astype(dtype)
    old = init_state(5, dtype=dtype)
    new, _ = recalibrate(one, old, [x[:15], x[15:]])
    exact = np.asarray(x).astype("complex128" if dtype == "complex64" else "float64")
    assert_close(new[:2], (exact.mean(0), exact.var(0)), 1e-6)
    assert [part.dtype for part in new] == [part.dtype for part in old]


def test_numpy_stays_numpy_and_narrow_statistics_stay_narrow():
    net = functional()
    old = jax.tree.map(np.asarray, net.variables)
    new, _ = recalibrate(net.apply, old, X)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(new))
    assert_close(net.read(new), expected())
    apply = lambda s, x: batch_norm(NONE, BatchNormState(*s, jnp.int32(0)), x, False)  # noqa: E731
    new, _ = recalibrate(apply, (jnp.zeros(5, "bfloat16"), jnp.ones(5, "bfloat16")), X)
    assert new[0].dtype == new[1].dtype == "bfloat16"
