"""Of what parameters and statistics are made of at first, and of layers."""

import jax.numpy as jnp
from jax.nn import initializers

from jaxbn import init_batch_norm, init_state
from tests.bad_calls.calls import X, layer


def init(features=3, **kwargs):
    return lambda: init_batch_norm(features, **kwargs)


# A readable id, the call, the error, and words that it must say.
ROWS = [
    ("features-float", init(3.0), TypeError, "`features` must be an int or a tuple of ints, got 3.0"),
    ("features-text", init("three"), TypeError, "`features` must be an int or a tuple of ints, got 'three'"),
    ("features-negative", init((2, -1)), ValueError, r"`features` must be at least 0 and not empty, got \(2, -1\)"),
    (
        "num-features",
        lambda: layer(4)(X),
        ValueError,
        r"`x` must have num_features=4 .* \(1,\), got \(3,\) in the shape",
    ),
    ("num-features-float", lambda: layer(3.0), TypeError, "`num_features` must be an int or a tuple of ints, got 3.0"),
    ("features-empty", lambda: init_state(()), ValueError, r"`features` must be at least 0 and not empty, got \(\)"),
    ("dtype-int", init(dtype=int), TypeError, "`dtype` must be a floating or complex dtype, got int(32|64)"),
    ("dtype-unknown", init(dtype="float33"), TypeError, "`dtype` must be a floating or complex dtype, got 'float33'"),
    (
        "key-missing",
        init(scale_init=initializers.normal()),
        ValueError,
        r"`scale_init` failed without a PRNG key \(.*\); if it is random, pass e.g. key=jax.random.key\(0\)",
    ),
    (
        "init-shape",
        init(mean_init=lambda *_: jnp.zeros(4)),
        ValueError,
        r"`mean_init` must return the shape \(3,\), got \(4,\)",
    ),
]
