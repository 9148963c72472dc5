"""Work at once returns what it returns one after the other."""

import threading

import jax.numpy as jnp
import numpy as np
import pytest

from experiments.harness import lanes


@pytest.mark.parametrize("count", [1, 2, 25])
def test_results_come_in_the_order_of_their_arguments(count: int) -> None:
    assert lanes.map_lanes(lambda a, b: (a, b), range(count), "x" * count) == [(i, "x") for i in range(count)]


def test_there_are_two_lanes_at_the_least() -> None:
    meeting = threading.Barrier(2, timeout=60)
    assert sorted(lanes.map_lanes(lambda _: meeting.wait(), [0, 1])) == [0, 1]


def test_an_error_reaches_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        lanes.map_lanes(lambda a: 1 // a, [1, 0, 2])


def test_all_lanes_share_one_compilation() -> None:
    traces = []

    @lanes.compile_once
    def square(x):
        traces.append(1)
        return x * x

    found = lanes.map_lanes(square, [jnp.float32(i) for i in range(8)])
    np.testing.assert_array_equal(found, np.arange(8) ** 2)
    assert len(traces) == 1
