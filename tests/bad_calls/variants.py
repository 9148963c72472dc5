"""Of the variants, and of the options by which a layer takes one."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import Moments, init_state
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm
from tests.bad_calls.calls import IMAGES, ONES, PARAMS, STATE, X, bn, layer, update


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


# A readable id, the call, the error, and words that it must say.
ROWS = [
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
    (
        "micro-large",
        lambda: accumulate(STATE, 2**31),
        ValueError,
        r"`micro_batches` must be less than 2\*\*31, got 2147483648",
    ),
    (
        "micro-mean",
        lambda: accumulate(STATE._replace(mean=[0.0]), 2),
        TypeError,
        "`state.mean` must be a floating array, got list; see init_batch_norm",
    ),
    (
        "micro-var",
        lambda: accumulate(STATE._replace(var=X[0].astype(int)), 2),
        TypeError,
        "`state.var` must be a floating array, got int32",
    ),
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
