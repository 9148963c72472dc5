"""Every bad call is refused in one sentence, and every sentence is tested."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, BatchNormState, init_batch_norm
from jaxbn.inference import fold, fold_conv, fold_dense, to_affine
from jaxbn.inference._folding import checks as _checks
from tests.inference.nets_fold import norm, norm_variables, numbers
from tests.messages import unheard

X = numbers(3, 4)
V = {"kernel": numbers(4, 5), "norm": norm_variables(5)}
PARAMS, STATE = init_batch_norm(5)
KERNEL = jnp.ones((4, 5))


def f(v, x):
    return norm(v["norm"], x @ v["kernel"])


def folding(f=f, variables=V, sample=X):
    return lambda: fold(f, variables, sample)


def calling(weights=None, x=X, **changes):
    def call():
        function, own, _ = fold(f, V, X)
        return function({**own, **changes} if weights is None else weights, x)

    return call


def dense(kernel=KERNEL, bias=None, params=PARAMS, state=STATE, how=fold_dense, **options):
    return lambda: how(kernel, bias, params, state, **options)


def far_from_zero(v, x):
    """One value less a mean that is a million times its deviation."""
    return (x @ v["kernel"] - v["mean"][None]) / jnp.sqrt(v["var"])[None]


def for_batches_alone(v, x):
    return f(v, x) if len(x) > 1 else x @ v["kernel"]


FAR = {"kernel": np.ones((4, 1), "float32"), "mean": np.float32([4e6]), "var": np.float32([1e-2])}

BAD_CALLS = [
    ("f", folding(f="net"), TypeError, r"`f` must be a function of variables and data, got str; write e\.g\. lambda"),
    (
        "kernel-real",
        dense(bias=jnp.ones(5, "complex64")),
        TypeError,
        "`kernel` must be complex for a complex norm or bias, got float32; convert it",
    ),
    ("sample-list", folding(sample=[1.0, 2.0]), TypeError, "`sample` must be made of arrays, got float; convert it"),
    (
        "sample-dtype",
        folding(sample=np.ones((3, 4), ">f4")),
        TypeError,
        "`sample` must be made of arrays, got ndarray; ",
    ),
    ("sample-masked", folding(sample=np.ma.masked_array(X)), TypeError, "`sample` must be made of arrays, got Masked"),
    ("sample-none", folding(sample=None), ValueError, "`sample` must hold data to compare the outputs on, got none"),
    ("sample-empty", folding(sample=X[:0]), ValueError, "`sample` must hold data .*, got none; give it a batch"),
    (
        "sample-traced",
        lambda: jax.jit(lambda x: fold(f, V, x)[1])(X),
        TypeError,
        "`sample` must hold values, got a traced array; call fold outside of jit",
    ),
    (
        "variables-traced",
        lambda: jax.jit(lambda v: fold(f, v, X)[1])(V),
        TypeError,
        "`variables` must hold values, got a traced array; call fold outside of jit",
    ),
    (
        "f-traced",
        lambda: jax.jit(lambda: fold(f, V, X)[1])(),
        TypeError,
        "`f` must hold values, got a traced array; call fold outside of jit",
    ),
    (
        "not-a-number",
        folding(sample=X * np.float32("nan")),
        ValueError,
        r"`f\(variables, sample\)` must hold numbers to be compared with, got NaN; check the variables and the sample",
    ),
    (
        "different",
        folding(far_from_zero, FAR, X + np.float32(1e6)),
        ValueError,
        r"`f` must give the same output without its norms, got a largest difference of \d\.\de[+-]\d\d of the largest "
        r"output where 1e-05 is allowed; a norm whose mean is large beside its deviation",
    ),
    (
        "different-second-output",
        folding(lambda v, x: (x, far_from_zero(v, x)), FAR, X + np.float32(1e6)),
        ValueError,
        "of the largest output 1 where 1e-05 is allowed",
    ),
    ("weights-list", calling([1.0]), TypeError, "`weights` must be the dict that fold returned, got list"),
    ("weights-missing", calling({}), ValueError, "`weights` must hold 'kernel', got none; pass all that fold returned"),
    (
        "weights-dtype",
        calling(kernel=jnp.ones((4, 5), "bfloat16")),
        ValueError,
        r"`weights\['kernel'\]` must be float32\[4, 5\] as fold returned it, got bfloat16\[4, 5\]; for another",
    ),
    (
        "other-weights",
        lambda: fold(for_batches_alone, V, X)[0]({}, X[:1]),
        ValueError,
        r"`x` must have a shape for which `f` makes the same weights of its variables as for the sample, got "
        r"\[\(1, 4\)\], for which 'kernel' is another; fold again with a sample of it",
    ),
    ("weights-shape", calling(kernel=jnp.ones((4, 6))), ValueError, r"must be float32\[4, 5\] .*, got float32\[4, 6\]"),
    ("kernel-int", dense(jnp.ones((4, 5), int)), TypeError, "`kernel` must be floating or complex, got int32"),
    ("kernel-text", dense("kernel"), TypeError, "`kernel` must be an array, got str"),
    (
        "kernel-features",
        dense(KERNEL.T),
        ValueError,
        r"`kernel` must have the 5 features of the norm along axis 1, got the shape \(5, 4\); check `axis`",
    ),
    ("kernel-axis", dense(axis=2), ValueError, r"`axis` must lie in \[-2, 2\)"),
    ("kernel-axes", dense(axis=(0, 1)), ValueError, r"`axis` must name one feature axis of the kernel, got \(0, 1\)"),
    ("bias-shape", dense(bias=jnp.ones(4)), ValueError, r"`bias` must have the shape \(5,\) of the norm, got \(4,\)"),
    ("bias-int", dense(bias=jnp.ones(5, int)), TypeError, "`bias` must be floating or complex, got int32"),
    ("epsilon", dense(epsilon=-1.0), ValueError, "`epsilon` must be finite and at least 0, got -1.0"),
    ("epsilon-conv", dense(how=fold_conv, epsilon="1"), TypeError, "`epsilon` must be a real number, got '1'"),
    ("params", dense(params=3), TypeError, "`params` must be BatchNormParams, got int"),
    ("state", dense(state=3), TypeError, "`state` must be BatchNormState, got int; see init_batch_norm"),
    (
        "params-shape",
        dense(params=BatchNormParams(jnp.ones(4), None)),
        ValueError,
        r"`params.scale` must have the shape \(5,\)",
    ),
    (
        "state-scalar",
        lambda: to_affine(PARAMS, BatchNormState(jnp.zeros(()), jnp.ones(()), jnp.int32(0))),
        ValueError,
        "`state.mean` must have a feature axis, got a scalar",
    ),
    (
        "state-axes",
        dense(params=BatchNormParams(None, None), state=BatchNormState(KERNEL, KERNEL, jnp.int32(0))),
        ValueError,
        r"`state.mean` must have one feature axis here, got the shape \(4, 5\)",
    ),
    ("affine-epsilon", lambda: to_affine(PARAMS, STATE, float("nan")), ValueError, "`epsilon` must be finite"),
]


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_every_message_is_in_the_table():
    assert not unheard(_checks, [row[1] for row in BAD_CALLS])


def test_an_error_of_the_model_is_its_own():
    def broken(v, x):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fold(broken, V, X)
