"""Which cases of a test with several parameters a quick run takes."""

from collections.abc import Hashable, Sequence
from typing import TypeVar

Case = TypeVar("Case", bound=Hashable)


def each_value_once(cases: dict[Case, set[Hashable]]) -> list[Case]:
    """As few cases as show every value of every parameter, chosen one by one: that which adds most."""
    missing, chosen = set().union(*cases.values()), list[Case]()
    while missing:
        chosen.append(max(cases, key=lambda case: len(cases[case] & missing)))
        missing -= cases[chosen[-1]]
    return chosen


def mark_the_others(items: Sequence, marker: str) -> None:
    """Of each test with several parameters, mark what is not chosen."""
    tests: dict[str, dict] = {}
    for item in items:
        if hasattr(item, "callspec") and len(item.callspec.params) > 1:
            # The objects themselves: pytest's own numbers are of the combinations.
            values = {(name, id(value)) for name, value in item.callspec.params.items()}
            tests.setdefault(item.nodeid.split("[")[0], {})[item] = values
    for cases in tests.values():
        for item in cases.keys() - each_value_once(cases):
            item.add_marker(marker)
