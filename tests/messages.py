"""Which messages of a file of checks no call in a table of mistakes raises."""

import ast
import inspect
import traceback


def unheard(checks, calls):
    """The first lines of the errors of a file that none of the calls raises."""
    return unraised(checks, raised(calls))


def unraised(checks, places):
    """The first lines of the errors of a file that are at none of these places; it must have some errors."""
    source = ast.walk(ast.parse(inspect.getsource(checks)))
    errors = [range(n.lineno, n.end_lineno + 1) for n in source if isinstance(n, ast.Raise) and n.exc is not None]
    assert errors
    return [lines.start for lines in errors if not {(checks.__file__, line) for line in lines} & places]


def raised(calls):
    """The file and the line at which each of the calls is refused."""
    places = set()
    for call in calls:
        try:
            call()
        except (TypeError, ValueError) as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            places.add((frame.filename, frame.lineno))
    return places
