"""Of data in batches, one is held at a time, and it may be overwritten by the next."""

import weakref

import jax
import numpy as np
import pytest

from tests.preprocess.fits import assert_same_fit, few_fits, table


class Batch:
    """An array that can be watched."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return np.array(self.values, dtype)


@few_fits
@pytest.mark.parametrize("masked", [False, True])
def test_no_earlier_batch_is_kept(fit, masked):
    """When a batch is asked for, at most the one before is still there."""
    seen, alive = [], []

    def batches(make):
        for _ in range(50):
            alive.append(sum(batch() is not None for batch in seen))
            batch = Batch(make())
            seen.append(weakref.ref(batch))
            yield batch
            del batch

    mask = batches(lambda: np.ones([40, 1], "float32")) if masked else None
    fit(batches(table), mask=mask)
    assert len(seen) == 50 * (1 + masked)
    assert max(alive) <= 1 + 2 * masked
    assert not any(batch() is not None for batch in seen)


@few_fits
def test_no_array_of_an_earlier_batch_is_kept(fit):
    fit([table(400)] * 2)
    large = []

    def batches():
        for seed in range(20):
            large.append(sum(array.size >= 2400 for array in jax.live_arrays()))
            yield table(400, seed=seed)

    before = sum(array.size >= 2400 for array in jax.live_arrays())
    fit(batches())
    assert max(large) <= before + 1
    assert large[-1] == large[1]


@few_fits
def test_a_batch_may_be_overwritten_by_the_next(fit):
    """As by a loader that reads into one buffer: nothing of a batch is read later."""
    x = np.stack([table(400, seed=s, offset=s) for s in range(20)])

    def batches(buffer):
        for batch in x:
            buffer[:] = batch
            yield buffer
        buffer[:] = np.nan

    assert_same_fit(fit(batches(np.empty_like(x[0]))), fit(list(x)), x[0], 0)


@few_fits
def test_batches_are_read_once_and_in_step_with_their_masks(fit):
    order = []

    def counted(name, values):
        for i, value in enumerate(values):
            order.append((name, i))
            yield value

    x = [table(seed=s) for s in range(3)]
    fit(counted("x", x), mask=counted("mask", [np.ones([40, 1], bool)] * 3))
    assert order == [(name, i) for i in range(3) for name in ("x", "mask")]
