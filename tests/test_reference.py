"""Every public name says all that a user needs, and docs/reference.md is what the docstrings say."""

import ast
import builtins
import importlib
import inspect
import re

import pytest

from experiments import reference
from experiments.reference import MODULES, TITLES, items, parameters, sections
from tests import sources
from tests.sources import ROOT, within

PAGE = ROOT / "docs/reference.md"
PUBLIC = {module: reference.public(module) for module in MODULES}
ALL = [one for ones in PUBLIC.values() for one in ones]
NAMES = {one.name for one in ALL}
FORMULA = re.compile(r"`[^`]*=[^`]*`")


def is_method(one):
    return one.name.rpartition(".")[0] in NAMES


def told_and_there(one, parts):
    """The arguments or attributes that are described, and those that there are, properties included."""
    properties = [name for name, own in vars(one.value).items() if isinstance(own, property)]
    there = [p.name for p in parameters(one.value)]
    return list(items(parts.get("Args") or parts.get("Attributes", ""))), there + properties


def faults(one):
    """What is missing in a docstring, or wrong, in words.

    A function has all parts. A method has its example and its source from its class. A class that only holds values has
    no formula and no source, for it has those of the function that returns it; one that is called has both. A constant
    is a line and its value.
    """
    parts = sections(one.doc)
    first, *more = parts.pop("").splitlines() or [""]
    if not first.endswith(".") or (more and more[0]):
        yield "the first line is no sentence"
    if not callable(one.value):
        return
    is_class = inspect.isclass(one.value)
    computes = "__call__" in vars(one.value) if is_class else not is_method(one)
    needed = {"Example"} if is_class or computes else set()
    if computes:
        needed |= {"Reference"} if is_class else {"Raises", "Reference"}
    if not is_class and inspect.signature(one.value).return_annotation not in (None, "None"):
        needed.add("Returns")
    yield from (f"no {title}" for title in TITLES if title in needed - set(parts))
    if list(parts) != [title for title in TITLES if title in parts]:
        yield "parts in another order"
    if computes and not FORMULA.search("\n".join(more)):
        yield "no formula"
    told, there = told_and_there(one, parts)
    if told != there:
        yield f"described are {told}, and there are {there}"
    for text in parts.values():
        # Where a line of prose begins like an item of a list, Markdown makes one of it.
        if text is not parts.get("Example") and re.search(r"^\s*([-+*>#|]|\d+[.)])\s", text, re.MULTILINE):
            yield "a line begins like a list"


@pytest.mark.parametrize("module", MODULES)
def test_a_public_name_has_a_full_docstring(module):
    found = {one.name: list(faults(one)) for one in PUBLIC[module]}
    assert {name: words for name, words in found.items() if words} == {}
    assert importlib.import_module(module).__doc__


def function(x, *, axis=-1):
    """Do something.

    `y = x`.

    Args:
        x: `[features]`.
        axis: the axis.

    Returns:
        `y`.

    Raises:
        TypeError: always.

    Example:
        >>> print(1)
        1

    Reference:
        Someone, 1999.
    """


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("Do something.\n", "Do something\n", "the first line is no sentence"),
        ("Do something.\n", "Do something,\nand more.\n", "the first line is no sentence"),
        ("`y = x`.", "Nothing.", "no formula"),
        ("    axis: the axis.\n", "", "described are ['x'], and there are ['x', 'axis']"),
        ("    axis:", "    axes:", "described are ['x', 'axes'], and there are ['x', 'axis']"),
        ("Returns:\n    `y`.\n", "", "no Returns"),
        ("Raises:\n    TypeError: always.\n", "", "no Raises"),
        ("Example:\n    >>> print(1)\n    1\n", "", "no Example"),
        ("Reference:\n    Someone, 1999.", "", "no Reference"),
        ("Returns:", "Reference:", "no Returns"),
        ("Returns:\n    `y`.\n\nRaises:\n", "Raises:\n    ValueError: too.\n\nReturns:\n", "parts in another order"),
        ("always.\n", "always\n        - or not.\n", "a line begins like a list"),
    ],
)
def test_what_is_missing_is_said(old, new, words):
    doc = inspect.cleandoc(function.__doc__)
    assert not [*faults(reference.Public("jaxbn.function", function, doc))]
    assert old in doc
    assert words in [*faults(reference.Public("jaxbn.function", function, doc.replace(old, new)))]


def test_the_page_is_what_the_docstrings_say():
    assert PAGE.read_text(encoding="utf-8") == reference.page(), "renew it: python -m experiments.reference"


def test_every_public_name_is_on_the_page():
    headings = re.findall(r"^#+ `(.+)`$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    for module in MODULES:
        there = vars(importlib.import_module(module))
        own = {n for n, v in there.items() if callable(v) and within(getattr(v, "__module__", ""), module)}
        assert {f"{module}.{name}" for name in own if not name.startswith("_")} <= {*headings}
    packages = {sources.module(path) for path in sources.files("jaxbn") if path.name == "__init__.py"}
    assert {name for name in packages if "._" not in name} <= {*MODULES}


def test_links_lead_to_headings():
    text = PAGE.read_text(encoding="utf-8")
    anchors = [reference.anchor(name) for name in re.findall(r"^#+ `(.+)`$", text, re.MULTILINE)]
    assert len(anchors) == len({*anchors})
    # As GitHub and the site make them: in lower case, without dots and backticks.
    assert {"jaxbnbatch_norm", "jaxbnlinenbatchnorm", "jaxbnlinenbatchnorm__call__"} <= {*anchors}
    assert {*re.findall(r"\]\(#([^)]*)\)", text)} == {*anchors} - {
        reference.anchor(o.name) for o in ALL if is_method(o)
    }


def test_what_other_pages_import_is_public():
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
            for node in ast.walk(ast.parse(block)):
                if isinstance(node, ast.ImportFrom) and within(node.module, "jaxbn"):
                    assert {f"{node.module}.{alias.name}" for alias in node.names} <= NAMES | {*MODULES}, page


def test_an_example_needs_what_the_page_says():
    given = {"jax", "jnp", "np", *vars(builtins)} | {one.name.rpartition(".")[2] for one in PUBLIC["jaxbn"]}
    for module, ones in PUBLIC.items():
        for one in ones:
            example = sections(one.doc).get("Example", "")
            code = "\n".join(re.findall(r"^(?:>>>|\.\.\.) ?(.*)$", example, re.MULTILINE))
            nodes = [*ast.walk(ast.parse(code))]
            read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)}
            made = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            made |= {n.arg for n in nodes if isinstance(n, ast.arg)}
            made |= {n.name for n in nodes if isinstance(n, ast.alias | ast.FunctionDef)}
            own = {one.name.rpartition(".")[2] for one in PUBLIC[module]}
            assert read <= given | own | made, one.name


def test_the_command_writes_the_page(tmp_path, capsys):
    (tmp_path / "README.md").touch()
    assert reference.main(["--root", str(tmp_path)]) == 0
    assert (tmp_path / "docs/reference.md").read_text(encoding="utf-8") == reference.page()
    assert reference.main(["--root", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err == f"error: `--root` must be the folder of README.md, got {tmp_path / 'none'}.\n"
