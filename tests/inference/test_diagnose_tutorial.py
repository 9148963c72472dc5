"""The tutorial's conv-bn at step 1,000 is named for what it is; on small synthetic images, so that it is fast."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.tutorial import runs
from jaxbn.inference import diagnose, recalibrate
from tests.inference.nets_diagnose import cross_entropy, descended

STEPS = 1000
rng = np.random.default_rng(0)
LABELS = rng.integers(0, 10, 4096)
PATTERNS = (rng.random((10, 8, 8)) < 0.25).astype("float32")
IMAGES = np.clip(PATTERNS[LABELS] * rng.uniform(0.3, 1, (4096, 1, 1)) + rng.normal(0, 0.2, (4096, 8, 8)), 0, 1)
IMAGES = IMAGES.astype("float32")
MODEL = runs.RUNS["conv-bn"].model


@jax.jit
def trained(variables):
    images, labels = jnp.asarray(IMAGES), jnp.asarray(LABELS)

    def step(variables, key):
        chosen = jax.random.choice(key, len(images), (runs.BATCH_SIZE,))

        def loss(params):
            logits, new = MODEL.apply({**variables, "params": params}, images[chosen], True, mutable=["batch_stats"])
            return cross_entropy(logits, labels[chosen]), new["batch_stats"]

        slope, stats = jax.grad(loss, has_aux=True)(variables["params"])
        return {"params": descended(variables["params"], slope, runs.LEARNING_RATE), "batch_stats": stats}, None

    return jax.lax.scan(step, variables, jax.random.split(jax.random.key(1), STEPS))[0]


def evaluate(variables, images):
    return MODEL.apply(variables, images, False)


@pytest.mark.slow
def test_the_tutorial_at_step_1000_still_holds_its_start():
    start = jax.jit(MODEL.init, static_argnums=2)(jax.random.key(0), IMAGES[:2], False)
    variables = trained(start)
    batches = np.split(IMAGES, 32)
    for step in (STEPS, None):
        report = diagnose(evaluate, variables, batches, step=step)
        for norm in report.norms:
            assert norm.codes == ("BN102",), str(report)
            finding = norm.findings[0]
            assert finding.diagnosis == "initial values not forgotten"
            bound = 1e-6 if step else 0.25
            np.testing.assert_allclose(finding.numbers["residual"], 0.999**STEPS, rtol=bound)
    assert f"{100 * 0.999**STEPS:.3g} %" in str(diagnose(evaluate, variables, batches, step=STEPS))
    assert round(0.999**STEPS, 2) == 0.37
    new, _ = recalibrate(evaluate, variables, batches)
    assert diagnose(evaluate, new, batches, step=STEPS).codes == ()
