"""What source files import, by reading them, and what is loaded after an import, by trying."""

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def imported(path):
    """The full names of all that a file imports, also inside functions; `from a import b` counts as `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def modules_after(statement):
    """The names of all modules that a fresh process has loaded after a statement."""
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def packages(path):
    return {name.split(".")[0] for name in imported(path)}


def files(*parts):
    found = sorted(ROOT.joinpath(*parts).rglob("*.py"))
    assert found
    return found


def module(path):
    """The name of a file's module; that of its folder for `__init__.py` and `__main__.py`."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] in ("__init__", "__main__") else parts)


def anchor(heading):
    """As GitHub makes it from a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def within(name, package):
    return name == package or name.startswith(package + ".")


@functools.cache
def programs():
    """What `python -m` runs: modules that say so, and folders with a `__main__.py`."""
    return {module(path) for path in files("experiments") if "__main__" in path.stem or _runs(path)}


def _runs(path):
    return any(
        isinstance(node, ast.If) and ast.unparse(node.test) == "__name__ == '__main__'"
        for node in ast.parse(path.read_text(encoding="utf-8")).body
    )
