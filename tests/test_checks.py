"""Every error says what it should, and every check in `_checks` is among the bad calls."""

import jax
import jax.numpy as jnp
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._checks import arrays, initialization, mapped_axes, options, statistics
from jaxbn.preprocess import _checks as preprocess_checks
from jaxbn.variants import _checks as variants_checks
from tests.bad_calls import BAD_CALLS
from tests.bad_calls.calls import PARAMS, STATE, X
from tests.messages import raised, unraised


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_words(call, error, words):
    """Without braces: they show a value, not its name, as an f-string without its `f` would."""
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert not {"\n", "{", "}"} & set(str(caught.value))
    assert str(caught.value).endswith(".")


def test_every_message_is_in_the_table():
    places = raised([row[1] for row in BAD_CALLS])
    core_checks = (arrays, initialization, mapped_axes, options, statistics)
    for module in (*core_checks, preprocess_checks, variants_checks):
        assert not unraised(module, places), module.__name__


def test_errors_come_before_tracing_ends():
    with pytest.raises(ValueError, match="`axis` must lie"):
        jax.jit(lambda x: batch_norm(PARAMS, STATE, x, True, axis=2))(X)


def test_an_error_of_the_initialiser_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        init_batch_norm(3, key=jax.random.key(0), bias_init=lambda *_: 1 // 0)


def test_traced_numbers_never_raise():
    y, _ = jax.jit(lambda m: batch_norm(PARAMS, STATE, X, True, momentum=m, epsilon=m))(jnp.float32(-3))
    assert y.shape == X.shape
