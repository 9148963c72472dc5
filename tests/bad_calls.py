"""Every bad call with the error and the words it is answered with; a new check is a new row."""

import flax.nnx
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
    nnx,
    normalize,
    update_state,
)
from jaxbn.preprocess import (
    fit_center,
    fit_min_max,
    fit_pca,
    fit_standardize,
    fit_whiten,
    inverse_transform,
    transform,
)
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm

X = jnp.ones([5, 3])
Z = X.astype("complex64")
IMAGES = jnp.ones([2, 4, 4, 3])
ONES = jnp.ones(3)
MOMENTS = Moments(ONES, ONES, ONES)
PARAMS, STATE = init_batch_norm(3)


def bn(x=X, *, train=True, params=PARAMS, state=STATE, **kwargs):
    return lambda: batch_norm(params, state, x, train, **kwargs)


def ghost(x=X, *, size=2, train=True, state=STATE, **kwargs):
    return lambda: ghost_batch_norm(PARAMS, state, x, train, ghost_size=size, **kwargs)


def renorm(x=X, *, r_max=3.0, d_max=5.0, train=True, state=STATE, **kwargs):
    return lambda: batch_renorm(PARAMS, state, x, train, r_max=r_max, d_max=d_max, **kwargs)


def sharded_ghost(size, examples=32):
    """As traced for four devices, which need not be there."""
    mesh = jax.sharding.AbstractMesh((4,), ("a",), axis_types=(jax.sharding.AxisType.Explicit,))
    x = jax.ShapeDtypeStruct((examples, 3), "float32", sharding=jax.NamedSharding(mesh, jax.P("a")))

    def call():
        with jax.sharding.use_abstract_mesh(mesh):
            return jax.eval_shape(lambda x: ghost(x, size=size)(), x)

    return call


def layer(features, **options):
    return nnx.BatchNorm(features, rngs=flax.nnx.Rngs(0), **options)


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


def fit(how, x=X, **kwargs):
    return lambda: how(x, **kwargs)


