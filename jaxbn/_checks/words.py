"""What arrived, in the words of an error."""

from __future__ import annotations

import reprlib


def shown(value: object) -> str:
    """What arrived, on one line, however large it is."""
    return " ".join(reprlib.repr(value).split())
