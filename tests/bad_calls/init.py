"""Of initial parameters and statistics, and of the options of layers."""

import jax
import jax.numpy as jnp
from jax.nn import initializers

from jaxbn import init_batch_norm, init_state, nnx
from tests.bad_calls.calls import X, Z, layer


def init(features=3, **kwargs):
    return lambda: init_batch_norm(features, **kwargs)


# A readable id, the call, the error, and words that it must say.
ROWS = [
    ("features-float", init(3.0), TypeError, "`features` must be an int or a tuple of ints, got 3.0"),
    ("features-text", init("three"), TypeError, "`features` must be an int or a tuple of ints, got 'three'"),
    ("features-bytes", init(b"ab"), TypeError, "`features` must be an int or a tuple of ints, got b'ab'"),
    (
        "features-negative",
        init((2, -1)),
        ValueError,
        r"`features` must be at least 0, less than 2\*\*31 and not empty, got \(2, -1\)",
    ),
    (
        "num-features",
        lambda: layer(4)(X),
        ValueError,
        r"`x` must have num_features=4 .* \(1,\), got \(3,\) in the shape",
    ),
    ("num-features-float", lambda: layer(3.0), TypeError, "`num_features` must be an int or a tuple of ints, got 3.0"),
    (
        "features-empty",
        lambda: init_state(()),
        ValueError,
        r"`features` must be at least 0, less than 2\*\*31 and not empty, got \(\)",
    ),
    (
        "dtype-int",
        init(dtype=int),
        TypeError,
        "`dtype` must be a floating or complex dtype of at least 16 bits, got int(32|64)",
    ),
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
    (
        "features-large",
        init(2**31),
        ValueError,
        r"`features` must be at least 0, less than 2\*\*31 and not empty, got 2147",
    ),
    ("dtype-array", init(dtype=X), TypeError, r"`dtype` must be a floating or complex dtype, got Array\(.*\)\.$"),
    ("dtype-float8", init(dtype="float8_e5m2"), TypeError, "`dtype` must be .* of at least 16 bits, got float8_e5m2"),
    ("key-int", init(key=3), TypeError, r"`key` must be a PRNG key, got 3; make one with jax.random.key\(0\)"),
    ("keys", init(key=jax.random.split(jax.random.key(0))), TypeError, "`key` must be a PRNG key, got Array"),
    (
        "init-number",
        init(scale_init=1.0),
        TypeError,
        r"`scale_init` must be a function \(key, shape, dtype\) -> array, got 1.0; see jax.nn.initializers",
    ),
    ("init-arguments", init(var_init=lambda: 1.0), TypeError, "`var_init` must be a function .*, got <function"),
    (
        "init-text",
        init(bias_init=lambda *_: "zeros"),
        TypeError,
        "`bias_init` must return an array of float32, got str",
    ),
    (
        "init-reference",
        init(bias_init=lambda *_: jax.new_ref(X[0])),
        TypeError,
        "`bias_init` must return an array of float32, got Ref",
    ),
    (
        "init-complex",
        init(mean_init=lambda *_: Z[0]),
        TypeError,
        "`mean_init` must return .*float32, got complex64",
    ),
    ("use-scale", init(use_scale=1), TypeError, "`use_scale` must be a bool, got 1"),
    (
        "use-bias-traced",
        lambda: jax.jit(lambda flag: init(use_bias=flag)())(True),
        TypeError,
        "`use_bias` must be a bool",
    ),
    ("layer-scale-init", lambda: layer(3, scale_init=1.0), TypeError, "`scale_init` must be a function .*, got 1.0"),
    ("layer-use-bias", lambda: layer(3, use_bias=None), TypeError, "`use_bias` must be a bool, got None"),
    ("layer-param-dtype", lambda: layer(3, param_dtype=int), TypeError, "`param_dtype` must be a floating or complex"),
    (
        "layer-dtype",
        lambda: layer(3, dtype="O"),
        TypeError,
        "`dtype` must be a floating or complex dtype .*, got object",
    ),
    (
        "layer-rngs",
        lambda: nnx.BatchNorm(3, rngs=0),
        TypeError,
        r"`rngs` must give keys, got int; pass rngs=nnx.Rngs\(0\)",
    ),
    ("keep-digits", lambda: nnx.keep_digits(5), TypeError, r"`arrays` must be a tuple \(x, ...\), got 5; write keep"),
    ("keep-digits-none", lambda: nnx.keep_digits(()), TypeError, r"`arrays` must be a tuple .*, got \(\)"),
]
