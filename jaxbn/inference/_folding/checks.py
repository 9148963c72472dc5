"""The checks and errors of this package alone; the others it shares with the core."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn import _checks
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


def is_array(value: Any) -> bool:
    """Whether JAX takes it."""
    numpy = isinstance(value, np.ndarray | np.generic) and _checks.is_array(value, jnp.bool_, jnp.number)
    return numpy or isinstance(value, jax.Array)


def function(f: Any) -> None:
    if not callable(f):
        raise TypeError(
            f"`f` must be a function of variables and data, got {type(f).__name__}; write e.g. "
            "lambda variables, x: model.apply(variables, x)."
        )


def concrete(name: str, tree: Any) -> None:
    if any(isinstance(part, jax.core.Tracer) for part in jax.tree.leaves(tree)):
        raise TypeError(f"`{name}` must hold values, got a traced array; call fold outside of jit, vmap and grad.")


def sample(x: Any) -> None:
    concrete("sample", x)
    leaves = jax.tree.leaves(x)
    for part in leaves:
        if not is_array(part):
            raise TypeError(f"`sample` must be made of arrays, got {type(part).__name__}; convert it with jnp.asarray.")
    if not any(part.size for part in leaves):
        raise ValueError("`sample` must hold data to compare the outputs on, got none; give it a batch of at least 1.")


def same_weights(made: Mapping[str, str], of_sample: Mapping[str, str], arrays: Sequence[Any]) -> None:
    """Weights are the same if they are made in the same way; each way is a text."""
    for name, way in made.items():
        if of_sample.get(name) != way:
            raise ValueError(
                f"`x` must have a shape for which `f` makes the same weights of its variables as for the sample, got "
                f"{[part.shape for part in arrays]}, for which {name!r} is another; fold again with a sample of it."
            )


def weights(given: Any, expected: Mapping[str, tuple[tuple[int, ...], Any]]) -> None:
    if not isinstance(given, Mapping):
        raise TypeError(f"`weights` must be the dict that fold returned, got {type(given).__name__}.")
    for name, (shape, dtype) in expected.items():
        if name not in given:
            raise ValueError(f"`weights` must hold {name!r}, got none; pass all that fold returned.")
        got = jnp.shape(given[name]), jnp.result_type(given[name])
        if got != (shape, dtype):
            raise ValueError(
                f"`weights[{name!r}]` must be {dtype}{list(shape)} as fold returned it, got {got[1]}{list(got[0])}; "
                "for another dtype fold the model in it."
            )


def same_outputs(error: float, bound: float, where: str) -> None:
    if not error <= bound:
        raise ValueError(
            f"`f` must give the same output without its norms, got a largest difference of {error:.1e} of the largest "
            f"output{where} where {bound:.0e} is allowed; a norm whose mean is large beside its deviation can't be "
            "folded in this precision, float64 may do."
        )


def numbers(output: Any) -> None:
    if np.any(np.isnan(output)):
        raise ValueError(
            "`f(variables, sample)` must hold numbers to be compared with, got NaN; check the variables and the sample."
        )


def kernel(value: Any, bias: Any, state: Any, axis: Any) -> tuple[jax.Array, jax.Array | None]:
    """Kernel and bias as arrays that fit the norm."""
    made, (features,) = _checks.data(value, "kernel"), state.mean.shape
    axes = _checks.axes(axis, made.ndim)
    if len(axes) != 1:
        raise ValueError(f"`axis` must name one feature axis of the kernel, got {_checks.shown(axis)}.")
    (axis,) = axes
    if made.shape[axis] != features:
        raise ValueError(
            f"`kernel` must have the {features} features of the norm along axis {axis}, got the shape {made.shape}; "
            "check `axis`."
        )
    bias = None if bias is None else _checks.data(bias, "bias")
    if not jnp.iscomplexobj(made) and any(part is not None and jnp.iscomplexobj(part) for part in (state.mean, bias)):
        raise TypeError(f"`kernel` must be complex for a complex norm or bias, got {made.dtype}; convert it.")
    if bias is not None and bias.shape != (features,):
        raise ValueError(f"`bias` must have the shape {(features,)} of the norm, got {bias.shape}.")
    return made, bias


def norm(params: Any, state: Any) -> tuple[Any, Any]:
    """Parameters and statistics that fit each other, as arrays of JAX."""
    _checks.is_state(state)
    _checks.statistic("state.mean", state.mean)
    if state.mean.ndim == 0:
        raise ValueError("`state.mean` must have a feature axis, got a scalar; see init_batch_norm.")
    like = jnp.zeros(state.mean.shape, "complex64" if jnp.iscomplexobj(state.mean) else "float32")
    _checks.fits(params, state, like, range(state.mean.ndim))
    scale, bias = (None if part is None else _checks.array(part, "params") for part in (params.scale, params.bias))
    mean, var = _checks.array(state.mean, "state.mean"), _checks.array(state.var, "state.var")
    return BatchNormParams(scale, bias), BatchNormState(mean, var, state.count)


def one_feature_axis(state: Any) -> None:
    if state.mean.ndim != 1:
        raise ValueError(f"`state.mean` must have one feature axis here, got the shape {state.mean.shape}.")
