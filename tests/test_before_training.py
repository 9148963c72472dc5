"""Before any training there is a state, which no data has touched, and evaluation uses it."""

import jax
import numpy as np
import pytest
from jax.nn import initializers

from jaxbn import batch_norm, init_batch_norm, presets
from jaxbn.linen import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)
norm = jax.jit(batch_norm, static_argnames=("train", "axis"))
LAYOUTS = [((5, 2, 3), -1), ((5, 2, 3), 1), ((5, 3, 3, 2), -1), ((5, 3, 3, 2), 1)]


def initial_stats(x, *, train, **kwargs):
    return BatchNorm(use_running_average=not train, **kwargs).init(jax.random.key(0), x)["batch_stats"]


@pytest.mark.parametrize(("shape", "axis"), LAYOUTS, ids=str)
@pytest.mark.parametrize("mean", [0.0, 1.0])
@pytest.mark.parametrize("var", [0.0, 1.0])
def test_evaluation_knows_the_initial_statistics_alone(shape, axis, mean, var):
    x, initial = noise(*shape, mean=5, std=10), {"mean_init": mean, "var_init": var}
    params, state = init_batch_norm(shape[axis], **{k: initializers.constant(v) for k, v in initial.items()})
    assert_close(norm(params, state, x, False, axis=axis)[0], reference.normalize(x, mean, var, axis=axis), 1e-6)


def test_an_untrained_state_can_be_evaluated():
    x = noise(4, 3)
    assert_close(batch_norm(PARAMS, STATE, x, False), (reference.normalize(x, 0, 1), *STATE), TOLERANCE["float32"])
    assert_same(initial_stats(x, train=False), {"mean": STATE.mean, "var": STATE.var})


def test_an_untrained_layer_is_the_identity_but_for_epsilon():
    x = noise(4, 3)
    np.testing.assert_allclose(batch_norm(PARAMS, STATE, x, False)[0], x, rtol=1e-5)


def test_an_initial_variance_of_1_less_epsilon_is_the_identity():
    epsilon = presets.KERAS["epsilon"]
    x, fresh = noise(8, 3), init_batch_norm(3, var_init=initializers.constant(1 - epsilon))
    assert_close(batch_norm(*fresh, x, False, epsilon=epsilon)[0], x, 2**-23)


def test_a_single_example_needs_no_axis_of_examples():
    assert_close(batch_norm(PARAMS, STATE, noise(3), False)[0], reference.normalize(noise(3), 0, 1))


@pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
def test_initialising_remembers_nothing_of_the_data(averaging):
    stats = initial_stats(noise(4, 3, mean=5.0), train=True, averaging=averaging)
    assert_same((stats["mean"], stats["var"]), (STATE.mean, STATE.var))
    assert stats.get("count", 0) == 0


def test_initialisation_and_evaluation_need_no_mapped_axis():
    x = noise(4, 3)
    assert_same(initial_stats(x, train=True, axis_name="nowhere"), {"mean": STATE.mean, "var": STATE.var})
    y = batch_norm(PARAMS, STATE, x, False, axis_name="nowhere")[0]
    assert_close(y, reference.normalize(x, 0, 1), TOLERANCE["float32"])
