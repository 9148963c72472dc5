"""How weights come from the variables, so that two traces of a function can be compared."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax

from jaxbn.inference._folding.known import KnownArray, Memo
from jaxbn.inference._folding.names import digest

# The precision of products is that of the place where a function is called; the rest says nothing of what is computed.
_NO_MATTER = re.compile(r"\bprecision=(\([^)]*\)|\w\S*)|0x\w+|\s+")


def derivations(weights: Mapping[str, KnownArray], leaves: Mapping[KnownArray, str]) -> dict[str, str]:
    """For each weight the program that makes it, as text: of which variables, by which operations and numbers."""
    return {name: _derivation(k, leaves) for name, k in weights.items()}


def _derivation(k: KnownArray, leaves: Mapping[KnownArray, str]) -> str:
    used = {leaf: name for leaf, name in leaves.items() if name in k.sources}
    structs = {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf, name in used.items()}
    names = sorted(structs)

    def weight(arrays: Sequence[Any]) -> jax.Array:
        by_name = dict(zip(names, arrays, strict=True))
        return k.value(Memo((leaf, by_name[name]) for leaf, name in used.items()))

    closed = jax.make_jaxpr(weight)([structs[name] for name in names])
    return _NO_MATTER.sub("", f"{names} {closed.jaxpr} {[digest(number) for number in closed.consts]}")
