"""Batches that do not all reach the same batch norms, or not in the same way."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import init_state
from jaxbn.inference import recalibrate
from tests.inference.nets_recalibrate import EPSILON, one
from tests.tolerances import assert_close

# These are found by their shapes.
EIGHT = np.random.default_rng(0).normal(3, 2, (8, 2)).astype("float32")
FOUR = np.random.default_rng(1).normal(-1, 5, (4, 2)).astype("float32")


def states(*names):
    return {name: init_state(2) for name in names}


def moments(*parts):
    x = np.concatenate(parts).astype("float64")
    return x.mean(0), x.var(0)


def normalised(x):
    return (x - x.mean(0, dtype="float64")) / np.sqrt(x.var(0, dtype="float64") + EPSILON)


@pytest.mark.parametrize("order", ["layers", "pass"])
def test_one_layer_after_different_weights_is_one(order):
    def apply(variables, x):
        return one(variables["norm"], x * variables["scale"] if len(x) == 4 else x)

    variables = {"scale": jnp.float32(30), **states("norm")}
    new, report = recalibrate(apply, variables, [EIGHT, FOUR], order=order)
    assert_close(new["norm"][:2], moments(EIGHT, 30 * FOUR), 1e-6)
    assert report.names == ("norm",)
    assert report["norm"].samples.tolist() == [12, 12]


@pytest.mark.parametrize("batches", [[EIGHT, FOUR], [FOUR, EIGHT]])
def test_it_waits_for_what_comes_before_it_in_any_batch(batches):
    def apply(variables, x):
        return one(variables["second"], one(variables["first"], x) if len(x) == 4 else x)

    new, report = recalibrate(apply, states("first", "second"), batches)
    assert_close(new["first"][:2], moments(FOUR), 1e-6)
    assert_close(new["second"][:2], moments(EIGHT, normalised(FOUR)), 1e-6)
    assert report.names == ("first", "second")


def test_two_calls_of_which_the_later_comes_after_another():
    def apply(variables, x):
        y = one(variables["a"], x)
        one(variables["b"], x)
        return one(variables["b"], y)

    new, _ = recalibrate(apply, states("a", "b"), [EIGHT])
    assert_close(new["b"][:2], moments(EIGHT, normalised(EIGHT)), 1e-6)


def test_two_that_come_after_each_other_both_have_a_turn():
    def apply(variables, x):
        first, second = ("a", "b") if len(x) == 8 else ("b", "a")
        return one(variables[second], one(variables[first], x))

    new, report = recalibrate(apply, states("a", "b"), [EIGHT, FOUR])
    assert report.names == ("a", "b")
    assert [report[name].samples.max() for name in "ab"] == [12, 12]
    assert_close(new["a"][:2], moments(EIGHT, FOUR / np.sqrt(1 + EPSILON)), 1e-6)


def rarely(variables, x):
    y = one(variables["often"], x)
    return one(variables["rarely"], y) if len(x) == 4 else y


def test_a_pass_goes_on_to_the_layers_that_the_one_before_has_met():
    _, report = recalibrate(rarely, states("often", "rarely"), [EIGHT, FOUR], samples=9)
    assert report["rarely"].samples.max() == 4


def test_a_batch_without_a_layer_is_not_enough():
    apply = lambda state, x: one(state, x) if len(x) == 4 else x  # noqa: E731
    new, _ = recalibrate(apply, init_state(2), [EIGHT, FOUR], samples=2)
    assert_close(new[:2], moments(FOUR), 1e-6)


def test_a_layer_that_a_loader_does_not_show_again_keeps_its_statistics():
    class Loader:
        rounds = 0

        def __iter__(self):
            self.rounds += 1
            return iter([EIGHT, FOUR] if self.rounds < 3 else [EIGHT])  # once it is read to see what it is

    new, report = recalibrate(rarely, states("often", "rarely"), Loader())
    assert_close(new["rarely"], init_state(2), 0)
    assert report["rarely"].samples.tolist() == [0, 0]
    assert report["often"].samples.tolist() == [12, 12]


@pytest.mark.slow
def test_each_member_of_a_vmap_has_data_of_its_own():
    new = jax.vmap(lambda x: recalibrate(one, init_state(2), [FOUR, x[:4], x[4:]])[0])(np.stack([EIGHT, 5 * EIGHT]))
    for member, x in enumerate((EIGHT, 5 * EIGHT)):
        assert_close((new.mean[member], new.var[member]), moments(x, FOUR), 1e-6)
