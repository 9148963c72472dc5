"""Nets of plain lax operations, their norms written out, and what the tests ask of them."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.extend.core import jaxprs_in_params

from jaxbn.inference import fold
from tests.tolerances import assert_close

NHWC = ("NHWC", "HWIO", "NHWC")


def conv(x, kernel, *, window_strides=(1, 1), padding="SAME", layout=NHWC, **options):
    return lax.conv_general_dilated(x, kernel, window_strides, padding, dimension_numbers=layout, **options)


def norm(v, x, axis=-1):
    """Batch norm in evaluation, in the order of algorithm 2."""
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    scale, bias, mean, var = (v[key].reshape(shape) for key in ("scale", "bias", "mean", "var"))
    return (x - mean) * (lax.rsqrt(var + jnp.asarray(1e-5, x.dtype)) * scale) + bias


def norm_variables(features, seed=0, dtype=np.float32):
    random = np.random.default_rng(seed)
    return {
        "scale": random.uniform(0.5, 2, features).astype(dtype),
        "bias": random.normal(size=features).astype(dtype),
        "mean": random.normal(size=features).astype(dtype),
        "var": random.uniform(0.5, 2, features).astype(dtype),
    }


def numbers(*shape, seed=1, dtype=np.float32):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


X = numbers(2, 9, 9, 4)


def randomised(variables):
    """Numbers as after training, for variables or their shapes: some positive, kernels that keep sizes."""
    random = np.random.default_rng(0)

    def leaf(path, part):
        if not jnp.issubdtype(part.dtype, jnp.floating):
            return jnp.zeros(part.shape, part.dtype)
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        noise = random.normal(size=part.shape) / 3
        if len(part.shape) > 1:
            noise *= 3 * (2 / np.prod(part.shape[:-1])) ** 0.5
        positive = any(word in name for word in ("var", "scale", "average"))
        return jnp.asarray(np.exp(noise) if positive else noise, part.dtype)

    return jax.tree_util.tree_map_with_path(leaf, variables)


def primitives(function, *args):
    """The names of all operations, those of bodies too."""

    def names(jaxpr):
        for eqn in jaxpr.eqns:
            yield eqn.primitive.name
            for body in jaxprs_in_params(eqn.params):
                yield from names(body)

    return list(names(jax.make_jaxpr(function)(*args).jaxpr))


def folded(f, variables, x, *, into, kept=0, rooted=0):
    """Fold, and ask that the outputs are the same and that so many norms went or stayed."""
    function, weights, report = fold(f, variables, x)
    assert [len(report.folded), len(report.kept)] == [into, kept], str(report)
    assert all(isinstance(w, jax.Array) for w in weights.values())
    assert_close(jax.jit(function)(weights, x), jax.jit(f)(variables, x), tolerance=report.bound)
    found = primitives(function, weights, x)
    assert sum(name in ("rsqrt", "sqrt") for name in found) == rooted, found
    return function, weights, report
