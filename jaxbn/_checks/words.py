"""What arrived, in the words of an error."""

from __future__ import annotations

import reprlib
from typing import Any

import numpy as np


def shown(value: object) -> str:
    """What arrived, on one line, however large it is."""
    return " ".join(reprlib.repr(value).split())


def kind_of(value: Any) -> Any:
    """Its dtype, if it is an array, or its type."""
    array = hasattr(value, "astype") and hasattr(value, "dtype") and not isinstance(value, np.ma.MaskedArray)
    return value.dtype if array else type(value).__name__
