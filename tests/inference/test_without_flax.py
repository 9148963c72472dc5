"""The tools need no Flax, and load none."""

import pytest

from tests.sources import modules_after

PROGRAM = """
import jax.numpy as jnp
from jaxbn import BatchNormParams, batch_norm, init_state
from jaxbn.inference import diagnose, fold, recalibrate
apply = lambda state, x: batch_norm(BatchNormParams(None, None), state, x, False)[0]
state, x = init_state(2), jnp.ones([40, 2])
assert "BN101" in diagnose(apply, state, x).codes
fold(apply, recalibrate(apply, state, x)[0], x)
"""


@pytest.mark.slow
def test_flax_is_not_imported():
    loaded = {name.split(".")[0] for name in modules_after(PROGRAM.strip())}
    assert "jaxbn" in loaded
    assert not {"flax", "optax", "experiments"} & loaded
