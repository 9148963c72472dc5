"""Hostile arrays: every dtype, odd shapes and values, and things that are nearly arrays."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import sparse

from tests.fuzz.own import Refusing

SHAPES = [(), (0,), (1,), (2,), (3,), (5, 3), (3, 5), (4, 3), (0, 3), (5, 0), (2, 4, 4, 3), (5, 1), (1, 3), (5, 3, 1)]
WIDE = [(1,) * 7, (1,) * 32 + (3,), (1,) * 63 + (3,), (3,) + (1,) * 63]
TOO_WIDE = [(1,) * 64 + (3,), (1,) * 99 + (3,)]
NATIVE = [
    "float16",
    "float32",
    "float64",
    "longdouble",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "uint32",
    "uint64",
    "bool",
    "complex64",
    "complex128",
]
STRANGE = [object, "U3", "S3", "datetime64[s]", "timedelta64[s]", "V4", ">f4", ">i8", [("a", "f4"), ("b", "i4")]]
SMALL = [
    "bfloat16",
    "float8_e4m3fn",
    "float8_e5m2",
    "float8_e4m3b11fnuz",
    "float8_e3m4",
    "float8_e8m0fnu",
    "float4_e2m1fn",
]
SMALL += ["int2", "int4", "uint2", "uint4"]
FILLS = [0, 1, 1, 2.5, -1, 1e-40, 1e30, np.nan, np.inf, -np.inf]


def numpy_array(rng):
    return _filled(rng, rng.choice(SHAPES + (WIDE if rng.random() < 0.2 else [])), rng.choice(NATIVE))


def strange_array(rng):
    return np.zeros(rng.choice(SHAPES), rng.choice(STRANGE))


def jax_array(rng):
    shape = rng.choice(SHAPES + (WIDE + TOO_WIDE if rng.random() < 0.2 else []))
    dtype = rng.choice([d for d in NATIVE if d != "longdouble"] + SMALL)
    if shape in TOO_WIDE:
        return jnp.full(shape, 2.5)
    return jax.device_put(_filled(rng, shape, jax.dtypes.canonicalize_dtype(dtype)))


def normal(rng):
    shape = rng.choice([(5, 3), (2, 4, 4, 3), (3,), (64, 3)])
    return np.random.default_rng(rng.randrange(99)).normal(rng.choice([0, 1e4]), 1, shape).astype("float32")


def small_array(rng):
    return jnp.ones(rng.choice(SHAPES), rng.choice(SMALL))


def masked_array(rng):
    return np.ma.masked_array(_filled(rng, (5, 3), "float32"), np.eye(5, 3, dtype=bool))


def matrix(rng):
    with warnings.catch_warnings(action="ignore"):
        return np.asmatrix(_filled(rng, (5, 3), "float32"))


def view(rng):
    x = np.arange(15, dtype="float32").reshape(5, 3)
    return rng.choice([x[::-1], x[:, ::-1], np.broadcast_to(x[:1], (5, 3)), np.asfortranarray(x), x.T, x[::2]])


def key(rng):
    return rng.choice([jax.random.key(0), jax.random.key(0)[None], jax.random.split(jax.random.key(0), 3)])


def raw_key(rng):
    return jax.random.PRNGKey(0)


def shape_alone(rng):
    return jax.ShapeDtypeStruct((5, 3), "float32")


def no_tangent(rng):
    return np.zeros((5, 3), jax.dtypes.float0)


def deleted(rng):
    x = jnp.ones(rng.choice([(3,), (5, 3)]))
    x.delete()
    return x


def sparse_array(rng):
    return sparse.BCOO((jnp.ones(1), jnp.zeros((1, 2), "int32")), shape=(5, 3))


def leaked_tracer(rng):
    kept = []
    jax.make_jaxpr(lambda x: kept.append(x) or x)(jnp.ones((5, 3)))
    return kept[0]


def mutable(rng):
    return jax.new_ref(jnp.ones(rng.choice([(3,), (5, 3)])))


def refusing_array(rng):
    return Refusing()


def _filled(rng, shape, dtype):
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        return np.full(shape, rng.choice(FILLS)).astype(dtype)


ARRAYS = [
    numpy_array,
    numpy_array,
    strange_array,
    jax_array,
    jax_array,
    normal,
    small_array,
    masked_array,
    matrix,
    view,
]
ARRAYS += [key, raw_key, shape_alone, no_tangent, deleted, sparse_array, leaked_tracer, mutable, refusing_array]
