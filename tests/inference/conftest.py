"""What these tools do is seen in programs of whatever speed, and most of the time of their tests is compilation."""

import pytest


@pytest.fixture(scope="module", autouse=True)
def _quickly(quick_compilation):
    """For every file here."""
