"""What holds for the tests themselves."""

import ast

from tests.sources import ROOT, imported

FILES = sorted(ROOT.joinpath("tests").rglob("*.py"))
TESTS = {path.stem for path in FILES if path.stem.startswith("test_")}


def test_no_file_imports_a_file_of_tests():
    for path in FILES:
        names = [name.split(".") for name in imported(path)]
        assert not [name for name in names if {name[0], *(name if name[0] == "tests" else ())} & TESTS], path


def test_random_data_has_one_source():
    for path in FILES:
        nodes = ast.walk(ast.parse(path.read_text("utf-8")))
        functions = {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
        assert "noise" not in functions or path == ROOT / "tests/data.py", path
