"""A pickle of NumPy arrays, read without the power to call anything else."""

import gzip
import pickle
from typing import IO, Any

import numpy as np

# The function that every pickled array names, under its old and its new module.
_RECONSTRUCT = np.empty(0).__reduce__()[0]
_ADMITTED = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    ("numpy.core.multiarray", "_reconstruct"): _RECONSTRUCT,
    ("numpy._core.multiarray", "_reconstruct"): _RECONSTRUCT,
}


class _ArrayUnpickler(pickle.Unpickler):
    def find_class(self, module_name: str, global_name: str, /) -> Any:
        try:
            return _ADMITTED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(
                f"`file` must be a pickle of NumPy arrays only, but it asks for {module_name}.{global_name}"
            ) from None


def load_arrays(file: IO[bytes] | gzip.GzipFile) -> Any:
    """Returns the arrays of a pickle, in the tuples, lists and dicts that hold them.

    Args:
        file: the pickle, also one of Python 2.

    Returns:
        What was pickled.

    Raises:
        pickle.UnpicklingError: it names anything but what NumPy arrays are made of; nothing of it was called.
    """
    return _ArrayUnpickler(file, encoding="bytes").load()
