"""What arrived, in the words of an error."""

from __future__ import annotations

import reprlib
from typing import Any


def shown(value: object) -> str:
    """What arrived, on one line, however large it is."""
    return " ".join(reprlib.repr(value).split())


def kind_of(value: Any) -> Any:
    """Its dtype, if it is an array, or its type."""
    return value.dtype if hasattr(value, "astype") and hasattr(value, "dtype") else type(value).__name__
