"""Hostile arguments: each call works, without NaN from finite numbers, or names the argument that is wrong."""

import random
import warnings

import jax.numpy as jnp
import pytest

from jaxbn import batch_norm, init_batch_norm
from tests.fuzz.calls import Call
from tests.fuzz.cases import Case, case
from tests.fuzz.own import failing
from tests.fuzz.processes import outcomes
from tests.fuzz.verdict import FAILED, NAMED, OWN, WORKS, verdict

PARAMS, STATE = init_batch_norm(3)


def of(function, **arguments):
    return verdict(Case(Call("f", function, arguments), arguments, dict.fromkeys(arguments, ""), "", "", True)).kind


def warning(x):
    warnings.warn("x", stacklevel=1)


def test_each_call_works_or_names_what_is_wrong():
    for number in range(600):
        chosen = case(0, number)
        # What compiles is for the long run.
        if chosen.inside == "made" or chosen.call.room in ("inference", "interop"):
            found = verdict(chosen)
            assert found.kind != FAILED, f"{found.what}; python -m tests.fuzz --seed 0 --only {number}"


@pytest.mark.faults
def test_many_calls_work_or_name_what_is_wrong():
    seed = random.randrange(2**31)
    found = {number: outcome.what for number, _, outcome in outcomes(seed, range(5000), 120) if outcome.kind == FAILED}
    assert not found, f"python -m tests.fuzz --seed {seed} --only N"


@pytest.mark.faults
def test_a_case_that_hangs_is_named_and_the_others_go_on():
    found = [outcome.what for *_, outcome in outcomes(0, [3, 4], -1.0)]
    assert found == ["hangs for more than -1 s"] * 2


def test_what_fails_is_seen():
    assert of(lambda x: x, x=1.0) == WORKS
    assert of(lambda x: jnp.log(x), x=-1.0) == FAILED
    assert of(lambda x: jnp.log(x), x=jnp.nan) == WORKS
    assert of({}.__getitem__, x=1.0) == FAILED
    assert of(lambda x: int(f"`{x}`"), x=1.0) == FAILED
    assert of(warning, x=1.0) == FAILED
    assert of(failing, x=1.0) == OWN


def test_only_an_error_that_names_an_argument_is_one_of_ours():
    def call(**arguments):
        return batch_norm(PARAMS, STATE, jnp.ones([5, 3]), True, **arguments)

    assert of(call, epsilon=-1.0) == NAMED
    assert of(lambda **others: call(epsilon=-1.0, **others), momentum=0.5) == FAILED
    assert of(lambda x: jnp.ones([x]) @ jnp.ones(3), x=2) == FAILED
