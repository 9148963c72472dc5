"""Nets as each framework holds them: three norms among layers that are none, and conversions there and back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from jaxbn.interop import (
    from_equinox,
    from_haiku,
    from_keras,
    from_linen,
    from_nnx,
    from_torch,
    to_equinox,
    to_haiku,
    to_keras,
    to_linen,
    to_nnx,
    to_torch,
)
from tests.interop.layers import layer

NDIM = {"net/~/stem/bn": 4, "net/~/block/~/bn_1": 4, "net/~/head_bn": 2}


def own(count=0, paths=("stem.bn", "blocks.0.bn1", "head")):
    """Three layers of different sizes, parts and values."""
    parts = [{}, {"bias": False}, {"scale": False, "bias": False}]
    sizes = (3, 4, 2)
    return {path: layer(n, count=count, **more) for path, n, more in zip(paths, sizes, parts, strict=True)}


def other():
    return np.full((2, 2), 7, "float32")


def torch_net():
    """With a layer norm, a group norm, and a tracker of something that is no layer's feature."""
    decoys = {"conv.weight": other(), "ln.weight": other()[0], "ln.bias": other()[0], "gn.weight": other()[0]}
    decoys |= {"seen.running_mean": np.array(1.0), "seen.running_var": np.array(2.0), "half.running_mean": other()[0]}
    return decoys | to_torch(own(5)) | {"fc.weight": other(), "xrunning_mean": other()[0], "xrunning_var": other()[0]}


def keras_net(end=""):
    arrays = {f"{name}{end}": array for name, array in to_keras(own(paths=("net/stem", "net/b/bn", "bn"))).items()}
    return {"net/conv/kernel": other(), "net/ln/gamma": other()[0], **arrays, "net/fc/bias": other()[0]}


def haiku_net():
    params, state = to_haiku(own(5, tuple(NDIM)), decay=0.9, ndim=NDIM)
    return {"net/~/conv": {"w": other()}, **params}, {**state, "net/~/ema": {"average": other(), "counter": other()}}


def linen_net(averaging="ema"):
    layers = own(0 if averaging == "ema" else 5, ("Block_0/bn", "Block_1/Inner/bn", "head"))
    tree = to_linen(layers, averaging=averaging)
    tree["params"] |= {"Conv_0": {"kernel": other()}, "LayerNorm_0": {"scale": other()[0], "bias": other()[0]}}
    tree["batch_stats"]["SpectralNorm_0"] = {"conv/kernel/sigma": other(), "mean": other()}
    return tree | {"cache": {"other": other()}}


def nnx_net(averaging="ema"):
    tree = {"blocks": {0: {"conv": {"kernel": other()}}, 1: {"bn": to_nnx(*layer(4), averaging=averaging)}}}
    tree["blocks"][0]["bn"] = to_nnx(*layer(3, scale=False), averaging=averaging)
    return tree | {"norm": {"scale": other()[0], "bias": other()[0]}, "head": to_nnx(*layer(2), averaging=averaging)}


def equinox_net():
    return to_equinox(own(1, ("stem", "layers.0.bn", "head")), mode="ema")


def leaves(tree, path=()):
    """All arrays by their paths, nnx's numbers as the strings that paths are made of."""
    if isinstance(tree, dict | tuple):
        for step, branch in tree.items() if isinstance(tree, dict) else enumerate(tree):
            yield from leaves(branch, (*path, str(step)))
    else:
        yield path, tree


def changed(layers, seed=0):
    """The same layers with other values, as after training."""
    rng = np.random.default_rng(seed)

    def other(part):
        return part + 3 if part.dtype == jnp.int32 else part + rng.uniform(0.1, 1, part.shape).astype("float32")

    # One by one, since `jax.tree.map` sorts the paths.
    return {path: jax.tree.map(other, layer) for path, layer in layers.items()}


# What a net holds, out of it, and back.
NETS = {
    "torch": (torch_net, from_torch, to_torch),
    "keras": (keras_net, from_keras, to_keras),
    "haiku": (
        haiku_net,
        lambda dicts: from_haiku(*dicts),
        functools.partial(to_haiku, decay=0.9, ndim=NDIM),
    ),
    "linen": (linen_net, from_linen, to_linen),
    "linen-count": (
        functools.partial(linen_net, "warmup"),
        from_linen,
        functools.partial(to_linen, averaging="warmup"),
    ),
    "nnx": (nnx_net, from_nnx, to_nnx),
    "nnx-count": (
        functools.partial(nnx_net, "cumulative"),
        from_nnx,
        functools.partial(to_nnx, averaging="cumulative"),
    ),
    "equinox-ema": (equinox_net, from_equinox, functools.partial(to_equinox, mode="ema")),
}
