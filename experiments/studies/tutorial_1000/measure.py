"""What the tutorial's convolutional net reaches in evaluation mode, by the kind of its running statistics."""

from __future__ import annotations

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from rich.console import Console

from experiments.harness import training
from experiments.harness.placement import fetch
from experiments.harness.progress import progress
from experiments.harness.seeds import for_all_seeds, unstack
from experiments.harness.training import TrainState
from experiments.tutorial import classifier, lessons, nets, runs
from experiments.tutorial.experiment import recalibrator
from jaxbn.inference import DiagnosisReport, diagnose
from jaxbn.linen import BatchNorm

READ_AT = 1_000
RECALIBRATION = 1_000
MOMENTUM = runs.SLIM_NORM.keywords["momentum"]

OWN, DEBIASED, TEST_SET = "its own", "its own, without the start", "of the test set"
RECALIBRATED = f"recalibrated on {RECALIBRATION:,} images"
OTHERS: dict[str, dict[str, Any]] = {
    "warmed up": {"momentum": MOMENTUM, "averaging": "warmup"},
    "of decay 0.99": {"momentum": 0.99},
}
OTHER = "Remembering"
KINDS = (OWN, DEBIASED, *OTHERS, RECALIBRATED, TEST_SET)


class Remembering(nn.Module):
    """The tutorial's batch norm, beside running statistics that forget in other ways.

    Attributes:
        axis: of the features.
    """

    axis: int

    @nn.compact
    def __call__(self, x: jax.Array, *, use_running_average: bool) -> jax.Array:
        """Normalise `x`."""
        epsilon = runs.SLIM_NORM.keywords["epsilon"]
        for name, options in OTHERS.items():
            other = BatchNorm(use_scale=False, use_bias=False, epsilon=epsilon, axis=self.axis, name=name, **options)
            other(x, use_running_average=use_running_average)
        return runs.SLIM_NORM(axis=self.axis, name=OWN)(x, use_running_average=use_running_average)


def with_statistics(state: TrainState, kind: str, step: int) -> TrainState:
    """The state with other running statistics in the place of its own."""
    stats = state.extras["batch_stats"]
    if kind == DEBIASED:
        held = MOMENTUM**step
        start = {"mean": 0.0, "var": 1.0}
        own = {
            layer: {name: (value - held * start[name]) / (1 - held) for name, value in kinds[OWN].items()}
            for layer, kinds in stats.items()
        }
    else:
        own = {layer: {name: kinds[kind][name] for name in ("mean", "var")} for layer, kinds in stats.items()}
    return state._replace(extras={"batch_stats": {layer: {**stats[layer], OWN: own[layer]} for layer in stats}})


def test_set_statistics(model: nn.Module) -> Any:
    """`(data, count, state, indices [seeds, n]) -> [seeds]`: accuracies of these images as one batch, in training."""
    score = classifier.scorer(model, batch_statistics=True)
    return for_all_seeds(lambda data, _count, state, indices: score(state, data, indices)["acc"].mean())


def diagnosis(state: TrainState, data: classifier.Examples, step: int) -> DiagnosisReport:
    """What is wrong with the first seed's norms, from batches as it is trained with."""

    def own(tree: Any) -> Any:
        """The variables of the tutorial's net, without the other statistics."""
        return {name.replace(OTHER, "BatchNorm"): v[OWN] if name.startswith(OTHER) else v for name, v in tree.items()}

    model, first = nets.ConvNet(runs.SLIM_NORM), unstack(state)[0]
    variables = {"params": own(first.params), "batch_stats": own(first.extras["batch_stats"])}
    images = data.images[runs.VALIDATION : runs.VALIDATION + RECALIBRATION].astype(jnp.float32) / 255
    batches = [images[start : start + runs.BATCH_SIZE] for start in range(0, RECALIBRATION, runs.BATCH_SIZE)]
    return diagnose(functools.partial(model.apply, train=False), variables, batches, step=step)


def of_all_seeds(seeds: list[int], steps: int, data: classifier.Examples, console: Console) -> dict[str, np.ndarray]:
    """Test accuracies `[evaluations, seeds]` by the kind of statistics."""
    model = nets.ConvNet(Remembering)
    problem = classifier.classification(model, optax.sgd(runs.LEARNING_RATE))
    score = training.mean_score(classifier.scorer(model))
    recalibrate_all, of_test_set = recalibrator(model), test_set_statistics(model)
    test_set = lessons.whole_test_set(len(seeds))
    first_images = lessons.consecutive(len(seeds), runs.VALIDATION, RECALIBRATION)

    def evaluate(state: TrainState, step: int, _batch: np.ndarray) -> training.Metrics:
        states = {kind: with_statistics(state, kind, step) for kind in (OWN, DEBIASED, *OTHERS)}
        states[RECALIBRATED] = recalibrate_all(data, 0, state, first_images)
        if step == READ_AT:
            console.print(f"\nStep {step:,}, seed {seeds[0]}:\n{diagnosis(state, data, step)}", soft_wrap=True)
        found = {kind: score(of_kind, data, test_set)["acc"] for kind, of_kind in states.items()}
        return {**found, TEST_SET: fetch(of_test_set(data, 0, state, test_set))}

    with progress(console, "conv-bn", steps) as on_progress:
        _, history = training.train(
            problem,
            training.init_state(problem, seeds),
            data,
            lessons.training_batches(seeds),
            steps=steps,
            evaluate_every=runs.EVALUATE_EVERY,
            evaluate=evaluate,
            on_dispatch=lambda step, _: on_progress(step),
        )
    return {kind: np.stack([evaluation.metrics[kind] for evaluation in history]) for kind in KINDS}
