"""Which examples make up which batch: the tutorial's `next_batch`, as a function of the step alone."""

from __future__ import annotations

import functools

import numpy as np


def batch_indices(stream: tuple[int, ...], first: int, count: int, batch_size: int, examples: int) -> np.ndarray:
    """Indices of the examples of the batches `first .. first + count - 1`.

    The examples are shuffled anew for every epoch. A batch that crosses the end of an epoch takes the rest of this one
    and the first of the next; nothing is dropped. Since the stream depends on nothing but its arguments, a resumed
    run continues it exactly.

    Args:
        stream: numbers that name the stream, for example a seed and which split it is for.
        first: the first batch wanted, from 0.
        count: how many batches.
        batch_size: examples in a batch.
        examples: examples in the data set.

    Returns:
        int32 `[count, batch_size]`.

    Example:
        >>> batch_indices((0,), first=0, count=3, batch_size=4, examples=6).shape
        (3, 4)
    """
    position = np.arange(first * batch_size, (first + count) * batch_size)
    epoch, place = np.divmod(position, examples)
    indices = np.empty(position.shape, np.int32)
    for number in np.unique(epoch):
        inside = epoch == number
        indices[inside] = _order(stream, int(number), examples)[place[inside]]
    return indices.reshape(count, batch_size)


# Two epochs of a handful of seeds are alive at a time; drawing an order anew for every dispatch would cost a tenth.
@functools.lru_cache(maxsize=64)
def _order(stream: tuple[int, ...], epoch: int, examples: int) -> np.ndarray:
    return np.random.default_rng((*stream, epoch)).permutation(examples).astype(np.int32)
