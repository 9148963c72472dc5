"""How many collectives a ghost norm has on four chips of a TPU v5e, in JSON.

A program, so that a test may run it in a process of its own: `python -m tests.ghost_for_tpu`.
"""

import functools
import json
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import topologies
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from experiments.bench.ahead_of_time.targets import TARGETS
from jaxbn import init_batch_norm
from jaxbn.variants import ghost_batch_norm
from tests.collectives import collectives

PARAMS, STATE = init_batch_norm(128)


def normalized(x, mask, size):
    return ghost_batch_norm(PARAMS, STATE, x, True, ghost_size=size, mask=mask)[0]


def gradient(x, mask, size):
    return jax.grad(lambda x: jnp.sum(normalized(x, mask, size).astype("float32") ** 3))(x)


def trained(x, mask, size):
    def loss(x):
        y, state = ghost_batch_norm(PARAMS, STATE, x, True, ghost_size=size, mask=mask)
        return jnp.sum(y.astype("float32") ** 3), (y, state)

    return jax.grad(loss, has_aux=True)(x)


def main():
    target = TARGETS["tpu-v5e"]
    for name, value in target.variables.items():
        os.environ.setdefault(name, value)
    chips = np.array(topologies.get_topology_desc(target.topology, "tpu").devices)
    there = NamedSharding(Mesh(chips, ("a",)), PartitionSpec("a"))
    x = jax.ShapeDtypeStruct((128, 28, 28, 128), "bfloat16", sharding=there)
    mask = jax.ShapeDtypeStruct((128, 1, 1, 1), "bool", sharding=there)

    def compiled(function, mask, size):
        lowered = jax.jit(functools.partial(function, size=size)).trace(x, mask).lower(lowering_platforms=("tpu",))
        return collectives(lowered.compile())

    found = {f.__name__: [compiled(f, m, 32) for m in (None, mask)] for f in (normalized, gradient, trained)}
    print(json.dumps({"chips": len(chips), **found, "shared": compiled(normalized, None, 64)}))


if __name__ == "__main__":
    main()
