"""A bias before a norm is named where its gradient in training is 0, and nowhere else."""

import flax.linen
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
from jaxbn import BatchNormState, batch_norm
from jaxbn.inference import diagnose
from tests.inference.nets_diagnose import BATCHES, NONE, X, started_linen

pytestmark = pytest.mark.slow

RIGHT = BatchNormState(X.mean(0), X.var(0), np.int32(9))
RNG = np.random.default_rng(0)


def added(x, b):
    return x + b[None]


def with_a_skip(norm, x, b, _):
    h = added(x, b)
    return h + norm(h)


def with_a_skip_into_a_norm(norm, x, b, after):
    h = added(x, b)
    return after(jnp.tanh(norm(h)) + h)


def read_in_vain(norm, x, b, _):
    h = added(x, b)
    jnp.tanh(h)
    return norm(h)


def in_a_loop(norm, x, b, _):
    """What a step returns still has its bias."""
    return jax.lax.scan(lambda h, _: (added(h, b) + norm(added(h, b)), None), x, None, length=2)[0]


def in_a_loop_before_the_norm(norm, x, b, _):
    return jax.lax.scan(lambda h, _: (norm(added(jnp.tanh(h), b)), None), x, None, length=2)[0]


def in_one_branch(norm, x, b, _):
    return jax.lax.cond(x[0, 0] > 1e6, lambda h: norm(h), lambda h: 2 * h, added(x, b))


def in_both_branches(norm, x, b, _):
    return jax.lax.cond(x[0, 0] > 1e6, lambda h: norm(h), lambda h: 2 * norm(h), added(x, b))


# What is computed of the data and the bias, whether that is named, and whether its gradient is 0.
BIASED = {
    "added": (lambda norm, x, b, _: norm(added(x, b)), True, True),
    "subtracted": (lambda norm, x, b, _: norm(x - b[None]), True, True),
    "broadcast": (lambda norm, x, b, _: norm(x + jnp.broadcast_to(b, x.shape)), True, True),
    "before-a-sum": (lambda norm, x, b, _: norm(added(x, b) + 2 * x), True, True),
    "transposed": (lambda norm, x, b, _: norm((x.T + b[:, None]).T), True, True),
    "reshaped": (lambda norm, x, b, _: norm((x.reshape(-1, 2, 6) + b[None, None]).reshape(-1, 6)), True, True),
    "jit": (lambda norm, x, b, _: jax.jit(norm)(jax.jit(jnp.add)(x, b[None])), True, True),
    "skip-into-a-norm": (with_a_skip_into_a_norm, True, True),
    "two-norms": (lambda norm, x, b, after: (norm(added(x, b)), after(added(x, b))), True, True),
    "read-in-vain": (read_in_vain, True, True),
    "loop-before-the-norm": (in_a_loop_before_the_norm, True, True),
    "both-branches": (in_both_branches, True, True),
    # A shift all the same, but no bias as layers have it.
    "in-part": (lambda norm, x, b, _: norm(x + b[None, :1]), False, True),
    "along-the-batch": (lambda norm, x, b, _: norm(x + jnp.tile(b, len(x) // 6 + 1)[: len(x), None]), False, False),
    "before-a-relu": (lambda norm, x, b, _: norm(jnp.maximum(added(x, b), 0)), False, False),
    "product": (lambda norm, x, b, _: norm(x * x + x * b[None]), False, False),
    "of-the-data": (lambda norm, x, b, _: norm(x + x[:1]) + b[None], False, False),
    "behind-the-norm": (lambda norm, x, b, _: added(norm(x), b), False, False),
    "skip": (with_a_skip, False, False),
    "returned": (lambda norm, x, b, _: (norm(added(x, b)), added(x, b)), False, False),
    "read-twice": (lambda norm, x, b, _: norm(added(x, b)) * b[None], False, False),
    "loop": (in_a_loop, False, False),
    "one-branch": (in_one_branch, False, False),
}
VARIABLES = {name: {"bias": RNG.normal(size=6).astype("float32"), "norm": RIGHT, "after": RIGHT} for name in BIASED}


def everything(variables, x, train=False):  # noqa: FBT002
    """All of them in one program, each with variables of its own."""

    def output(name):
        own = variables[name]
        norm, after = (lambda h, state=own[part]: batch_norm(NONE, state, h, train)[0] for part in ("norm", "after"))
        return BIASED[name][0](norm, x, own["bias"], after)

    return {name: output(name) for name in BIASED}


@pytest.fixture(scope="module")
def report():
    return diagnose(everything, VARIABLES, BATCHES[:2])


@pytest.fixture(scope="module")
def gradients():
    """Of the biases, in training."""

    def loss(biases):
        variables = {name: {**own, "bias": biases[name]} for name, own in VARIABLES.items()}
        return sum(jnp.sum(jnp.sin(leaf)) for leaf in jax.tree.leaves(everything(variables, BATCHES[0], True)))

    return jax.jit(jax.grad(loss))({name: own["bias"] for name, own in VARIABLES.items()})


@pytest.mark.parametrize("name", BIASED)
def test_a_bias_is_named_where_its_gradient_is_0(name, report, gradients):
    _, named, is_0 = BIASED[name]
    slope = np.max(np.abs(gradients[name]))
    assert slope < 1e-4 if is_0 else slope > 1
    evidence = [f.evidence for norm in report.norms for f in norm.findings if f.code == "BN113"]
    said = [words for words in evidence if words.startswith(f"{name}/bias is added to its input")]
    assert bool(said) == named


@pytest.mark.parametrize("norm", [flax.linen.BatchNorm, jaxbn.linen.BatchNorm], ids=["flax", "ours"])
def test_a_bias_of_a_convolution_in_any_layout(norm):
    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            x = flax.linen.Conv(4, (3, 3), name="biased")(x).transpose(0, 3, 1, 2)
            x = norm(use_running_average=True, axis=1)(x)
            x = flax.linen.Conv(4, (1, 1), name="followed")(x.transpose(0, 2, 3, 1))
            return norm(use_running_average=True)(flax.linen.relu(x))

    images = np.random.default_rng(0).normal(size=(8, 4, 4, 2)).astype("float32")
    report = diagnose(Net().apply, started_linen(Net(), images), [images])
    found = [f.evidence for norm in report.norms for f in norm.findings if f.code == "BN113"]
    assert found == ["params/biased/bias is added to its input and taken away with the mean: its gradient is 0"]


def test_biases_of_layers_that_are_scanned_over():
    class Block(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x):
            return flax.linen.BatchNorm(use_running_average=True)(flax.linen.Dense(6)(x)), None

    axes = {"params": 0, "batch_stats": 0}
    net = flax.linen.scan(Block, variable_axes=axes, split_rngs={"params": True}, length=3)()
    report = diagnose(net.apply, started_linen(net, X), BATCHES[:2])
    (norm,) = report.norms
    assert norm.codes == ("BN101", "BN113")
    assert norm.mean.shape == (3, 6)
