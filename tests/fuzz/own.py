"""What only a fuzzer makes keeps the error that it raises itself; this is the list of all of them."""

import traceback
from pathlib import Path

import jax
import numpy as np
from jax.experimental import sparse

import jaxbn

HOME = str(Path(jaxbn.__file__).parent)


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


# What was given, the kind of the error about it, and words that the error has.
OBJECTS = [
    (lambda v: _is_deleted(v), RuntimeError, "deleted"),
    (lambda v: isinstance(v, jax.core.Tracer), jax.errors.UnexpectedTracerError, "leaked"),
    (lambda v: isinstance(v, sparse.JAXSparse), Exception, ""),
    # Warnings of NumPy and JAX: of numbers that 32 bits can't hold, of lists of strings, of iterators in trees.
    (lambda v: _is_huge(v), RuntimeWarning, "overflow encountered in cast"),
    (lambda v: isinstance(v, str), DeprecationWarning, "Data type alias"),
    (lambda v: hasattr(v, "__next__"), DeprecationWarning, "is treated as a leaf"),
    # A dict that is no tree, since its keys have no order.
    (lambda _: True, ValueError, "sorting pytree dictionary keys"),
]
# The arguments that may be functions: their errors reach the caller, and so do those of the model in `nets.py`.
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
# Of arrays of JAX, which may be traced, no values are checked, and out of their range these give NaN.
UNCHECKED = {"decay"}
# The parts of an accumulating state that are no user's.
PRIVATE = (".pending", ".seen", ".micro_batches")


def is_own(error, case, values):
    """Whether an error is that of a hostile object itself."""
    chain, frames = [error, error.__cause__, error.__context__], traceback.extract_tb(error.__traceback__)
    if any(isinstance(e, OwnError) for e in chain) or any(f.filename.endswith("fuzz/nets.py") for f in frames):
        return True
    if type(error).__module__.startswith("flax.") or 'Parameter "use_running_average"' in str(error):
        return True
    if FLAX & {*case.changed} and not frames[-1].filename.startswith(HOME):
        return True
    if any(callable(case.arguments[name]) for name in FUNCTIONS & {*case.changed}) and str(error)[:1] != "`":
        return True
    if any(kind.startswith(PRIVATE) for kind in case.changed.values()):
        return True
    about = [(is_one, e) for is_one, kind, words in OBJECTS for e in chain if isinstance(e, kind) and words in str(e)]
    return any(is_one(value) for is_one, _ in about for value in values)


def _is_huge(value):
    return isinstance(value, float | np.ndarray | np.generic) and bool(
        np.any(np.abs(np.asarray(value, "longdouble")) > 3e38)
    )


def _is_deleted(array):
    return isinstance(array, jax.Array) and not isinstance(array, jax.core.Tracer) and array.is_deleted()
