"""Population statistics for a trained net: the running averages of training replaced by exact moments of data."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, TypeVar

from jaxbn._pivoted import AxisName
from jaxbn.inference._population import checks as shared
from jaxbn.inference._population.batches import reader
from jaxbn.inference._population.leaves import put, running
from jaxbn.inference._population.model import opened
from jaxbn.inference._population.population import Population, add, is_traced, merge, nothing, population, pretend
from jaxbn.inference._population.program import Key, Layer, Program
from jaxbn.inference._population.seen import Seen
from jaxbn.inference._recalibration import checks as _checks
from jaxbn.inference._recalibration.report import Moved as Moved
from jaxbn.inference._recalibration.report import Report as Report
from jaxbn.inference._recalibration.report import moved
from jaxbn.inference._recalibration.stopping import Enough
from jaxbn.inference._recalibration.turns import Order, Turns

Variables = TypeVar("Variables")


def recalibrate(
    apply: Callable[[Variables, Any], Any],
    variables: Variables,
    batches: Any,
    *,
    samples: int | None = None,
    tolerance: float | None = None,
    order: Order = "layers",
    prior: float = 0,
    axis_name: AxisName | None = None,
) -> tuple[Variables, Report]:
    """Replace the running statistics of every batch norm by those of the data.

    `mean = sum(x) / n`,  `var = sum(|x - mean|**2) / n`, over all inputs `x` that a layer sees in all batches together,
    not the average over batches of their variances, which misses what lies between the batches.

    For running averages that lag behind, or belong to other weights (averaged, merged, pruned) or to other data.
    Nothing else changes, not even the count of training updates. To undo it, keep the old variables.

    Layers of `jaxbn.linen`, `jaxbn.nnx`, `flax.linen` and `flax.nnx` are found without being named. So are `batch_norm`
    and `normalize` in plain functions, wherever in `variables` their statistics lie, if these reach them unchanged. All
    are found under `jit`, `vmap`, `scan`, `cond`, `remat` and `shard_map`, also with statistics of their own
    for each step of a scan or member of a `vmap`; not in the body of a `while_loop`.

    Args:
        apply: `(variables, batch) -> anything`, your own call of the model in evaluation, for example
            `lambda v, batch: model.apply(v, batch["image"], train=False)`. JAX must be able to trace it. Leave dropout
            off: it inflates the variance of what comes after it.
        variables: a tree of arrays, or a model of nnx; `apply` gets a copy of that in evaluation, `model.eval()`.
        batches: an iterable of batches, or one array, which is one batch. A batch is what `apply` takes. Arrays of
            NumPy and JAX in it are traced. All else is passed on as it is: the call is compiled once for each value of
            a string or a number, and every time for anything else. So leave out ids, and convert tensors of PyTorch.
            With `order="layers"` the batches are read several times; those of a generator, which can't be, are kept in
            memory.
        samples: stop when every layer has seen this many, counted along the first axis of its input that is no feature
            axis. Whole batches are used, and fewer are no error. A layer that only later batches reach is not met then.
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
            The old statistics must be finite, and their variances not negative.
        axis_name: a mapped axis, or several, of `shard_map` or `vmap`, over which the batches are spread: either
            `apply` maps over it, or all of this is called inside. With sharded arrays under `jit` it is not needed.

    Returns:
        `(variables, report)`: variables of the same structure, dtypes and shardings. The report, a `Report`, says of
        each layer how far its mean and standard deviation have moved, in running standard deviations and in standard
        errors, and how many samples were used; `print(report)` shows a table. A feature without data keeps its
        statistics.

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
    _checks.recalibration(apply, samples, tolerance, order, prior, axis_name)
    model, read = opened(variables), reader(batches, keep=order == "layers")
    leaves, program = list(model.leaves), Program(lambda own, batch: apply(model.given(own), batch), axis_name)
    # The leaves get new statistics in place, from pass to pass.
    look = functools.partial(program, leaves)
    enough = Enough(None if samples is None else operator.index(samples), tolerance)
    turns, done = Turns(order), dict[Key, Moved]()
    while not done or len(done) < len(turns.layers):
        totals = _one_pass(look, read(), turns, done, enough, model.names)
        for layer in turns.layers:
            if layer.key in totals:
                done[layer.key] = _settle(leaves, layer, totals[layer.key], prior, model.names[layer.mean])
    shared.any_data([moved.samples for moved in done.values()])
    names = tuple(model.names[layer.mean] for layer in turns.layers)
    return model.rebuilt(leaves), Report(names, tuple(done[layer.key] for layer in turns.layers))


def _one_pass(
    look: Callable[[Any], dict[Layer, Seen]],
    batches: Iterator[Any],
    turns: Turns,
    done: Collection[Key],
    enough: Enough,
    names: Sequence[str],
) -> dict[Key, Seen | Population | None]:
    """What those layers have seen whose turn it is."""
    totals: dict[Key, Seen | Population] = {}
    number = 0
    for number, batch in enumerate(batches, 1):
        seen = look(batch)
        turns.meet(seen)
        if is_traced(seen):
            _checks.only_values(*enough)
        now = turns.now(done)
        for layer, part in seen.items():
            if layer.key in now:
                totals[layer.key] = total = add(totals.get(layer.key), part)
                _checks.finite(names[layer.mean], number, total)
        if enough.are([totals.get(key) for key in now]):
            break
    shared.any_batch(number)
    shared.any_layer(turns.layers)
    # What has come before a layer in a later batch takes its turn.
    return {key: totals.get(key) for key in turns.now(done)}


def _settle(leaves: list[Any], layer: Layer, seen: Seen | Population | None, prior: float, name: str) -> Moved:
    """Put the statistics of a layer among the leaves."""
    # A loader may show a layer in one pass and in the next not.
    new = nothing(leaves[layer.mean]) if seen is None else population(seen)
    old_mean, old_var = running(leaves, layer, new)
    total = new
    if prior:
        _checks.sound(name, prior, old_mean, old_var)
        total = merge(pretend(old_mean, old_var, prior, new), new)
    mean, var = put(leaves, layer, total, name)
    return moved(old_mean, old_var, new, mean, var)
