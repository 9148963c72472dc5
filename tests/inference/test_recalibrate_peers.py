"""The rules of other tools beside the exact answer, in NumPy float64; and weights that never trained."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_norm, init_batch_norm, init_state
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import one
from tests.tolerances import assert_close


def update_bn(batches):
    """`torch.optim.swa_utils.update_bn`: the plain average over batches of their unbiased variances."""
    return np.mean([b.mean(0) for b in batches], 0), np.mean([b.var(0, ddof=1) for b in batches], 0)


def aimet(batches):
    """AIMET's `reestimate_bn_stats`: the same rule, for the first 100 batches."""
    return update_bn(batches[:100])


def exact(batches):
    x = np.concatenate(batches)
    return x.mean(0), x.var(0)


def alike(rng):
    return [rng.normal(1, 2, (64, 1)) for _ in range(8)]


def last_is_short(rng):
    return [*(rng.normal(0, 1, (64, 1)) for _ in range(7)), rng.normal(6, 1, (4, 1))]


def sorted_by_class(rng):
    return [rng.normal(center, 5.3, (64, 1)) for center in (-10, -5, 0, 0, 5, 10)]


def tiny(rng):
    return [rng.normal(0, 2, (2, 1)) for _ in range(200)]


# Batches, and by how much the variance of `update_bn` is off at least and at most.
TABLE = {
    "alike": (alike, 0, 0.02),
    "last-is-short": (last_is_short, 0.3, 0.4),
    "sorted-by-class": (sorted_by_class, 0.55, 0.65),
    "tiny": (tiny, 0, 0.25),
}


@pytest.mark.parametrize(("make", "low", "high"), TABLE.values(), ids=TABLE)
def test_rules_beside_the_exact_answer(make, low, high):
    batches = [b.astype("float32") for b in make(np.random.default_rng(0))]
    wide = [b.astype("float64") for b in batches]
    mean, var = exact(wide)
    ours, _ = recalibrate(one, init_state(1), batches)
    assert_close(ours[:2], (mean, var), 1e-6)
    for rule in (update_bn, aimet):
        off = np.abs(rule(wide)[1] / var - 1)[0]
        assert low <= off <= high
    if make is last_is_short:
        assert abs(update_bn(wide)[0] - mean)[0] > 0.5


WIDTHS = (20, *[64] * 8, 10)
CENTERS = np.random.default_rng(0).normal(size=(200, 20))


def points(number, seed):
    """200 clouds in 10 classes."""
    rng = np.random.default_rng(seed)
    cloud = rng.integers(0, 200, number)
    return (CENTERS[cloud] + 0.4 * rng.normal(size=(number, 20))).astype("float32"), cloud % 10


def initial(key):
    weights, norms = [], []
    for fan_in, fan_out in itertools.pairwise(WIDTHS):
        key, own = jax.random.split(key)
        weights.append(jax.random.normal(own, (fan_in, fan_out)) * np.sqrt(2 / fan_in))
        norms.append(init_batch_norm(fan_out))
    params, states = zip(*norms[:-1], strict=True)
    return (weights, list(params)), list(states)


def forward(variables, x, train):
    (weights, params), states = variables
    new = []
    for weight, own, state in zip(weights[:-1], params, states, strict=True):
        x, state = batch_norm(own, state, x @ weight, train, momentum=0.9)
        x = jax.nn.relu(x)
        new.append(state)
    return x @ weights[-1], new


@functools.partial(jax.jit, static_argnames="steps")
def trained(variables, seed, steps):
    """By gradient descent with batches of 128, drawn by the seed."""
    images, labels = map(jnp.asarray, points(4000, 1))

    def step(variables, key):
        chosen = jax.random.choice(key, 4000, (128,))

        def loss(learnt):
            logits, new = forward((learnt, variables[1]), images[chosen], True)
            likelihood = jax.nn.log_softmax(logits)[jnp.arange(128), labels[chosen]]
            return -jnp.mean(likelihood), new

        slope, new = jax.grad(loss, has_aux=True)(variables[0])
        return (jax.tree.map(lambda a, b: a - b, variables[0], slope), new), None

    return jax.lax.scan(step, variables, jax.random.split(jax.random.key(seed), steps))[0]


def accuracy(variables):
    images, labels = points(2000, 2)
    return float(np.mean(np.argmax(forward(variables, images, False)[0], -1) == labels))


@pytest.mark.slow
def test_the_average_of_two_nets_works_again():
    """Two nets that part after 10 steps; their average with the statistics of one loses much, which comes back."""
    start = trained(initial(jax.random.key(0)), 0, 10)
    a, b = (trained(start, seed, 200) for seed in (1, 2))
    average = jax.tree.map(lambda p, q: (p + q) / 2, a[0], b[0]), a[1]
    evaluate = lambda variables, x: forward(variables, x, False)[0]  # noqa: E731
    images = np.split(points(4000, 1)[0], 4)
    layers, report = recalibrate(evaluate, average, images)
    one_pass, _ = recalibrate(evaluate, average, images, order="pass")
    scores = [accuracy(v) for v in (a, b, average, one_pass, layers)]
    assert all(np.max(np.abs(moved.std_errors)) > 5 for moved in report.moved)
    worse = min(scores[:2])
    assert scores[2] < worse - 0.05
    assert scores[4] > worse - 0.04
    assert scores[4] > scores[3] + 0.02
