"""Batches come in any form, with anything beside the arrays, and are read and traced no more often than needed."""

import numpy as np
import pytest

from jaxbn import init_state
from jaxbn.inference import recalibrate
from jaxbn.inference._population.program import Program
from tests.inference.nets_recalibrate import NETS, UNEQUAL, X, expected, functional, one
from tests.tolerances import assert_close, assert_same


@pytest.mark.slow
@pytest.mark.parametrize("make", NETS.values(), ids=NETS)
def test_a_generator_is_a_list(make):
    net = make()
    batches = (batch for batch in UNEQUAL)
    assert_same(
        net.read(recalibrate(net.apply, net.variables, batches)[0]),
        net.read(recalibrate(net.apply, net.variables, UNEQUAL)[0]),
    )


class Loader:
    """Each time in another order."""

    def __init__(self):
        self.rounds = 0

    def __iter__(self):
        self.rounds += 1
        return iter(np.split(np.random.default_rng(self.rounds).permutation(X), [9, 30]))


@pytest.mark.slow
def test_a_loader_is_read_once_per_layer_and_may_shuffle():
    net, loader = functional(), Loader()
    assert_close(net.read(recalibrate(net.apply, net.variables, loader)[0]), expected())
    assert loader.rounds == 3  # once by `reader`, to see what it is
    recalibrate(net.apply, net.variables, loader, order="pass")
    assert loader.rounds == 5


@pytest.mark.slow
def test_layers_in_a_row_take_one_pass_each_and_layers_side_by_side_one():
    def side_by_side(states, x):
        return sum(one(s, x) for s in states)

    def in_a_row(states, x):
        for s in states:
            x = one(s, x)
        return x

    for apply, rounds in ((side_by_side, 2), (in_a_row, 4)):
        loader = Loader()
        recalibrate(apply, [init_state(5)] * 3, loader)
        assert loader.rounds == rounds


@pytest.mark.slow
def test_what_is_no_array_in_a_batch_is_passed_on():
    net, heard = functional(), []

    def apply(variables, batch):
        heard.append(batch["id"])
        return net.apply(variables, batch["image"]), "done", None

    batches = [{"image": b, "id": f"part {i}"} for i, b in enumerate(UNEQUAL)]
    assert_close(net.read(recalibrate(apply, net.variables, batches)[0]), expected())
    assert set(heard) == {f"part {i}" for i in range(4)}


def test_what_is_no_array_is_traced_once_for_each_value():
    heard = []

    def apply(state, batch):
        heard.append(batch["rows"])
        return one(state, batch["x"][: batch["rows"]])

    batches = [{"x": x, "rows": rows} for x, rows in ((X, 5), (2 * X, 5), (X, 7), (X, 5))]
    new, report = recalibrate(apply, init_state(5), batches)
    used = np.concatenate([X[:5], 2 * X[:5], X[:7], X[:5]]).astype("float64")
    assert_close((new.mean, new.var), (used.mean(0), used.var(0)))
    assert heard == [5, 7]
    assert report["batch_norm"].samples.tolist() == [22] * 5


@pytest.mark.slow
def test_values_at_other_places_and_of_other_kinds_are_others():
    heard = []
    program = Program(lambda _, batch: heard.append(batch))
    for batch in ([X, "a"], ["a", X], [X, 1], [X, True], [X, 1.0], [X, "a"]):
        program.outputs([], batch)
    assert [[part for part in batch if isinstance(part, bool | int | float | str)] for batch in heard] == [
        *(["a"], ["a"], [1], [True], [1.0])
    ]
    for number in range(100):
        program.outputs([], [X, str(number)])
    assert len(program.kept) == 64


class Tensor:
    """Of another framework: an array, and an iterable of its rows."""

    def __array__(self, dtype=None, copy=None):
        return X

    def __iter__(self):
        return iter(X)


def test_a_tensor_of_another_framework_is_one_batch():
    new, report = recalibrate(one, init_state(5), Tensor())
    assert_close(new[:2], (X.mean(0, dtype="float64"), X.var(0, dtype="float64")))
    assert report["batch_norm"].samples.max() == 40
