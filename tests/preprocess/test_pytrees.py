"""A fitted transform is a pytree: compiled, mapped, differentiated and stored like any other."""

import functools
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.preprocess import Projection, inverse_transform, transform
from tests.preprocess.fits import (
    FEW,
    FITS,
    FITTED,
    PROJECTIONS,
    SCALINGS,
    assert_same_fit,
    compiled,
    few_fits,
    layout,
    table,
)
from tests.tolerances import assert_close, assert_same

pytestmark = pytest.mark.slow

IMAGES = layout((20, 2, 2, 3), (3, 1), offset=3.0)


@functools.cache
def program(fit):
    def there_and_back(x):
        t = fit(x)
        y = transform(t, x)
        return t, y, inverse_transform(t, y)

    return jax.jit(there_and_back)


@few_fits
def test_compiled_is_plain(fit):
    x = table(offset=10.0)
    t, y, back = program(fit)(x)
    assert_same_fit(t, fit(x), x)
    assert_close(y, transform(fit(x), x), FITTED)
    assert_close(back, inverse_transform(t, y), 1e-6)


@few_fits
def test_compiled_fits_let_nan_through(fit):
    """They can't refuse it, but they must not hide it."""
    x = table()
    x[3, 1] = np.nan
    _, y, _ = program(fit)(x)
    assert np.all(np.isnan(y if isinstance(fit(table()), Projection) else y[:, 1]))


@pytest.mark.parametrize("fit", [FEW["standardize"], FEW["whiten-zca"]], ids=["standardize", "whiten-zca"])
def test_vmap_is_a_loop(fit):
    x = np.stack([table(seed=s, offset=s) for s in range(3)], 1)

    def mapped(x):
        t = jax.vmap(fit, in_axes=1)(x)
        return t, jax.vmap(transform, (0, 1), 1)(t, x)

    t, y = compiled(mapped, x)(x)
    for i in range(3):
        alone = fit(x[:, i])
        assert_same_fit(jax.tree.map(lambda part, i=i: part[i], t), alone, x[:, i])
        assert_close(y[:, i], transform(alone, x[:, i]), FITTED)


def towards(loss, x, direction, step):
    return (loss(x + step * direction) - loss(x - step * direction)) / (2 * step)


def fitted_to_all(fit, x):
    return fit(x)


def fitted_to_batches(fit, x):
    """The last rows are padding."""
    keep = np.arange(len(x))[:, None] < 35
    x, mask = jnp.where(keep, x, np.nan), np.where(keep, 0.5, 0)
    return fit([x[:7], x[7:8], x[8:]], mask=[mask[:7], None, mask[8:]])


@pytest.mark.parametrize(
    ("name", "fitted"),
    [(name, fitted_to_all) for name in ("center", "standardize", "min-max", "pca-2", "whiten-pca", "whiten-zca")]
    + [(name, fitted_to_batches) for name in ("standardize", "whiten-zca")],
)
def test_gradients_of_fit_and_transform(name, fitted):
    with jax.enable_x64(True):
        direction, cotangent = np.random.default_rng(0).normal(size=(2, 40, 6))
        x = table(dtype="float64", offset=1.0)

        def loss(x):
            t = fitted(FITS[name], x)
            y = transform(t, x)
            return jnp.sum(jnp.sin(y) * cotangent[:, : y.shape[1]]) + jnp.sum(jnp.sin(inverse_transform(t, jnp.cos(y))))

        both = compiled(jax.value_and_grad(loss), x)
        gradient = both(x)[1]
        assert np.all(np.isfinite(gradient))
        expected = towards(lambda x: both(x)[0], x, direction, step=1e-6)
        assert abs(np.sum(gradient * direction) - expected) <= 1e-6 * max(1, abs(expected))


@pytest.mark.parametrize("name", ["standardize", "min-max"])
def test_gradients_of_a_constant_feature_are_finite(name):
    x = np.where(np.arange(6) == 2, np.float32(7), table())
    gradient = compiled(jax.grad(lambda x: jnp.sum(transform(SCALINGS[name](x), x) ** 3)), x)(x)
    assert np.all(np.isfinite(gradient))


def test_the_range_is_differentiable():
    x = table()
    by_low, by_high = jax.grad(
        lambda low, high: jnp.sum(transform(SCALINGS["min-max"](x, low=low, high=high), x)), (0, 1)
    )(-1.0, 1.0)
    unit = transform(SCALINGS["min-max-0-to-1"](x), x)
    assert_close((by_low, by_high), (jnp.sum(1 - unit), jnp.sum(unit)), 1e-5)


def test_epsilon_is_differentiable():
    x = table()
    loss = jax.jit(lambda epsilon: jnp.sum(transform(PROJECTIONS["whiten-zca"](x, epsilon=epsilon), x) ** 2))
    assert_close(jax.grad(loss)(0.5), towards(loss, 0.5, 1.0, step=1e-2), 1e-2)


@few_fits
def test_it_survives_storage(fit, tmp_path):
    x, axis = IMAGES
    t = fit(x, axis=axis)
    leaves, structure = jax.tree.flatten(t)
    assert all(isinstance(leaf, jax.Array) for leaf in leaves)
    np.savez(tmp_path / "leaves.npz", *leaves)
    with np.load(tmp_path / "leaves.npz") as stored:
        loaded = jax.tree.unflatten(structure, list(stored.values()))
    for again in (jax.tree.unflatten(structure, leaves), loaded, pickle.loads(pickle.dumps(t))):
        assert jax.tree.structure(again) == structure
        assert_same(again, t)
        assert_same(transform(again, x), transform(t, x))
        assert_same(inverse_transform(again, transform(t, x)), inverse_transform(t, transform(t, x)))


def test_it_survives_a_checkpoint(tmp_path):
    ocp = pytest.importorskip("orbax.checkpoint")
    fitted = {name: fit(table(offset=3.0)) for name, fit in FEW.items()}
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(tmp_path / "fitted", fitted)
        checkpointer.wait_until_finished()
        restored = checkpointer.restore(tmp_path / "fitted", jax.tree.map(jnp.zeros_like, fitted))
    assert jax.tree.structure(restored) == jax.tree.structure(fitted)
    assert_same(restored, fitted)


def test_fits_of_one_kind_are_one_compilation():
    traced = []
    apply = jax.jit(lambda t, x: (traced.append(t), transform(t, x))[1])
    for seed in range(3):
        apply(FITS["standardize"](table(seed=seed)), table())
    apply(FITS["center"](table()), table())
    assert len(traced) == 1
