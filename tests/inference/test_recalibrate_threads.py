"""What other threads do is none of the business of `recalibrate`."""

import threading
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import pytest

from jaxbn import batch_norm, init_state
from jaxbn.inference import recalibrate
from tests import reference
from tests.inference.nets_recalibrate import NONE, X, left_behind, one
from tests.tolerances import TOLERANCE, assert_close, assert_same

STATE = init_state(5)


@pytest.mark.slow
def test_another_thread_may_train_meanwhile():
    trained = []

    def apply(state, x):
        def train():
            trained.append(batch_norm(NONE, STATE, jnp.asarray(X), True)[1])

        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        return one(state, x)

    new, _ = recalibrate(apply, STATE, X)
    assert_close(new, recalibrate(one, STATE, X)[0])
    assert_close(trained[0], reference.running(*STATE, [reference.moments(X)]), TOLERANCE["float32"])


def test_threads_leave_nothing_behind():
    """The first to begin is the first to end, so that the second would put back what the first has put there."""
    before, first_is_in, second_is_in, first_is_out = left_behind(), *(threading.Event() for _ in range(3))

    def first(state, x):
        first_is_in.set()
        second_is_in.wait(0.1)
        return one(state, x)

    def second(state, x):
        second_is_in.set()
        first_is_out.wait(0.1)
        return one(state, x)

    def then_train(apply, done):
        new, _ = recalibrate(apply, STATE, X)
        done.set()
        return new, batch_norm(NONE, STATE, X, True)[1].count

    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(then_train, first, first_is_out)]
        assert first_is_in.wait(60)
        running.append(pool.submit(then_train, second, threading.Event()))
        found = [each.result() for each in running]
    assert left_behind() == before
    assert_same(found[0], found[1])
    assert found[0][1] == 1
