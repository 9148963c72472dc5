"""What can befall images: each is `(key, images [n, height, width] in [0, 1], severity) -> images`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates


def noise(key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """Normal noise of this standard deviation."""
    return jnp.clip(images + severity * jax.random.normal(key, images.shape), 0, 1)


def contrast(_key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """This share of the difference from the image's mean is lost."""
    mean = images.mean((1, 2), keepdims=True)
    return mean + (1 - severity) * (images - mean)


def brightness(_key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """So much brighter."""
    return jnp.clip(images + severity, 0, 1)


def blur(_key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """A Gaussian of so many pixels."""
    pixels = jnp.arange(images.shape[-1], dtype=images.dtype)
    weights = jnp.exp(-(((pixels[:, None] - pixels[None]) / severity) ** 2) / 2)
    weights /= weights.sum(1, keepdims=True)
    return weights @ images @ weights.T


def rotation(key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """So many degrees, to the left or to the right."""
    angles = jnp.deg2rad(severity) * jax.random.rademacher(key, (len(images),), float)
    centre = (images.shape[-1] - 1) / 2

    def rotate(image: jax.Array, angle: jax.Array) -> jax.Array:
        rows, columns = jnp.indices(image.shape, image.dtype) - centre
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return map_coordinates(image, [cos * rows - sin * columns + centre, sin * rows + cos * columns + centre], 1)

    return jax.vmap(rotate)(images, angles)


def translation(key: jax.Array, images: jax.Array, severity: Any) -> jax.Array:
    """So many pixels, in any direction."""
    angles = jax.random.uniform(key, (len(images),), maxval=2 * jnp.pi)

    def translate(image: jax.Array, angle: jax.Array) -> jax.Array:
        rows, columns = jnp.indices(image.shape, image.dtype)
        return map_coordinates(image, [rows + severity * jnp.sin(angle), columns + severity * jnp.cos(angle)], 1)

    return jax.vmap(translate)(images, angles)
