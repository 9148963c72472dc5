"""Batch renormalisation gives what Keras gives; of its running statistics the mean alone."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, BatchNormState
from jaxbn.variants import batch_renorm
from tests import reference
from tests.record_presets import BIAS, SCALE
from tests.record_renorm import EPSILON, LIMITS, MOMENTUM, batches, live, recorded
from tests.tolerances import TOLERANCE, assert_close

PARAMS = BatchNormParams(jnp.asarray(SCALE), jnp.asarray(BIAS))
renorm = jax.jit(functools.partial(batch_renorm, PARAMS, train=True, epsilon=EPSILON, momentum=MOMENTUM, **LIMITS))


def ours(x, mean, deviation):
    """A step from the running mean and deviation that Keras had; its variance is that of their square."""
    return renorm(BatchNormState(jnp.float32(mean), jnp.float32(deviation**2 - EPSILON), jnp.int32(0)), x)


def assert_outputs(steps):
    for x, y, mean, deviation, *_ in zip(batches(), *steps, strict=True):
        assert_close(ours(x, mean, deviation)[0], y, 1e-5)


def test_the_output_is_that_of_keras():
    """The variance of the last feature is far below epsilon."""
    assert_outputs(recorded())


@pytest.mark.slow
def test_the_output_is_that_of_keras_as_it_is_installed():
    try:
        steps = live()
    except ImportError as error:
        pytest.skip(str(error))
    assert_outputs(steps)


def test_keras_averages_the_deviation_and_we_the_variance():
    """So its running variance is lower, by what the deviations of the batches differ; the running mean is the same."""
    for x, _, mean, deviation, new_mean, new_deviation in zip(batches(), *recorded(), strict=True):
        _, state = ours(x, mean, deviation)
        assert_close(state.mean, new_mean, TOLERANCE["float32"])
        batch = np.sqrt(reference.variance(reference.moments(x)) + EPSILON)
        assert_close(new_deviation, MOMENTUM * deviation + (1 - MOMENTUM) * batch, 1e-6)
        lower = np.float64(state.var) - (new_deviation**2 - EPSILON)
        assert_close(lower, MOMENTUM * (1 - MOMENTUM) * (batch - deviation) ** 2, 2e-6)
        assert np.max(lower) > 1e-3
