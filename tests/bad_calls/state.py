"""Of running statistics, of moments, and of how the one learn from the other."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import Moments, batch_norm, check_state, merge_moments, sync_moments, update_state
from tests.bad_calls.calls import MOMENTS, ONES, PARAMS, STATE, X, Z, bn, update


def check(**parts):
    return lambda: check_state(STATE._replace(**parts))


def grouped(groups):
    def call(x):
        return batch_norm(PARAMS, STATE, x, True, axis_name="i", axis_index_groups=groups)

    return lambda: jax.vmap(call, axis_name="i")(jnp.ones([4, 5, 3]))


# A readable id, the call, the error, and words that it must say.
ROWS = [
    ("momentum-above", bn(momentum=1.1), ValueError, "`momentum` must lie between 0 and 1, got 1.1; it is the weight"),
    ("momentum-below", update(momentum=-0.1), ValueError, "`momentum` must lie between 0 and 1, got -0.1"),
    ("momentum-nan", bn(momentum=float("nan")), ValueError, "`momentum` must lie between 0 and 1, got nan"),
    ("momentum-eval", bn(train=False, momentum=2), ValueError, "`momentum` must lie between 0 and 1, got 2"),
    ("momentum-numpy", bn(momentum=np.float32(2)), ValueError, "`momentum` must lie between 0 and 1, got 2.0"),
    ("momentum-text", bn(momentum="0.9"), TypeError, "`momentum` must be a real number, got '0.9'"),
    ("momentum-none", update(momentum=None), TypeError, "`momentum` must be a real number, got None"),
    ("momentum-shape", bn(momentum=ONES), ValueError, r"`momentum` must be a scalar, got the shape \(3,\)"),
    ("momentum-array", bn(momentum=np.asarray(2.0)), ValueError, "`momentum` must lie between 0 and 1, got 2.0"),
    (
        "state-byte-order",
        update(state=STATE._replace(var=np.ones(3, ">f4"))),
        TypeError,
        "`state.var` must be a floating array, got >f4; see init_batch_norm",
    ),
    ("averaging", bn(averaging="mean"), ValueError, "`averaging` .* 'ema', 'warmup', 'cumulative', got 'mean'"),
    ("averaging-eval", bn(train=False, averaging="mean"), ValueError, "`averaging` must be one of 'ema'.*, got 'mean'"),
    ("averaging-none", update(averaging=None), ValueError, "`averaging` must be one of 'ema'.*, got None"),
    ("ddof-2", update(ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("ddof-bool", bn(ddof=True), ValueError, "`ddof` must be one of 0, 1, got True"),
    ("ddof-eval", bn(train=False, ddof=2), ValueError, "`ddof` must be one of 0, 1, got 2"),
    ("state-none", bn(state=None), TypeError, "`state` must be BatchNormState, got NoneType; see init_batch_norm"),
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
        r"`a` and `b` must have arrays of one shape, got \(\(3,\), \(3,\), \(3,\)\) and \(\(2,\), \(2,\), \(2,\)\)",
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
        "`state.count` must be an integer array",
    ),
    ("check-complex", check(var=Z[0]), TypeError, "`state.var` must be a floating array, got complex64"),
    ("check-count", check(count=ONES[0]), TypeError, "`state.count` must be an integer array, got float32"),
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
    ("momentum-bool-array", bn(momentum=np.True_), TypeError, r"`momentum` must be a real number, got np\.True_"),
    ("averaging-array", update(averaging=X), ValueError, r"`averaging` must be one of .*, got Array\(.*\)\.$"),
    (
        "axis-name-unbound",
        bn(axis_name="batch"),
        ValueError,
        "`axis_name` must be a mapped axis, or several in a tuple, got 'batch', which is none here; leave it out, also "
        "where arrays are sharded under jit, or map over it",
    ),
    (
        "axis-name-unhashable",
        bn(axis_name=X),
        ValueError,
        r"`axis_name` must be a mapped axis, .*, got Array\(.*\), which",
    ),
    ("axis-name-number", bn(axis_name=0), ValueError, "`axis_name` must be a mapped axis, .*, got 0, which is none"),
    (
        "axis-name-sync",
        lambda: sync_moments(MOMENTS, "i"),
        ValueError,
        "`axis_name` must be a mapped axis, .*, got 'i'",
    ),
    ("sync-none", lambda: sync_moments(None, "i"), TypeError, "`m` must be Moments, got NoneType; see batch_moments"),
    (
        "sync-list",
        lambda: sync_moments(Moments(1.0, ONES, ONES), "i"),
        TypeError,
        "`m.count` must be a floating array, got "
        r"float; convert it with jnp.asarray\(..., 'float32'\)",
    ),
    (
        "sync-float8",
        lambda: sync_moments(Moments(ONES, ONES.astype("float8_e5m2"), ONES), "i"),
        TypeError,
        "`m.mean` must be a floating array, got float8_e5m2",
    ),
    (
        "sync-shapes",
        lambda: sync_moments(Moments(ONES, ONES, X), "i"),
        ValueError,
        "`m` must have arrays of one shape, got",
    ),
    ("merge-none", lambda: merge_moments(MOMENTS, None), TypeError, "`b` must be Moments, got NoneType"),
    (
        "merge-complex",
        lambda: merge_moments(MOMENTS._replace(m2=Z[0]), MOMENTS),
        TypeError,
        "`a.m2` must be a floating",
    ),
    ("update-moments", lambda: update_state(STATE, STATE), TypeError, "`moments` must be Moments, got BatchNormState"),
    ("update-none", lambda: update_state(None, MOMENTS), TypeError, "`state` must be BatchNormState, got NoneType"),
    (
        "count-float",
        bn(state=STATE._replace(count=ONES[0])),
        TypeError,
        "`state.count` must be an integer array, got float32",
    ),
    ("count-int", bn(state=STATE._replace(count=3)), TypeError, "`state.count` must be an integer array, got int; see"),
    (
        "mean-key",
        check(mean=jax.random.key(0)),
        TypeError,
        "`state.mean` must be a floating or complex array, got key<",
    ),
]
