"""Every test that `docs/peer-tests.md` names is there."""

import ast
import re

from tests.sources import ROOT


def functions_of(path):
    """The functions of a file, by reading it."""
    return {node.name for node in ast.parse((ROOT / path).read_text("utf-8")).body if isinstance(node, ast.FunctionDef)}


def test_every_case_has_a_test_that_exists_or_a_reason():
    lines = (ROOT / "docs/peer-tests.md").read_text("utf-8").splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]
    assert len(rows) > 100
    for library, case, ours in rows:
        named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", ours)
        assert library
        assert case
        assert ", ".join(f"`{path}::{name}`" for path, name in named) == ours or ours.startswith("none: ")
        for path, name in named:
            assert name in functions_of(path), ours
