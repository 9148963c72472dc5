"""The public functions and layers with a valid call of each; a new one is a new row."""

import functools
import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.nnx
import jax
import numpy as np

import jaxbn
from jaxbn import inference, interop, linen, nnx, preprocess, variants
from tests.fuzz import nets
from tests.fuzz.own import OwnError

X = np.random.default_rng(0).normal(3, 2, (5, 3)).astype("float32")
KEY = jax.random.key(0)
PARAMS, STATE = jaxbn.init_batch_norm(3)
MOMENTS = jaxbn.batch_moments(X)
FITTED = preprocess.fit_pca(X)


class Call(NamedTuple):
    name: str
    function: Callable[..., Any]
    valid: dict[str, Any]
    weight: float = 1  # how often it is taken, beside the others
    more: tuple[str, ...] = ()  # arguments that `valid` leaves out
    room: str = ""

    @property
    def names(self):
        """Of all arguments."""
        return [*dict.fromkeys([*self.valid, *self.more])]

    def speaks_of(self, words):
        """Whether these words hold the name of an argument, or of an entry in one, as of `bn.bias` in a state dict."""
        known = {*self.names, *_keys(self.valid), *PARTS.get(self.room, ())}
        return not known.isdisjoint(re.findall(r"\w+", words))


# What a layer makes of its initialisers, and what a pair of arrays is called.
PARTS = {"layers": ("params", "mean", "var"), "interop": ("hidden_mean", "hidden_var")}


def _keys(tree):
    for key, value in tree.items() if isinstance(tree, dict) else ():
        yield from re.findall(r"\w+", str(key))
        yield from _keys(value)


def of(function, weight=1, **valid):
    """With every argument of its signature."""
    return Call(function.__name__, function, valid, weight, tuple(inspect.signature(function).parameters))


def of_linen(x, variables, use_running_average, mask=None, **options):
    if isinstance(variables, jax.Ref):
        raise OwnError  # Flax looks for a name in it, and JAX gives it elements without an end
    layer = linen.BatchNorm(**options)
    return layer.apply(variables, x, use_running_average=use_running_average, mask=mask, mutable=["batch_stats"])


def of_linen_init(x, **options):
    return linen.BatchNorm(use_running_average=False, **options).init(KEY, x)


def of_nnx(x, use_running_average=None, mask=None, **options):
    return nnx.BatchNorm(**({"rngs": flax.nnx.Rngs(0)} | options))(x, use_running_average, mask=mask)


def options_of(layer):
    left_out = {"parent", "name", "self", "rngs", "args", "kwargs", "use_running_average"}
    return tuple(p for p in inspect.signature(layer).parameters if p not in left_out)


PAIR = {"params": PARAMS, "state": STATE}
NORM = PAIR | {"x": X, "train": True}
VARIABLES = interop.to_linen(PARAMS, STATE)
LAYER = {"x": X, "use_running_average": False, "mask": None}
LAYERS = {"bn1": (PARAMS, STATE), "bn2": (PARAMS, STATE)}

