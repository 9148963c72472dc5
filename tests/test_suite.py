"""What holds for the tests themselves."""

import ast
import functools
import itertools
import types

from tests.quick import each_value_once, mark_the_others
from tests.sources import ROOT, imported

FILES = sorted(ROOT.joinpath("tests").rglob("*.py"))
TESTS = {path.stem for path in FILES if path.stem.startswith("test_")}


def test_no_file_imports_a_file_of_tests():
    for path in FILES:
        names = [name.split(".") for name in imported(path)]
        assert not [name for name in names if {name[0], *(name if name[0] == "tests" else ())} & TESTS], path


@functools.cache
def parsed(path):
    return ast.parse(path.read_text("utf-8"))


def test_noise_is_defined_once():
    for path in FILES:
        functions = {node.name for node in ast.walk(parsed(path)) if isinstance(node, ast.FunctionDef)}
        assert "noise" not in functions or path == ROOT / "tests/data.py", path


def test_every_file_says_what_holds():
    for path in FILES:
        assert ast.get_docstring(parsed(path)), path


class Item:
    """A case of a test, as pytest collects it."""

    def __init__(self, name, **params):
        self.nodeid, self.marker = f"{name}[{params}]", None
        if params:
            self.callspec = types.SimpleNamespace(params=params)

    def add_marker(self, marker):
        self.marker = marker


def test_a_quick_run_shows_each_value_of_each_parameter_in_as_few_cases_as_needed():
    sizes = {"dtype": 4, "axis": 3, "masked": 2}
    values = itertools.product(*map(range, sizes.values()))
    grid = [Item("grid", **dict(zip(sizes, indices, strict=True))) for indices in values]
    others = [Item("alone"), *(Item("one", dtype=i) for i in range(3))]
    mark_the_others([*others, *grid], "slow")
    quick = [item.callspec.params for item in grid if item.marker is None]
    assert {(name, i) for indices in quick for name, i in indices.items()} == {
        (n, i) for n in sizes for i in range(sizes[n])
    }
    assert len(quick) == 4
    assert all(item.marker == "slow" for item in grid if item.callspec.params not in quick)
    assert not any(item.marker for item in others)


def test_cases_that_are_no_grid_are_chosen_too():
    """A case that is the only one to have a value is always taken."""
    cases = {"a": {1, 2}, "b": {2, 3}, "c": {3, 4}, "d": {2}}
    assert set().union(*(cases[case] for case in each_value_once(cases))) == {1, 2, 3, 4}
    assert "d" not in each_value_once(cases)
