"""Every bad call is answered with one sentence."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import init_state
from jaxbn.inference import diagnose
from jaxbn.inference._diagnosis import checks as own_checks
from tests.inference.nets_diagnose import BATCHES, apply, one, settled
from tests.messages import unheard

STATE = init_state(6)
TWO = BATCHES[:2]


def call(apply=one, variables=STATE, batches=TWO, **options):
    return lambda: diagnose(apply, variables, batches, **options)


def without(*codes):
    return lambda: diagnose(one, STATE, TWO).without(*codes)


# A readable id, the call, the error, and words that it must say.
BAD_CALLS = [
    ("apply", call("model"), TypeError, r"`apply` must be a function \(variables, batch\), got str\.$"),
    ("step-float", call(step=1e3), TypeError, r"`step` must be an int or None, got 1000\.0\.$"),
    ("step-below", call(step=-1), ValueError, "`step` must be at least 0, got -1; it is the number of training steps"),
    ("groups-text", call(groups="ab"), TypeError, "`groups` must be a list with one label for each batch, got str"),
    ("groups-int", call(groups=2), TypeError, "`groups` must be a list with one label for each batch, got int"),
    (
        "groups-scalar",
        call(groups=np.array(2)),
        TypeError,
        r"`groups` must be a list with one label for .*, got 0 dimensions\.$",
    ),
    (
        "groups-lists",
        call(groups=[[0], [1]]),
        TypeError,
        r"`groups` must hold labels .*, as strings or ints, got \[0\]",
    ),
    (
        "groups-arrays",
        call(groups=[*jnp.arange(2)]),
        TypeError,
        r"`groups` must hold labels .*, as strings or ints, got Array\(0, .*\)\.$",
    ),
    ("groups-few", call(groups=[0]), ValueError, "`groups` must have one label for each batch, got 1 for 2 or more b"),
    ("groups-many", call(groups=[0, 1, 1]), ValueError, "`groups` must have one label for each batch, got 3 for 2 bat"),
    ("codes", without("BN101", "BN1"), ValueError, "`codes` must be among BN101, .*, BN114, got 'BN1'"),
    (
        "codes-list",
        without(["BN101"]),
        TypeError,
        r"`codes` must be strings, each an argument of its own, got \['BN101'\]; of a list give its entries, without",
    ),
    ("batches", call(batches={"x": 1}), TypeError, "`batches` must be an array or an iterable of .*, got dict; a sin"),
    ("no-batches", call(batches=[]), ValueError, "`batches` must hold at least one batch, got none; an iterator can"),
    ("empty", call(batches=[TWO[0][:0]]), ValueError, "`batches` must hold data, got only empty or masked batches"),
    ("no-layer", call(lambda _, x: x), ValueError, "`apply` must call a batch norm of jaxbn or Flax, got none; let it"),
    (
        "training",
        call(lambda s, x: one(s, x, True)),
        ValueError,
        "`apply` must evaluate, .* with train=False, a Python",
    ),
    (
        "complex",
        call(lambda s, x: one(s._replace(mean=s.mean.astype("complex64")), x.astype("complex64"))),
        TypeError,
        "`variables` must hold a complex running mean for complex data, got float32 in 'batch_norm'",
    ),
    (
        "traced-variables",
        lambda: jax.jit(lambda s: diagnose(one, s, TWO).norms[0].harm)(STATE),
        TypeError,
        "`variables` must hold values, got a traced array; call diagnose outside of jit",
    ),
    (
        "traced-batches",
        lambda: jax.jit(lambda x: diagnose(one, STATE, [x]).norms[0].harm)(TWO[0]),
        TypeError,
        "`batches` must hold values, got a traced array; call diagnose outside of jit",
    ),
    (
        "traced-groups",
        lambda: jax.jit(lambda labels: diagnose(one, STATE, TWO, groups=labels).norms[0].harm)(jnp.arange(2)),
        TypeError,
        "`groups` must hold values, got a traced array; call diagnose outside of jit",
    ),
    (
        "traced-apply",
        lambda: jax.jit(lambda: diagnose(one, STATE, TWO).norms[0].harm)(),
        TypeError,
        "`apply` must hold values, got a traced array; call diagnose outside of jit",
    ),
]


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_every_message_is_in_the_table():
    assert not unheard(own_checks, [row[1] for row in BAD_CALLS])


def test_a_count_that_is_no_array_is_none():
    state = STATE._replace(count=jax.new_ref(STATE.count))
    assert diagnose(one, state, TWO[:1], step=0).codes == diagnose(one, STATE, TWO[:1]).codes


@pytest.mark.slow
def test_labels_come_in_any_list():
    variables, batches = settled(), [TWO[0], TWO[1] + np.float32(9)]
    for groups in ((0, 1), np.array([0, 1]), iter("ab"), ["a", None]):
        assert "between the 2 groups" in str(diagnose(apply, variables, batches, groups=groups))
