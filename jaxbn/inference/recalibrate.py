"""Population statistics for a trained net: the running averages of training replaced by exact moments of data."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, TypeVar

import jax
import numpy as np

from jaxbn._pivoted import AxisName
from jaxbn.inference._population import checks as shared
from jaxbn.inference._population.batches import reader
from jaxbn.inference._population.leaves import put, running
from jaxbn.inference._population.model import opened
from jaxbn.inference._population.population import Population, merge, population, pretend
from jaxbn.inference._population.program import Layer, Program
from jaxbn.inference._population.seen import Seen, merge_two
from jaxbn.inference._recalibration import checks as _checks
from jaxbn.inference._recalibration.report import Moved as Moved
from jaxbn.inference._recalibration.report import Report as Report
from jaxbn.inference._recalibration.report import moved

Variables = TypeVar("Variables")


def recalibrate(
    apply: Callable[[Variables, Any], Any],
    variables: Variables,
    batches: Any,
    *,
    samples: int | None = None,
    tolerance: float | None = None,
    order: Literal["layers", "pass"] = "layers",
    prior: float = 0,
    axis_name: AxisName | None = None,
) -> tuple[Variables, Report]:
    """Replace the running statistics of every batch norm by those of the data.

    `mean = sum(x) / n`,  `var = sum(|x - mean|**2) / n`, over all inputs `x` that a layer sees in all batches together,
    not the average over batches of their variances, which misses what lies between the batches.

    For running averages that lag behind, or belong to other weights (averaged, merged, pruned) or to other data.
    Nothing else changes, a count of training updates neither; to undo it, keep the old variables.

    Layers of `jaxbn.linen`, `jaxbn.nnx`, `flax.linen` and `flax.nnx` are found by themselves, and so is `batch_norm` or
    `normalize` in plain functions, wherever in `variables` their statistics are, if they get them from there as they
    are. They are found under `jit`, `vmap`, `scan`, `cond`, `remat` and `shard_map`, also with statistics of their own
    for each step of a scan or member of a `vmap`; not in the body of a `while_loop`.

    Args:
        apply: `(variables, batch) -> anything`, your own call of the model in evaluation, for example
            `lambda v, batch: model.apply(v, batch["image"], train=False)`. JAX must be able to trace it. Dropout is off
            unless it is turned on here, and then it inflates the variance of what comes after it.
        variables: a tree of arrays, or a model of nnx; `apply` gets a copy of that in evaluation, `model.eval()`.
        batches: an iterable of batches, or one array, which is one batch. A batch is what `apply` takes. Arrays in it
            are traced, and all else is passed on as it is. For `order="layers"` it is iterated several times, and the
            batches of a generator, which can't be, are kept in memory meanwhile.
        samples: enough of them, counted at each layer along the first axis of its input that is no feature axis; whole
            batches are used, and fewer are no error.
        tolerance: stop when no mean and no standard deviation of any layer has a standard error above this, in running
            standard deviations, those returned: an error of the normalised output. The standard errors are
            `sigma / sqrt(n)` and `sigma * sqrt((k + 2) / 4n)` for `n` independent samples of excess kurtosis `k`. The
            pixels of an image depend on each other, so `n` counts images, not pixels.
        order: `"layers"` recalibrates a layer when all that come before it are done, so that it sees what it will see.
            It takes as many passes over the data as there are layers one behind the other. `"pass"` takes one pass, in
            which every layer sees the outputs of the old statistics. The two agree for a first layer, and where the
            statistics before a layer hardly move; the further they move, the more `"pass"` is off. A layer that is
            called twice counts both calls, and precedes itself with its old statistics.
        prior: the number of samples that the old statistics count as. Where the mean has moved by `delta`, the
            mean squared error of the new mean is least for `sigma**2 / delta**2`, whatever the number of samples.
        axis_name: a mapped axis, or several, of `shard_map` or `vmap`, over which the batches are spread: either
            `apply` maps over it, or all of this is called inside. With sharded arrays under `jit` it is not needed.

    Returns:
        `(variables, report)`: variables of the same structure, dtypes and shardings. The report has for each layer how
        far its mean and standard deviation have moved, in running standard deviations and in standard errors, and the
        samples used, `report[name].mean`; `print(report)` shows a table. A feature without data keeps its statistics.

    Raises:
        TypeError: an argument of the wrong type, or complex data where the running mean is real.
        ValueError: no batch norm is found, or one trains; there is no data, or NaN or inf in it, with the name of the
            layer that is the first to see it; an argument is out of its range.

    Example:
        >>> import jax.numpy as jnp
        >>> from jaxbn import batch_norm, init_batch_norm
        >>> params, state = init_batch_norm(1)
        >>> apply = lambda state, x: batch_norm(params, state, x, train=False)[0]
        >>> batches = [jnp.array([[1.0], [2.0]]), jnp.array([[6.0]])]
        >>> new, report = recalibrate(apply, state, batches)
        >>> print(new.mean, new.var)
        [3.] [4.6666665]
        >>> print(report)
                    samples  mean moved             std moved
        batch norm               in std  in errors     in std  in errors
        batch_norm        3        1.39       2.41      0.537       2.63
        Each figure is that of the feature that moved furthest.

    Reference:
        Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", Stanford
        CS-79-773, 1979, equation (2.1): the merge. Wu and Johnson, "Rethinking 'Batch' in BatchNorm", arXiv 2105.07576,
        2021, section 3: why population statistics.
    """
    _checks.recalibration(apply, samples, tolerance, order, prior)
    model, read = opened(variables), reader(batches, keep=order == "layers")
    leaves, program = list(model.leaves), Program(lambda own, batch: apply(model.given(own), batch), axis_name)
    done: dict[Layer, Moved] = {}
    while True:
        layers, totals = _one_pass(program, leaves, read, model.names, samples, tolerance, order, [*done])
        for layer, total in totals.items():
            done[layer] = _settle(leaves, layer, total, prior, model.names[layer.mean])
        if all(layer in done for layer in layers):
            break
    report = Report(tuple(model.names[layer.mean] for layer in layers), tuple(done[layer] for layer in layers))
    return model.rebuilt(leaves), report


def _one_pass(
    program: Program,
    leaves: list[Any],
    read: Callable[[], Iterator[Any]],
    names: list[str],
    samples: int | None,
    tolerance: float | None,
    order: str,
    done: list[Layer],
) -> tuple[list[Layer], dict[Layer, Population]]:
    """All layers, and what those have seen whose turn it is."""
    layers: list[Layer] = []
    totals: dict[Layer, Any] = {}
    number = 0
    for number, batch in enumerate(read(), 1):
        seen = program(leaves, batch)
        layers += [layer for layer in seen if layer not in layers]
        traced = any(isinstance(part, jax.core.Tracer) for part in jax.tree.leaves(seen))
        if traced:
            _checks.only_values(samples, tolerance)
        for layer in _turn(layers, done, order):
            if layer not in seen:
                continue
            new: Any = seen[layer] if traced else population(seen[layer])
            if not traced:
                _checks.finite(names[layer.mean], number, new.mean, new.m2)
            totals[layer] = new if layer not in totals else _merge(totals[layer], new)
        if not traced and _is_enough([*totals.values()], samples, tolerance):
            break
    shared.any_batch(number)
    shared.any_layer(layers)
    totals = {layer: population(t) if isinstance(t, Seen) else t for layer, t in totals.items()}
    shared.any_data([t.count for t in totals.values()])
    return layers, totals


def _turn(layers: list[Layer], done: list[Layer], order: str) -> list[Layer]:
    """The layers that are not done, but for `"layers"` all before them."""
    return [
        layer
        for place, layer in enumerate(layers)
        if layer not in done
        and (order == "pass" or all(b in done for b in layers[:place] if {b.mean, b.var} & layer.after))
    ]


def _merge(a: Any, b: Any) -> Any:
    return merge_two(a, b) if isinstance(a, Seen) else merge(a, b)


def _is_enough(totals: list[Population], samples: int | None, tolerance: float | None) -> bool:
    if samples is not None and all(np.any(t.samples >= samples) or t.samples.size == 0 for t in totals):
        return True
    return tolerance is not None and all(t.is_known(tolerance) for t in totals)


def _settle(leaves: list[Any], layer: Layer, new: Population, prior: float, name: str) -> Moved:
    """Put the statistics of a layer among the leaves."""
    old_mean, old_var = running(leaves, layer, new)
    total = merge(pretend(old_mean, old_var, prior, new), new) if prior else new
    mean, var = put(leaves, layer, total, name)
    return moved(old_mean, old_var, new, mean, var)