def applied(x, how=transform, **kwargs):
    return lambda: how(fit_pca(X, **kwargs), x)


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
        "state-half",
        bn(state=STATE._replace(var=ONES.astype("bfloat16"))),
        TypeError,
        r"`state.var` must be at least float32 to be updated, got bfloat16, .*; convert it with state.var.astype",
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
    ("check-list", check(mean=[0.0]), TypeError, "`state.mean` must be a floating or complex array, got list; see"),
    ("check-half", check(mean=ONES.astype("bfloat16")), TypeError, "`state.mean` must be at least float32 .* bfloat16"),
    (
        "state-int",
        bn(state=STATE._replace(var=X[0].astype(int))),
        TypeError,
        "`state.var` must be a floating array, got",
    ),
    (
        "count-none",
        bn(state=STATE._replace(count=None)),
        TypeError,
        "`state.count` must be an? integer array",
    ),
    ("check-complex", check(var=Z[0]), TypeError, "`state.var` must be a floating array, got complex64"),
    ("check-count", check(count=ONES[0]), TypeError, "`state.count` must be an? integer array, got float32"),
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
    (
        "fit-object",
        fit(fit_center, object()),
        TypeError,
        "`x` must be an array, got object; convert it with jnp.asarray",
    ),
    ("fit-none", fit(fit_center, None), TypeError, "`x` must be an array, got NoneType; convert it"),
    ("fit-int", fit(fit_pca, X.astype(int)), TypeError, "`x` must be floating or complex, got int32; .*astype"),
    ("fit-int-batch", fit(fit_min_max, [X, X.astype("int8")]), TypeError, "`x` must be floating or complex, got int8"),
    ("fit-scalar", fit(fit_center, [1.0, 2.0]), ValueError, "`x` must have a feature axis, got a scalar"),
    ("fit-axis", fit(fit_whiten, axis=2), ValueError, r"`axis` must lie in \[-2, 2\) for `x` .*, got 2"),
    ("nan-policy", fit(fit_center, nan_policy="ignore"), ValueError, "`nan_policy` .* 'raise', 'omit', got 'ignore'"),
    ("nan-policy-pca", fit(fit_pca, nan_policy=None), ValueError, "`nan_policy` .* 'raise', 'omit', got None"),
    ("kind", fit(fit_whiten, kind="ZCA"), ValueError, "`kind` must be one of 'pca', 'zca', got 'ZCA'"),
    ("standardize-ddof", fit(fit_standardize, ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("pca-ddof", fit(fit_pca, ddof=True), ValueError, "`ddof` must be one of 0, 1, got True"),
    ("whiten-epsilon", fit(fit_whiten, epsilon=-1.0), ValueError, "`epsilon` must be finite and at least 0, got -1.0"),
    ("range-equal", fit(fit_min_max, low=1), ValueError, "`low` must be less than `high` and both finite, got 1 and 1"),
    ("range-inf", fit(fit_min_max, high=float("inf")), ValueError, "`low` must .* both finite, got -1.0 and inf"),
    ("range-nan", fit(fit_min_max, low=float("nan")), ValueError, "`low` must be .* both finite, got nan and 1.0"),
    ("range-text", fit(fit_min_max, low="0"), TypeError, "`low` must be a real number, got '0'"),
    ("range-shape", fit(fit_min_max, high=ONES), ValueError, r"`high` must be a scalar, got the shape \(3,\)"),
    ("min-max-complex", fit(fit_min_max, Z), TypeError, "`x` must be real here, got complex64; take its real and"),
    ("pca-complex", fit(fit_pca, [X, Z]), TypeError, "`x` must be real here, got complex64; take its real and imagin"),
    ("components-0", fit(fit_pca, components=0), ValueError, "`components` .* 1 and the 3 features of `x`, got 0"),
    ("components-4", fit(fit_whiten, components=4), ValueError, "`components` .* 1 and the 3 features of `x`, got 4"),
    ("components-float", fit(fit_pca, components=0.95), TypeError, "`components` must be an int or None, got 0.95"),
    ("fit-mask-shape", fit(fit_center, mask=X[:4] > 0), ValueError, "`mask` must broadcast to `x`"),
    (
        "pca-mask",
        fit(fit_pca, mask=X > 0),
        ValueError,
        r"`mask` must hold one weight per example here, got the shape \(5, 3\); .* feature axes \(1,\)",
    ),
    (
        "masks-array",
        fit(fit_center, [X, X], mask=np.ones([5, 1], bool)),
        TypeError,
        "`mask` must be an iterable like `x`, got ndarray; give one mask per batch",
    ),
    ("masks-bool", fit(fit_pca, [X, X], mask=True), TypeError, "`mask` must be an iterable like `x`, got bool"),
    (
        "masks-few",
        fit(fit_center, [X, X], mask=[X > 0]),
        ValueError,
        "`mask` must yield .* got more batches; make them",
    ),
    (
        "masks-many",
        fit(fit_center, [X], mask=[X > 0] * 2),
        ValueError,
        "`mask` must yield .* got more masks; make them",
    ),
    ("no-feature", fit(fit_pca, X[:, :0]), ValueError, r"`x` must have at least one feature .*, got .* \(0,\)"),
    ("no-batch", fit(fit_min_max, iter([])), ValueError, "`x` must yield at least one batch, got none; an iterator"),
    (
        "other-features",
        fit(fit_pca, [X, X[:, :2]]),
        ValueError,
        r"`x` must yield batches with the same features, got \(2,\) after \(3,\); check `axis`",
    ),
    (
        "fit-nan",
        fit(fit_standardize, X.at[1:, 2].set(np.nan)),
        ValueError,
        r"`x` must be finite, .* feature \(2,\), one of 1 such; a mask .*, nan_policy='omit' leaves out NaN",
    ),
    ("fit-nan-range", fit(fit_min_max, [X, X / 0 * 0]), ValueError, r"`x` must be finite, .* \(0,\), one of 3 such"),
    ("fit-nan-pca", fit(fit_whiten, X.at[1, 1].set(np.nan)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    ("fit-inf", fit(fit_center, X.at[1, 1].set(-np.inf)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    ("fit-inf-range", fit(fit_min_max, X.at[1, 1].set(np.inf)), ValueError, r"`x` must be finite, .* feature \(1,\)"),
    (
        "fit-inf-omit",
        fit(fit_pca, X.at[1, 0].set(np.inf), nan_policy="omit"),
        ValueError,
        r"`x` must be finite, .* feature \(0,\), one of 1 such; a mask leaves values out\.$",
    ),
    (
        "fit-huge",
        fit(fit_standardize, X.at[1].set(1e30)),
        ValueError,
        "`x` must be finite, and small enough to be squa",
    ),
    (
        "transform-real",
        lambda: transform(fit_center(Z), X),
        TypeError,
        r"`x` must be complex for a transform that was fitted to complex data, got float32; convert it, .*complex64",
    ),
    ("no-transform", lambda: transform(STATE, X), TypeError, "`t` must be a fitted transform, got BatchNormState; see"),
    ("no-inverse", lambda: inverse_transform(fit_pca, X), TypeError, "`t` must be a fitted transform, got function"),
    ("transform-int", applied(X.astype(int)), TypeError, "`x` must be floating or complex, got int32; .*x.astype"),
    ("inverse-int", applied(X > 0, inverse_transform), TypeError, "`y` must be floating or complex, got bool; .*y.ast"),
    ("inverse-text", applied("y", inverse_transform), TypeError, "`y` must be an array, got str; convert it"),
    ("inverse-scalar", applied(1.0, inverse_transform), ValueError, "`y` must have a feature axis, got a scalar"),
    (
        "transform-features",
        applied(X[:, :2]),
        ValueError,
        r"`x` must have the features \(3,\) that the transform was fitted to, got \(2,\); check its shape",
    ),
    ("inverse-components", applied(X, inverse_transform, components=2), ValueError, r"`y` must .* \(2,\) .*got \(3,\)"),
    (
        "scale-features",
        lambda: inverse_transform(fit_center(IMAGES, axis=(1, 3)), IMAGES[:, :3]),
        ValueError,
        r"`y` must have the features \(4, 3\) that the transform was fitted to, got \(3, 3\)",
    ),
    ("ghost-size-0", ghost(size=0), ValueError, "`ghost_size` must be at least 1, got 0"),
    ("ghost-size-eval", ghost(size=-3, train=False), ValueError, "`ghost_size` must be at least 1, got -3"),
    ("ghost-size-float", ghost(size=2.0), TypeError, r"`ghost_size` must be an int, got 2\.0"),
    ("ghost-size-bool", ghost(size=True), TypeError, "`ghost_size` must be an int, got True"),
    ("ghost-size-none", ghost(size=None), TypeError, "`ghost_size` must be an int, got None"),
    ("ghost-size-traced", lambda: jax.jit(lambda n: ghost(size=n)())(2), TypeError, "`ghost_size` must be an int, got"),
    (
        "ghost-axis",
        ghost(X.T, axis=0),
        ValueError,
        r"`axis` must leave out axis 0, which is split into groups, got \(0,\) for `x` \(3, 5\); move the examples to",
    ),
    ("ghost-axes", ghost(IMAGES, axis=(3, 0), state=init_state((3, 2))), ValueError, "`params.scale` must have the"),
    ("ghost-rank-1", ghost(X[0]), ValueError, r"`axis` must leave out axis 0, .*, got \(0,\) for `x` \(3,\)"),
    (
        "ghost-devices",
        sharded_ghost(3),
        ValueError,
        "`ghost_size` must divide the examples that each device holds of an explicitly sharded `x`, got 3 for 32 "
        r"examples on 4 devices; choose e\.g\. 8",
    ),
    ("ghost-devices-above", sharded_ghost(16), ValueError, "`ghost_size` must divide .*, got 16 for 32 examples on 4"),
    (
        "ghost-groups",
        ghost(axis_index_groups=[[0], [1]]),
        ValueError,
        "`axis_index_groups` needs `axis_name`, got None; name the mapped axis, or drop the groups",
    ),
    ("ghost-x", ghost(X > 0), TypeError, "`x` must be floating or complex, got bool"),
    ("ghost-train", ghost(train=1), TypeError, "`train` must be a bool, got 1"),
    ("ghost-mask", ghost(mask=X[:4] > 0), ValueError, r"`mask` must broadcast to `x` .*, got the shape \(4, 3\)"),
    ("ghost-momentum", ghost(momentum=2), ValueError, "`momentum` must lie between 0 and 1, got 2"),
    ("ghost-epsilon", ghost(epsilon=-1.0), ValueError, "`epsilon` must be finite and at least 0, got -1.0"),
    ("ghost-state", ghost(state=None), TypeError, "`state` must be BatchNormState, got NoneType; see init_batch_norm"),
    ("ghost-ddof", ghost(ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("r-max-below", renorm(r_max=0.5), ValueError, r"`r_max` must be at least 1, got 0\.5; inf is no limit"),
    ("r-max-nan", renorm(r_max=float("nan")), ValueError, "`r_max` must be at least 1, got nan"),
    ("r-max-eval", renorm(r_max=0, train=False), ValueError, "`r_max` must be at least 1, got 0; inf is no limit"),
    ("r-max-numpy", renorm(r_max=np.float32(0.5)), ValueError, r"`r_max` must be at least 1, got 0\.5"),
    ("r-max-text", renorm(r_max="3"), TypeError, "`r_max` must be a real number, got '3'"),
    ("r-max-shape", renorm(r_max=ONES), ValueError, r"`r_max` must be a scalar, got the shape \(3,\)"),
    ("d-max-below", renorm(d_max=-0.1), ValueError, r"`d_max` must be at least 0, got -0\.1; inf is no limit"),
    ("d-max-none", renorm(d_max=None), TypeError, "`d_max` must be a real number, got None"),
    ("d-max-complex", renorm(d_max=1j), TypeError, "`d_max` must be a real number, got 1j"),
    (
        "renorm-groups",
        renorm(axis_index_groups=[[0], [1]]),
        ValueError,
        "`axis_index_groups` needs `axis_name`, got None; name the mapped axis, or drop the groups",
    ),
    ("renorm-x", renorm(X > 0), TypeError, "`x` must be floating or complex, got bool"),
    ("renorm-axis", renorm(axis=2), ValueError, r"`axis` must lie in \[-2, 2\) for `x` with 2 dimensions, got 2"),
    ("renorm-train", renorm(train=1), TypeError, "`train` must be a bool, got 1"),
    ("renorm-mask", renorm(mask=X[:4] > 0), ValueError, r"`mask` must broadcast to `x` .*, got the shape \(4, 3\)"),
    ("renorm-momentum", renorm(momentum=2), ValueError, "`momentum` must lie between 0 and 1, got 2"),
    ("renorm-epsilon", renorm(epsilon=-1.0), ValueError, "`epsilon` must be finite and at least 0, got -1.0"),
    (
        "renorm-state",
        renorm(state=None),
        TypeError,
        "`state` must be BatchNormState, got NoneType; see init_batch_norm",
    ),
    ("renorm-ddof", renorm(ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("micro-0", lambda: accumulate(STATE, 0), ValueError, "`micro_batches` must be at least 1, got 0"),
    ("micro-float", lambda: accumulate(STATE, 2.0), TypeError, r"`micro_batches` must be an int, got 2\.0"),
    ("micro-bool", lambda: accumulate(STATE, True), TypeError, "`micro_batches` must be an int, got True"),
    ("micro-state", lambda: accumulate(None, 2), TypeError, "`state` must be BatchNormState, got NoneType; see init"),
    (
        "micro-twice",
        lambda: accumulate(accumulate(STATE, 2), 3),
        TypeError,
        "`state` must be BatchNormState, got AccumulatingState; replace its `micro_batches` instead",
    ),
    (
        "micro-half",
        bn(state=accumulate(STATE._replace(var=ONES.astype("bfloat16")), 2)),
        TypeError,
        "`state.var` must be at least float32 to be updated, got bfloat16",
    ),
    (
        "micro-moments",
        update(Moments(jnp.ones(()), ONES, ONES), state=accumulate(STATE, 2)),
        ValueError,
        r"`moments.count` must have the shape \(3,\) of `state.mean`, got \(\)",
    ),
    (
        "one-limit",
        lambda: layer(3, r_max=2.0)(X),
        ValueError,
        "`r_max` and `d_max` must be given together, got 2.0 and None; inf is no limit",
    ),
    (
        "two-variants",
        lambda: layer(3, r_max=2.0, d_max=1.0, ghost_size=4)(X),
        ValueError,
        "`ghost_size` must be None beside `r_max` and `d_max`, got 4; choose one of them",
    ),
]
