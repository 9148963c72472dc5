"""The stream of batches against a loop that keeps its place, and the laws of an epoch."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from experiments.tutorial.batches import batch_indices

SIZES = st.tuples(st.integers(1, 12), st.integers(1, 12))
STREAMS = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=3).map(tuple)
many = settings(max_examples=100)


class NextBatch:
    """The tutorial's `next_batch`: it keeps its place in the epoch, and carries the rest of one over to the next."""

    def __init__(self, orders: list[np.ndarray]) -> None:
        self._orders = iter(orders)
        self._left = list(next(self._orders))

    def __call__(self, batch_size: int) -> list[int]:
        batch = []
        while len(batch) < batch_size:
            if not self._left:
                self._left = list(next(self._orders))
            batch.append(self._left.pop(0))
        return batch


@many
@given(STREAMS, SIZES)
def test_the_stream_is_that_of_a_loop_which_keeps_its_place(stream: tuple[int, ...], sizes: tuple[int, int]) -> None:
    batch_size, examples = sizes
    # One batch per epoch shows the orders of the epochs.
    orders = list(batch_indices(stream, 0, 15 * batch_size, examples, examples))
    next_batch = NextBatch(orders)
    expected = [next_batch(batch_size) for _ in range(10)]
    np.testing.assert_array_equal(batch_indices(stream, 0, 10, batch_size, examples), expected)


@many
@given(STREAMS, SIZES)
def test_every_epoch_holds_every_example_once(stream: tuple[int, ...], sizes: tuple[int, int]) -> None:
    batch_size, examples = sizes
    # As many batches as there are examples make up as many epochs as there are examples in a batch.
    indices = batch_indices(stream, 0, examples, batch_size, examples)
    assert indices.shape == (examples, batch_size)
    assert indices.dtype == np.int32
    for epoch in indices.reshape(batch_size, examples):
        np.testing.assert_array_equal(np.sort(epoch), np.arange(examples))


@many
@given(STREAMS, SIZES, st.integers(0, 20), st.lists(st.integers(0, 7), min_size=1, max_size=5))
def test_the_stream_does_not_depend_on_how_it_is_cut(
    stream: tuple[int, ...], sizes: tuple[int, int], first: int, counts: list[int]
) -> None:
    whole = batch_indices(stream, 0, first + sum(counts), *sizes)[first:]
    starts = [first + sum(counts[:i]) for i in range(len(counts))]
    parts = [batch_indices(stream, start, count, *sizes) for start, count in zip(starts, counts, strict=True)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


def test_a_batch_that_crosses_an_epoch_takes_the_rest_and_the_first_of_the_next() -> None:
    first, second = batch_indices((7,), 0, 2, 10, 10)
    batches = batch_indices((7,), 0, 5, 4, 10)
    np.testing.assert_array_equal(batches[2], [*first[8:], *second[:2]])
    np.testing.assert_array_equal(batches[3], second[2:6])


def test_a_batch_may_be_larger_than_several_epochs() -> None:
    batch = batch_indices((0,), 0, 1, 25, 10)[0]
    np.testing.assert_array_equal(np.bincount(batch[:20], minlength=10), 2)
    assert len(set(batch[20:])) == 5


@pytest.mark.parametrize("other", [(1, 0), (0, 1)])
def test_epochs_and_streams_have_orders_of_their_own(other: tuple[int, ...]) -> None:
    epochs = batch_indices((0, 0), 0, 2, 1000, 1000)
    assert (epochs[0] != epochs[1]).mean() > 0.9
    assert (epochs[0] != batch_indices(other, 0, 1, 1000, 1000)[0]).mean() > 0.9
    assert (epochs[0] != np.arange(1000)).mean() > 0.9
