"""The tools take a net of any norm: in evaluation all are alike, and in training all are refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn.inference import diagnose, fold, recalibrate
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close

NORMS = {
    "ghost": functools.partial(ghost_batch_norm, ghost_size=4),
    "renorm": functools.partial(batch_renorm, r_max=3.0, d_max=5.0),
}
X = noise(32, 4, mean=2.0, std=3.0)
KERNEL = noise(4, 3, seed=1)
PARAMS, STATE = init_batch_norm(3)


def net(norm, *, train=False):
    return lambda variables, x: norm(variables["params"], variables["state"], x @ variables["kernel"], train)[0]


def variables(state=STATE):
    return {"kernel": jnp.asarray(KERNEL), "params": PARAMS, "state": state}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_recalibrated_and_folded(norm):
    new, _ = recalibrate(net(norm), variables(), [X[:20], X[20:]])
    moments = reference.moments(X @ KERNEL)
    assert_close(new["state"][:2], (moments.mean, reference.variance(moments)), TOLERANCE["float32"])
    function, weights, _ = fold(net(norm), new, X)
    assert_close(function(weights, X), reference.batch_norm(X @ KERNEL), 2 * TOLERANCE["float32"])
    assert set(map(np.shape, jax.tree.leaves(weights))) == {(4, 3), (3,)}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
@pytest.mark.parametrize("tool", [recalibrate, diagnose])
def test_training_is_refused(tool, norm):
    with pytest.raises(ValueError, match="`apply` must evaluate"):
        tool(net(norm, train=True), variables(), [X])


def test_a_state_that_accumulates_keeps_what_it_holds():
    _, state = batch_norm(PARAMS, accumulate(STATE, 2), X @ KERNEL, True)
    new, _ = recalibrate(net(batch_norm), variables(state), [X])
    moments = reference.moments(X @ KERNEL)
    assert_close(new["state"][:2], (moments.mean, reference.variance(moments)), TOLERANCE["float32"])
    assert_close(new["state"].pending, state.pending)
    assert new["state"].seen == 1
