"""What counts as right: a call works, without NaN from finite numbers, or names the argument in an error of ours."""

import re
import traceback
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.fuzz.own import HOME, UNCHECKED, is_own

WORKS, NAMED, OWN, FAILED = "works", "names the argument", "the value's own error", "fails"


class Verdict(NamedTuple):
    kind: str
    what: str = ""  # of failures, what groups them


def verdict(case):
    try:
        with warnings.catch_warnings(action="error"):
            result = jax.block_until_ready(case.run())
    except Exception as error:
        return of_error(case, error)
    if is_finite(case.arguments) and has_nan(result) and not UNCHECKED & {*case.changed}:
        return Verdict(FAILED, f"{case.call.name}: NaN from finite input")
    return Verdict(WORKS)


def of_error(case, error):
    if is_own(error, case, list(parts(case.arguments))):
        return Verdict(OWN)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(HOME)]
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(frames[-1].filename).relative_to(HOME)}:{frames[-1].lineno}" if frames else "outside"
    words = str(error).split("\n")[0][:100]
    ours = type(error) in (TypeError, ValueError) and last.filename.startswith(HOME) and "\n" not in str(error)
    if ours and case.call.speaks_of(" ".join(re.findall("`([^`]*)`", str(error)))):
        return Verdict(NAMED)
    return Verdict(FAILED, f"{case.call.name}: {type(error).__name__} at {place}: {re.sub('[0-9]+', '#', words)}")


def parts(tree):
    """All that a tree holds, as far as it can be looked into."""
    if isinstance(tree, dict):
        for key, value in tree.items():
            yield key
            yield from parts(value)
    elif isinstance(tree, tuple | list) and len(tree) < 100 and not any(part is tree for part in tree):
        for part in tree:
            yield from parts(part)
    else:
        yield tree


def is_finite(tree):
    return all(_finite(part) for part in parts(tree))


def _finite(value):
    """Whether it holds no number, or numbers that single precision holds, whose squares it holds too."""
    if value is None or isinstance(value, str | bool):
        return True
    try:
        values = np.asarray(jnp.asarray(value) if isinstance(value, jax.Array) else value)
        wide = values.astype("complex128" if np.iscomplexobj(values) else "float64")
        return bool(np.all(np.abs(wide) < 1e15))
    except Exception:
        return False


def has_nan(tree):
    for leaf in jax.tree.leaves(tree):
        if hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jnp.inexact):
            values = np.asarray(leaf if np.ndim(leaf) < 64 else leaf.ravel())
            if np.any(np.isnan(values.astype("complex64" if np.iscomplexobj(values) else "float32"))):
                return True
    return False
