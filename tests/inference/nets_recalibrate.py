"""One net of two batch norms as users write it: a product, batch norm, relu, a product, batch norm; and in NumPy."""

from typing import Any, NamedTuple

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np

import jaxbn.linen
import jaxbn.nnx
from jaxbn import BatchNormParams, BatchNormState, _phases, batch_norm, init_state, normalize
from jaxbn import _checks as core_checks

NONE = BatchNormParams(None, None)
_rng = np.random.default_rng(0)
FIRST, SECOND = (_rng.normal(size=shape).astype("float32") for shape in ((5, 4), (4, 3)))
X = _rng.normal(3, 2, (40, 5)).astype("float32")
TENS, UNEQUAL = np.split(X, 4), np.split(X, [7, 20, 33])
EPSILON = 1e-5


def one(state, x, train=False):  # noqa: FBT002
    """A batch norm alone."""
    return batch_norm(NONE, state, x, train, epsilon=EPSILON)[0]


class Net(NamedTuple):
    apply: Any
    variables: Any
    read: Any  # of variables, `[(mean, var), (mean, var)]`


class Linen(flax.linen.Module):
    norm: Any

    @flax.linen.compact
    def __call__(self, x, *, train=False, mask=None):
        mask = {} if mask is None else {"mask": mask}
        x = self.norm(use_running_average=not train, name="one")(x @ FIRST, **mask)
        x = self.norm(use_running_average=not train, name="two")(jnp.maximum(x, 0) @ SECOND, **mask)
        return flax.linen.Dropout(0.5, deterministic=not train)(x)


class Nnx(flax.nnx.Module):
    def __init__(self, norm):
        rngs = flax.nnx.Rngs(0)
        self.one, self.two = norm(4, rngs=rngs), norm(3, rngs=rngs)
        self.dropout = flax.nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x, mask=None):
        mask = {} if mask is None else {"mask": mask}
        x = self.one(x @ FIRST, **mask)
        return self.dropout(self.two(jnp.maximum(x, 0) @ SECOND, **mask))


def linen(norm):
    model = Linen(norm)
    variables = model.init(jax.random.key(0), X)

    def read(variables):
        return [
            (variables["batch_stats"][name]["mean"], variables["batch_stats"][name]["var"]) for name in ("one", "two")
        ]

    return Net(lambda v, x, mask=None: model.apply(v, x, mask=mask), variables, read)


def nnx(norm):
    def read(model):
        return [(layer.mean[...], layer.var[...]) for layer in (model.one, model.two)]

    return Net(lambda model, x, mask=None: model(x, mask), Nnx(norm), read)


def functional():
    def apply(states, x, mask=None):
        x, _ = batch_norm(NONE, states["one"], x @ FIRST, False, mask=mask)
        return batch_norm(NONE, states["two"], jnp.maximum(x, 0) @ SECOND, False, mask=mask)

    return Net(apply, {"one": init_state(4), "two": init_state(3)}, lambda v: [v["one"][:2], v["two"][:2]])


def by_hand():
    """Statistics kept in no form of ours."""

    def apply(stats, x):
        x = normalize(NONE, x @ FIRST, *stats[0])
        return normalize(NONE, jnp.maximum(x, 0) @ SECOND, *stats[1])

    return Net(apply, [(jnp.zeros(n), jnp.ones(n)) for n in (4, 3)], lambda stats: stats)


NETS = {
    "linen-flax": lambda: linen(flax.linen.BatchNorm),
    "linen-ours": lambda: linen(jaxbn.linen.BatchNorm),
    "nnx-flax": lambda: nnx(flax.nnx.BatchNorm),
    "nnx-ours": lambda: nnx(jaxbn.nnx.BatchNorm),
    "functional": functional,
    "by-hand": by_hand,
}


def state_of(mean, var):
    """A state of these statistics."""
    return BatchNormState(*(jnp.asarray(part, jnp.float32) for part in (mean, var)), jnp.zeros((), jnp.int32))


def raw(variables):
    """All leaves by path, keys as numbers."""
    tree = flax.nnx.split(variables)[1] if isinstance(variables, flax.nnx.Module) else variables
    leaves = {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
    is_key = lambda leaf: jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)  # noqa: E731
    return {path: np.array(jax.random.key_data(leaf) if is_key(leaf) else leaf) for path, leaf in leaves.items()}


def expected(x=X, order="layers"):
    """The exact answer for new states, in float64."""
    answer = []
    for weight in (FIRST, SECOND):
        x = x.astype("float64") @ weight
        answer.append((x.mean(0), x.var(0)))
        mean, var = answer[-1] if order == "layers" else (0, 1)
        x = np.maximum((x - mean) / np.sqrt(var + EPSILON), 0)
    return answer


def errors(x):
    """Of mean and standard deviation, in standard deviations."""
    x = x.astype("float64")
    kurtosis = np.mean((x - x.mean(0)) ** 4, 0) / np.maximum(x.var(0), 1e-30) ** 2
    return 1 / np.sqrt(len(x)), np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * len(x)))


def left_behind():
    """What a call of recalibrate replaces while it lasts."""
    return (
        *(core_checks.momentum, _phases.evaluate, _phases.learned),
        *(flax.nnx.BatchNorm.__call__, jaxbn.nnx.BatchNorm.__call__, flax.nnx.Dropout.__call__),
    )
