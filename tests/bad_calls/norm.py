"""Of the norms: the data, their axes and mask, the flag, epsilon, parameters."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import BatchNormParams, BatchNormState, init_state, normalize
from tests.bad_calls.calls import IMAGES, ONES, PARAMS, STATE, X, Z, bn, moments


def in_jit(x=X, **options):
    """Where JAX reads a reference for ever."""
    return lambda: jax.jit(bn(x, **options))()


# A readable id, the call, the error, and words that it must say.
ROWS = [
    ("x-is-no-array", bn("data"), TypeError, "`x` must be an array, got str; convert it with jnp.asarray"),
    ("x-is-object", bn(object()), TypeError, "`x` must be an array, got object; convert it with jnp.asarray"),
    ("x-is-missing", bn(None), TypeError, "`x` must be an array, got NoneType; convert it with jnp.asarray"),
    (
        "x-reference",
        in_jit(jax.new_ref(X)),
        TypeError,
        r"`x` must be an array, got a Ref; read it with ref\[\.\.\.\]",
    ),
    ("x-references", in_jit([jax.new_ref(X[0])]), TypeError, "`x` must be an array, got a Ref; read it with ref"),
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
    ("mask-reference", in_jit(mask=jax.new_ref(X)), TypeError, "`mask` must be an array, got a Ref; read it with ref"),
    ("mask-shape", moments(mask=X[:4] > 0), ValueError, r"`mask` must broadcast to `x` .*, got the shape \(4, 3\)"),
    ("train-int", bn(train=1), TypeError, "`train` must be a bool, got 1"),
    ("train-none", bn(train=None), TypeError, "`train` must be a bool, got None"),
    ("train-float", bn(train=X[0, 0]), TypeError, "`train` must be a bool, got an array of float32; compare it"),
    ("train-shape", bn(train=X[0] > 0), ValueError, r"`train` must be a scalar, got the shape \(3,\); jax.vmap"),
    ("train-reference", bn(train=jax.new_ref(X[0, 0] > 0)), TypeError, "`train` must be an array, got a Ref; read it"),
    ("epsilon-below", bn(epsilon=-1e-5), ValueError, "`epsilon` must be finite and at least 0, got -1e-05"),
    ("epsilon-inf", bn(epsilon=float("inf")), ValueError, "`epsilon` must be finite and at least 0, got inf"),
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
    ("params-tuple", bn(params=(ONES, ONES)), TypeError, "`params` must be BatchNormParams, got tuple; see"),
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
    ("x-large-int", bn(2**100), TypeError, "`x` must be an array, got int; convert it with jnp.asarray"),
    (
        "x-masked",
        bn(np.ma.masked_array(X)),
        TypeError,
        "`x` must be an array, got MaskedArray; convert it with jnp.asarray",
    ),
    (
        "x-float8",
        bn(X.astype("float8_e4m3fn")),
        TypeError,
        "`x` must have at least 16 bits, got float8_e4m3fn; convert it, e.g. to bfloat16",
    ),
    ("x-key", bn(jax.random.key(0)), TypeError, "`x` must be floating or complex, got key<"),
    ("axis-array", bn(axis=X), TypeError, r"`axis` must be an int or a tuple of ints, got Array\(.*\)\.$"),
    ("mask-large-int", bn(mask=2**100), TypeError, "`mask` must be bool or real weights, got int"),
    ("mask-key", bn(mask=jax.random.key(0)), TypeError, "`mask` must be bool or real weights, got key<"),
    (
        "epsilon-large-int",
        bn(epsilon=2**100),
        ValueError,
        "`epsilon` must be a number of at most 64 bits, got 1267650600228229401496703205376; write it as a float",
    ),
    ("epsilon-key", bn(epsilon=jax.random.key(0)), TypeError, "`epsilon` must be a real number, got Array"),
    (
        "mean-is-a-set",
        lambda: normalize(PARAMS, X, {1}, ONES),
        TypeError,
        "`mean` must be an array, got set; convert it",
    ),
    (
        "scale-shape-alone",
        bn(params=BatchNormParams(jax.eval_shape(lambda: ONES), None)),
        TypeError,
        "`params.scale` must be an array, got ShapeDtypeStruct; convert it with jnp.asarray",
    ),
    (
        "bias-masked",
        bn(params=BatchNormParams(None, np.ma.masked_array(ONES))),
        TypeError,
        "`params.bias` must be an array, got float32; convert",
    ),
]
