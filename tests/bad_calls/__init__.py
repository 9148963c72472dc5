"""Every bad call with the error and the words it is answered with; a new check is a new row."""

from tests.bad_calls import init, norm, preprocess, state, variants

BAD_CALLS = [*norm.ROWS, *init.ROWS, *state.ROWS, *variants.ROWS, *preprocess.ROWS]
