"""Where a batch norm is called, whoever wrote the layer: while a program is traced, its input gets a mark.

The layers of this library all come through one function of the core. Flax's own are met at their `__call__`. What is
put in their place works in this thread alone, and only while `apply` is traced, in one thread at a time.
"""

from __future__ import annotations

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxbn import _checks as core_checks
from jaxbn import _flax, _phases
from jaxbn.inference._population import checks as _checks
from jaxbn.inference._population.dropout import mark_dropout
from jaxbn.inference._population.mark import Settings, mark

# What was traced with marks is never taken for the same function without them, nor the other way round.
_traced_anew = jax.make_user_context(None)
# What two threads replace in turns, and put back in turns, ends up with what one of them has put there.
_one_at_a_time = threading.RLock()


class Called(NamedTuple):
    """What a batch norm is called, and how it is told to evaluate."""

    name: str
    remedy: str


_FUNCTION = Called("batch_norm", "train=False, a Python bool")
# Of nnx no layer knows where in the model it is.
_NNX = Called("nnx.BatchNorm", "use_running_average=True or after model.eval()")


@contextlib.contextmanager
def watching() -> Iterator[None]:
    """In this context the input of every batch norm that evaluates is marked, and one that trains is refused."""
    said: dict[str, Any] = {}
    with _one_at_a_time, contextlib.ExitStack() as stack:
        stack.enter_context(_traced_anew(object()))
        # Evaluation has no use for a momentum; that a norm checks it is the one trace that it leaves.
        for name in ("momentum", "update_rule"):
            stack.enter_context(_replaced(core_checks, name, functools.partial(_heard, said, name)))
        stack.enter_context(_replaced(_phases, "evaluate", functools.partial(_ours, said)))
        stack.enter_context(_replaced(_phases, "learned", functools.partial(_trains, said)))
        # A model of Flax can only be given where Flax is loaded.
        if linen := sys.modules.get("flax.linen"):
            stack.enter_context(linen.intercept_methods(functools.partial(_linen, said)))
        if nnx := sys.modules.get("flax.nnx"):
            stack.enter_context(_replaced(nnx.BatchNorm, "__call__", _nnx))
            stack.enter_context(_replaced(nnx.Dropout, "__call__", _dropout))
        if ours := sys.modules.get("jaxbn.nnx"):
            stack.enter_context(_replaced(ours.BatchNorm, "__call__", functools.partial(_inside, said, _NNX)))
        yield


@contextlib.contextmanager
def _replaced(owner: Any, name: str, new: Callable[..., Any]) -> Iterator[None]:
    old, thread = getattr(owner, name), threading.get_ident()

    @functools.wraps(old)
    def chosen(*args: Any, **kwargs: Any) -> Any:
        return new(old, *args, **kwargs) if threading.get_ident() == thread else old(*args, **kwargs)

    setattr(owner, name, chosen)
    try:
        yield
    finally:
        setattr(owner, name, old)


def _heard(said: dict[str, Any], name: str, check: Any, value: Any, *rest: Any) -> Any:
    said[name] = value
    return check(value, *rest)


def _ours(
    said: dict[str, Any], evaluate: Any, params: Any, state: Any, x: Any, weights: Any, axes: Any, epsilon: Any
) -> jax.Array:
    # Whoever calls `normalize` gives no momentum, and must not get that of the call before.
    settings = _settings(epsilon, said.pop("momentum", None), said.pop("update_rule", "ema"))
    return evaluate(params, state, mark(x, weights, state.mean, state.var, axes, settings), weights, axes, epsilon)


def _settings(epsilon: Any, momentum: Any, averaging: str = "ema") -> Settings:
    known = [None if part is None or not core_checks.is_known(part) else float(part) for part in (epsilon, momentum)]
    return Settings(known[0], known[1], averaging)


def _trains(said: dict[str, Any], _: Any, *args: Any, **kwargs: Any) -> Any:
    del args, kwargs
    raise _checks.trains(*said.get("layer", _FUNCTION))


def _inside(said: dict[str, Any], layer: Called, call: Any, *args: Any, **kwargs: Any) -> Any:
    """A layer of this library comes to `batch_norm` in the end, which does not know what it is called."""
    said["layer"] = layer
    try:
        return call(*args, **kwargs)
    finally:
        said.pop("layer", None)


def _linen(said: dict[str, Any], call: Any, args: Any, kwargs: Any, context: Any) -> Any:
    """Flax's own layer, also where a subclass calls it; what overrides it calls something else that is watched."""
    method = getattr(context.orig_method, "func", None)
    own, layer = (getattr(method, "__module__", ""), getattr(method, "__qualname__", "")), context.module
    if own == ("flax.linen.stochastic", "Dropout.__call__"):
        return _dropout(lambda _, *args, **kwargs: call(*args, **kwargs), layer, *args, **kwargs)
    called = Called("/".join(layer.path) or "BatchNorm", "use_running_average=True")
    if own == ("jaxbn.linen", "BatchNorm.__call__"):
        return _inside(said, called, call, *args, **kwargs)
    if own != ("flax.linen.normalization", "BatchNorm.__call__"):
        return call(*args, **kwargs)

    def marked(x: Any, use_running_average: Any = None, *, mask: Any = None) -> Any:
        evaluates = layer.use_running_average if use_running_average is None else use_running_average
        if layer.is_initializing() or not layer.has_variable("batch_stats", "mean"):
            return call(x, use_running_average, mask=mask)
        if evaluates is not True:
            raise _checks.trains(*called)
        mean, var = (layer.get_variable("batch_stats", name) for name in ("mean", "var"))
        return call(_marked(x, mask, mean, var, layer), use_running_average, mask=mask)

    return marked(*args, **kwargs)


def _dropout(call: Any, layer: Any, *args: Any, **kwargs: Any) -> Any:
    x = call(layer, *args, **kwargs)
    return mark_dropout(jnp.asarray(x)) if layer.rate else x


def _nnx(call: Any, layer: Any, x: Any, use_running_average: Any = None, *, mask: Any = None) -> Any:
    evaluates = layer.use_running_average if use_running_average is None else use_running_average
    if evaluates is not True:
        raise _checks.trains(*_NNX)
    x = _marked(x, mask, layer.mean.get_value(), layer.var.get_value(), layer)
    return call(layer, x, use_running_average, mask=mask)


def _marked(x: Any, mask: Any, mean: Any, var: Any, layer: Any) -> jax.Array:
    """With the feature axes sorted and a mask taken for booleans, as Flax does."""
    x = _flax.data(x, None)
    weights = core_checks.mask(_flax.mask(None if mask is None else jnp.asarray(mask, bool), x), x)
    settings = _settings(layer.epsilon, layer.momentum)
    return mark(x, weights, mean, var, sorted(core_checks.axes(layer.axis, x.ndim)), settings)
