"""A model without its batch norms: at inference they are one product and one sum, which go into the layer beside them.

What is folded is found in the program that a function traces to, not in the names of its layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from jaxbn.inference._folding import checks as _checks
from jaxbn.inference._folding.comparison import compared
from jaxbn.inference._folding.report import FoldReport
from jaxbn.inference._folding.tracing import Folding, Source


def fold(
    f: Callable[[Any, Any], Any], variables: Any, sample: Any
) -> tuple[Callable[[Mapping[str, Any], Any], Any], dict[str, jax.Array], FoldReport]:
    """Fold the batch norms of a model, as they are in evaluation, into the layers beside them.

    `function(weights, x) = f(variables, x)`: `(x @ kernel + bias - mean) * multiplier + shift` becomes
    `x @ (kernel * multiplier) + ((bias - mean) * multiplier + shift)`, and what stands before a layer goes into it too.

    A convolution of any kind, or a matrix product, takes up what is added to its result or multiplied with it, channel
    by channel, if its kernel depends on the variables alone. It takes up the same of its data, but a sum only if it
    does not pad. The program of `f` is all that counts, not the framework that wrote it. Values that are used more than
    once are computed as they were, and the bodies of `scan`, `while` and `cond` are left alone; the report says so.
    Kernels and biases are folded in at least float32 and rounded once.

    Args:
        f: `f(variables, x)`, the model in evaluation, e.g. `lambda v, x: model.apply(v, x, train=False)`. It is traced.
            A closure that holds the variables itself will do.
        variables: a pytree, whose arrays may become part of the weights; all else in it stays as it is. Or a model of
            nnx, of which `f` gets a copy in evaluation, `model.eval()`.
        sample: a batch, an array or a pytree of them, on which the outputs are compared.

    Returns:
        `(function, weights, report)`. `function(weights, x)` returns what `f(variables, x)` does, each output to 1e-5
            of its largest value (1e-2 in float16, 5e-2 in bfloat16, where rounding moves to other places). It may be
            compiled, mapped, differentiated and exported, and takes data of other shapes, for which it traces `f`
            again. `weights` is a flat dict of arrays by the paths of the variables. `report`, a `FoldReport`, says of
            each norm what it went into, or why it is still there.

    Raises:
        TypeError: `f` is no function, the sample is not made of arrays, or something is traced.
        ValueError: the outputs on the sample differ by more or hold NaN, or the sample is empty; from `function`:
            weights that do not fit, or data of a shape for which `f` makes others of its variables.

    Example:
        >>> from jaxbn import batch_norm, init_batch_norm
        >>> def f(variables, x):
        ...     params, state = variables["norm"]
        ...     return jax.nn.relu(batch_norm(params, state, x @ variables["kernel"], train=False)[0])
        >>> variables = {"kernel": jnp.full((3, 2), 2.0), "norm": init_batch_norm(2)}
        >>> function, weights, report = fold(f, variables, jnp.ones((4, 3)))
        >>> print(sorted(weights))
        ['kernel', 'kernel_bias']
        >>> print(function(weights, jnp.ones((1, 3))))
        [[5.99997 5.99997]]

    Reference:
        Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
        CVPR 2018, equation (14).
    """
    _checks.function(f)
    _checks.concrete("variables", variables)
    _checks.sample(sample)
    sample = jax.tree.map(jnp.asarray, sample)
    source = Source(f, variables)
    # The comparison is of what was folded, not of the digits that an accelerator leaves out of its products.
    with jax.default_matmul_precision("highest"):
        exact = source.fold(sample)
        weights = exact.interpreter.plan.weights()
        expected = jax.tree.leaves(jax.jit(source.call)(source.arrays, sample))
        actual = jax.tree.leaves(jax.jit(exact.run)(weights, jax.tree.leaves(sample)))
    _checks.concrete("f", [expected, actual])
    made = exact.interpreter
    error, bound = compared(expected, actual, made.rounded)
    source.forget()
    return _function(source, exact.derivations), weights, FoldReport(tuple(made.norms), made.linear, error, bound)


def _function(source: Source, of_sample: Mapping[str, str]) -> Callable[[Mapping[str, Any], Any], Any]:
    kept: dict[Any, Folding] = {}

    def function(weights: Mapping[str, Any], x: Any) -> Any:
        """`f(variables, x)` without its norms; see `jaxbn.inference.fold`."""
        arrays, tree = jax.tree.flatten(x)
        arrays = [jnp.asarray(part) for part in arrays]
        key = tree, tuple((part.shape, part.dtype, part.weak_type) for part in arrays)
        folding = kept.get(key) if _is_static(arrays) else None
        if folding is None:
            folding = source.fold(jax.tree.unflatten(tree, arrays))
            _checks.same_weights(folding.derivations, of_sample, arrays)
            if _is_static(arrays):
                kept[key] = folding
        expected = {name: (shape, k.dtype) for name, (k, shape) in folding.interpreter.plan.stored.items()}
        _checks.weights(weights, expected)
        return folding.run(weights, arrays)

    return function


def _is_static(arrays: list[Any]) -> bool:
    """Whether all sizes are numbers, and none a symbol of jax.export."""
    return all(isinstance(size, int) for part in arrays for size in part.shape)
