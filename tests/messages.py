"""Which messages of a file of checks no call in a table of mistakes raises."""

import ast
import inspect
import traceback


def unheard(checks, calls):
    """The first lines of the errors that none of the calls raises; there must be some in all."""
    heard = set().union(*(lines_in(checks, call) for call in calls))
    source = ast.walk(ast.parse(inspect.getsource(checks)))
    errors = [range(n.lineno, n.end_lineno + 1) for n in source if isinstance(n, ast.Raise) and n.exc is not None]
    assert errors
    return [lines.start for lines in errors if not set(lines) & heard]


def lines_in(checks, call):
    try:
        call()
    except (TypeError, ValueError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        return {frame.lineno for frame in frames if frame.filename == checks.__file__}
    return set()
