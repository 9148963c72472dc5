"""How many channels the norms of a ResNet-50 have, and how many parameters the whole net has."""

from __future__ import annotations

from collections.abc import Iterator

from experiments.bench.resnets import CLASSES, SIZES

STEM, EXPANSION = 64, 4


def channels() -> list[int]:
    """Of each norm."""
    return [outputs for _, outputs, _ in convolutions()]


def parameters() -> int:
    """Kernels, scales, biases, and the classifier."""
    kernels = sum(size * size * inputs * outputs for inputs, outputs, size in convolutions())
    last = channels()[-1]
    return kernels + 2 * sum(channels()) + (last + 1) * CLASSES


def convolutions() -> Iterator[tuple[int, int, int]]:
    """Input channels, output channels and width of each convolution; every one has a norm behind it."""
    yield 3, STEM, 7
    inputs = STEM
    for stage, blocks in enumerate(SIZES[50][0]):
        width = STEM * 2**stage
        for block in range(blocks):
            if not block:
                yield inputs, EXPANSION * width, 1
            yield from ((inputs, width, 1), (width, width, 3), (width, EXPANSION * width, 1))
            inputs = EXPANSION * width
