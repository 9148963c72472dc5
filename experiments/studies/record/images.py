"""More images to learn from: each turned, stretched, slanted and moved a little, at random."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.scipy.ndimage import map_coordinates

# The most of each: radians, logarithms of the two scales, a slant, pixels.
TURN, STRETCH, SLANT, MOVE = 0.14, 0.08, 0.08, 1.0
CHUNK = 500


def with_copies(images: np.ndarray, copies: int, seed: int) -> np.ndarray:
    """The images, then so many changed copies of all of them, `[(1 + copies) * n, 28, 28]` uint8."""
    keys = jax.random.split(jax.random.key(seed), copies)
    return np.concatenate([images, *(np.asarray(changed(images, key)) for key in keys)])


@jax.jit
def changed(images: jax.Array, key: jax.Array) -> jax.Array:
    """Each image changed in its own way; between pixels it is interpolated linearly, and 0 outside."""
    pieces = images.reshape(-1, CHUNK if len(images) % CHUNK == 0 else len(images), *images.shape[1:])
    keys = jax.random.split(key, pieces.shape[:2])
    return lax.map(lambda of: jax.vmap(change)(*of), (pieces, keys)).reshape(images.shape)


def change(image: jax.Array, key: jax.Array) -> jax.Array:
    """One image changed."""
    turn, rows, columns, slant, *move = jax.random.uniform(key, (6,), minval=-1, maxval=1)
    angle = TURN * turn
    turned = jnp.array([[jnp.cos(angle), -jnp.sin(angle)], [jnp.sin(angle), jnp.cos(angle)]])
    stretched = jnp.exp(STRETCH * jnp.stack([rows, columns]))[:, None] * turned
    matrix = stretched @ jnp.array([[1.0, SLANT * slant], [0.0, 1.0]])
    middle = (jnp.array(image.shape, jnp.float32) - 1)[:, None, None] / 2
    pixels = jnp.stack(jnp.meshgrid(*map(jnp.arange, image.shape), indexing="ij")).astype(jnp.float32)
    moved = middle + MOVE * jnp.stack(move)[:, None, None]
    seen = jnp.einsum("ij,jhw->ihw", matrix, pixels - middle) + moved
    return jnp.rint(map_coordinates(image.astype(jnp.float32), list(seen), order=1)).astype(image.dtype)
