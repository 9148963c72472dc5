"""The idx format of the official files: two zeros, a type code, the rank, the shape, then the bytes."""

import math
import struct

import numpy as np

_UINT8 = 8


def encode(array: np.ndarray) -> bytes:
    """Returns the idx file of an array.

    Args:
        array: uint8, any shape.

    Returns:
        The file's bytes, header included.

    Raises:
        TypeError: the array is not of uint8.

    Example:
        >>> encode(np.array([5, 0], np.uint8)).hex()
        '00000801000000020500'
    """
    if array.dtype != np.uint8:
        raise TypeError(f"`array` must be of uint8, got {array.dtype}")
    return struct.pack(f">HBB{array.ndim}I", 0, _UINT8, array.ndim, *array.shape) + array.tobytes()


def decode(payload: bytes | memoryview) -> np.ndarray:
    """Returns the array of an idx file.

    Args:
        payload: the decompressed file, header included.

    Returns:
        uint8, of the shape that the header tells.

    Raises:
        ValueError: the payload is no idx file of uint8, or its length contradicts its header.

    Example:
        >>> decode(bytes.fromhex("00000801000000020500"))
        array([5, 0], dtype=uint8)
    """
    array, rest = decode_first(payload)
    if rest:
        raise ValueError(f"`payload` must hold {array.size} values by its header, got {array.size + len(rest)}")
    return array


def decode_first(payload: bytes | memoryview) -> tuple[np.ndarray, memoryview]:
    """Returns the array of the first of several idx files, one behind the other, and the others.

    Args:
        payload: as in `decode`, and whatever follows.

    Returns:
        The array, which shares no memory with the payload, and the rest of the payload, which does.

    Raises:
        ValueError: the payload begins with no idx file of uint8, or ends inside it.
    """
    try:
        zeros, code, rank = struct.unpack_from(">HBB", payload)
        shape = struct.unpack_from(f">{rank}I", payload, 4)
    except struct.error as error:
        raise ValueError(f"`payload` must begin with an idx header, got {len(payload)} bytes") from error
    if (zeros, code) != (0, _UINT8):
        raise ValueError(f"`payload` must be an idx file of uint8, got the magic number {bytes(payload[:4]).hex()}")
    # Python's integers: those of NumPy would overflow in silence.
    values, size = memoryview(payload)[4 + 4 * rank :], math.prod(shape)
    if len(values) < size:
        raise ValueError(f"`payload` must hold {size} values by its header, got {len(values)}")
    return np.frombuffer(values[:size], np.uint8).reshape(shape).copy(), values[size:]
