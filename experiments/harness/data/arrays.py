"""The MNIST arrays, and the checksums that every source of them must meet."""

import hashlib
from typing import NamedTuple

import numpy as np

from experiments.harness.data import idx
from experiments.harness.data.errors import DamagedDataError

# MD5 of the decompressed official idx files. The header is part of them, so that they fix the shapes too.
MD5 = {
    "train_images": "6bbc9ace898e44ae57da46a324031adb",
    "train_labels": "a25bea736e30d166cdddb491f175f624",
    "test_images": "2646ac647ad5339dbf082846283269ea",
    "test_labels": "27ae3e4e09519cfbb04c329615203637",
}


class Mnist(NamedTuple):
    """MNIST as uint8 arrays, in the order of the official idx files."""

    train_images: np.ndarray  # [60000, 28, 28]
    train_labels: np.ndarray  # [60000]
    test_images: np.ndarray  # [10000, 28, 28]
    test_labels: np.ndarray  # [10000]


def verify(mnist: Mnist) -> Mnist:
    """Returns the arrays if they are the official ones, bit for bit and in the official order.

    Args:
        mnist: uint8 arrays of any shape.

    Returns:
        The same arrays.

    Raises:
        DamagedDataError: an array's idx file would not have the official MD5.
    """
    for name, array in mnist._asdict().items():
        digest = hashlib.md5(idx.encode(array), usedforsecurity=False).hexdigest()
        if digest != MD5[name]:
            raise DamagedDataError(f"`{name}` of shape {list(array.shape)} has MD5 {digest}, expected {MD5[name]}")
    return mnist
