"""A net of two batch norms in plain functions, whose statistics are those of training; and one in Flax that trains."""

import functools

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import BatchNormParams, batch_norm, init_state, normalize

_rng = np.random.default_rng(0)
X = (_rng.normal(size=(1280, 6)) * [1, 2, 3, 1, 2, 3] + [4, -4, 2, 1, 0, -6]).astype("float32")
BATCHES = np.split(X, 20)
WEIGHTS = {n: _rng.normal(size=shape).astype("float32") for n, shape in (("one", (6, 8)), ("two", (8, 5)))}
NONE = BatchNormParams(None, None)


def forward(variables, x, train=False, momentum=0.9):  # noqa: FBT002
    """A product, batch norm, relu, a product, batch norm: the output and the new states."""
    x, one = batch_norm(NONE, variables["one"], x @ variables["weights"]["one"], train, momentum=momentum)
    x = jnp.maximum(x, 0) @ variables["weights"]["two"]
    x, two = batch_norm(NONE, variables["two"], x, train, momentum=momentum)
    return x, {"one": one, "two": two}


def one(state, x, train=False):  # noqa: FBT002
    """A batch norm alone."""
    return batch_norm(NONE, state, x, train)[0]


def apply(variables, x):
    return forward(variables, x)[0]


@functools.partial(jax.jit, static_argnames=("momentum", "steps"))
def _settled(weights, states, batches, momentum, steps):
    def step(states, number):
        return forward({"weights": weights, **states}, batches[number % len(batches)], True, momentum)[1], None

    return jax.lax.scan(step, states, jnp.arange(steps))[0]


def settled(momentum=0.9, steps=200, batches=BATCHES, weights=WEIGHTS):
    """Variables after so many steps of training in which the weights stay."""
    start = {"one": init_state(8), "two": init_state(5)}
    states = _settled(weights, start, np.stack(batches), momentum, steps)
    return {"weights": weights, **jax.tree.map(np.asarray, states)}


def slow(variables, x):
    return forward(variables, x, momentum=0.999)[0]


def quick(variables, x):
    return forward(variables, x, momentum=0.1)[0]


@functools.cache
def half_settled():
    """Statistics of `slow` that hold half of their start."""
    return settled(0.999, 700)


def changed(variables, layer, **parts):
    """With other statistics of one layer; a function is given the old ones."""
    old = variables[layer]
    parts = {name: part(getattr(old, name)) if callable(part) else part for name, part in parts.items()}
    new = {name: np.asarray(part, getattr(old, name).dtype) for name, part in parts.items()}
    return {**variables, layer: old._replace(**new)}


def at(index, value):
    """A function that changes one entry."""

    def change(old):
        new = old.copy()
        new[index] = value
        return new

    return change


CENTERS = np.random.default_rng(1).normal(size=(4, 6)) * 3


