"""Every mistake is answered with one sentence: what was expected, what arrived, and the remedy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import init_batch_norm
from jaxbn.interop import (
    _checks,
    debiased_momentum,
    from_equinox,
    from_haiku,
    from_keras,
    from_linen,
    from_nnx,
    from_torch,
    to_equinox,
    to_haiku,
    to_keras,
    to_linen,
    to_nnx,
    to_torch,
)
from tests.messages import unheard

OWN = init_batch_norm(3)
STATE = OWN[1]
TORCH = to_torch(*OWN)
MANY = {key: value for n in range(7) for key, value in to_torch(*OWN, prefix=f"bn{n}").items()}
LINEN = to_linen(*OWN, path="Block_0/bn")
HAIKU = to_haiku(*OWN, "net/bn", decay=0.9, ndim=2)
EQUINOX = to_equinox(*OWN)


class Unreadable:
    dtype = "bfloat16"
    requires_grad = True

    def __array__(self, dtype=None, copy=None):
        raise TypeError("no such scalar type")


def torch(**parts):
    return lambda: from_torch(TORCH | parts)


def without(*names):
    return lambda: from_torch({name: array for name, array in TORCH.items() if name not in names})


def equinox(**parts):
    return lambda: from_equinox(EQUINOX | parts)


def haiku(*args, **kwargs):
    return lambda: to_haiku(*OWN, *args, **{"module": "bn", "decay": 0.9, "ndim": 2, **kwargs})


# A readable id, the call, the error, and words that it must say.
MISTAKES = [
    ("no-dict", lambda: from_torch(7), TypeError, "`state_dict` must be a dict of arrays, got int; see the doc"),
    ("no-variables", lambda: from_keras([1]), TypeError, "`variables` must be a dict of arrays, got list"),
    ("no-collections", lambda: from_linen(None), TypeError, "`variables` must be a dict of arrays, got NoneType"),
    ("no-collection", lambda: from_linen({"batch_stats": 3}), TypeError, "`batch_stats` must be a dict .*, got int"),
    ("leaf", lambda: from_nnx({"bn": 3}, "bn"), TypeError, "`state at 'bn'` must be a dict of arrays, got int"),
    ("no-params", lambda: from_haiku(1, {}, "bn"), TypeError, "`params` must be a dict of arrays, got int"),
    ("no-state", lambda: from_haiku({}, 1, "bn"), TypeError, "`state` must be a dict of arrays, got int"),
    ("no-arrays", lambda: from_equinox(1), TypeError, "`arrays` must be a dict of arrays, got int"),
    ("unreadable", torch(weight=Unreadable()), TypeError,
     r"`state_dict\['weight'\]` must be an array that NumPy can read, got Unreadable of bfloat16 that requires grad; "
     r"convert it, a tensor of torch with \.detach\(\)\.cpu\(\)\.float\(\)\."),
    ("ragged", torch(running_mean=[[1.0], [2.0, 3.0]]), TypeError,
     r"`state_dict\['running_mean'\]` must be an array that NumPy can read, got list; convert it"),
    ("traced", lambda: jax.jit(lambda x: from_torch(TORCH | {"bias": x}))(STATE.mean), TypeError,
     r"`state_dict\['bias'\]` must hold values, got a traced array; convert outside of jit"),
    ("reference", torch(bias=jax.new_ref(STATE.mean)), TypeError,
     r"`state_dict\['bias'\]` must be an array, got a Ref; read it with ref\[\.\.\.\]"),
    ("int", torch(bias=np.arange(3)), TypeError, r"`bias` must be floating or complex, got int64; .*astype"),
    ("object", torch(running_var=object()), TypeError, "`running_var` must be floating or complex, got object"),
    ("count-float", torch(num_batches_tracked=np.float32(3)), TypeError,
     r"`num_batches_tracked` must be an integer, got float32; convert it with .astype\('int32'\)"),
    ("count-shape", torch(num_batches_tracked=np.arange(2)), ValueError,
     r"`num_batches_tracked` must be a scalar, got the shape \(2,\); convert layers one by one"),
    ("count-negative", torch(num_batches_tracked=np.array(-1)), ValueError,
     r"`num_batches_tracked` must be at least 0 and less than 2\*\*31, got -1; set it to 0"),
    ("count-large", torch(num_batches_tracked=np.array(2**31)), ValueError, "less than .*, got 2147483648"),
    ("no-mean", without("running_mean"), ValueError,
     "`state_dict` must hold 'running_mean' for the prefix '', got them for no layer; one that keeps no running "),
    ("no-statistics", without("running_mean", "running_var"), ValueError,
     "must hold 'running_mean' and 'running_var' for .* no running statistics begins with init_batch_norm"),
    ("checkpoint", lambda: from_torch({"epoch": 3, "model": MANY}), ValueError,
     r"`state_dict` must hold the arrays themselves, got them inside of 'model'; pass state_dict\['model'\]"),
    ("wrong-prefix", lambda: from_torch(to_torch(*OWN, prefix="bn1"), "bn2"), ValueError,
     "for the prefix 'bn2.', got them for 'bn1.'; pass one of these as `prefix`"),
    ("many-prefixes", lambda: from_torch(MANY, "bn"), ValueError, r"'bn0.', .*'bn4.', \.\.\.; pass one of these"),
    ("keras-prefix", lambda: from_keras(to_keras(*OWN, prefix="net/bn"), "net"), ValueError,
     "`variables` must hold 'moving_mean' and 'moving_variance' for the prefix 'net/', got them for 'net/bn/'; pass"),
    ("wrong-path", lambda: from_linen(LINEN, "bn"), ValueError,
     "`batch_stats` must hold 'mean' and 'var' for the path 'bn', got them for 'Block_0/bn'; pass one of these"),
    ("path-through-array", lambda: from_linen(LINEN, "Block_0/bn/mean/x"), ValueError, "got them for 'Block_0/bn'"),
    ("nnx-path", lambda: from_nnx(to_nnx(*OWN, path=("b", 0)), "b/1"), ValueError, "path 'b/1', got them for 'b/0'"),
    ("wrong-module", lambda: from_haiku(*HAIKU, "bn"), ValueError,
     "`state` must hold 'mean_ema/average' and 'var_ema/average' and 'mean_ema/counter' for the module 'bn', got them "
     "for 'net/bn'; pass one of these as `module`"),
    ("haiku-counter", lambda: from_haiku({}, {"bn/~/mean_ema": {"average": STATE.mean}}, "bn"), ValueError,
     "`state` must hold 'var_ema/average' and 'mean_ema/counter' for the module 'bn', got them for no layer"),
    ("no-mode", lambda: from_equinox({"weight": STATE.var}), ValueError,
     r"`arrays` must hold 'batch_counter' and 'batch_state_index', or 'ema_first_time_index' and 'ema_state_index', "
     r"got \['weight'\]; see jaxbn/interop/equinox.py"),
    ("no-pair", equinox(batch_state_index=STATE.mean), TypeError,
     r"`arrays\['batch_state_index'\]` must be the pair \(mean, variance\), got \w+; pass what state.get returns"),
    ("three", equinox(batch_state_index=(1, 2, 3)), TypeError, "must be the pair .*, got int, int, int;"),
    ("half-a-pair", equinox(batch_state_index=(STATE.mean, None)), TypeError, r"got \w+, NoneType; pass"),
    ("first", lambda: from_equinox(to_equinox(*OWN, mode="ema") | {"ema_first_time_index": np.array(0)}), TypeError,
     r"`ema_first_time_index` must be a bool scalar, got int64 of the shape \(\)"),
    ("shape", torch(weight=np.ones(4, "float32")), ValueError,
     r"`weight` must have the shape \(3,\) of `running_mean`, got \(4,\); all must be of one layer"),
    ("complex-var", torch(running_var=np.ones(3, "complex64")), TypeError,
     "`running_var` must be real, got complex64; take its real part"),
    ("prefix", lambda: from_torch(TORCH, 3), TypeError, "`prefix` must be a string, got 3; it is what the layer's"),
    ("prefix-none", lambda: to_keras(*OWN, prefix=None), TypeError, "`prefix` must be a string, got None"),
    ("module", lambda: from_haiku(*HAIKU, None), TypeError, "`module` must be a string, got None"),
    ("to-module", haiku(module=3), TypeError, "`module` must be a string, got 3"),
    ("path", lambda: from_linen(LINEN, 3), TypeError, "`path` must be a string or a sequence of names, got 3; ''"),
    ("path-of-floats", lambda: to_nnx(*OWN, path=(1.5,)), TypeError, r"`path` must be .*, got \(1.5,\)"),
    ("decay-1", haiku(decay=1.0), ValueError, "`decay` must be .*, less than 1, got 1.0; it is the weight"),
    ("decay-traced", lambda: jax.jit(lambda d: haiku(decay=d)()[1])(0.9), TypeError,
     "`decay` must hold values, got a traced array; convert outside of jit"),
    ("momentum-traced", lambda: jax.jit(lambda m: to_equinox(*OWN, momentum=m))(0.9), TypeError,
     "`momentum` must hold values, got a traced array"),
    ("decay-word", haiku(decay="0.9"), TypeError, "`decay` must be a real number, got '0.9'"),
    ("momentum", lambda: from_equinox(EQUINOX, momentum=-0.1), ValueError, "`momentum` must be at least 0 .* got -0.1"),
    ("to-momentum", lambda: to_equinox(*OWN, momentum=2), ValueError, "`momentum` must be at least 0 .*, got 2"),
    ("excess", lambda: from_equinox(EQUINOX, remove_excess=1), TypeError, "`remove_excess` must be a bool, got 1"),
    ("debiased-decay", lambda: debiased_momentum(1.5, 0), ValueError, "`decay` must be .* less than 1, got 1.5"),
    ("debiased-count", lambda: debiased_momentum(0.9, 1.0), TypeError, "`count` must be an integer, got 1.0; pass"),
    ("debiased-float", lambda: debiased_momentum(0.9, jnp.ones(())), TypeError, "`count` must be an integer, got"),
    ("debiased-large", lambda: debiased_momentum(0.9, 2**31), ValueError,
     r"`count` must be less than 2\*\*31, got 2147483648; pass state.count"),
    ("haiku-axis", lambda: from_haiku(*HAIKU, "net/bn", axis=0), ValueError,
     r"`net/bn/mean_ema/average` must have size 1 along all axes but the feature axes \(0,\), got the shape \(1, 3\)"),
    ("haiku-far-axis", lambda: from_haiku(*HAIKU, "net/bn", axis=2), ValueError, r"`axis` must lie in \[-2, 2\)"),
    ("haiku-ndim", haiku(ndim=0), ValueError, "`ndim` must be an int from 1 to 64, the dimensions of the data, got 0"),
    ("haiku-ndim-large", haiku(ndim=2**31), ValueError, "`ndim` must be an int from 1 to 64, .*, got 2147483648"),
    ("haiku-ndim-float", haiku(ndim=2.0), ValueError, "`ndim` must be an int .*, got 2.0"),
    ("haiku-axes", haiku(axis=(0, 1)), ValueError, r"`axis` must name 1 feature axes.*, got \(0, 1\)"),
    ("mode", lambda: to_equinox(*OWN, mode="legacy"), ValueError, "`mode` must be one of 'batch', 'ema', got 'legacy'"),
    ("averaging", lambda: to_linen(*OWN, averaging="sma"), ValueError, "`averaging` must be one of .*, got 'sma'"),
    ("nnx-averaging", lambda: to_nnx(*OWN, averaging=None), ValueError, "`averaging` must be one of .*, got None"),
    ("no-model", lambda: from_equinox(object(), {}), ValueError,
     "`arrays` must be a model with batch norms of Equinox, got object without one; pass what make_with_state returns"),
    ("part", lambda: from_equinox({"a": EQUINOX, "b": {}}), ValueError, r"`arrays\['b'\]` must hold 'batch_count"),
    ("shape-in-model", lambda: from_torch(MANY | {"bn3.weight": STATE.mean[:2]}), ValueError,
     r"`bn3.weight` must have the shape \(3,\) of `bn3.running_mean`, got \(2,\); all must be of one layer"),
    ("keras-in-model", lambda: from_keras({"a/moving_mean": STATE.mean, "a/moving_variance": np.arange(3)}), TypeError,
     "`a/moving_variance` must be floating or complex, got int64"),
    ("linen-in-model", lambda: from_linen({"batch_stats": {"b": {"mean": STATE.mean, "var": STATE.var[:2]}}}),
     ValueError, r"`b/var` must have the shape \(3,\) of `b/mean`, got \(2,\)"),
    ("nnx-in-model", lambda: from_nnx({"b": {0: {"mean": STATE.mean, "var": STATE.var.astype("complex64")}}}),
     TypeError, "`b/0/var` must be real, got complex64"),
    ("haiku-in-model", lambda: from_haiku(*HAIKU, axis=0), ValueError, "`net/bn/mean_ema/average` must have size 1"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_every_message_is_in_the_table():
    assert not unheard(_checks, [row[1] for row in MISTAKES])


@pytest.mark.parametrize("name", [3, None, ("bn", 0)])
def test_entries_whose_names_are_no_strings_are_passed_over(name):
    params, state = HAIKU
    calls = [
        (lambda more: from_torch(TORCH | more)),
        (lambda more: from_haiku(params | more, state | more)),
        (lambda more: from_linen({"batch_stats": {"bn": to_nnx(*OWN)} | more})),
        (lambda more: from_nnx({"bn": to_nnx(*OWN)} | more)),
    ]
    for call in calls:
        assert jax.tree.all(jax.tree.map(np.array_equal, call({}), call({name: np.ones(3)})))
