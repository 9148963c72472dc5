"""Batch norm in NumPy float64, written from the papers and not from the library."""

from typing import NamedTuple

import numpy as np


class Statistics(NamedTuple):
    count: np.ndarray
    mean: np.ndarray
    m2: np.ndarray


def double(x):
    x = np.asarray(x)
    return x.astype(np.complex128 if np.iscomplexobj(x) else np.float64)


def _rows(x, axis):
    """One row of values per feature: `[*features, values]`, the features in the order of `axis`."""
    axes = axis if isinstance(axis, tuple) else (axis,)
    x = np.moveaxis(x, axes, range(len(axes)))
    return x.reshape(*x.shape[: len(axes)], -1)


def _unrows(rows, shape, axis):
    axes = axis if isinstance(axis, tuple) else (axis,)
    moved = np.moveaxis(np.empty(shape), axes, range(len(axes))).shape
    return np.moveaxis(rows.reshape(moved), range(len(axes)), axes)


def _weighted(x, axis, mask):
    weights = np.broadcast_to(1.0 if mask is None else double(mask), x.shape)
    return _rows(np.where(weights > 0, double(x), 0), axis), _rows(weights, axis)


def moments(x, axis=-1, mask=None):
    rows, weights = _weighted(x, axis, mask)
    count = weights.sum(-1)
    mean = (weights * rows).sum(-1) / np.where(count > 0, count, 1)
    return Statistics(count, mean, (weights * np.abs(rows - mean[..., None]) ** 2).sum(-1))


def variance(m, ddof=0):
    degrees = m.count - ddof
    return m.m2 / np.where(degrees > 0, degrees, 1)


def normalize(x, mean, var, scale=1.0, bias=0.0, axis=-1, epsilon=1e-5, mask=None):
    rows, weights = _weighted(x, axis, mask)
    mean, var, scale, bias = (np.broadcast_to(double(p), rows.shape[:-1])[..., None] for p in (mean, var, scale, bias))
    y = scale * (rows - mean) / np.sqrt(var + epsilon) + bias
    return _unrows(np.where(weights > 0, y, 0), x.shape, axis)


def batch_norm(x, scale=1.0, bias=0.0, axis=-1, epsilon=1e-5, mask=None):
    m = moments(x, axis, mask)
    return normalize(x, m.mean, variance(m), scale, bias, axis, epsilon, mask)


def gradient(x, dy, scale, axis=-1, epsilon=1e-5, mask=None):
    """Closed form of the gradients of `sum(dy * y).real` by `x`, scale and bias, in the conventions of `jax.grad`."""
    m = moments(x, axis, mask)
    rows, weights = _weighted(x, axis, mask)
    dy = np.where(weights > 0, _rows(double(dy), axis), 0)
    count = np.where(m.count > 0, m.count, 1)[..., None]
    inverse = 1 / np.sqrt(variance(m) + epsilon)[..., None]
    scale = np.broadcast_to(double(scale), rows.shape[:-1])[..., None]
    deviation = np.where(weights > 0, rows - m.mean[..., None], 0)
    towards_var = (scale * dy * deviation).sum(-1, keepdims=True).real
    dx = scale * inverse * (dy - weights / count * dy.sum(-1, keepdims=True))
    dx = dx - inverse**3 * weights / count * np.conj(deviation) * towards_var
    return _unrows(dx, x.shape, axis), (dy * deviation * inverse).sum(-1), dy.sum(-1)


def _groups(x, size, mask):
    """Neighbours along the leading axis, with their weights; the last group may be smaller."""
    weights = np.broadcast_to(1.0 if mask is None else double(mask), x.shape)
    return [(x[i : i + size], weights[i : i + size]) for i in range(0, len(x), size)]


def ghost_batch_norm(x, size, scale=1.0, bias=0.0, axis=-1, epsilon=1e-5, mask=None):
    groups = [batch_norm(part, scale, bias, axis, epsilon, weights) for part, weights in _groups(x, size, mask)]
    return np.concatenate([double(x[:0]), *groups])


def ghost_gradient(x, dy, scale, size, mask=None):
    """As `gradient`, of groups."""
    parts = zip(_groups(x, size, mask), _groups(dy, size, None), strict=True)
    dx, *rest = zip(*(gradient(v, g, scale, mask=w) for (v, w), (g, _) in parts), strict=True)
    return np.concatenate(dx), *(sum(part) for part in rest)


def corrections(x, mean, var, r_max, d_max, axis=-1, epsilon=1e-5, mask=None):
    """`r` and `d` of batch renormalisation; of complex data, the absolute value of `d` is limited."""
    m = moments(x, axis, mask)
    batch_sigma, sigma = np.sqrt(variance(m) + epsilon), np.sqrt(double(var) + epsilon)
    d = (m.mean - double(mean)) / sigma
    size = np.abs(d)
    return np.clip(batch_sigma / sigma, 1 / r_max, r_max), np.where(
        size > d_max, d / np.maximum(size, 1e-300) * d_max, d
    )


def batch_renorm(x, r, d, scale=1.0, bias=0.0, axis=-1, epsilon=1e-5, mask=None):
    """With given corrections, through which no gradient flows."""
    m = moments(x, axis, mask)
    return normalize(x, m.mean, variance(m), double(scale) * r, bias + double(scale) * d, axis, epsilon, mask)


def running(mean, var, count, batches, momentum=0.99, averaging="ema", ddof=0):
    """Running mean, variance and count after a list of `Statistics`, feature by feature."""
    mean = double(mean) + sum(0 * batch.mean for batch in batches)  # complex where a batch is
    var, count = double(var).copy(), int(count)
    for batch in batches:
        equal = count / (count + 1)
        old = {"ema": momentum, "warmup": min(momentum, equal), "cumulative": equal}[averaging]
        for i in np.ndindex(mean.shape):
            if batch.count[i] > 0:
                mean[i] = old * mean[i] + (1 - old) * batch.mean[i]
            if batch.count[i] - ddof > 0:
                var[i] = old * var[i] + (1 - old) * batch.m2[i] / (batch.count[i] - ddof)
        count += bool(np.any(batch.count > 0))
    return mean, var, count
