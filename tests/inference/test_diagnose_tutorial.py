"""The tutorial's two nets with batch norm are named for what they are; on small synthetic images, to be fast."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tutorial import runs
from jaxbn.inference import diagnose, recalibrate
from tests.inference.nets_diagnose import cross_entropy, descended, drawn

STEPS = 1000
rng = np.random.default_rng(0)
LABELS = rng.integers(0, 10, 4096)
PATTERNS = (rng.random((10, 8, 8)) < 0.25).astype("float32")
IMAGES = np.clip(PATTERNS[LABELS] * rng.uniform(0.3, 1, (4096, 1, 1)) + rng.normal(0, 0.2, (4096, 8, 8)), 0, 1)
IMAGES = IMAGES.astype("float32")
BATCHES = np.split(IMAGES, 64)[:32]
pytestmark = pytest.mark.slow


@functools.partial(jax.jit, static_argnames="model")
def trained(model):
    """After 1,000 steps as the tutorial trains."""
    images, labels = jnp.asarray(IMAGES), jnp.asarray(LABELS)

    def step(variables, chosen):
        def loss(params):
            logits, new = model.apply({**variables, "params": params}, images[chosen], True, mutable=["batch_stats"])
            return cross_entropy(logits, labels[chosen]), new["batch_stats"]

        slope, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return {"params": descended(variables["params"], slope, runs.LEARNING_RATE), "batch_stats": stats}, None

    return jax.lax.scan(step, model.init(jax.random.key(0), images[:2], False), drawn(STEPS, runs.BATCH_SIZE))[0]


def net(name):
    model = runs.RUNS[name].model
    return lambda variables, images: model.apply(variables, images, False), trained(model)


def test_conv_bn_at_step_1000_still_holds_37_percent_of_its_start():
    evaluate, variables = net("conv-bn")
    for step in (STEPS, None):
        report = diagnose(evaluate, variables, BATCHES, step=step)
        assert [norm.codes for norm in report.norms] == [("BN102",), ("BN102",)], str(report)
        for norm in report.norms:
            residual = norm.findings[0].numbers["residual"]
            np.testing.assert_allclose(residual, 0.999**STEPS, rtol=1e-6 if step else 0.25)
            assert round(residual, 2) == 0.37 or step is None
        assert "initial values not forgotten; 3" in str(report)
    new, _ = recalibrate(evaluate, variables, BATCHES)
    assert diagnose(evaluate, new, BATCHES[:20], step=STEPS).codes == ()


def test_mlp_bn_averages_78_values_and_has_a_bias_without_gradient():
    evaluate, variables = net("mlp-bn")
    report = diagnose(evaluate, variables, BATCHES, step=STEPS)
    assert report.codes == ("BN104", "BN113"), str(report)
    assert "averages 78.2 of them" in str(report)
    assert "params/Dense_0/bias is added to its input" in str(report)
