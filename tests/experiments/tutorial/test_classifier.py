"""Loss and accuracy of a classifier of bytes, against NumPy in float64."""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from experiments.harness import training
from experiments.harness.training import TrainState
from experiments.tutorial import classifier, nets
from experiments.tutorial.classifier import Examples
from experiments.tutorial.runs import RUNS

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (12, 28, 28), np.uint8)
LABELS = RNG.integers(0, 10, 12, np.uint8)
CHOSEN = np.array([3, 0, 3, 11, 7])
EPSILON = 1e-5


@pytest.fixture(scope="module")
def data() -> Examples:
    return classifier.on_device(IMAGES, LABELS)


def state_of(model: Any) -> TrainState:
    problem = classifier.classification(model, optax.sgd(0.1))
    state = jax.tree.map(lambda leaf: leaf[0], training.init_state(problem, [1]))
    # Running statistics that are neither the initial ones nor those of the batch.
    return state._replace(extras=jax.tree.map(lambda leaf: leaf + 0.5, state.extras))


def dense(layer: Any, x: np.ndarray) -> np.ndarray:
    return x @ np.asarray(layer["kernel"], np.float64) + np.asarray(layer["bias"], np.float64)


def expected_scores(state: TrainState, chosen: np.ndarray, *, batch_statistics: bool) -> tuple[np.ndarray, np.ndarray]:
    """The tutorial's dense net, written out; also the accuracy, of each example."""
    x = dense(state.params["Dense_0"], IMAGES[chosen].reshape(len(chosen), -1) / 255.0)
    if norm := state.params.get("BatchNorm_0"):
        running = state.extras["batch_stats"]["BatchNorm_0"]
        mean, var = (x.mean(0), x.var(0)) if batch_statistics else np.stack([running["mean"], running["var"]])
        x = (x - mean) / np.sqrt(var + EPSILON) * np.asarray(norm["scale"]) + np.asarray(norm["bias"])
    logits = dense(state.params["Dense_1"], np.maximum(x, 0))
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    labels = LABELS[chosen]
    return -log_probabilities[np.arange(len(chosen)), labels], (logits.argmax(axis=1) == labels).astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "mlp-bn"])
@pytest.mark.parametrize("batch_statistics", [False, True])
def test_scores_are_those_of_numpy(data: Examples, name: str, batch_statistics: bool) -> None:
    model = RUNS[name].model
    state = state_of(model)
    scorer = jax.jit(classifier.scorer(model, batch_statistics=batch_statistics))
    got = scorer(state, data, CHOSEN)
    losses, hits = expected_scores(state, CHOSEN, batch_statistics=batch_statistics)
    np.testing.assert_allclose(got["loss"], losses, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(got["acc"], hits)
    # Of ten constant labels, each example meets exactly one.
    guesses = [scorer(state, data._replace(labels=np.full(12, label, np.int32)), CHOSEN)["acc"] for label in range(10)]
    np.testing.assert_array_equal(np.sum(guesses, axis=0), 1)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "mlp-bn"])
def test_the_loss_is_the_mean_over_the_batch(data: Examples, name: str) -> None:
    model = RUNS[name].model
    state = state_of(model)
    problem = classifier.classification(model, optax.sgd(0.1))
    loss, extras = jax.jit(problem.loss)(state.params, state.extras, data, CHOSEN)
    assert loss.shape == ()
    losses, _ = expected_scores(state, CHOSEN, batch_statistics=True)
    np.testing.assert_allclose(loss, losses.mean(), rtol=1e-4)
    if extras:
        # The tutorial's decay: 0.1 of the old.
        x = dense(state.params["Dense_0"], IMAGES[CHOSEN].reshape(len(CHOSEN), -1) / 255.0)
        old, new = (tree["batch_stats"]["BatchNorm_0"] for tree in (state.extras, extras))
        np.testing.assert_allclose(new["mean"], 0.1 * old["mean"] + 0.9 * x.mean(0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(new["var"], 0.1 * old["var"] + 0.9 * x.var(0), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_evaluation_of_an_example_ignores_the_others(data: Examples) -> None:
    model = RUNS["mlp-bn"].model
    state = state_of(model)
    evaluate, by_batch = jax.jit(classifier.scorer(model)), jax.jit(classifier.scorer(model, batch_statistics=True))
    together, alone = np.array([0, 1, 2, 3]), np.array([0])
    got = evaluate(state, data, together)["loss"][0]
    np.testing.assert_allclose(got, evaluate(state, data, alone)["loss"][0], rtol=1e-4)
    one, other = (by_batch(state, data, batch)["loss"][0] for batch in (together, np.array([0, 4, 5])))
    assert abs(one - other) > 1e-2


def test_bytes_stay_bytes_on_the_device(data: Examples) -> None:
    assert data.images.dtype == np.uint8
    assert data.labels.dtype == np.int32
    np.testing.assert_array_equal(data.images, IMAGES)
    np.testing.assert_array_equal(data.labels, LABELS)


@pytest.mark.slow
def test_a_white_pixel_is_one(data: Examples) -> None:
    seen = []

    class Spy(nets.MLP):
        def __call__(self, images: Any, train: Any) -> Any:
            seen.append(np.asarray(images))
            return super().__call__(images, train)

    white = Examples(np.full((1, 28, 28), 255, np.uint8), np.zeros(1, np.int32))
    classifier.scorer(Spy())(state_of(nets.MLP()), white, np.array([0]))
    np.testing.assert_array_equal(seen[-1], np.ones((1, 28, 28), np.float32))
