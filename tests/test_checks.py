"""Every error says what it should, and every check in `_checks` is among the bad calls."""

import ast
import inspect
import traceback

import jax
import jax.numpy as jnp
import pytest

from jaxbn import batch_norm, init_batch_norm
from jaxbn._checks import arrays, initialization, mapped_axes, options, statistics
from jaxbn.preprocess import _checks as preprocess_checks
from jaxbn.variants import _checks as variants_checks
from tests.bad_calls import BAD_CALLS
from tests.bad_calls.calls import PARAMS, STATE, X


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in BAD_CALLS], ids=[row[0] for row in BAD_CALLS])
def test_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)


def test_messages_show_values_and_no_names_in_braces():
    for name, call, error, _ in BAD_CALLS:
        with pytest.raises(error) as caught:
            call()
        assert not {"{", "}"} & set(str(caught.value)), name


def line_in_checks(call):
    """The file and line that refuse a call, if they do."""
    try:
        call()
    except (TypeError, ValueError) as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return frame.filename, frame.lineno


def test_every_message_is_in_the_table():
    heard = {line_in_checks(row[1]) for row in BAD_CALLS}
    core_checks = (arrays, initialization, mapped_axes, options, statistics)
    for module in (*core_checks, preprocess_checks, variants_checks):
        source = ast.walk(ast.parse(inspect.getsource(module)))
        messages = {range(n.lineno, n.end_lineno + 1) for n in source if isinstance(n, ast.Raise) and n.exc is not None}
        assert messages
        for lines in messages:
            assert {(module.__file__, line) for line in lines} & heard, f"{module.__name__}:{lines[0]}"


def test_errors_come_before_tracing_ends():
    with pytest.raises(ValueError, match="`axis` must lie"):
        jax.jit(lambda x: batch_norm(PARAMS, STATE, x, True, axis=2))(X)


def test_an_error_of_the_initialiser_itself_is_not_hidden():
    with pytest.raises(ZeroDivisionError):
        init_batch_norm(3, key=jax.random.key(0), bias_init=lambda *_: 1 // 0)


def test_traced_numbers_never_raise():
    y, _ = jax.jit(lambda m: batch_norm(PARAMS, STATE, X, True, momentum=m, epsilon=m))(jnp.float32(-3))
    assert y.shape == X.shape
