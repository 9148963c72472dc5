"""A case: a valid call with one or two arguments replaced, as it is or inside of a transformation."""

import copy
import random
import warnings
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.fuzz.calls import CALLS, Call, weights
from tests.fuzz.near import near
from tests.fuzz.values import anything


class Case(NamedTuple):
    call: Call
    arguments: dict[str, Any]
    changed: dict[str, str]  # the arguments that are not valid, and what kind of value they are
    inside: str  # of which transformation, or none
    traced: str  # the argument that is a tracer there
    strict: bool

    def run(self):
        promotion = "strict" if self.strict else "standard"
        with jax.numpy_dtype_promotion(promotion), jax.numpy_rank_promotion("raise" if self.strict else "allow"):
            return INSIDE[self.inside](self)

    def __str__(self):
        made = ", ".join(f"{name}={_shown(self.arguments[name])} ({kind})" for name, kind in self.changed.items())
        where = f" in {self.inside} of {self.traced or 'nothing'}" if self.inside else ""
        return f"{self.call.name}({made}){where}"


def case(seed, number):
    rng = random.Random(f"{seed} {number}")
    call = rng.choices(CALLS, weights())[0]
    arguments, changed = copy.copy(call.valid), {}
    names = call.names
    with warnings.catch_warnings(action="ignore"):
        for name in rng.sample(names, min(rng.choice((1, 1, 2)), len(names))):
            arguments[name], changed[name] = replaced(rng, arguments.get(name))
        traceable = [name for name, value in arguments.items() if _can_be_traced(value)]
    # As they are, these compile each operation by itself, which takes longer than to trace them.
    often = call.room in ("core", "layers")
    inside = rng.choices(list(INSIDE), (45, 50, 1, 1, 1, 2) if often else (90, 10, 0, 0, 0, 0))[0]
    traced = (
        rng.choice([*(name for name in traceable if name in changed), *traceable, ""]) if inside and traceable else ""
    )
    if not traced and (inside in ("jit", "vmap", "grad") or not often):
        inside = ""
    return Case(call, arguments, changed, inside, traced, number % 8 > 0)


def replaced(rng, value, depth=0):
    """Another value, or the same with another part, and its kind."""
    if isinstance(value, dict | tuple | list) and len(value) and depth < 4 and rng.random() < 0.6:
        return _with_another_part(rng, value, depth)
    if rng.random() < 0.6 and value is not None:
        with np.errstate(all="ignore"):
            return near(rng, value), "near"
    return anything(rng)


def _with_another_part(rng, value, depth):
    if isinstance(value, dict):
        key, new = rng.choice(list(value)), dict(value)
        way = rng.randrange(10)
        if way == 0:
            del new[key]
            return new, f"without {key!r}"
        if way == 1:
            other, kind = anything(rng)
            try:
                return {other: value[key], **new}, f"named by {kind}"
            except Exception:  # it can't be hashed
                return anything(rng)
        new[key], kind = replaced(rng, value[key], depth + 1)
        return new, f"[{key!r}] {kind}"
    place, parts = rng.randrange(len(value)), list(value)
    parts[place], kind = replaced(rng, parts[place], depth + 1)
    names = getattr(value, "_fields", range(len(value)))
    return (type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)), f".{names[place]} {kind}"


def _can_be_traced(value):
    try:
        leaves = jax.tree.leaves(value)
    except Exception:
        return False
    kinds = bool | float | complex | jax.Array | np.ndarray
    return bool(leaves) and all(
        (isinstance(leaf, kinds) or (type(leaf) is int and abs(leaf) < 2**31)) and _is_traceable(leaf)
        for leaf in leaves
    )


def _is_traceable(leaf):
    try:
        jax.typeof(leaf)
        jnp.asarray(leaf)
    except Exception:
        return False
    return not isinstance(leaf, jax.core.Tracer)


def _with_traced(case, transformed):
    def call(value):
        more = {case.traced: value} if case.traced else {}
        return _arrays(case, **more)

    return transformed(call, case.arguments[case.traced] if case.traced else 0)


def _call(case, **more):
    return case.call.function(**(case.arguments | more))


def _arrays(case, **more):
    """What a transformation may return."""
    return [leaf for leaf in jax.tree.leaves(_call(case, **more)) if isinstance(leaf, jax.Array)]


def _mapped(f, value):
    return jax.vmap(f)(jax.tree.map(lambda leaf: jnp.stack([jnp.asarray(leaf)] * 2), value))


def _derivative(f, value):
    def loss(value):
        leaves = [leaf for leaf in f(value) if jnp.issubdtype(leaf.dtype, jnp.inexact)]
        return sum((jnp.sum(leaf.real).astype("float32") for leaf in leaves), jnp.float32(0))

    return jax.grad(loss, allow_int=True)(value)


def _has_derivative(case):
    leaves = jax.tree.leaves(case.arguments[case.traced])
    return all(jnp.issubdtype(jnp.result_type(leaf), jnp.number) for leaf in leaves)


def _named(case):
    """As one of two members of an axis `i`."""
    return jax.vmap(lambda _: _arrays(case), axis_name="i")(jnp.arange(2))


INSIDE = {
    "": _call,
    "made": lambda case: _with_traced(case, lambda f, v: jax.make_jaxpr(f)(v) and None),
    "jit": lambda case: _with_traced(case, lambda f, v: jax.jit(f)(v)),
    "vmap": lambda case: _with_traced(case, _mapped),
    "grad": lambda case: _with_traced(case, _derivative) if _has_derivative(case) else _call(case),
    "named": _named,
}


def _shown(value):
    try:
        return repr(value).replace("\n", " ")[:200]
    except Exception:
        return f"a {type(value).__name__}"
