"""What hypothesis draws; the shapes come from a short list, since each new one compiles."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st

# A shape and its feature axes: an int, negative, a tuple in any order.
LAYOUTS = [
    ((4,), 0),
    ((5, 3), -1),
    ((3, 5), 0),
    ((1, 3), -1),
    ((4, 2, 3), (2, 1)),
    ((3, 2, 4), (-3, 2)),
    ((3, 2, 2, 4), 1),
    ((3, 2, 2, 4), (3, 0, 1)),
    ((2, 3, 2, 2, 2), -1),
]
OFFSETS = [0.0, 1.0, 1e2, 1e3, 1e4, 1e5, 1e6]


class Batch(NamedTuple):
    x: jax.Array
    axis: int | tuple[int, ...]
    mask: np.ndarray | None

    @property
    def features(self):
        axes = self.axis if isinstance(self.axis, tuple) else (self.axis,)
        return tuple(self.x.shape[a] for a in axes)


def dtypes():
    return st.sampled_from(["float32", "float32", "bfloat16", "float16", "complex64"])


def momenta():
    return st.floats(0, 1, width=32)


def averagings():
    return st.sampled_from(["ema", "warmup", "cumulative"])


@st.composite
def masks(draw, shape):
    """None, booleans, integers or weights of a shape that broadcasts; some keep nothing of some or all features."""
    kind = draw(st.sampled_from(["none", "bool", "bool", "int32", "float32", "empty"]))
    if kind == "none":
        return None
    shape = tuple(1 if draw(st.booleans()) else n for n in shape)
    if kind == "empty":
        return np.zeros(shape, bool)
    values = draw(st.lists(st.sampled_from([0, 0, 0.5, 1, 3]), min_size=math.prod(shape), max_size=math.prod(shape)))
    return np.asarray(values).reshape(shape).astype(kind)


@st.composite
def batches(draw, dtype="float32", offsets=OFFSETS):
    """Noise of a random spread about a random offset, some of it constant; poison behind the mask."""
    shape, axis = draw(st.sampled_from(LAYOUTS))
    random = np.random.default_rng(draw(st.integers(0, 2**16)))
    spread = draw(st.sampled_from([1.0, 1.0, 3.0, 0.0]))
    # Half precision holds no noise of size 1 further away.
    offset = draw(st.sampled_from([o for o in offsets if o < 1e3 or not dtype.endswith("float16")]))
    x = random.normal(offset, spread, shape)
    if dtype.startswith("complex"):
        x = x + 1j * random.normal(-offset, spread, shape)
    mask = draw(masks(shape))
    if mask is not None:
        x = np.where(mask > 0, x, draw(st.sampled_from([np.nan, np.inf, -np.inf, 7.0])))
    return Batch(jnp.asarray(x, dtype), axis, mask)
