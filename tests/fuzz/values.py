"""Hostile values of every kind but arrays, each made anew from a random generator."""

import collections
import decimal
import enum
import fractions
import functools
import warnings

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

import jaxbn
from tests.fuzz.arrays import ARRAYS
from tests.fuzz.own import Silent, failing


class Number(enum.IntEnum):
    ONE = 1


class Text(str):
    pass


class Indexed:
    def __index__(self):
        return 1


class Unhashable:
    __hash__ = None


class OfDtype:
    dtype = np.dtype("float32")


def nothing(rng):
    return rng.choice(
        [None, Ellipsis, NotImplemented, object(), int, np, jnp.float32, Indexed(), Unhashable(), OfDtype()]
    )


def silent(rng):
    return Silent()


def truth(rng):
    return rng.choice([True, False, np.True_, np.False_, jnp.asarray(True), np.asarray(False)])


def whole(rng):
    small = [0, 1, -1, 2, 3, 7, -7, 100, Number.ONE, np.int8(3), np.uint64(2), np.int64(-1), jnp.int32(2), jnp.int8(1)]
    return rng.choice(small)


def huge(rng):
    return rng.choice([2**31, -(2**31) - 1, 2**63, -(2**63) - 1, 2**64, 2**100, -(2**100), 10**400, np.uint64(2**63)])


def real(rng):
    found = [0.0, -0.0, 1.0, -1.0, 0.5, 1e-300, 5e-324, 1e300, 3e38, -1e-5, np.nan, np.inf, -np.inf]
    value = rng.choice(found)
    with warnings.catch_warnings(action="ignore"), np.errstate(all="ignore"):
        kinds = [
            float,
            np.float16,
            np.float32,
            np.float64,
            np.longdouble,
            jnp.float32,
            jnp.bfloat16,
            np.asarray,
            jnp.asarray,
        ]
        return rng.choice([*[float] * 6, *kinds])(value)


def exact(rng):
    return rng.choice([decimal.Decimal("0.5"), fractions.Fraction(1, 2), decimal.Decimal("NaN")])


def complex_number(rng):
    return rng.choice([1j, complex(np.nan, 1), np.complex64(1j), jnp.complex64(1j)])


def text(rng):
    found = ["", "i", "j", "0.5", "ema", "channels", "é`{}\n\0", "x" * 10_000, b"i", b"", np.str_("i"), Text("i")]
    return rng.choice([*found, bytearray(b"i"), "float32", "float16", "int4", "float8_e5m2", "complex64", "O"])


def container(rng):
    made = [(), [], [1.0, 2.0, 3.0], [[1.0], [1.0, 2.0]], (0,), (0, 1), [-1], {}, {"a": 1}, {1, 2}, frozenset({0})]
    made += [range(3), iter([]), (n for n in range(3)), map(str, [1]), collections.deque([1]), {}.keys()]
    made += [[[0], [1]], [[0, 0]], [[0, 1], [2, 3]], ("i", "j"), ["i"], ("i", "i"), [None], (None, None), [object()]]
    made += [[2**100], [[2**100]], [1e300, np.nan], ["a", "b"], [np.ones(3, "float32")] * 2, [jnp.ones((5, 3))] * 2]
    return rng.choice(made)


def function(rng):
    made = [failing, lambda: None, lambda *_: None, lambda *_, **__: "text", lambda *_: jnp.ones(7), lambda x: x, len]
    made += [
        lambda *_: np.ones(3, "int8"),
        lambda *_: jnp.ones(3) * 1j,
        lambda *_: jnp.full(3, np.nan),
        lambda *_: 2**100,
    ]
    return rng.choice(
        [*made, jnp.zeros, functools.partial(jnp.ones, 3), jax.jit(lambda *_: 1.0), type, needing_a_keyword]
    )


def needing_a_keyword(*_, key):
    return key


def tree(rng):
    params, state = jaxbn.init_batch_norm(rng.choice([3, 4, (5, 3), 0]))
    moments = jaxbn.Moments(*[jnp.ones(3)] * 3)
    made = [params, state, moments, (params, state), tuple(state), params._asdict(), [*params], {"": (params, state)}]
    made += [jaxbn.BatchNormParams(None, None), jaxbn.BatchNormState(None, None, None), jaxbn.Moments(1.0, 2.0, 3.0)]
    return rng.choice([*made, jax.tree.map(lambda part: [part], state), jax.eval_shape(lambda: state)])


def of_jax(rng):
    return rng.choice(
        [jax.P("i"), lax.Precision.HIGHEST, jax.make_jaxpr(jnp.sin)(1.0), jax.devices()[0], jax.numpy.sin]
    )


OTHERS = [nothing, nothing, silent, truth, whole, whole, huge, real, real, exact, complex_number, text, text]
OTHERS += [container, container, function, tree, of_jax]


def anything(rng):
    """A hostile value and what it is called."""
    make = rng.choice(ARRAYS if rng.random() < 0.4 else OTHERS)
    return make(rng), make.__name__
