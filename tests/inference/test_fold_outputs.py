"""Several outputs, each with its own bound; infinities; calls with rules of their own; models in training."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn.inference import fold
from jaxbn.inference._folding.comparison import compared
from tests.inference.nets_fold import folded, norm, norm_variables, numbers
from tests.tolerances import assert_close

X = numbers(8, 4)
V = {"k": numbers(4, 5), "norm": norm_variables(5)}


def f(v, x):
    return norm(v["norm"], x @ v["k"])


def far(v, x):
    """Data far from 0, whose norm can't be folded to 1e-5."""
    return norm({**v["norm"], "mean": 1e5 * v["k"].sum(0)}, (x + 1e5) @ v["k"])


@pytest.mark.parametrize("output", [0, 1])
def test_rounding_widens_the_bound_of_what_depends_on_it_alone(output):
    def both(v, x):
        outputs = (far(v, x), (x @ v["k"]).astype("bfloat16"))
        return outputs if output == 0 else outputs[::-1]

    with pytest.raises(ValueError, match=rf"of the largest output {output} where 1e-05 is allowed"):
        fold(both, V, X)


def test_rounded_data_are_no_excuse():
    with pytest.raises(ValueError, match="where 1e-05 is allowed"):
        fold(lambda v, x: far(v, x.astype("bfloat16").astype("float32")), V, X)


@pytest.mark.slow
def test_masked_logits_may_be_infinite():
    def masked(v, x):
        return jnp.where(jnp.arange(5)[None] < 3, f(v, x), -jnp.inf)

    function, weights, report = fold(masked, V, X)
    assert len(report.folded) == 1
    assert 0 < report.error < 1e-6
    assert_close(function(weights, X)[:, :3], f(V, X)[:, :3])
    assert np.all(np.isneginf(function(weights, X)[:, 3:]))


def test_other_infinities_are_refused():
    expected = jnp.asarray([1.0, jnp.inf, -jnp.inf])
    assert compared([expected], [expected], [()]) == (0, 1e-5)
    for other in (-expected, expected.at[1].set(1.0), expected.at[0].set(jnp.inf), expected.at[0].set(jnp.nan)):
        with pytest.raises(ValueError, match=r"a largest difference of (inf|nan) of the largest output where 1e-05"):
            compared([expected], [other], [()])


def test_a_layer_with_a_way_of_its_own_to_be_mapped():
    @jax.custom_batching.custom_vmap
    def dense(k, x):
        return x @ k

    dense.def_vmap(lambda *_: None)
    folded(lambda v, x: norm(v["norm"], dense(v["k"], x)), V, X, into=1)


def test_a_model_in_training_is_said_to_be():
    v = {"k": V["k"], "norm": init_batch_norm(5)}
    report = fold(lambda v, x: batch_norm(*v["norm"], x @ v["k"], train=True)[0], v, X)[2]
    assert report["norm"].kept.startswith("it seems to be in training, for it multiplies a root of the batch; call")


@pytest.mark.parametrize("size", [1, 4])
def test_a_norm_of_each_example_is_not(size):
    def instance_norm(v, x):
        y = x - x.mean(1, keepdims=True)
        return y * (jax.lax.rsqrt(jnp.square(y).mean(1, keepdims=True) + 1e-5) * v["scale"].reshape(1, 1, -1))

    report = fold(instance_norm, {"scale": numbers(3)}, numbers(size, 6, 3))[2]
    assert report["scale"].kept == "after rsqrt, before mul"
