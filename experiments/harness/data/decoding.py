"""The four official files: checked by SHA-256, unpacked, decoded."""

import gzip
import hashlib
from collections.abc import Callable

from experiments.harness.data import idx
from experiments.harness.data.arrays import Mnist, verify
from experiments.harness.data.errors import DamagedDataError
from experiments.harness.data.registry import OfficialFile, official_files


def read_official(read: Callable[[OfficialFile], bytes]) -> Mnist:
    """Returns MNIST from the four official files.

    Args:
        read: returns the bytes of one file, wherever they come from.

    Returns:
        The verified arrays.

    Raises:
        DamagedDataError: a file has not the size or the SHA-256 that TFDS registers for it; the text names it.
    """
    contents = (_checked(file, read(file)) for file in official_files())
    return verify(Mnist(*(idx.decode(gzip.decompress(content)) for content in contents)))


def _checked(file: OfficialFile, content: bytes) -> bytes:
    if len(content) != file.size:
        raise DamagedDataError(f"{file.name} has {len(content):,} bytes, expected {file.size:,}")
    digest = hashlib.sha256(content).hexdigest()
    if digest != file.sha256:
        raise DamagedDataError(f"{file.name} has SHA-256 {digest}, expected {file.sha256}")
    return content
