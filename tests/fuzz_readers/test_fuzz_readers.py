"""Damaged files are read right or refused in the reader's own words: few cases here, many by `-m faults`."""

import random
from collections.abc import Callable

import pytest

from tests.fuzz_readers.__main__ import tried
from tests.fuzz_readers.damage import DAMAGES, damaged


def test_few_cases() -> None:
    found = tried(400, seed=0, prepared=False)
    assert len(found) == 9
    # The damage is neither always seen nor never.
    assert {what for counts in found.values() for what in counts} >= {"right", "ValueError", "UserError", "SourceError"}


@pytest.mark.faults
def test_many_cases() -> None:
    assert len(tried(10_000, seed=1, prepared=True)) == 13


@pytest.mark.parametrize("good", [b"", b"a", bytes(range(256)) * 4])
def test_damage_is_varied_and_the_same_again(good: bytes) -> None:
    seen = {damaged(random.Random(case), good) for case in range(200)}
    assert seen == {damaged(random.Random(case), good) for case in range(200)}
    assert len(seen) > {0: 2, 1: 20}.get(len(good), 100)
    assert max(map(len, seen)) <= 1 << 20


@pytest.mark.parametrize("kind", DAMAGES, ids=lambda kind: kind.__name__)
def test_every_kind_of_damage_changes_something(kind: Callable[[random.Random, bytearray], None]) -> None:
    good = bytes(range(1, 256)) * 4
    contents = [bytearray(good) for _ in range(20)]
    for case, content in enumerate(contents):
        kind(random.Random(case), content)
    assert len({bytes(content) for content in contents} - {good}) > 10
