"""Every bad call with the error and the words it is answered with; a new check is a new row."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.nn import initializers

from jaxbn import (
    BatchNormParams,
    BatchNormState,
    Moments,
    batch_moments,
    batch_norm,
    check_state,
    init_batch_norm,
    init_state,
    merge_moments,
    normalize,
    update_state,
)

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


def init(features=3, **kwargs):
    return lambda: init_batch_norm(features, **kwargs)


def update(moments=MOMENTS, state=STATE, **kwargs):
    return lambda: update_state(state, moments, **kwargs)


def check(**parts):
    return lambda: check_state(STATE._replace(**parts))


def grouped(groups):
    def call(x):
        return batch_norm(PARAMS, STATE, x, True, axis_name="i", axis_index_groups=groups)

    return lambda: jax.vmap(call, axis_name="i")(jnp.ones([4, 5, 3]))


# A readable id, the call, the error, and words that it must say.
BAD_CALLS = [
    ("x-is-no-array", bn("data"), TypeError, "`x` must be an array, got str; convert it with jnp.asarray"),
    ("x-is-object", bn(object()), TypeError, "`x` must be an array, got object; convert it with jnp.asarray"),
    ("x-is-missing", bn(None), TypeError, "`x` must be an array, got NoneType; convert it with jnp.asarray"),
    ("x-int", bn(jnp.ones([5, 3], int)), TypeError, r"`x` must be floating or complex, got int32; .*astype"),
    ("x-bool", moments(X > 0), TypeError, "`x` must be floating or complex, got bool"),
    ("x-uint8", bn(np.ones([5, 3], "uint8")), TypeError, "`x` must be floating or complex, got uint8"),
    ("x-scalar", moments(1.0), ValueError, r"`x` must have a feature axis, got a scalar; .*\[\.\.\., features\]"),
    ("axis-float", bn(axis=1.0), TypeError, r"`axis` must be an int or a tuple of ints, got 1\.0"),
    ("axis-text", bn(axis="channels"), TypeError, "`axis` must be an int or a tuple of ints, got 'channels'"),
    ("axis-none", moments(axis=None), TypeError, "`axis` must be an int or a tuple of ints, got None"),
    ("axis-empty", bn(axis=()), ValueError, "`axis` must name at least one feature axis, got an empty tuple"),
    ("axis-above", bn(axis=2), ValueError, r"`axis` must lie in \[-2, 2\) for `x` with 2 dimensions, got 2"),
    ("axis-below", bn(axis=(1, -3)), ValueError, r"`axis` must lie in \[-2, 2\) for `x` .*, got \(1, -3\)"),
    ("axis-twice", moments(axis=(1, -1)), ValueError, r"`axis` must not name an axis twice, got \(1, -1\)"),
    ("mask-complex", bn(mask=Z), TypeError, "`mask` must be bool or real weights, got complex64"),
    (
        "mask-rank",
        bn(IMAGES, mask=np.ones(2, bool)),
        ValueError,
        r"`mask` must have as many dimensions as `x` .*, got the shape \(2,\); .* example \(2, 1, 1, 1\)",
    ),
    (
        "mask-rank-above",
        bn(X[0], mask=X > 0),
        ValueError,
        r"`mask` must have as many .* `x` \(3,\), got the shape \(5, 3\)",
    ),
    ("mask-is-no-array", bn(mask="all"), TypeError, "`mask` must be bool or real weights, got str"),
    ("mask-shape", moments(mask=X[:4] > 0), ValueError, r"`mask` must broadcast to `x` .*, got the shape \(4, 3\)"),
    ("train-int", bn(train=1), TypeError, "`train` must be a bool, got 1"),
    ("train-none", bn(train=None), TypeError, "`train` must be a bool, got None"),
    ("train-float", bn(train=X[0, 0]), TypeError, "`train` must be a bool, got an array of float32; compare it"),
    ("train-shape", bn(train=X[0] > 0), ValueError, r"`train` must be a scalar, got the shape \(3,\); jax.vmap"),
    ("momentum-above", bn(momentum=1.1), ValueError, "`momentum` must lie between 0 and 1, got 1.1; it is the weight"),
    ("momentum-below", update(momentum=-0.1), ValueError, "`momentum` must lie between 0 and 1, got -0.1"),
    ("momentum-nan", bn(momentum=float("nan")), ValueError, "`momentum` must lie between 0 and 1, got nan"),
    ("momentum-eval", bn(train=False, momentum=2), ValueError, "`momentum` must lie between 0 and 1, got 2"),
    ("momentum-numpy", bn(momentum=np.float32(2)), ValueError, "`momentum` must lie between 0 and 1, got 2.0"),
    ("epsilon-below", bn(epsilon=-1e-5), ValueError, "`epsilon` must be finite and at least 0, got -1e-05"),
    ("epsilon-inf", bn(epsilon=float("inf")), ValueError, "`epsilon` must be finite and at least 0, got inf"),
    ("momentum-text", bn(momentum="0.9"), TypeError, "`momentum` must be a real number, got '0.9'"),
    ("momentum-none", update(momentum=None), TypeError, "`momentum` must be a real number, got None"),
    ("momentum-shape", bn(momentum=ONES), ValueError, r"`momentum` must be a scalar, got the shape \(3,\)"),
    ("momentum-array", bn(momentum=np.asarray(2.0)), ValueError, "`momentum` must lie between 0 and 1, got 2.0"),
    ("epsilon-shape", bn(epsilon=ONES), ValueError, r"`epsilon` must be a scalar, got the shape \(3,\)"),
    ("epsilon-complex", bn(epsilon=1j), TypeError, "`epsilon` must be a real number, got 1j"),
    (
        "normalize-shape",
        lambda: normalize(PARAMS, X, ONES[:2], ONES),
        ValueError,
        r"`mean` must have the shape \(3,\) of the feature axes of `x` \(5, 3\), got \(2,\)",
    ),
    (
        "epsilon-normalize",
        lambda: normalize(PARAMS, X, ONES, ONES, epsilon=float("nan")),
        ValueError,
        "`epsilon` must be finite and at least 0, got nan",
    ),
    ("averaging", bn(averaging="mean"), ValueError, "`averaging` .* 'ema', 'warmup', 'cumulative', got 'mean'"),
    ("averaging-eval", bn(train=False, averaging="mean"), ValueError, "`averaging` must be one of 'ema'.*, got 'mean'"),
    ("averaging-none", update(averaging=None), ValueError, "`averaging` must be one of 'ema'.*, got None"),
    ("ddof-2", update(ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("ddof-bool", bn(ddof=True), ValueError, "`ddof` must be one of 0, 1, got True"),
    ("ddof-eval", bn(train=False, ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("features-float", init(3.0), TypeError, "`features` must be an int or a tuple of ints, got 3.0"),
    ("features-text", init("three"), TypeError, "`features` must be an int or a tuple of ints, got 'three'"),
    ("features-negative", init((2, -1)), ValueError, r"`features` must be at least 0 and not empty, got \(2, -1\)"),
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
    ("params-tuple", bn(params=(ONES, ONES)), TypeError, "`params` must be BatchNormParams, got tuple; see"),
    ("state-none", bn(state=None), TypeError, "`state` must be BatchNormState, got NoneType; see init_batch_norm"),
    (
        "scale-is-a-list",
        bn(params=BatchNormParams([1.0, 1.0, 1.0], None)),
        TypeError,
        "`params.scale` must be an array, got list; convert it with jnp.asarray",
    ),
    (
        "scale-shape",
        bn(X, axis=0),
        ValueError,
        r"`params.scale` must have the shape \(5,\) of the feature axes of `x` \(5, 3\), got \(3,\); check `axis`",
    ),
    ("bias-shape", bn(params=BatchNormParams(None, X[0, :2])), ValueError, r"`params.bias` must have .*, got \(2,\)"),
    ("mean-shape", bn(state=init_state(4)), ValueError, r"`state.mean` must have the shape \(3,\) .*, got \(4,\)"),
    ("var-shape", bn(state=STATE._replace(var=X)), ValueError, r"`state.var` must have the shape .*, got \(5, 3\)"),
    ("scale-complex", bn(params=BatchNormParams(Z[0], None)), TypeError, "`params.scale` must be real"),
    ("mean-complex", bn(state=STATE._replace(mean=Z[0])), TypeError, "`state.mean` must be real for"),
    ("var-complex", bn(Z, state=BatchNormState(Z[0], Z[0], 0)), TypeError, "`state.var` must be real for"),
    (
        "mean-real",
        bn(Z),
        TypeError,
        r"`state.mean` must be complex for `x` of complex64, got float32; use init_batch_norm\(..., dtype=",
    ),
    (
        "moments-shape",
        update(Moments(jnp.ones(()), ONES, ONES)),
        ValueError,
        r"`moments.count` must have the shape \(3,\) of `state.mean`, got \(\)",
    ),
    (
        "moments-complex",
        update(MOMENTS._replace(mean=Z[0])),
        TypeError,
        r"`state.mean` must be complex for complex moments, got float32; use init_state\(..., dtype='complex64'\)",
    ),
    (
        "merge-shapes",
        lambda: merge_moments(MOMENTS, jax.tree.map(lambda part: part[:2], MOMENTS)),
        ValueError,
        r"`a` and `b` must have the same shapes, got \(\(3,\), \(3,\), \(3,\)\) and \(\(2,\), \(2,\), \(2,\)\)",
    ),
    (
        "groups-without-axis",
        bn(axis_index_groups=[[0], [1]]),
        ValueError,
        "`axis_index_groups` needs `axis_name`, got None; name the mapped axis, or drop the groups",
    ),
    (
        "groups-incomplete",
        grouped([[1, 2]]),
        ValueError,
        r"`axis_index_groups` must name each of the 4 members of the axis exactly once, got \[\[1, 2\]\]",
    ),
    ("groups-outside", grouped([[0, 1], [2, 9]]), ValueError, "`axis_index_groups` must name each of the 4 members"),
    ("groups-flat", grouped([0, 1, 2, 3]), TypeError, "`axis_index_groups` must be a list of lists of ints, got"),
    (
        "check-none",
        lambda: check_state(None),
        TypeError,
        "`state` must be BatchNormState, got NoneType; see init_batch",
    ),
    ("check-traced", lambda: jax.jit(check_state)(STATE), TypeError, "`state` must hold values, .*; .* outside of jit"),
    ("check-list", check(mean=[0.0]), TypeError, "`state.mean` must be floating or complex, got list"),
    ("check-complex", check(var=Z[0]), TypeError, "`state.var` must be floating, got complex64"),
    ("check-count", check(count=ONES[0]), TypeError, "`state.count` must be int, got float32"),
    (
        "check-shape",
        check(var=ONES[:2]),
        ValueError,
        r"`state.var` must have the shape \(3,\) of `state.mean`, got \(2,\)",
    ),
    (
        "check-members",
        check(count=jnp.ones(2, int)),
        ValueError,
        r"`state.count` must be a scalar, .* \(2,\); .* check each",
    ),
    (
        "check-nan",
        check(mean=jnp.asarray([0, np.nan, np.nan])),
        ValueError,
        r"`state.mean` must be finite, got nan for feature \(1,\), one of 2 such; restore an earlier state",
    ),
    ("check-complex-nan", check(mean=Z[0] * np.nan), ValueError, r"`state.mean` must be finite, got \(?nan"),
    ("check-inf", check(var=ONES / 0), ValueError, r"`state.var` must be finite, got inf for feature \(0,\)"),
    (
        "check-var",
        check(var=jnp.asarray([1, 1, -0.5])),
        ValueError,
        r"`state.var` must be at least 0, got -0.5 .* \(2,\)",
    ),
    ("check-updates", check(count=jnp.asarray(-1)), ValueError, "`state.count` must be at least 0, got -1; restore"),
]
