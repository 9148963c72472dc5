"""All programs of a training, compiled before the data are there."""

from __future__ import annotations

import functools
from concurrent.futures import ThreadPoolExecutor

import jax
import jax.numpy as jnp

from experiments.hardest import training
from experiments.hardest.net import Net

QUICK = {"xla_backend_optimization_level": 1}


def compile_all(
    net: Net, recipe: training.Recipe, images: jax.ShapeDtypeStruct, scored: jax.ShapeDtypeStruct
) -> training.Programs:
    """Compile the programs side by side, for images of these shapes to train on and to score."""
    passes = recipe.steps(images.shape[0])
    number = jax.ShapeDtypeStruct((), jnp.int32)
    order, shifts = (jax.ShapeDtypeStruct((max(passes), n), jnp.int32) for n in (recipe.batch_size, 2))
    labels, targets = (jax.ShapeDtypeStruct(x.shape[:1], jnp.uint8) for x in (images, scored))
    some = jax.ShapeDtypeStruct((recipe.recalibrate, *images.shape[1:]), jnp.uint8)
    key = jax.eval_shape(lambda: jax.random.key(0))
    start = functools.partial(training.init, net, images.shape[0])
    carry = jax.eval_shape(start, key)
    train_args = (carry, order, shifts, number, number, images, labels)
    # The longest first; the others run once and briefly, and are not worth optimising.
    jobs = [
        (functools.partial(training.train, net, recipe, sum(passes)), train_args, {}),
        (start, (key,), QUICK),
        (functools.partial(training.recalibrate, net), (carry.params, carry.state, some), QUICK),
        (functools.partial(training.count_hits, net), (carry.params, carry.state, scored, targets), QUICK),
    ]
    with ThreadPoolExecutor(2) as pool:
        # Traced here, one after the other, since Python runs one thread at a time; compiled there.
        lowered = (jax.jit(function, compiler_options=options).lower(*args) for function, args, options in jobs)
        train, init, recalibrate, count_hits = (job.result() for job in [pool.submit(low.compile) for low in lowered])
    return training.Programs(init, train, recalibrate, count_hits)
