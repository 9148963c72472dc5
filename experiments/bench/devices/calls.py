"""What a process of the bench of devices does: it compiles everyone's step in every way, and times them in turns."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import math
import re
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import jaxbn.linen

LAYERS: dict[str, Callable[..., nn.BatchNorm]] = {
    "jaxbn": jaxbn.linen.BatchNorm,
    "linen": nn.BatchNorm,
    "linen, stable": functools.partial(nn.BatchNorm, use_fast_variance=False),
}
AXIS, MEMBERS = "devices", 4
MODES = ("forward", "forward+backward")
COLLECTIVES = "all-reduce|all-gather|all-to-all|reduce-scatter|collective-permute|collective-broadcast"
# `(variables, x) -> (what all devices share, what each has a part of)`.
Step = Callable[[Any, jax.Array], tuple[Any, Any]]
# What `turn` calls in this process, by way and layer.
_calls: dict[tuple[str, str], Callable[[], Any]] = {}


@dataclasses.dataclass(frozen=True)
class Way:
    """How a step is spread over devices, and its arguments with it."""

    compiled: Callable[[Step], Any]
    place: Callable[[Any, jax.Array], tuple[Any, jax.Array]]
    axis_name: str | None = None
    by_hand: bool = False
    """Whether the step has to add up the gradients of shared parameters itself."""


def see(devices: int) -> None:
    """Let this process see so many CPU devices, before it has seen any."""
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", devices)


def ways(devices: int) -> dict[str, Way]:
    """By name all ways that there are over so many devices."""
    mesh = jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:devices])
    whole, parts = NamedSharding(mesh, P()), NamedSharding(mesh, P(AXIS))

    def spread(variables: Any, x: jax.Array) -> Any:
        return jax.device_put((variables, x), (whole, parts))

    def members(number: int, x: jax.Array) -> jax.Array:
        return x.reshape(number, -1, *x.shape[1:])

    def shard_map(step: Step, *, check_vma: bool) -> Any:
        split = jax.shard_map(step, mesh=mesh, in_specs=(P(), P(AXIS)), out_specs=(P(), P(AXIS)), check_vma=check_vma)
        return jax.jit(split)

    def pmap(step: Step) -> Any:
        return jax.pmap(step, AXIS, in_axes=(None, 0), out_axes=(None, 0), devices=jax.devices()[:devices])

    def vmap(step: Step) -> Any:
        return jax.jit(jax.vmap(step, (None, 0), (None, 0), axis_name=AXIS))

    checked, unchecked = (functools.partial(shard_map, check_vma=check) for check in (True, False))
    found = {
        "jit": Way(jax.jit, lambda *arguments: arguments),
        "jit-sharded": Way(jax.jit, spread),
        "shard_map": Way(checked, spread, AXIS),
        "shard_map-unchecked": Way(unchecked, spread, AXIS, by_hand=True),
        "pmap": Way(pmap, lambda variables, x: spread(variables, members(devices, x)), AXIS, by_hand=True),
        "vmap": Way(vmap, lambda variables, x: (variables, members(MEMBERS, x)), AXIS, by_hand=True),
    }
    left_out = "jit-sharded" if devices == 1 else "vmap"
    return {name: way for name, way in found.items() if name != left_out}


def steps(layer: nn.BatchNorm, way: Way) -> dict[str, Step]:
    """Training forward, and with the backward pass; the gradient of the output depends on it, as in a net."""

    def forward(variables: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        y, updates = layer.apply(variables, x, mutable=["batch_stats"])
        return updates, y

    def both(variables: Any, x: jax.Array) -> tuple[Any, jax.Array]:
        def loss(params: Any, x: jax.Array) -> tuple[jax.Array, Any]:
            updates, y = forward({**variables, "params": params}, x)
            return jnp.sum(nn.relu(y) ** 2), updates

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


def collectives(program: Any) -> int:
    """How many times the devices wait for each other."""
    return len(re.findall(rf"= .* (?:{COLLECTIVES})(?:-start)?\(", program.as_text()))


def digest(results: Any) -> str:
    """Of the bits of all numbers."""
    return hashlib.sha256(b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(results))).hexdigest()


def prepare(shape: Sequence[int], names: Sequence[str]) -> list[dict[str, Any]]:
    """Compile everything; for every way and layer collectives, seconds to compile, and the digest of the results."""
    variables, x = problem(shape)
    chosen = [(name, way) for name, way in ways(jax.device_count()).items() if name in names]
    found = []
    for (name, way), (label, layer) in itertools.product(chosen, LAYERS.items()):
        one = layer(use_running_average=False, axis_name=way.axis_name)
        programs, seconds = {}, {}
        try:
            with warnings.catch_warnings():
                # Some versions of JAX announce the end of pmap wherever it is used.
                warnings.filterwarnings("error", r".*\bpmap\b", DeprecationWarning)
                arguments = way.place(variables, x)
                for mode, step in steps(one, way).items():
                    start = time.perf_counter()
                    programs[mode] = way.compiled(step).lower(*arguments).compile()
                    seconds[mode] = time.perf_counter() - start
        except DeprecationWarning:
            continue
        call = _calls[name, label] = functools.partial(programs["forward+backward"], *arguments)
        counted = {mode: collectives(program) for mode, program in programs.items()}
        numbers = {"collectives": counted, "seconds": seconds, "digest": digest(call())}
        found.append({"way": name, "devices": jax.device_count(), "layer": label, **numbers})
    return found


def turn(least: float, number: int) -> dict[tuple[str, str], float]:
    """Milliseconds per call of everyone in this round, each as often as the turn takes."""
    found = {}
    # Another begins in every round: whoever does, after a pause of the process, is slower.
    first = number % max(1, len(_calls))
    for key in (*_calls, *_calls)[first : first + len(_calls)]:
        call = _calls[key]
        start = time.perf_counter()
        jax.block_until_ready(call())
        repeats = math.ceil(least / (time.perf_counter() - start))
        start = time.perf_counter()
        for _ in range(repeats):
            jax.block_until_ready(call())
        found[key] = (time.perf_counter() - start) / repeats * 1e3
    return found
