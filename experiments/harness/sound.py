"""Training that goes bad is noticed: a seed whose metrics are not finite is left out from then on."""

from __future__ import annotations

from collections.abc import Callable

import jax
import numpy as np

from experiments.harness.placement import fetch
from experiments.harness.seeds import unstack
from experiments.harness.training import Evaluation, TrainState


class SoundSeeds:
    """The seeds of a run whose metrics have all been finite so far.

    Args:
        seeds: all, in the order of the metrics.
        left_out: whether it was before, for each.
        explain: tells what is wrong in the state of one seed, as the end of a sentence.

    Attributes:
        left_out: as above, by now.
    """

    def __init__(self, seeds: list[int], left_out: np.ndarray, explain: Callable[[TrainState], str]) -> None:
        self._seeds, self._explain = seeds, explain
        self.left_out = np.array(left_out, bool)

    @property
    def seeds(self) -> list[int]:
        """They, in their order."""
        return [seed for seed, out in zip(self._seeds, self.left_out, strict=True) if not out]

    def look(self, evaluation: Evaluation, state: TrainState) -> list[str]:
        """Leave out whose metrics are not finite; a sentence for each that was sound before."""
        said = []
        for i, seed in enumerate(self._seeds):
            names = [name for name, values in evaluation.metrics.items() if not np.isfinite(values[i])]
            if names and not self.left_out[i]:
                self.left_out[i] = True
                reason = self._explain(unstack(state)[i])
                said.append(f"seed {seed} has no finite {names[0]} at step {evaluation.step:,}: {reason}")
        return said

    def are_finite(self, state: TrainState) -> bool:
        """Whether a state, of which nothing was measured, is worth a checkpoint."""
        leaves = jax.tree.leaves(fetch(state))
        return all(np.isfinite(leaf[~self.left_out]).all() for leaf in leaves)

    def of(self, evaluation: Evaluation) -> Evaluation:
        """What was measured of them alone."""
        metrics = {name: values[~self.left_out] for name, values in evaluation.metrics.items()}
        return Evaluation(evaluation.step, metrics)
