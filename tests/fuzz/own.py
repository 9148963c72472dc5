"""What only a fuzzer makes keeps the error that it raises itself; this is the list of all of them."""

import traceback

import jax
import numpy as np
from jax.experimental import sparse


class OwnError(Exception):
    """Raised by the values of this package: by functions, and by objects that answer nothing."""


class Refusing:
    """An array by its attributes, which can't be read."""

    shape, ndim, dtype, size = (5, 3), 2, jax.numpy.dtype("float32"), 15

    def __array__(self, dtype=None, copy=None):
        raise OwnError


class Silent:
    """An object of which not even the name can be printed, nor anything be asked."""

    def _refuse(self, *_):
        raise OwnError

    __repr__ = __str__ = __bool__ = __index__ = __float__ = __len__ = __iter__ = __eq__ = __hash__ = _refuse


def failing(*_args, **_kwargs):
    raise OwnError


# What was given, and the error about it, of which the words are.
OWN = [
    (lambda v: _is_deleted(v), RuntimeError, "deleted"),
    (lambda v: isinstance(v, jax.core.Tracer), jax.errors.UnexpectedTracerError, "leaked"),
    (lambda v: isinstance(v, sparse.JAXSparse), Exception, ""),
    # NumPy's warning, as JAX converts what its 32 bits can't hold.
    (lambda v: _is_huge(v), RuntimeWarning, "overflow encountered in cast"),
    # JAX's warning about iterators in trees.
    (lambda v: hasattr(v, "__next__"), DeprecationWarning, "is treated as a leaf"),
]
# Functions that are given: of what they do nothing is caught.
FUNCTIONS = {
    "scale_init",
    "bias_init",
    "mean_init",
    "var_init",
    "apply",
    "f",
    "names",
    "r_max",
    "d_max",
    "promote_dtype",
}
# The arguments that Flax itself looks at, and answers for.
FLAX = {"variables", "rngs", "bias_metadata", "scale_metadata"}


def is_own(error, case, values):
    """Whether an error is that of a hostile object itself."""
    chain = [error, error.__cause__, error.__context__]
    if any(isinstance(e, OwnError) for e in chain):
        return True
    if type(error).__module__.startswith("flax."):
        return True
    last = traceback.extract_tb(error.__traceback__)[-1]
    if (FLAX & {*case.changed} and "/jaxbn/" not in last.filename) or 'Parameter "use_running_average"' in str(error):
        return True
    if any(callable(case.arguments[name]) for name in FUNCTIONS & {*case.changed}) and "`" not in str(error):
        return True
    return any(
        isinstance(e, kind) and words in str(e) and any(is_one(v) for v in values)
        for is_one, kind, words in OWN
        for e in chain
    )


def _is_huge(value):
    return isinstance(value, float | np.ndarray | np.generic) and bool(
        np.any(np.abs(np.asarray(value, "longdouble")) > 3e38)
    )


def _is_deleted(array):
    return isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer) and array.is_deleted()
