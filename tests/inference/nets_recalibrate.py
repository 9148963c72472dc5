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
from jaxbn.inference import recalibrate

_rng = np.random.default_rng(0)
FIRST, SECOND = (_rng.normal(size=shape).astype("float32") for shape in ((5, 4), (4, 3)))
X = _rng.normal(3, 2, (40, 5)).astype("float32")
UNEQUAL = np.split(X, [7, 20, 33])
EPSILON = 1e-5


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
    params = BatchNormParams(None, None)

    def apply(states, x, mask=None):
        x, _ = batch_norm(params, states["one"], x @ FIRST, False, mask=mask)
        return batch_norm(params, states["two"], jnp.maximum(x, 0) @ SECOND, False, mask=mask)

    return Net(apply, {"one": init_state(4), "two": init_state(3)}, lambda v: [v["one"][:2], v["two"][:2]])


def by_hand():
    """Statistics kept in no form of ours."""

    def apply(stats, x, mask=None):
        none = BatchNormParams(None, None)
        x = normalize(none, x @ FIRST, *stats[0])
        return normalize(none, jnp.maximum(x, 0) @ SECOND, *stats[1])

    return Net(apply, [(jnp.zeros(n), jnp.ones(n)) for n in (4, 3)], lambda stats: stats)


NETS = {
    "linen-flax": lambda: linen(flax.linen.BatchNorm),
    "linen-ours": lambda: linen(jaxbn.linen.BatchNorm),
    "nnx-flax": lambda: nnx(flax.nnx.BatchNorm),
    "nnx-ours": lambda: nnx(jaxbn.nnx.BatchNorm),
    "functional": functional,
    "by-hand": by_hand,
}


def states(first=None, second=None):
    """For `functional`."""
    parts = (first or (np.zeros(4), np.ones(4)), second or (np.zeros(3), np.ones(3)))
    made = [BatchNormState(*(jnp.asarray(p, jnp.float32) for p in pair), jnp.zeros((), jnp.int32)) for pair in parts]
    return dict(zip(("one", "two"), made, strict=True))


def expected(x=X, order="layers", old=((0, 1), (0, 1))):
    """The exact answer, in float64."""
    answer = []
    for weight, (old_mean, old_var) in zip((FIRST, SECOND), old, strict=True):
        x = x.astype("float64") @ weight
        mean, var = x.mean(0), x.var(0)
        answer.append((mean, var))
        used = (mean, var) if order == "layers" else (old_mean, old_var)
        x = np.maximum((x - used[0]) / np.sqrt(used[1] + EPSILON), 0)
    return answer


def errors(x):
    """Of mean and standard deviation, in standard deviations."""
    x = x.astype("float64")
    kurtosis = np.mean((x - x.mean(0)) ** 4, 0) / np.maximum(x.var(0), 1e-30) ** 2
    return 1 / np.sqrt(len(x)), np.sqrt(np.maximum(kurtosis - 1, 0) / (4 * len(x)))


def training(name):
    """A call whose `apply` trains."""
    net = NETS[name]()

    def apply(variables, x):
        if name.startswith("nnx"):
            variables.train()
            return variables(x)
        model = Linen(flax.linen.BatchNorm if name == "linen-flax" else jaxbn.linen.BatchNorm)
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})

    return lambda: recalibrate(apply, net.variables, X)


TRAINING = {name: training(name) for name in NETS if "flax" in name or "ours" in name}


def left_behind():
    """What a call of recalibrate replaces while it lasts."""
    return (
        *(core_checks.momentum, _phases.evaluate, _phases.learned),
        *(flax.nnx.BatchNorm.__call__, jaxbn.nnx.BatchNorm.__call__, flax.nnx.Dropout.__call__),
    )