def points(number, seed):
    """Clouds of four classes."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 4, number)
    return (CENTERS[label] + rng.normal(size=(number, 6))).astype("float32"), label


IMAGES, LABELS = points(3200, 2)
TRAINING = np.split(IMAGES, 50)
STEPS, RATE = 300, 0.05


class Linen(flax.linen.Module):
    """dense -> norm -> relu -> dropout -> dense -> norm -> relu -> dense."""

    norm: type
    dropout: float = 0.0
    bias: bool = False
    momentum: float = 0.9

    @flax.linen.compact
    def __call__(self, x, *, train=False, drop=None):
        for name in ("one", "two"):
            x = flax.linen.Dense(16, use_bias=self.bias, name=f"dense_{name}")(x)
            x = self.norm(use_running_average=not train, momentum=self.momentum, name=name)(x)
            x = flax.linen.relu(x)
            if name == "one" and self.dropout:
                x = flax.linen.Dropout(self.dropout, deterministic=not (train if drop is None else drop))(x)
        return flax.linen.Dense(4, name="head")(x)


@functools.partial(jax.jit, static_argnames="model")
def _trained(model, momentum, variables, steps):
    images, labels = jnp.asarray(IMAGES), jnp.asarray(LABELS)
    model = model.clone(momentum=momentum)

    def step(variables, chosen):
        key = jax.random.key(chosen[0])

        def loss(params):
            logits, new = model.apply(
                {**variables, "params": params},
                images[chosen],
                train=True,
                mutable=["batch_stats"],
                rngs={"dropout": key},
            )
            return cross_entropy(logits, labels[chosen]), new["batch_stats"]

        slope, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return {"params": descended(variables["params"], slope, RATE), "batch_stats": stats}, None

    return jax.lax.scan(step, variables, steps)[0]


def drawn(steps, size=64):
    """Which samples each step takes; in NumPy, for a generator of JAX takes longer to compile than a small net."""
    return np.random.default_rng(1).integers(0, len(IMAGES), (steps, size), "int32")


def started(shapes):
    """Variables before training, for a tree of shapes."""
    rng = np.random.default_rng(0)

    def leaf(path, like):
        name = jax.tree_util.keystr(path)
        if "kernel" in name:
            return (rng.normal(size=like.shape) / np.prod(like.shape[:-1]) ** 0.5).astype(like.dtype)
        if jnp.issubdtype(like.dtype, jax.dtypes.prng_key):
            return jax.random.key(0)
        return np.full(like.shape, "scale" in name or "var" in name, like.dtype)

    return jax.tree_util.tree_map_with_path(leaf, shapes)


def started_linen(model, *inputs):
    return started(jax.eval_shape(model.init, jax.random.key(0), *inputs))


def cross_entropy(logits, labels):
    return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], -1))


def descended(params, slope, rate):
    return jax.tree.map(lambda p, s: p - jnp.asarray(rate, p.dtype) * s, params, slope)


def trained(model, steps=STEPS):
    """By gradient descent."""
    # One program for all momenta.
    return _trained(model.clone(momentum=0.0), model.momentum, started_linen(model, IMAGES[:2]), drawn(steps))


class Nnx(flax.nnx.Module):
    """The same net."""

    def __init__(self, norm):
        rngs = flax.nnx.Rngs(0)
        self.first = flax.nnx.Linear(6, 16, use_bias=False, rngs=rngs)
        self.second = flax.nnx.Linear(16, 16, use_bias=False, rngs=rngs)
        self.one, self.two = (norm(16, momentum=0.9, rngs=rngs) for _ in range(2))
        self.dropout = flax.nnx.Dropout(0.0, rngs=rngs)
        self.head = flax.nnx.Linear(16, 4, rngs=rngs)

    def __call__(self, x):
        x = self.dropout(flax.nnx.relu(self.one(self.first(x))))
        return self.head(flax.nnx.relu(self.two(self.second(x))))


def trained_nnx(norm):
    graph, *shapes = flax.nnx.split(flax.nnx.eval_shape(lambda: Nnx(norm)), flax.nnx.Param, ...)
    params, rest = map(started, shapes)

    @jax.jit
    def train(params, rest):
        images, labels = jnp.asarray(IMAGES), jnp.asarray(LABELS)

        def step(carry, chosen):
            params, rest = carry

            def loss(params):
                model = flax.nnx.merge(graph, params, rest, copy=True)
                logits = model(images[chosen])
                return cross_entropy(logits, labels[chosen]), flax.nnx.split(model, flax.nnx.Param, ...)[2]

            slope, rest = jax.grad(loss, has_aux=True)(params)
            return (descended(params, slope, RATE), rest), None

        return jax.lax.scan(step, (params, rest), drawn(STEPS))[0]

    return flax.nnx.merge(graph, *train(params, rest))


def by_hand(momentum=0.9, steps=200):
    """Statistics in no form of ours, which come with no count and no momentum."""
    states = settled(momentum, steps)
    stats = [tuple(states[name][:2]) for name in ("one", "two")]

    def apply(stats, x):
        x = normalize(NONE, x @ WEIGHTS["one"], *stats[0])
        return normalize(NONE, jnp.maximum(x, 0) @ WEIGHTS["two"], *stats[1])

    return apply, stats
