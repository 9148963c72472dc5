"""The tutorial's nets on four devices: the numbers of one device, and no more sent than must be.

In float64, for in float32 a net leaves its path where rounding takes a value across a kink of relu or max-pooling.
"""

from typing import Any

import jax
import numpy as np
import optax
import pytest

from experiments.harness import placement, training
from experiments.harness.precision import computing_in
from experiments.tutorial import classifier, lessons, runs
from tests.collectives import sent
from tests.experiments import stand_in
from tests.tolerances import assert_same

pytestmark = pytest.mark.several_devices

SEEDS = [0]
# The convolutional nets take their time.
STEPS = {"mlp-bn": 200, "mlp": 20, "conv-bn": 20, "conv": 4}


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in.shrink(monkeypatch)


def examples(devices: int) -> classifier.Examples:
    mesh = placement.mesh_over(jax.devices()[:devices]) if devices > 1 else None
    return classifier.on_device(*runs.all_examples(stand_in.load_stand_in()), mesh)


def trained(name: str, devices: int) -> tuple[Any, list[training.Evaluation]]:
    model, data = runs.RUNS[name].model, examples(devices)
    problem = classifier.classification(model, optax.sgd(runs.LEARNING_RATE))
    batches, evaluate = lessons.training_batches(SEEDS), lessons.make_evaluate(model, SEEDS, STEPS[name], data)
    options: Any = {"steps": STEPS[name], "evaluate_every": STEPS[name] // 2, "evaluate": evaluate}
    return training.train(problem, training.init_state(problem, SEEDS), data, batches, **options)


@pytest.mark.slow
@pytest.mark.parametrize("name", runs.RUNS)
def test_they_train_and_score_as_one(name: str) -> None:
    with computing_in(float64=True), jax.numpy_dtype_promotion("standard"):
        (state, history), (expected, one) = trained(name, 4), trained(name, 1)
        assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {np.dtype("float64")}
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-11), state, expected)
    for at, of_one in zip(history, one, strict=True):
        for metric, values in of_one.metrics.items():
            np.testing.assert_allclose(at.metrics[metric], values, rtol=1e-11, err_msg=metric)


def test_both_precisions_start_from_the_same_numbers() -> None:
    problem = classifier.classification(runs.RUNS["mlp-bn"].model, optax.sgd(runs.LEARNING_RATE))
    single = training.init_state(problem, SEEDS)
    with computing_in(float64=True), jax.numpy_dtype_promotion("standard"):
        double = training.init_state(problem, SEEDS)
    assert_same(jax.tree.map(lambda leaf: np.asarray(leaf, np.float32), double), single)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_without_batch_norm_gradients_alone_are_sent(name: str) -> None:
    data = examples(4)
    problem = classifier.classification(runs.RUNS[name].model, optax.sgd(runs.LEARNING_RATE))
    state = jax.tree.map(lambda leaf: leaf[0], training.init_state(problem, [0]))
    mesh = placement.mesh_of(data)
    assert mesh is not None
    indices = placement.share(lessons.training_batches([0])(0, 1), mesh)[0, 0]
    with jax.set_mesh(mesh):
        step = jax.jit(training.make_step(problem), out_shardings=placement.WHOLE)
        program = step.lower(data, placement.place(placement.fetch(state), mesh), indices).compile()
    kernels = {leaf.size for leaf in jax.tree.leaves(state.params)}
    # The cells of a convolution have each number of its kernel several times.
    cells = {24 * 16, 64 * 6 * 4 * 9} if name == "conv" else set()
    numbers = set(sent(program))
    assert numbers
    assert numbers <= kernels | cells
