"""Work at once returns what it returns one after the other."""

import threading
import time

import jax
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


def test_all_lanes_share_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, compile_lowered = [], jax.stages.Lowered.compile

    def compile_slowly(lowered):
        compiled.append(1)
        time.sleep(0.1)  # So that another lane comes meanwhile.
        return compile_lowered(lowered)

    monkeypatch.setattr(jax.stages.Lowered, "compile", compile_slowly)
    found = lanes.map_lanes(lanes.compile_once(jnp.square), [jnp.float32(i) for i in range(8)])
    np.testing.assert_array_equal(found, np.arange(8) ** 2)
    assert len(compiled) == 1
