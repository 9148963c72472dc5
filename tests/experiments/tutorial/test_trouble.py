"""The first layer that is not finite is named."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.harness import training
from experiments.tutorial import classifier, runs, trouble

DATA = classifier.Examples(
    jnp.asarray(np.random.default_rng(0).integers(0, 256, (5_064, 28, 28), np.uint8)), jnp.zeros(0)
)


@pytest.mark.parametrize(
    ("name", "layer", "words"),
    [
        (
            "mlp-bn",
            "Dense_0",
            "BatchNorm_0 has input that is not finite (NaN, inf or too large to be squared in 100 of ",
        ),
        ("conv-bn", "CellConv_1", "BatchNorm_1 has input that is not finite ("),
        ("mlp-bn", "Dense_1", "the output of Dense_1 is the first that is not finite"),
        ("mlp", "Dense_0", "the output of Dense_0 is the first that is not finite"),
        ("conv", "CellConv_1", "the output of CellConv_1 is the first that is not finite"),
        ("mlp", None, "on the first training images it is finite"),
    ],
)
def test_the_first_layer_that_is_not_finite_is_named(name: str, layer: str | None, words: str) -> None:
    model = runs.RUNS[name].model
    variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28)), train=False)
    params = variables.pop("params")
    if layer:
        params[layer]["kernel"] = params[layer]["kernel"].at[0].set(jnp.nan)
    state = training.TrainState(params, variables, ())
    assert trouble.make_explain(model, DATA)(state).startswith(words)
