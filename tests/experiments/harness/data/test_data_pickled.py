"""Pickled arrays are read without running anything that a pickle may ask for."""

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.harness.data.pickled import load_arrays

# `numpy.arange(3, dtype="<f4")` as Python 2 pickled it: old module names, byte strings for text.
PYTHON_2 = (
    b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x03\x85"
    b"cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89U\x0c"
    b"\x00\x00\x00\x00\x00\x00\x80?\x00\x00\x00@tb."
)


class Malice:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any):
        self._call = function, arguments

    def __reduce__(self) -> Any:
        return self._call


@pytest.mark.parametrize("protocol", [3, 4])
def test_arrays_come_back(protocol: int) -> None:
    arrays = (np.eye(3, dtype=np.float32), [np.arange(4), {"labels": np.zeros([2, 0], np.uint8)}])
    got = load_arrays(io.BytesIO(pickle.dumps(arrays, protocol)))
    np.testing.assert_array_equal(got[0], arrays[0])
    np.testing.assert_array_equal(got[1][0], np.arange(4))
    assert got[1][1]["labels"].shape == (2, 0)


def test_arrays_of_python_2_come_back() -> None:
    got = load_arrays(io.BytesIO(PYTHON_2))
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got, [0, 1, 2])


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "wrap", [lambda malice: malice, lambda malice: np.array([malice], object)], ids=["bare", "in-array"]
)
def test_a_malicious_pickle_is_refused_and_not_run(tmp_path: Path, protocol: int, wrap: Any) -> None:
    victim = tmp_path / "victim"
    pickled = pickle.dumps(wrap(Malice(os.mkdir, str(victim))), protocol)
    with pytest.raises(pickle.UnpicklingError, match="must be a pickle of NumPy arrays only, but it asks for "):
        load_arrays(io.BytesIO(pickled))
    assert not victim.exists()


@pytest.mark.parametrize("function", [eval, np.load, np.fromfile, getattr], ids=lambda function: function.__name__)
def test_other_functions_are_refused(function: Any) -> None:
    with pytest.raises(pickle.UnpicklingError, match=function.__name__):
        load_arrays(io.BytesIO(pickle.dumps(Malice(function, "1"))))
