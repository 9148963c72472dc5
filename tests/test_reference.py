"""Every public name says all that a user needs, in the order of the others, and docs/reference.md is what they say."""

import ast
import builtins
import importlib
import inspect
import re

import pytest

from experiments import reference
from tests.sources import ROOT, files, imported, module, within

PAGE = ROOT / "docs/reference.md"
ALL = [one for module in reference.MODULES for one in reference.public(module)]
FORMULA = re.compile(r"`[^`]*=[^`]*`")


def is_method(one):
    return one.name.rpartition(".")[0] not in reference.MODULES


def attributes(value):
    """What a class of fields has: these, and what it computes of them."""
    properties = [name for name, own in vars(value).items() if isinstance(own, property)]
    return [p.name for p in reference.parameters(value)] + properties


def faults(one):
    """What is missing or wrong in a docstring, in words.

    A function has everything. The example and the source of a method are those of its class. A class that holds
    numbers has no formula and no source, for these are where the numbers come from; one that is called has both. A
    constant is one line and its value.
    """
    parts = reference.sections(one.doc)
    text = parts.pop("")
    first, _, more = text.partition("\n")
    if not first.endswith(".") or more.partition("\n")[0]:
        yield "begins with one line, a sentence"
    if not callable(one.value):
        return
    if list(parts) != [title for title in reference.TITLES if title in parts]:
        yield "has its parts in another order"
    is_class = inspect.isclass(one.value)
    calculates = hasattr(one.value, "__call__") if is_class else not is_method(one)
    if is_class:
        needed = {"Example"} | ({"Reference"} if calculates else set())
    else:
        needed = {"Raises", "Example", "Reference"} if calculates else set()
        needed |= set() if inspect.signature(one.value).return_annotation in (None, "None") else {"Returns"}
    yield from (f"has no {title}" for title in sorted(needed - set(parts)))
    if calculates and not FORMULA.search(text):
        yield "has no formula"
    of_fields = is_class and not calculates
    expected = attributes(one.value) if of_fields else [p.name for p in reference.parameters(one.value)]
    told = list(reference.items(parts.get("Args", "") or parts.get("Attributes", "")))
    if told != expected:
        yield f"tells of {told}, and has {expected}"


@pytest.mark.parametrize("one", ALL, ids=lambda one: one.name)
def test_a_public_name_has_a_full_docstring(one):
    assert not [*faults(one)]
