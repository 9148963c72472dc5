"""Every public operation as a function of a batch [6, 4, 3], beside its definition in NumPy; a new one is a new row."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxbn
from jaxbn import variants
from tests import reference

MASK = np.array([1, 0, 1, 1, 0, 1], bool)[:, None, None]
SCALE, BIAS = np.float32([0.5, 1.0, -2.0]), np.float32([0.0, 1.0, 3.0])
MEAN, VAR = np.float32([1.0, -1.0, 0.5]), np.float32([1.0, 4.0, 0.25])
PARAMS = jaxbn.BatchNormParams(jnp.asarray(SCALE), jnp.asarray(BIAS))
STATE = jaxbn.BatchNormState(jnp.asarray(MEAN), jnp.asarray(VAR), jnp.asarray(3, jnp.int32))


class Op(NamedTuple):
    name: str
    call: Callable[[jax.Array], Any]
    reference: Callable[[np.ndarray], Any]
    carrying: float = float("inf")  # how many of its outputs carry a gradient

    def __repr__(self):
        return self.name


def _batch_norm(train, **kwargs):
    return lambda x: jaxbn.batch_norm(PARAMS, STATE, x, train, **kwargs)


def _trained(momentum=0.99, averaging="ema", ddof=0, mask=None):
    def expected(x):
        batch = reference.moments(x, mask=mask)
        state = reference.running(MEAN, VAR, 3, [batch], momentum, averaging, ddof)
        return reference.batch_norm(x, SCALE, BIAS, mask=mask), state

    return expected


def _ghost(size, mask=None):
    call = lambda x: variants.ghost_batch_norm(PARAMS, STATE, x, True, ghost_size=size, mask=mask)  # noqa: E731
    return call, lambda x: (reference.ghost_batch_norm(x, size, SCALE, BIAS, mask=mask), _trained(mask=mask)(x)[1])


def _renorm(mask=None):
    """With limits so narrow that every correction of these data is at one of them, and is so of data beside them."""
    limits = {"r_max": 1.02, "d_max": 0.005}

    def expected(x):
        r, d = reference.corrections(x, MEAN, VAR, **limits, mask=mask)
        return reference.batch_renorm(x, r, d, SCALE, BIAS, mask=mask), _trained(mask=mask)(x)[1]

    return lambda x: variants.batch_renorm(PARAMS, STATE, x, True, **limits, mask=mask), expected


def _accumulated(x):
    state = variants.accumulate(STATE, micro_batches=2)
    first, state = jaxbn.batch_norm(PARAMS, state, x[:4], True)
    second, state = jaxbn.batch_norm(PARAMS, state, x[4:], True)
    return first, second, state


def _in_one_update(x):
    y = [reference.batch_norm(part, SCALE, BIAS) for part in (x[:4], x[4:])]
    return *y, (*_trained()(x)[1], [np.zeros(3)] * 4, 0, 2)


def _sync(x):
    return jax.vmap(lambda shard: jaxbn.sync_moments(jaxbn.batch_moments(shard), "shards"), axis_name="shards")(x)


OPS = [
    Op("batch_norm-train", _batch_norm(True), _trained(), 1),
    Op(
        "batch_norm-eval",
        _batch_norm(False),
        lambda x: (reference.normalize(x, MEAN, VAR, SCALE, BIAS), (MEAN, VAR, np.asarray(3))),
        1,
    ),
    Op("batch_norm-masked", _batch_norm(True, mask=MASK), _trained(mask=MASK), 1),
    Op("batch_norm-unbiased", _batch_norm(True, momentum=0.9, ddof=1), _trained(0.9, ddof=1), 1),
    Op("batch_norm-warmup", _batch_norm(True, averaging="warmup"), _trained(averaging="warmup"), 1),
    Op("batch_norm-traced-flag", lambda x: _batch_norm(x[0, 0, 0] == x[0, 0, 0])(x), _trained(), 1),
    Op("ghost_batch_norm", *_ghost(2), 1),
    Op("ghost_batch_norm-leftover-masked", *_ghost(4, MASK), 1),
    Op("batch_renorm", *_renorm(), 1),
    Op("batch_renorm-masked", *_renorm(MASK), 1),
    Op("accumulate", _accumulated, _in_one_update, 2),
    Op("batch_moments", jaxbn.batch_moments, reference.moments),
    Op(
        "batch_moments-masked",
        lambda x: jaxbn.batch_moments(x, mask=MASK),
        lambda x: reference.moments(x, mask=MASK),
    ),
    Op(
        "merge_moments",
        lambda x: jaxbn.merge_moments(jaxbn.batch_moments(x[:2]), jaxbn.batch_moments(x[2:])),
        reference.moments,
    ),
    Op("sync_moments", _sync, lambda x: reference.Statistics(*(np.stack([p] * 6) for p in reference.moments(x)))),
    Op(
        "update_state",
        lambda x: jaxbn.update_state(STATE, jaxbn.batch_moments(x), averaging="cumulative"),
        lambda x: reference.running(MEAN, VAR, 3, [reference.moments(x)], averaging="cumulative"),
        carrying=0,
    ),
    Op(
        "normalize",
        lambda x: jaxbn.normalize(PARAMS, x, MEAN, VAR),
        lambda x: reference.normalize(x, MEAN, VAR, SCALE, BIAS),
    ),
]
