"""Seventy random images in the place of MNIST, and their checksums in that of its own."""

import hashlib

import numpy as np

from experiments.harness.data import Mnist, idx


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
