"""Where a net's numbers stop being finite."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import numpy as np

from experiments.harness.training import TrainState
from experiments.tutorial import classifier, runs
from jaxbn.inference import diagnose

# Broken statistics, and input that is not finite.
_CODES = ("BN107", "BN108")


def make_explain(model: nn.Module, data: classifier.Examples) -> Callable[[TrainState], str]:
    """`state of one seed -> words`: the first layer that is not finite, on a batch of training images."""

    def explain(state: TrainState) -> str:
        first = runs.VALIDATION
        images = np.asarray(data.images[first : first + runs.BATCH_SIZE], np.float32) / 255
        variables = {"params": state.params, **state.extras}
        if getattr(model, "norm", None) is not None:
            report = diagnose(functools.partial(model.apply, train=False), variables, [images])
            for norm in sorted(report.norms, key=lambda norm: norm.name):
                for finding in norm.findings:
                    if finding.code in _CODES:
                        return f"{norm.name} has {finding.diagnosis} ({finding.evidence})"
        _, seen = model.apply(variables, images, train=False, capture_intermediates=True, mutable=["intermediates"])
        outputs: dict[str, Any] = seen["intermediates"]
        for name, output in outputs.items():
            made = output["__call__"][0] if isinstance(output, dict) else output[0]
            if not np.all(np.isfinite(made)):
                return f"the output of {'the net' if name == '__call__' else name} is the first that is not finite"
        return "on the first training images it is finite"

    return explain
