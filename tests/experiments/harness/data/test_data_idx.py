"""The official file format: what is encoded is decoded, and what is damaged is refused."""

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
from hypothesis import given

from experiments.harness.data import idx


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=3, max_side=5)))
def test_decode_inverts_encode(array: np.ndarray) -> None:
    decoded = idx.decode(idx.encode(array))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, array)


def test_encode_writes_the_official_header() -> None:
    assert idx.encode(np.zeros([10000, 28, 28], np.uint8))[:16].hex() == "00000803000027100000001c0000001c"


def test_encode_refuses_another_dtype() -> None:
    with pytest.raises(TypeError, match="`array` must be of uint8, got int64"):
        idx.encode(np.zeros(3, np.int64))


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        pytest.param("", "must begin with an idx header, got 0 bytes", id="empty"),
        pytest.param("000008020000", "must begin with an idx header, got 6 bytes", id="cut-header"),
        pytest.param("00000d0100000000", "of uint8, got the magic number 00000d01", id="floats"),
        pytest.param("0000080100000002ff", "must hold 2 values by its header, got 1", id="too-short"),
        pytest.param("0000080100000001ffff", "must hold 1 values by its header, got 2", id="too-long"),
    ],
)
def test_decode_refuses(payload: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        idx.decode(bytes.fromhex(payload))
