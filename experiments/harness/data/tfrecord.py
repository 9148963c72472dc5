"""The TFRecord format, in which TFDS prepares data where TensorFlow is installed."""

import struct
from collections.abc import Iterator


def records(content: bytes) -> Iterator[bytes]:
    """Yields the records of a TFRecord file, whose CRCs are left to the checksums of the decoded data.

    Args:
        content: the file: per record its length in 8 bytes, a CRC of 4, the record, a CRC of 4.

    Raises:
        ValueError: the file ends inside a record.
    """
    position = 0
    while position < len(content):
        header = content[position : position + 8]
        length = struct.unpack("<Q", header)[0] if len(header) == 8 else len(content)
        start, position = position + 12, position + 16 + length
        if position > len(content):
            raise ValueError("a TFRecord file ends inside a record")
        yield content[start : start + length]
