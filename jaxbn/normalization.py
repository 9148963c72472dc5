"""Batch normalization as one pure function of parameters, state and data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.nn import initializers
from jax.typing import ArrayLike, DTypeLike

from jaxbn import _checks, _phases
from jaxbn._affine import affine, apply_affine
from jaxbn._numbers import statistics_dtype
from jaxbn._phases import check, chosen, prepared, running
from jaxbn._pivoted import AxisName, of_batch, sync
from jaxbn._residuals import counted
from jaxbn.running import Averaging, BatchNormState, Initializer, State, init_state


class BatchNormParams(NamedTuple):
    """What is trained; `None` for a part that is not used.

    Attributes:
        scale: `[features]`, floating or complex, or `None` for 1.
        bias: `[features]`, floating or complex, or `None` for 0.

    Example:
        >>> params = BatchNormParams(scale=jnp.array([2.0]), bias=None)
        >>> print(normalize(params, jnp.array([[3.0]]), jnp.array([1.0]), jnp.array([4.0]), epsilon=0.0))
        [[2.]]
    """

    scale: jax.Array | None
    bias: jax.Array | None


def init_batch_norm(
    features: int | Sequence[int],
    *,
    key: jax.Array | None = None,
    scale_init: Initializer = initializers.ones,
    bias_init: Initializer = initializers.zeros,
    mean_init: Initializer = initializers.zeros,
    var_init: Initializer = initializers.ones,
    use_scale: bool = True,
    use_bias: bool = True,
    dtype: DTypeLike = jnp.float32,
) -> tuple[BatchNormParams, BatchNormState]:
    """Parameters and running statistics for `batch_norm`.

    `scale = 1`,  `bias = 0`,  `mean = 0`,  `var = 1`,  `count = 0`, if no initialiser says otherwise.

    Args:
        features: the number of features, or one number for each of several feature axes.
        key: a PRNG key, needed only by random initialisers.
        scale_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`.
        bias_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`.
        mean_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`, for the running mean.
        var_init: `(key, shape, dtype) -> array`, as in `jax.nn.initializers`, for the running variance.
        use_scale: whether there is a scale.
        use_bias: whether there is a bias.
        dtype: of parameters and running mean. The variance is real, and the state at least float32. `complex64` gives
            complex mean, scale and bias.

    Returns:
        `(params, state)`: `BatchNormParams` and `BatchNormState` of `[features]` arrays.

    Raises:
        TypeError: `features` is not made of ints, or `dtype` is not floating or complex.
        ValueError: `features` is negative, or an initialiser needs the `key` that is missing.

    Example:
        >>> params, state = init_batch_norm(3)
        >>> print(params.scale, params.bias, state.mean, state.var)
        [1. 1. 1.] [0. 0. 0.] [0. 0. 0.] [1. 1. 1.]

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithm 1: its gamma and beta are scale and bias.
    """
    shape = _checks.features(features)
    dtype = _checks.float_dtype("dtype", dtype)
    scale_key, bias_key, state_key = _checks.keys(key, 3)
    params = BatchNormParams(
        _checks.initial("scale_init", scale_init, scale_key, shape, dtype)
        if _checks.switch("use_scale", use_scale)
        else None,
        _checks.initial("bias_init", bias_init, bias_key, shape, dtype)
        if _checks.switch("use_bias", use_bias)
        else None,
    )
    return params, init_state(features, key=state_key, mean_init=mean_init, var_init=var_init, dtype=dtype)


def batch_norm(
    params: BatchNormParams,
    state: State,
    x: ArrayLike,
    train: ArrayLike,
    *,
    axis: int | Sequence[int] = -1,
    momentum: ArrayLike = 0.99,
    epsilon: ArrayLike = 1e-5,
    mask: ArrayLike | None = None,
    axis_name: AxisName | None = None,
    axis_index_groups: Sequence[Sequence[int]] | None = None,
    averaging: Averaging = "ema",
    ddof: Literal[0, 1] = 0,
) -> tuple[jax.Array, State]:
    """Normalise every feature of a batch, and keep running statistics for evaluation.

    `y = scale * (x - mean) / sqrt(var + epsilon) + bias`, with mean and biased variance of the batch over all axes but
    the feature axes in training, and the running ones in evaluation.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays, or what `accumulate` makes of it.
        x: `[..., features, ...]`, floating or complex, of any rank from 1 up.
        train: a bool, or a traced bool scalar.
        axis: the feature axis, or several; parameters and state have their shape, in the order given.
        momentum: the weight of the OLD running value, between 0 and 1 (PyTorch's is that of the new one).
        epsilon: added to the variance, in the square of the unit of `x`, at least 0.
        mask: `None`, or booleans or non-negative weights with as many dimensions as `x`, broadcastable to it. The
            result equals dropping the elements of weight 0: they may hold anything, and `y` is 0 there. No gradient
            flows to weights.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the batch is spread.
        axis_index_groups: the members of that axis that share a batch, if not all of them do.
        averaging: how the running statistics forget: `"ema"`, `"warmup"` or `"cumulative"`, see `update_state`.
        ddof: 1 keeps the unbiased running variance, as PyTorch does.

    Returns:
        `(y, state)`: `y` of the shape and dtype of `x`; in training the updated state, through which no gradient
        flows, in evaluation the state as it was. With no data the state is kept and `y` is 0.

    Raises:
        TypeError: `x` is not floating or complex, or complex where the state is real, or `train` is not a bool.
        ValueError: an argument out of its range, or shapes that do not fit `x`.

    Example:
        >>> params, state = init_batch_norm(3)
        >>> x = jnp.arange(15.0).reshape(5, 3)
        >>> y, state = batch_norm(params, state, x, train=True)
        >>> print(y[:, 0])
        [-1.4142132 -0.7071066  0.         0.7071066  1.4142132]
        >>> print(state.mean)
        [0.06 0.07 0.08]

    Reference:
        Ioffe and Szegedy, "Batch normalization: accelerating deep network training by reducing internal covariate
        shift", ICML 2015, algorithm 1 (training) and algorithm 2 (evaluation).
    """
    rule: Any = {"momentum": momentum, "averaging": averaging, "ddof": ddof}
    x = _checks.data(x)
    axes = _checks.axes(axis, x.ndim)
    check(params, state, x, axes, epsilon=epsilon, axis_name=axis_name, axis_index_groups=axis_index_groups, **rule)
    train, weights = _checks.flag("train", train), _checks.mask(mask, x)
    if train is False:
        return _phases.evaluate(params, state, x, weights, axes, epsilon), state

    ordered, wide = tuple(sorted(axes)), counted(x, weights).astype(statistics_dtype(x.dtype))
    batch = of_batch(ordered, x, wide, weights)
    if axis_name is not None:
        batch = sync(batch, axis_name, axis_index_groups)
    new_state = _phases.learned(state, batch, axes, **rule)

    center, var = batch.center, batch.var
    if train is not True:
        (center, var), new_state = chosen(train, ((center, var), new_state), (running(state, axes, batch), state))
    scale, bias = prepared(params, axes, wide.dtype)
    multiplier, shift = affine(scale, bias, center[0], var, epsilon)
    y = apply_affine(ordered, x, wide, weights, center, multiplier, shift)
    return counted(y, weights).astype(x.dtype), new_state


def normalize(
    params: BatchNormParams,
    x: ArrayLike,
    mean: ArrayLike,
    var: ArrayLike,
    *,
    axis: int | Sequence[int] = -1,
    epsilon: ArrayLike = 1e-5,
) -> jax.Array:
    """Normalise with given statistics: what `batch_norm` does in evaluation.

    `y = scale * (x - mean) / sqrt(var + epsilon) + bias`.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        x: `[..., features, ...]`, floating or complex, of any rank from 1 up.
        mean: `[features]`, floating or complex.
        var: `[features]`, floating, at least 0.
        axis: the feature axis, or several; `mean`, `var` and parameters have their shape, in the order given.
        epsilon: added to the variance, at least 0.

    Returns:
        `y`, of the shape and dtype of `x`.

    Raises:
        TypeError: `x` is not floating or complex, or complex where the mean is real.
        ValueError: an argument out of its range, or shapes that do not fit `x`.

    Example:
        >>> params = BatchNormParams(scale=jnp.array([2.0]), bias=jnp.array([1.0]))
        >>> y = normalize(params, jnp.array([[3.0], [5.0]]), jnp.array([3.0]), jnp.array([4.0]), epsilon=0.0)
        >>> print(y[:, 0])
        [1. 3.]

    Reference:
        Ioffe and Szegedy 2015, algorithm 2, step 11.
    """
    x = _checks.data(x)
    axes = _checks.axes(axis, x.ndim)
    state = BatchNormState(_checks.array(mean, "mean"), _checks.array(var, "var"), jnp.zeros((), jnp.int32))
    _checks.fits(params, state, x, axes, of="")
    _checks.epsilon(epsilon)
    return _phases.evaluate(params, state, x, None, axes, epsilon)
