"""Seventy random images in the place of MNIST, and their checksums in that of its own; a process short of memory."""

import contextlib
import hashlib
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness.data import Mnist, idx

CLOSED = "http://127.0.0.1:1/"
TRAIN_SHARD = "mnist-train.array_record-00000-of-00001"
TEST_SHARD = "mnist-test.array_record-00000-of-00001"


def stand_in() -> Mnist:
    draw = np.random.default_rng(0).integers
    return Mnist(
        draw(0, 256, [60, 28, 28], np.uint8),
        draw(0, 10, [60], np.uint8),
        draw(0, 256, [10, 28, 28], np.uint8),
        draw(0, 10, [10], np.uint8),
    )


def md5s(mnist: Mnist) -> dict[str, str]:
    return {name: hashlib.md5(idx.encode(array)).hexdigest() for name, array in mnist._asdict().items()}


@contextlib.contextmanager
def little_memory(megabytes: int) -> Iterator[None]:
    """The process gets no more than this beyond what it has: whoever asks for more sees a `MemoryError`."""
    statistics = Path("/proc/self/statm")
    if not statistics.exists():  # Only Linux tells what it has.
        yield
        return
    before, pages = resource.getrlimit(resource.RLIMIT_AS), int(statistics.read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + (megabytes << 20), before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def assert_same(got: Mnist, expected: Mnist) -> None:
    for left, right in zip(got, expected, strict=True):
        assert left.dtype == np.uint8
        np.testing.assert_array_equal(left, right)


def ignore(_: str) -> None:
    pass


def refuse(*_: object) -> Any:
    raise AssertionError("this source must not be tried")