CORE = [
    of(jaxbn.batch_norm, 6, **NORM),
    of(jaxbn.init_batch_norm, 3, features=3),
    of(jaxbn.batch_moments, 2, x=X),
    of(jaxbn.merge_moments, 1, a=MOMENTS, b=MOMENTS),
    of(jaxbn.sync_moments, 1, m=MOMENTS, axis_name="i"),
    of(jaxbn.update_state, 2, state=STATE, moments=MOMENTS),
    of(jaxbn.normalize, 2, params=PARAMS, x=X, mean=STATE.mean, var=STATE.var),
    of(jaxbn.init_state, 2, features=3),
    of(jaxbn.check_state, 1, state=STATE),
    *(
        Call(f"batch_norm of {name}", jaxbn.batch_norm, NORM | getattr(jaxbn.presets, name), 0.2)
        for name in ("FLAX", "TORCH", "KERAS", "SLIM", "TUTORIAL")
    ),
    of(variants.ghost_batch_norm, 3, **NORM, ghost_size=2),
    of(variants.batch_renorm, 3, **NORM, r_max=3.0, d_max=5.0),
    of(variants.accumulate, 1, state=STATE, micro_batches=2),
    Call("batch_norm of accumulate", jaxbn.batch_norm, NORM | {"state": variants.accumulate(STATE, 2)}, 0.5),
]
FITS = (
    preprocess.fit_center,
    preprocess.fit_standardize,
    preprocess.fit_min_max,
    preprocess.fit_pca,
    preprocess.fit_whiten,
)
PREPROCESS = [
    *(of(fit, 1, x=X) for fit in FITS),
    *(of(fit, 0.3, x=[X, X], mask=[np.ones((5, 1), bool)] * 2) for fit in FITS),
    of(preprocess.transform, 1, t=FITTED, x=X),
    of(preprocess.inverse_transform, 1, t=FITTED, y=X),
    of(preprocess.transform, 0.5, t=preprocess.fit_center(X), x=X),
]
FLAX = [
    Call("linen.BatchNorm", of_linen, LAYER | {"variables": VARIABLES}, 3, options_of(linen.BatchNorm)),
    Call("linen.BatchNorm.init", of_linen_init, {"x": X}, 1, options_of(linen.BatchNorm)),
    of(nnx.keep_digits, 0.3, arrays=(X, STATE.mean), dtype="float32"),
    Call("nnx.BatchNorm", of_nnx, LAYER | {"num_features": 3}, 3, (*options_of(nnx.BatchNorm), "rngs")),
]
INFERENCE = [
    of(inference.to_affine, 1, **PAIR),
    of(inference.fold_dense, 1, **PAIR, kernel=X, bias=X[0]),
    of(inference.fold_conv, 1, **PAIR, kernel=X[None, None], bias=X[0]),
    of(inference.recalibrate, 0.03, apply=nets.apply, variables=nets.VARIABLES, batches=[nets.X]),
    of(inference.diagnose, 0.03, apply=nets.apply, variables=nets.VARIABLES, batches=[nets.X]),
    of(inference.fold, 0.03, f=nets.apply, variables=nets.VARIABLES, sample=nets.X),
]
HAIKU = dict(zip(("params", "state"), interop.to_haiku(PARAMS, STATE, "bn", decay=0.9, ndim=2), strict=True))
EQUINOX = interop.to_equinox(PARAMS, STATE)
INTEROP = [
    of(interop.from_torch, 0.5, state_dict=interop.to_torch(PARAMS, STATE, "bn"), prefix="bn"),
    of(interop.from_torch, 0.3, state_dict=interop.to_torch(LAYERS)),
    of(interop.from_keras, 0.5, variables=interop.to_keras(PARAMS, STATE, "bn"), prefix="bn"),
    of(interop.from_keras, 0.3, variables=interop.to_keras(LAYERS)),
    of(interop.from_haiku, 0.5, **HAIKU, module="bn"),
    of(interop.from_haiku, 0.3, **HAIKU),
    of(interop.from_equinox, 0.5, arrays=EQUINOX),
    of(interop.from_equinox, 0.3, arrays={"a": EQUINOX}),
    of(interop.from_linen, 0.5, variables=interop.to_linen(PARAMS, STATE, "a/bn"), path="a/bn"),
    of(interop.from_linen, 0.3, variables=interop.to_linen(LAYERS)),
    of(interop.from_nnx, 0.5, state=interop.to_nnx(PARAMS, STATE, "a/bn"), path="a/bn"),
    of(interop.from_nnx, 0.3, state=interop.to_nnx(LAYERS)),
    *(
        of(to, 0.4, **PAIR)
        for to in (interop.to_torch, interop.to_keras, interop.to_equinox, interop.to_linen, interop.to_nnx)
    ),
    *(of(to, 0.2, params=LAYERS) for to in (interop.to_torch, interop.to_keras, interop.to_equinox)),
    of(interop.to_haiku, 0.4, **PAIR, module="bn", decay=0.9, ndim=2),
    of(interop.to_linen, 0.4, params=LAYERS, into=interop.to_linen(LAYERS)),
    of(interop.to_nnx, 0.4, params=LAYERS, into=interop.to_nnx(LAYERS)),
    of(interop.rename, 0.4, layers=LAYERS, names={"bn1": "a"}),
    of(interop.debiased_momentum, 0.4, decay=0.9, count=3),
]
ROOMS = {"core": CORE, "layers": FLAX, "preprocess": PREPROCESS, "inference": INFERENCE, "interop": INTEROP}
CALLS = [call._replace(room=room) for room, calls in ROOMS.items() for call in calls]


@functools.cache
def weights():
    return [call.weight for call in CALLS]
