"""Several outputs, each with its own bound; and infinities."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.inference import fold
from jaxbn.inference._folding.comparison import compared
from tests.inference.nets_fold import norm, norm_variables, numbers
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
