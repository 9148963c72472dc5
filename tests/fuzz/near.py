"""Values that differ in one respect from a valid one."""

import jax
import jax.numpy as jnp
import numpy as np

from tests.fuzz.arrays import FILLS, NATIVE, SMALL
from tests.fuzz.values import Text, anything, container, text, truth, whole

_DTYPES = [dtype for dtype in NATIVE if dtype != "longdouble"] + SMALL


def near(rng, value):
    if isinstance(value, bool) or value is None:
        return rng.choice([truth, whole, text, container])(rng)
    if isinstance(value, int | float):
        return rng.choice(_of_number(value))
    if isinstance(value, str):
        return rng.choice(_of_text(value))
    if isinstance(value, np.ndarray | jax.Array):
        return rng.choice([_dtype, _shape, _part, _entry, _size, _kind])(rng, value)
    return anything(rng)[0]


def _of_number(value):
    changed = [-value, value * 1e30, value + 0.5, complex(value), bool(value), str(value), [value], (value, value)]
    arrays = [np.float32(value), np.float64(value), jnp.asarray(value), np.asarray(value), np.asarray([value])]
    return changed + arrays


def _of_text(value):
    return [value.upper(), value + " ", value[:-1], value.encode(), np.str_(value), [value], Text(value)]


def _dtype(rng, value):
    return jnp.asarray(np.asarray(value).astype(jax.dtypes.canonicalize_dtype(rng.choice(_DTYPES))))


def _shape(rng, value):
    shapes = [(1, *value.shape), (*value.shape, 1), (-1,), (1,) * (64 - value.ndim) + value.shape]
    return value.reshape(rng.choice(shapes))


def _part(rng, value):
    cuts = [..., None, slice(0), slice(1), slice(2), slice(None, None, 2)]
    return value[rng.choice(cuts)] if value.ndim else value


def _entry(rng, value):
    new = np.array(value)
    new.flat[:1] = np.asarray(rng.choice(FILLS)).astype(new.dtype)
    return new


def _size(rng, value):
    return np.asarray(value) * rng.choice([0, -1, 1e20, 1e-30])


def _kind(rng, value):
    others = [value.tolist(), np.asarray(value), np.asarray(value, object), value.T, jnp.asarray(value)]
    return rng.choice([*others, np.ma.masked_array(value)])
