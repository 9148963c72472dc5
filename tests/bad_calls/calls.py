"""Valid data, and calls of functions with one argument that is not."""

import flax.nnx
import jax.numpy as jnp

from jaxbn import Moments, batch_moments, batch_norm, init_batch_norm, nnx, update_state

X = jnp.ones([5, 3])
Z = X.astype("complex64")
IMAGES = jnp.ones([2, 4, 4, 3])
ONES = jnp.ones(3)
MOMENTS = Moments(ONES, ONES, ONES)
PARAMS, STATE = init_batch_norm(3)


def bn(x=X, *, train=True, params=PARAMS, state=STATE, **kwargs):
    return lambda: batch_norm(params, state, x, train, **kwargs)


def moments(x=X, **kwargs):
    return lambda: batch_moments(x, **kwargs)


def update(moments=MOMENTS, state=STATE, **kwargs):
    return lambda: update_state(state, moments, **kwargs)


def layer(features, **options):
    return nnx.BatchNorm(features, rngs=flax.nnx.Rngs(0), **options)
