"""Nets that are well come out clean, whatever they are written in, and nothing of theirs changes."""

import copy

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
import jaxbn.nnx
from jaxbn.inference import diagnose, recalibrate
from tests.inference.nets_diagnose import (
    BATCHES,
    TRAINING,
    Linen,
    X,
    apply,
    by_hand,
    quick,
    settled,
    slow,
    started_linen,
    trained,
    trained_nnx,
)
from tests.inference.nets_recalibrate import raw
from tests.tolerances import assert_same

pytestmark = pytest.mark.slow


def linen(norm):
    model = Linen(norm)
    return model.apply, trained(model), TRAINING


def convolutional():
    """A small net of convolutions, in training for a while."""

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, *, train=False):
            for _ in range(2):
                x = flax.linen.Conv(4, (3, 3), use_bias=False)(x)
                x = flax.linen.relu(jaxbn.linen.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            return flax.linen.Dense(3)(x.mean((1, 2)))

    images = np.random.default_rng(3).normal(1, 2, (320, 6, 6, 2)).astype("float32")
    return settled_flax(Net(), np.split(images, 10))


def settled_flax(net, batches, steps=60):
    """After steps in which the weights stay."""

    @jax.jit
    def run(batches):
        def step(variables, number):
            _, new = net.apply(variables, batches[number % len(batches)], train=True, mutable=["batch_stats"])
            return {**variables, **new}, None

        return jax.lax.scan(step, started_linen(net, batches[0]), jnp.arange(steps))[0]

    return net.apply, run(np.stack(batches)), batches


def residual():
    """A net whose norms and products lie beside the stream; its biases are needed."""

    class Net(flax.linen.Module):
        @flax.linen.compact
        def __call__(self, x, *, train=False):
            x = flax.linen.Dense(16)(x)
            for _ in range(2):
                y = jaxbn.linen.BatchNorm(use_running_average=not train, momentum=0.9)(x)
                x = x + flax.linen.Dense(16)(flax.linen.relu(y))
            return flax.linen.Dense(4)(x)

    return settled_flax(Net(), TRAINING)


HEALTHY = {
    "linen-flax": lambda: linen(flax.linen.BatchNorm),
    "linen-ours": lambda: linen(jaxbn.linen.BatchNorm),
    "nnx-flax": lambda: (lambda model, x: model(x), trained_nnx(flax.nnx.BatchNorm), TRAINING),
    "nnx-ours": lambda: (lambda model, x: model(x), trained_nnx(jaxbn.nnx.BatchNorm), TRAINING),
    "functional": lambda: (apply, settled(), BATCHES),
    "by-hand": lambda: (*by_hand(), BATCHES),
    "convolutional": convolutional,
    "residual": residual,
}


@pytest.mark.parametrize("make", HEALTHY.values(), ids=HEALTHY)
def test_healthy_nets_are_clean_and_stay_as_they_are(make):
    call, variables, batches = make()
    before, data = raw(variables), copy.deepcopy(batches)
    report = diagnose(call, variables, batches)
    assert report.codes == (), str(report)
    assert all(0 < norm.gap < 0.1 and 0 < norm.harm < 0.15 for norm in report.norms)
    assert_same(raw(variables), before)
    assert_same(batches, data)


def test_a_model_that_trains_keeps_its_mode():
    model = trained_nnx(flax.nnx.BatchNorm)
    model.train()
    diagnose(lambda model, x: model(x), model, TRAINING[:3])
    assert (model.one.use_running_average, model.dropout.deterministic) == (False, False)


@pytest.mark.parametrize(
    "batches",
    [BATCHES, [X], [X[:1216], X[1216:]], [X[:40]], [*BATCHES, X[:7]]],
    ids=["20", "1", "2", "few", "short"],
)
def test_healthy_however_the_data_are_cut(batches):
    assert diagnose(apply, settled(), batches).codes == ()


def test_recalibrated_nets_are_clean_at_once():
    """Though the count of training updates is still that of a net with the start in its statistics, or 0.

    And though the momentum is one of noisy averages.
    """
    for call, momentum, steps in ((slow, 0.999, 0), (slow, 0.999, 500), (quick, 0.1, 200)):
        new, _ = recalibrate(call, settled(momentum, steps), BATCHES)
        report = diagnose(call, new, BATCHES)
        assert report.codes == (), str(report)
        assert all(norm.gap < 1e-5 and norm.harm < 1e-5 for norm in report.norms)


def test_warm_up_has_no_start():
    model = Linen(jaxbn.linen.BatchNorm, momentum=0.999)

    class WarmUp(jaxbn.linen.BatchNorm):
        averaging: str = "warmup"

    assert diagnose(model.apply, trained(model, 100), TRAINING).codes == ("BN102",)
    model = Linen(WarmUp, momentum=0.999)
    # What is left is that the weights have moved.
    assert "BN102" not in diagnose(model.apply, trained(model, 100), TRAINING).codes
