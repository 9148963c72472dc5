"""No flag of free text becomes part of a file's name: what a program writes lies in the folder that `--out` names."""

import ast

from tests.sources import ROOT

# The start of a name; a host; names of a table; names that a pattern admits; names of modules. None is part of a path.
OF_FREE_TEXT = {
    ("__main__.py", "part"),
    ("harness/devices.py", "coordinator_address"),
    ("bench/training/__main__.py", "frameworks"),
    ("bench/training/__main__.py", "norms"),
    ("bench/scaling/__main__.py", "topologies"),
    ("studies/__main__.py", "only"),
}


def is_text(annotation: ast.expr) -> bool:
    """Any text, unlike a `Literal`."""
    return any(isinstance(part, ast.Name) and part.id == "str" for part in ast.walk(annotation))


def bases_of(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split(".")[-1] for base in node.bases}


def test_flags_of_free_text_are_known() -> None:
    folder = ROOT / "experiments"
    classes = [
        (path, node)
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
    ]
    # The command lines, and what they inherit.
    names = {"Config", "Options"}
    while more := {base for _, node in classes if node.name in names for base in bases_of(node)} - names:
        names |= more
    flags = {
        (path.relative_to(folder).as_posix(), ast.unparse(field.target))
        for path, node in classes
        if node.name in names
        for field in node.body
        if isinstance(field, ast.AnnAssign) and is_text(field.annotation)
    }
    assert flags == OF_FREE_TEXT
