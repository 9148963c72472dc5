"""Principal components and whitening: all features together."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import ArrayLike

from jaxbn import _checks
from jaxbn._pivoted import AxisName, sync
from jaxbn.preprocess import _checks as _own
from jaxbn.preprocess._batches import Data, Masks, NanPolicy, fold
from jaxbn.preprocess._comoments import Comoments, about, comoments, dot, merge
from jaxbn.preprocess.transform import Transform


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=("center", "rest", "components", "spread", "explained_variance", "explained_variance_ratio"),
    meta_fields=("axis", "rotate_back"),
)
@dataclasses.dataclass(frozen=True)
class Projection(Transform):
    """A transform of all features together, for `transform` and `inverse_transform`.

    `y = (x - center - rest) @ components.T / spread`, for ZCA whitening followed by `@ components`. The mean is
    `center + rest`: two numbers hold it to more digits than one.

    Attributes:
        center: `[*features]`, at least float32, in the unit of the data.
        rest: `[*features]`, as `center`.
        components: `[components, *features]`, orthonormal, sorted by variance; the largest entry of each is positive.
        spread: `[components]`, all 1 if nothing is whitened.
        explained_variance: `[components]`, the variance of the data along each, in the square of its unit.
        explained_variance_ratio: `[components]`, its share in the total variance.
        axis: the feature axes.
        rotate_back: whether the components are rotated back to features, as for ZCA.

    Example:
        >>> t = fit_pca(jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]]))
        >>> print(t.center + t.rest, t.components[0], t.spread)
        [2. 4.] [0.4472136 0.8944272] [1. 1.]
    """

    center: jax.Array
    rest: jax.Array
    components: jax.Array
    spread: jax.Array
    explained_variance: jax.Array
    explained_variance_ratio: jax.Array
    axis: tuple[int, ...]
    rotate_back: bool

    @jax.jit
    def _forward(self, x: jax.Array) -> jax.Array:
        y = self._coordinates(x, "x", centred=False)
        y = y / self._beside(self.spread, y)
        return self._features(y, centred=True) if self.rotate_back else y

    @jax.jit
    def _inverse(self, y: jax.Array) -> jax.Array:
        if self.rotate_back:
            y = self._coordinates(y, "y", centred=True)
        else:
            _own.fitted_features("y", y.shape[-1:], self.spread.shape)
        return self._features(y * self._beside(self.spread, y), centred=False)

    def _coordinates(self, x: jax.Array, name: str, *, centred: bool) -> jax.Array:
        """`[..., *features]` as they lie in `x` -> `[..., components]`."""
        axes = _checks.axes(self.axis, x.ndim)
        _own.fitted_features(name, tuple(x.shape[a] for a in axes), self.center.shape)
        x = jnp.moveaxis(x, axes, range(-len(axes), 0))
        if not centred:
            x = x - self._beside(self.center, x) - self._beside(self.rest, x)
        return dot(x.reshape(*x.shape[: -len(axes)], self.center.size), self._matrix(x).T)

    def _features(self, y: jax.Array, *, centred: bool) -> jax.Array:
        """`[..., components]` -> `[..., *features]`, each in its place."""
        x = dot(y, self._matrix(y)).reshape(*y.shape[:-1], *self.center.shape)
        if not centred:
            x = x + self._beside(self.rest, x) + self._beside(self.center, x)
        return jnp.moveaxis(x, range(-len(self.axis), 0), self.axis)

    def _matrix(self, x: jax.Array) -> jax.Array:
        return self.components.reshape(-1, self.center.size).astype(x.dtype)

    def _beside(self, part: jax.Array, x: jax.Array) -> jax.Array:
        return part.astype(x.dtype).reshape((1,) * (x.ndim - part.ndim) + part.shape)


def fit_pca(
    x: Data,
    *,
    components: int | None = None,
    axis: int | Sequence[int] = -1,
    mask: Masks = None,
    axis_name: AxisName | None = None,
    ddof: Literal[0, 1] = 0,
    nan_policy: NanPolicy = "raise",
) -> Projection:
    """Fit principal component analysis: the transform to uncorrelated coordinates, sorted by variance.

    `y = (x - mean) @ components.T`, with the eigenvectors of the covariance as components.

    Args:
        x: `[..., features, ...]`, floating, or an iterable of such batches; of the data one batch at a time is held,
            and beside it arrays `[features, features]`.
        components: how many to keep; `None` for as many as there are features.
        axis: the feature axis, or several, which count as one long one: `(1, 2)` for the pixels of images
            `[n, height, width]`.
        mask: `None`, or booleans or weights of the examples, of size 1 along the feature axes; for batches an iterable.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the data is spread.
        ddof: 1 gives unbiased variances, as in scikit-learn, with weights as repetitions; the components are the same.
        nan_policy: `"raise"` refuses NaN and inf (a compiled function can't: there they go through), `"omit"` leaves
            out the examples that hold NaN.

    Returns:
        `Projection`. With fewer examples than features the last components have variance 0, and are arbitrary; so are
        components of equal variance, and gradients through them are NaN.

    Raises:
        TypeError: `x` is not floating, or `components` no int.
        ValueError: a wrong `axis`, `mask`, `components` or `ddof`, no batch, batches with different features, NaN or
            inf.

    Example:
        >>> x = jnp.array([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0]])
        >>> t = fit_pca(x)
        >>> print(t.components[0], t.explained_variance_ratio[0])
        [0.4472136 0.8944272] 1.0

    Reference:
        Jolliffe, "Principal component analysis", 2nd edition, 2002, section 2.1; the sum of outer products merges as
        in Chan, Golub and LeVeque 1979, equation (2.1).
    """
    return _fit(x, components, axis, mask, axis_name, ddof, nan_policy)[0]


def fit_whiten(
    x: Data,
    *,
    kind: Literal["pca", "zca"] = "pca",
    components: int | None = None,
    epsilon: ArrayLike = 0.0,
    axis: int | Sequence[int] = -1,
    mask: Masks = None,
    axis_name: AxisName | None = None,
    ddof: Literal[0, 1] = 0,
    nan_policy: NanPolicy = "raise",
) -> Projection:
    """Fit whitening: the transform to uncorrelated coordinates of variance 1.

    `y = (x - mean) @ components.T / sqrt(variance + epsilon)`, for ZCA followed by `@ components`, which of all
    whitened data is the nearest to the original.

    Args:
        x: `[..., features, ...]`, floating, or an iterable of such batches, as in `fit_pca`.
        kind: `"pca"` gives `[..., components]`, `"zca"` the shape of `x`.
        components: how many to keep; `None` for as many as there are features.
        epsilon: added to the variances, so that directions of little variance, which are noise, are not blown up.
        axis: the feature axis, or several, which count as one long one.
        mask: `None`, or booleans or weights of the examples, of size 1 along the feature axes; for batches an iterable.
        axis_name: a mapped axis (of `vmap`, `pmap`, `shard_map`) or several over which the data is spread.
        ddof: 1 gives unbiased variances, with weights as repetitions.
        nan_policy: `"raise"` refuses NaN and inf, `"omit"` leaves out the examples that hold NaN.

    Returns:
        `Projection`. Without `epsilon`, directions in which the data does not vary, to the precision of its
        covariance, keep their scale.

    Raises:
        TypeError: as in `fit_pca`.
        ValueError: `kind` is unknown, `epsilon` negative, and as in `fit_pca`.

    Example:
        >>> from jaxbn.preprocess import fit_whiten, transform
        >>> x = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 4.0], [2.0, 4.0]])
        >>> print(transform(fit_whiten(x, kind="zca"), x)[0])
        [-1. -1.]

    Reference:
        Kessy, Lewin and Strimmer, "Optimal whitening and decorrelation", The American Statistician 72(4), 2018.
    """
    _checks.choice("kind", kind, ("pca", "zca"))
    _checks.epsilon(epsilon)
    t, count = _fit(x, components, axis, mask, axis_name, ddof, nan_policy)
    variance = t.explained_variance
    epsilon = jnp.asarray(epsilon, variance.dtype)
    noise = jnp.maximum(t.center.size, jnp.sqrt(count)) * jnp.finfo(variance.dtype).eps * variance[0]
    spread = jnp.sqrt(jnp.where((variance > noise) | (epsilon > 0), variance + epsilon, 1))
    return dataclasses.replace(t, spread=spread, rotate_back=kind == "zca")


def _fit(
    x: Data,
    components: int | None,
    axis: int | Sequence[int],
    mask: Masks,
    axis_name: AxisName | None,
    ddof: Literal[0, 1],
    nan_policy: NanPolicy,
) -> tuple[Projection, jax.Array]:
    """Principal components, and the number of examples."""
    _checks.choice("ddof", ddof, (0, 1))
    total = fold(x, mask, axis, nan_policy, comoments, merge, whole_examples=True)
    if axis_name is not None:
        merged = sync(total.moments, axis_name)
        total = Comoments(merged, lax.psum(about(total, merged), axis_name))
    (center, count, rest, _), scatter = total
    _own.finite_fit(center + rest, jnp.diagonal(scatter).reshape(center.shape), nan_policy)
    kept = _own.components(components, center.size)

    count = count.ravel()[0]
    vectors, variance, share = _principal(scatter, count - ddof, kept)
    spread = jnp.ones_like(variance)
    axes = tuple(axis) if isinstance(axis, Sequence) else (axis,)
    vectors = vectors.reshape(kept, *center.shape)
    return Projection(center, rest, vectors, spread, variance, share, axes, rotate_back=False), count


@functools.partial(jax.jit, static_argnums=2)
def _principal(scatter: jax.Array, degrees: jax.Array, kept: int) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The first eigenvectors, `[kept, features]`, the variances along them, and their shares in that of all."""
    variance, vectors = jnp.linalg.eigh(scatter / jnp.where(degrees > 0, degrees, 1))
    variance, vectors = jnp.maximum(variance[::-1], 0), vectors.T[::-1]
    # Of entries that are equal but for rounding, the first.
    sizes, digits = jnp.abs(vectors), jnp.finfo(vectors.dtype).eps ** 0.5
    leading = jnp.argmax(sizes >= (1 - digits) * sizes.max(1, keepdims=True), 1, keepdims=True)
    vectors = jnp.where(jnp.take_along_axis(vectors, leading, 1) < 0, -vectors, vectors)
    share = variance / jnp.where(variance.sum() > 0, variance.sum(), 1)
    return vectors[:kept], variance[:kept], share[:kept]
