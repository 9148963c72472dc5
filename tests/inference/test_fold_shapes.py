"""Data of another shape can give another program: its weights are those of the sample, or it is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.inference import fold
from jaxbn.inference._folding.names import digest
from tests.inference.nets_fold import conv, norm, norm_variables, numbers
from tests.tolerances import assert_close

X = numbers(3, 4)
V = {"k": numbers(4, 4), "norm": norm_variables(4)}
A, B = numbers(4, 4, seed=5), numbers(4, 4, seed=6)


def norm_for_batches_alone(v, x):
    y = x @ v["k"]
    return norm(v["norm"], y) if len(x) > 1 else y


def sum_over_the_batch(v, x):
    return x * jnp.broadcast_to(v["norm"]["scale"][None], x.shape).sum(0)[None]


def running_sum_over_the_batch(v, x):
    return x + jnp.cumsum(jnp.broadcast_to(v["norm"]["scale"][None], x.shape), 0)


def multiple_of_the_kernel(v, x):
    return x @ (v["k"] * (2.0 if len(x) > 1 else 3.0))


def constants_in_other_places(v, x):
    a, b = (A[:1], B[:1]) if len(x) > 1 else (B[:1], A[:1])
    return norm(v["norm"], (x @ v["k"]) * a + b)


@pytest.mark.parametrize(
    "f",
    [
        norm_for_batches_alone,
        sum_over_the_batch,
        running_sum_over_the_batch,
        multiple_of_the_kernel,
        constants_in_other_places,
    ],
)
def test_other_weights_of_the_same_name_are_refused(f):
    function, weights, _ = fold(f, V, X)
    assert_close(function(weights, X), f(V, X))
    with pytest.raises(ValueError, match="is another; fold again with a sample of it"):
        function(weights, X[:1])


@pytest.mark.slow
def test_constants_are_known_by_their_values():
    def f(v, x):
        first, second = (A, B) if len(x) > 1 else (B, A)
        return norm(v, jnp.tanh(x @ first) @ second)

    function, weights, _ = fold(f, norm_variables(4), X)
    with pytest.raises(ValueError, match="is another"):
        # The kernel that the norm goes into is not the same one.
        function(weights, X[:1])

    def g(_, x):
        first, second = (A, B) if len(x) > 1 else (B, A)
        return jnp.tanh(x @ first) @ second

    function, weights, _ = fold(g, (), X)
    assert_close(function(weights, X[:1]), g((), X[:1]))


@pytest.mark.slow
def test_as_many_places_as_channels_and_products_of_a_precision_are_no_other_weights():
    v = {"kernel": numbers(1, 1, 6, 6), "more": numbers(6, 6, seed=2), "norm": norm_variables(6)}

    def f(v, x):
        kernel = v["kernel"] @ v["more"]
        return norm(v["norm"], conv(x, kernel, layout=("NCHW", "HWIO", "NCHW")), axis=1).reshape(len(x), -1)

    x = numbers(2, 6, 6, 6)
    function, weights, _ = fold(f, v, x)
    for part in (x[:1, :, :1, :1], x[:, :, :2]):
        assert_close(jax.jit(function)(weights, part), jax.jit(f)(v, part))


@pytest.mark.slow
def test_the_number_of_places_in_a_mean_is_no_part_of_the_layer_after_it():
    function, weights, report = fold(lambda v, x: norm(v["norm"], x.mean(1)) @ v["k"], V, numbers(2, 3, 4))
    assert len(report.folded) == 1
    x = numbers(2, 5, 4)
    assert_close(function(weights, x), norm(V["norm"], x.mean(1)) @ V["k"])


def test_values_are_told_apart():
    key = jax.random.key(3)
    values = [A, A.T, A.reshape(2, 8), A.astype("bfloat16"), A.view("int32"), key, jax.random.key(4), A[:0], A[0, 0]]
    assert len({digest(value) for value in values}) == len(values)
    assert digest(jnp.asarray(A)) == digest(A.copy())
    assert digest(jax.random.key(3)) == digest(key)


def test_two_paths_that_read_alike():
    v = {"a/b": numbers(4, 5), "a": {"b": numbers(5, 3)}}
    function, weights, _ = fold(lambda v, x: x @ v["a/b"] @ v["a"]["b"], v, X)
    assert sorted(np.shape(w) for w in weights.values()) == [(4, 5), (5, 3)]
    assert_close(function(weights, X[:1]), X[:1] @ v["a/b"] @ v["a"]["b"])
