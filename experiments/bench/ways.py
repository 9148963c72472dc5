"""A training step of one layer of batch norm, spread over devices in every way that JAX has."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbn.linen

LAYERS: dict[str, Callable[..., nn.BatchNorm]] = {
    "jaxbn": jaxbn.linen.BatchNorm,
    "linen": nn.BatchNorm,
    "linen, stable": functools.partial(nn.BatchNorm, use_fast_variance=False),
}
AXIS, MEMBERS = "devices", 4
MODES = ("forward", "forward+backward")
# `(variables, x) -> (what all devices share, what each has a part of)`.
Step = Callable[[Any, jax.Array], tuple[Any, Any]]


@dataclasses.dataclass(frozen=True)
class Way:
    """How a step is spread over devices, and its arguments with it."""

    compiled: Callable[[Step], Any]
    place: Callable[[Any, jax.Array], tuple[Any, jax.Array]]
    axis_name: str | None = None
    by_hand: bool = False
    """Whether the step has to add up the gradients of shared parameters itself."""


def spread(devices: Sequence[jax.Device]) -> tuple[NamedSharding, NamedSharding]:
    """A copy on every device, and a part of the batch on each."""
    mesh = Mesh(np.array(devices), (AXIS,), axis_types=(AxisType.Auto,))
    return NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))


def ways(devices: Sequence[jax.Device]) -> dict[str, Way]:
    """By name all ways that there are over these devices."""
    number, shardings = len(devices), spread(devices)

    def place(variables: Any, x: jax.Array) -> Any:
        return jax.device_put((variables, x), shardings)

    def members(number: int, x: jax.Array) -> jax.Array:
        return x.reshape(number, -1, *x.shape[1:])

    def shard_map(step: Step, *, check_vma: bool) -> Any:
        specs = tuple(sharding.spec for sharding in shardings)
        mesh = shardings[0].mesh
        return jax.jit(jax.shard_map(step, mesh=mesh, in_specs=specs, out_specs=specs, check_vma=check_vma))

    def pmap(step: Step) -> Any:
        return jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=(None, 0), devices=devices)

    def vmap(step: Step) -> Any:
        return jax.jit(jax.vmap(step, (None, 0), (None, 0), axis_name=AXIS))

    checked, unchecked = (functools.partial(shard_map, check_vma=check) for check in (True, False))
    found = {
        "jit": Way(jax.jit, lambda *arguments: arguments),
        "jit-sharded": Way(jax.jit, place),
        "shard_map": Way(checked, place, AXIS),
        "shard_map-unchecked": Way(unchecked, place, AXIS, by_hand=True),
        "pmap": Way(pmap, lambda variables, x: place(variables, members(number, x)), AXIS, by_hand=True),
        "vmap": Way(vmap, lambda variables, x: (variables, members(MEMBERS, x)), AXIS, by_hand=True),
    }
    left_out = "jit-sharded" if number == 1 else "vmap"
    return {name: way for name, way in found.items() if name != left_out}


def steps(layer: nn.BatchNorm, way: Way) -> dict[str, Step]:
    """Training forward, and with the backward pass; the gradient of the output depends on it, as in a net."""

    def forward(variables: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        y, updates = layer.apply(variables, x, mutable=["batch_stats"])
        return updates, y

    def both(variables: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        def loss(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            updates, y = forward({**variables, "params": params}, x)
            return jnp.sum(nn.relu(y).astype(jnp.float32) ** 2), updates

        (by_params, by_x), updates = jax.grad(loss, (0, 1), has_aux=True)(variables["params"], x)
        return (updates, jax.lax.psum(by_params, way.axis_name) if way.by_hand else by_params), by_x

    return dict(zip(MODES, (forward, both), strict=True))


def problem(shape: Sequence[int]) -> tuple[Any, jax.Array]:
    """Variables as after some training, and a batch."""
    rng = np.random.default_rng(0)
    vector = functools.partial(rng.standard_normal, shape[-1:], np.float32)
    params = {"scale": jnp.asarray(1 + 0.1 * vector()), "bias": jnp.asarray(0.1 * vector())}
    stats = {"mean": jnp.zeros(shape[-1:]), "var": jnp.ones(shape[-1:])}
    return {"params": params, "batch_stats": stats}, jnp.asarray(1 + rng.standard_normal(shape, np.float32))
