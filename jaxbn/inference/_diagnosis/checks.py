"""The checks and errors of `diagnose` alone."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import jax

from jaxbn._checks import shown
from jaxbn.inference._population import checks as shared


def arguments(apply: Any, step: Any) -> None:
    shared.function(apply)
    if step is None:
        return
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"`step` must be an int or None, got {shown(step)}.") from None
    if number < 0:
        raise ValueError(f"`step` must be at least 0, got {step}; it is the number of training steps so far.")


def values(name: str, tree: Any) -> None:
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree)):
        raise TypeError(f"`{name}` must hold values, got a traced array; call diagnose outside of jit.")


def labels(groups: Any) -> list[Hashable] | None:
    """One for each batch, or `None`."""
    if groups is None:
        return None
    dimensions = getattr(groups, "ndim", 1)
    if isinstance(groups, str | Mapping) or not isinstance(groups, Iterable) or dimensions != 1:
        got = type(groups).__name__ if dimensions == 1 else f"{dimensions} dimensions"
        raise TypeError(f"`groups` must be a list with one label for each batch, got {got}.")
    if isinstance(groups, jax.Array):
        values("groups", groups)
    found = groups.tolist() if hasattr(groups, "tolist") else list(groups)
    for label in found:
        try:
            hash(label)
        except TypeError:
            # Tried, since an array, or a tuple of lists, only looks `Hashable`.
            raise TypeError(
                f"`groups` must hold labels that can be told apart, as strings or ints, got {shown(label)}."
            ) from None
    return found


def a_label_each(labels: Sequence[Hashable] | None, batches: int) -> None:
    if labels is not None and len(labels) != batches:
        raise ValueError(
            f"`groups` must have one label for each batch, got {len(labels)} for {batches} or more batches."
            if len(labels) < batches
            else f"`groups` must have one label for each batch, got {len(labels)} for {batches} batches."
        )


def codes(given: Sequence[Any], known: Iterable[str]) -> None:
    for code in given:
        if not isinstance(code, str):
            raise TypeError(
                f"`codes` must be strings, each an argument of its own, got {shown(code)}; of a list give its entries, "
                "without(*codes)."
            )
        if code not in known:
            raise ValueError(f"`codes` must be among {', '.join(known)}, got {shown(code)}.")
