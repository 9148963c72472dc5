"""More images to learn from: each turned, stretched, slanted and moved a little, at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates

from experiments.hardest.training import chunks

# The most of each: radians, logarithms of the two scales, a slant, pixels.
TURN, STRETCH, SLANT, MOVE = 0.14, 0.08, 0.08, 1.0


def with_copies(images: np.ndarray, copies: int, seed: int) -> np.ndarray:
    """The images, then so many changed copies of all of them, `[(1 + copies) * n, 28, 28]` uint8."""
    count = len(images)
    found = np.concatenate([images, np.empty((copies * count, *images.shape[1:]), images.dtype)])
    # Other random numbers than those of the net from the same seed.
    for i, key in enumerate(jax.random.split(jax.random.fold_in(jax.random.key(seed), 1), copies), 1):
        found[i * count : (i + 1) * count] = changed(images, key)
    return found


@jax.jit
def changed(images: jax.Array, key: jax.Array) -> jax.Array:
    """Each image changed in its own way; between pixels it is interpolated linearly, and 0 outside."""
    pieces = chunks(images)
    keys = jax.random.split(key, pieces.shape[:2])
    return lax.map(lambda of: jax.vmap(change)(*of), (pieces, keys)).reshape(images.shape)


def change(image: jax.Array, key: jax.Array) -> jax.Array:
    """One image changed."""
    turn, rows, columns, slant, *move = jax.random.uniform(key, (6,), minval=-1, maxval=1)
    cos, sin, one, none = jnp.cos(TURN * turn), jnp.sin(TURN * turn), jnp.ones(()), jnp.zeros(())
    turned, slanted = matrix([cos, -sin], [sin, cos]), matrix([one, SLANT * slant], [none, one])
    stretched = jnp.exp(STRETCH * matrix([rows], [columns]))
    # Places of pixels, from the middle of the image.
    places = jnp.meshgrid(
        *(jnp.arange(size, dtype=jnp.float32) - (size - 1) / 2 for size in image.shape), indexing="ij"
    )
    seen = jnp.einsum("ij,jhw->ihw", stretched * turned @ slanted, jnp.stack(places))
    at = [place + MOVE * by + (size - 1) / 2 for place, by, size in zip(seen, move, image.shape, strict=True)]
    return jnp.rint(map_coordinates(image.astype(jnp.float32), at, order=1)).astype(image.dtype)


def matrix(*rows: list[jax.Array]) -> jax.Array:
    """A matrix of these numbers."""
    return jnp.stack([jnp.stack(row) for row in rows])
