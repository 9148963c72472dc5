"""Folding for those who know which layer stands before the norm."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from jaxbn import _checks as _core
from jaxbn._affine import affine
from jaxbn.inference._folding import checks as _checks
from jaxbn.inference._folding.known import widest
from jaxbn.normalization import BatchNormParams
from jaxbn.running import BatchNormState


def to_affine(params: BatchNormParams, state: BatchNormState, epsilon: ArrayLike = 1e-5) -> tuple[jax.Array, jax.Array]:
    """Batch norm in evaluation as one product and one sum.

    `y = x * multiplier + shift` with `multiplier = scale / sqrt(var + epsilon)` and
    `shift = bias - mean * multiplier`.

    Where the mean is large beside the deviation, `x * multiplier` and `shift` cancel, and digits are lost that
    `batch_norm` keeps: as many as `mean / sqrt(var)` has.

    Args:
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays.
        epsilon: added to the variance, at least 0.

    Returns:
        `(multiplier, shift)`, `[features]`, in the precision of the mean, at least float32.

    Raises:
        TypeError: `params` is no `BatchNormParams`, or `state` no `BatchNormState`.
        ValueError: shapes that do not fit each other, or an `epsilon` out of its range.

    Example:
        >>> params = BatchNormParams(scale=jnp.array([2.0]), bias=jnp.array([1.0]))
        >>> state = BatchNormState(mean=jnp.array([3.0]), var=jnp.array([4.0]), count=jnp.array(1))
        >>> multiplier, shift = to_affine(params, state, epsilon=0.0)
        >>> print(multiplier, shift)
        [1.] [-2.]

    Reference:
        Ioffe and Szegedy, "Batch normalization", ICML 2015, algorithm 2, step 11.
    """
    params, state = _checks.norm(params, state)
    _core.epsilon(epsilon)
    dtype = widest(state.mean.dtype)
    scale, bias = (None if part is None else part.astype(dtype) for part in params)
    mean, var = state.mean.astype(dtype), state.var.astype(jnp.finfo(dtype).dtype)
    multiplier, shift = affine(scale, bias, mean, var, epsilon)
    return multiplier, shift - mean * multiplier


def fold_dense(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    params: BatchNormParams,
    state: BatchNormState,
    *,
    axis: int = -1,
    epsilon: ArrayLike = 1e-5,
) -> tuple[jax.Array, jax.Array]:
    """Fold a batch norm into the dense layer before it.

    `batch_norm(x @ kernel + bias) = x @ new_kernel + new_bias` with `new_kernel = kernel * multiplier` and
    `new_bias = (bias - mean) * multiplier + beta`, where `beta` is the bias of the norm.

    Args:
        kernel: `[inputs, features]`, floating or complex.
        bias: `[features]`, floating or complex, or `None`.
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays.
        axis: the axis of the output features in the kernel; 0 for one of PyTorch.
        epsilon: added to the variance, at least 0.

    Returns:
        `(kernel, bias)`, folded in at least float32 and rounded once to the dtype of the kernel.

    Raises:
        TypeError: the kernel or the bias is not floating or complex, `params` is no `BatchNormParams`, or
            `state` no `BatchNormState`.
        ValueError: shapes that do not fit each other, or an `epsilon` out of its range.

    Example:
        >>> params = BatchNormParams(scale=jnp.array([2.0]), bias=jnp.array([1.0]))
        >>> state = BatchNormState(mean=jnp.array([3.0]), var=jnp.array([4.0]), count=jnp.array(1))
        >>> kernel, bias = fold_dense(jnp.array([[5.0], [6.0]]), None, params, state, epsilon=0.0)
        >>> print(kernel[:, 0], bias)
        [5. 6.] [-2.]

    Reference:
        Jacob et al., "Quantization and training of neural networks for efficient integer-arithmetic-only inference",
        CVPR 2018, equation (14).
    """
    params, state = _checks.norm(params, state)
    _checks.one_feature_axis(state)
    _core.epsilon(epsilon)
    made, given = _checks.kernel(kernel, bias, state, axis)
    dtype = widest(made.dtype, state.mean.dtype)
    scale, beta = (None if part is None else part.astype(dtype) for part in params)
    mean = state.mean.astype(dtype)
    multiplier, shift = affine(scale, beta, mean, state.var.astype(jnp.finfo(dtype).dtype), epsilon)
    # The mean first: beside a bias of its size, what is left is small and exact.
    before = -mean if given is None else given.astype(dtype) - mean
    others = [a for a in range(made.ndim) if a not in _core.axes(axis, made.ndim)]
    folded = made.astype(dtype) * jnp.expand_dims(multiplier, others)
    return folded.astype(made.dtype), (before * multiplier + shift).astype(made.dtype)


def fold_conv(
    kernel: ArrayLike,
    bias: ArrayLike | None,
    params: BatchNormParams,
    state: BatchNormState,
    *,
    axis: int = -1,
    epsilon: ArrayLike = 1e-5,
) -> tuple[jax.Array, jax.Array]:
    """Fold a batch norm into the convolution before it.

    `batch_norm(conv(x, kernel) + bias) = conv(x, new_kernel) + new_bias`, as in `fold_dense`. Strides, padding,
    dilation, groups and transposition make no difference.

    Args:
        kernel: `[*window, inputs, features]`, as in Flax, Haiku and Keras; floating or complex.
        bias: `[features]`, floating or complex, or `None`.
        params: `BatchNormParams` of `[features]` arrays, or `None` in them.
        state: `BatchNormState` of `[features]` arrays.
        axis: the axis of the output features in the kernel: 0 for one of PyTorch or Equinox, 1 for a transposed one of
            PyTorch without groups, -2 for a transposed one of Keras.
        epsilon: added to the variance, at least 0.

    Returns:
        `(kernel, bias)`, folded in at least float32 and rounded once to the dtype of the kernel.

    Raises:
        TypeError: the kernel or the bias is not floating or complex, `params` is no `BatchNormParams`, or
            `state` no `BatchNormState`.
        ValueError: shapes that do not fit each other, or an `epsilon` out of its range.

    Example:
        >>> params = BatchNormParams(scale=jnp.array([2.0]), bias=jnp.array([1.0]))
        >>> state = BatchNormState(mean=jnp.array([3.0]), var=jnp.array([4.0]), count=jnp.array(1))
        >>> kernel, bias = fold_conv(jnp.full((3, 3, 1, 1), 5.0), jnp.array([4.0]), params, state, epsilon=0.0)
        >>> print(kernel[0, 0], bias)
        [[5.]] [2.]

    Reference:
        Jacob et al. 2018, equation (14).
    """
    return fold_dense(kernel, bias, params, state, axis=axis, epsilon=epsilon)
