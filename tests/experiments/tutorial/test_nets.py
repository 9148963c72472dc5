"""The two networks, in every form, and the convolution over cells against those of XLA and Flax."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import initializers
from jax import lax

from experiments.tutorial import cells, nets
from experiments.tutorial.runs import RUNS, SLIM_NORM

IMAGES = jnp.asarray(np.random.default_rng(0).uniform(size=(5, 28, 28)), jnp.float32)
KEYS = jax.random.split(jax.random.key(0), 64)


class PlainConvNet(nn.Module):
    """The same net by Flax's own layers, channels last."""

    norm: bool

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        x = images[..., None]
        for features, width in ((6, 3), (16, 5)):
            x = nn.Conv(features, (width, width), use_bias=not self.norm)(x)
            if self.norm:
                x = nn.BatchNorm(
                    use_running_average=not train,
                    momentum=0.999,
                    epsilon=1e-3,
                    use_scale=False,
                    use_fast_variance=False,
                )(x)
            x = nn.max_pool(nn.relu(x), (2, 2), (2, 2))
        return nn.Dense(10)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def renamed(tree: Any) -> Any:
    """The names of `ConvNet`'s layers as `PlainConvNet` has them."""
    return {name.replace("CellConv", "Conv"): value for name, value in tree.items()}


def moved(variables: Any) -> Any:
    """Values other than the initial ones, so that no bias is 0 and no statistic is neutral."""
    leaves, tree = jax.tree.flatten(variables)
    draw = np.random.default_rng(1).uniform
    return jax.tree.unflatten(tree, [leaf + draw(0.1, 0.3, leaf.shape).astype(np.float32) for leaf in leaves])


def value_and_gradients(model: nn.Module, variables: Any, train: bool) -> Any:
    weights = jnp.asarray(np.random.default_rng(2).normal(size=(len(IMAGES), 10)), jnp.float32)

    def value(params: Any, images: jax.Array) -> Any:
        logits, extras = model.apply({**variables, "params": params}, images, train, mutable=["batch_stats"])
        return (logits * weights).sum(), (logits, extras)

    return jax.jit(jax.value_and_grad(value, argnums=(0, 1), has_aux=True))(variables["params"], IMAGES)


@functools.cache
def variables_of(norm: bool) -> Any:
    model = nets.ConvNet(SLIM_NORM if norm else None, form=nets.CELLS)
    return moved(jax.jit(functools.partial(model.init, train=False))(jax.random.key(0), IMAGES))


@functools.cache
def by_plain_layers(norm: bool, train: bool) -> Any:
    plain = {collection: renamed(tree) for collection, tree in variables_of(norm).items()}
    return value_and_gradients(PlainConvNet(norm), plain, train)


@pytest.mark.slow
@pytest.mark.parametrize("train", [True, False])
@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("form", [nets.CELLS, nets.CHANNELS_LAST], ids=["cells", "channels last"])
def test_the_convolutional_net_is_that_of_plain_layers(form: nets.Form, norm: bool, train: bool) -> None:
    model = nets.ConvNet(SLIM_NORM if norm else None, form=form)
    (_, (logits, extras)), (of_params, of_images) = value_and_gradients(model, variables_of(norm), train)
    (_, (plain, plain_extras)), (of_plain, plain_images) = by_plain_layers(norm, train)
    close = functools.partial(np.testing.assert_allclose, rtol=2e-4, atol=2e-4)
    close(logits, plain)
    close(of_images, plain_images)
    jax.tree.map(close, renamed(of_params), dict(of_plain))
    jax.tree.map(close, {k: renamed(v) for k, v in extras.items()}, dict(plain_extras))
    assert bool(extras) == norm


@pytest.mark.slow
@pytest.mark.parametrize(
    ("width", "channels", "features", "batch"), [(1, 2, 3, 2), (3, 1, 6, 4), (5, 6, 4, 1), (7, 3, 2, 3)]
)
def test_a_cell_convolution_is_a_same_convolution(width: int, channels: int, features: int, batch: int) -> None:
    draw = np.random.default_rng(width).normal
    x = jnp.asarray(draw(size=(channels, 6, 8, batch)), jnp.float32)
    layer = cells.CellConv(features, width)
    params = {
        "kernel": jnp.asarray(draw(size=(width, width, channels, features)), jnp.float32),
        "bias": jnp.asarray(draw(size=features), jnp.float32),
    }
    weights = jnp.asarray(draw(size=(features, 6, 8, batch)), jnp.float32)

    def by_cells(params: Any, x: jax.Array) -> jax.Array:
        y = layer.apply({"params": params}, x).reshape(2, 2, features, 3, 4, batch)
        return y.transpose(2, 3, 0, 4, 1, 5).reshape(features, 6, 8, batch)

    def by_xla(params: Any, x: jax.Array) -> jax.Array:
        y = lax.conv_general_dilated(x, params["kernel"], (1, 1), "SAME", dimension_numbers=("CHWN", "HWIO", "CHWN"))
        return y + params["bias"][:, None, None, None]

    # A square, so that the gradient depends on the value.
    got, expected = (
        jax.jit(jax.value_and_grad(lambda p, x, f=f: (weights * f(p, x) ** 2).sum(), argnums=(0, 1)))(params, x)
        for f in (by_cells, by_xla)
    )
    np.testing.assert_allclose(by_cells(params, x), by_xla(params, x), rtol=1e-4, atol=1e-4)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3), got, expected)


def test_pooling_cells_is_max_pooling() -> None:
    image = jnp.asarray(np.random.default_rng(0).normal(size=(4, 6, 8, 3)), jnp.float32)
    cut = image.reshape(4, 3, 2, 4, 2, 3).transpose(2, 4, 0, 1, 3, 5).reshape(4, 4, 3, 4, 3)
    np.testing.assert_array_equal(cells.pool_cells(cut), nn.max_pool(image, (2, 2), (2, 2)))


@pytest.mark.parametrize(
    ("name", "count"), [("mlp-bn", 79_710), ("mlp", 79_510), ("conv-bn", 10_326), ("conv", 10_326)]
)
def test_the_tutorials_runs_have_their_parameters(name: str, count: int) -> None:
    shapes = jax.eval_shape(functools.partial(RUNS[name].model.init, train=False), KEYS[0], IMAGES)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes["params"])) == count


@pytest.mark.parametrize(("platform", "form"), [("cpu", nets.CELLS), ("tpu", nets.CHANNELS_LAST)])
def test_the_form_suits_the_platform(platform: str, form: nets.Form, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    programs = [
        str(jax.make_jaxpr(functools.partial(nets.ConvNet(form=f).init, train=False))(KEYS[0], IMAGES))
        for f in (None, form)
    ]
    assert programs[0] == programs[1]
    assert ("conv_general_dilated" in programs[0]) == (platform == "tpu")


def initial(name: str) -> Any:
    return jax.jit(jax.vmap(lambda key: RUNS[name].model.init(key, IMAGES, train=False)))(KEYS)


@pytest.mark.slow
def test_the_dense_net_starts_as_in_the_tutorial() -> None:
    start = initial("mlp-bn")
    for layer in ("Dense_0", "Dense_1"):
        kernel = np.asarray(start["params"][layer]["kernel"])
        # The parent's deviation is 0.05; cut off at two of them, 0.8796 of it is left.
        assert 0.0999 < np.abs(kernel).max() <= 0.1
        np.testing.assert_allclose(kernel.std(), 0.05 * 0.8796, rtol=0.01)
        np.testing.assert_array_equal(start["params"][layer]["bias"], np.float32(0.1))
    for leaf in ("scale", "bias"):
        values = np.asarray(start["params"]["BatchNorm_0"][leaf])
        np.testing.assert_allclose([values.mean(), values.std()], [0, 1], atol=0.05)
        assert np.abs(values).max() > 2.5
    jax.tree.map(lambda leaf: np.testing.assert_array_equal(leaf, 0), start["batch_stats"])


@pytest.mark.slow
def test_the_convolutional_net_starts_within_glorots_bounds() -> None:
    start = initial("conv")["params"]
    # Fans: the kernel's area times its channels.
    for layer, fans in (("CellConv_0", 9 * (1 + 6)), ("CellConv_1", 25 * (6 + 16)), ("Dense_0", 784 + 10)):
        kernel, limit = np.abs(np.asarray(start[layer]["kernel"])), np.sqrt(6 / fans)
        assert 0.99 * limit < kernel.max() <= limit * (1 + 1e-6)
        np.testing.assert_allclose(kernel.mean(), limit / 2, rtol=0.02)
        np.testing.assert_array_equal(start[layer]["bias"], 0)
    for layer in initial("conv-bn")["batch_stats"].values():
        np.testing.assert_array_equal(layer["mean"], 0)
        np.testing.assert_array_equal(layer["var"], 1)


class Zero(nn.Module):
    """A norm that leaves nothing of its input, and tells how it was called."""

    axis: int = -1

    @nn.compact
    def __call__(self, x: jax.Array, use_running_average: Any) -> jax.Array:
        return (
            jnp.zeros_like(x) + jnp.where(use_running_average, 2.0, 3.0) + self.param("shift", initializers.zeros, ())
        )


@pytest.mark.slow
@pytest.mark.parametrize("model", [nets.MLP, nets.ConvNet])
def test_any_norm_can_be_given(model: Any) -> None:
    net = model(Zero)
    variables = jax.jit(functools.partial(net.init, train=False))(KEYS[0], IMAGES)
    evaluate, train = (jax.jit(functools.partial(net.apply, train=train))(variables, IMAGES) for train in (False, True))
    # All images look the same behind it, and training differs from evaluation.
    assert np.ptp(np.asarray(evaluate), axis=0).max() == 0
    assert np.abs(np.asarray(evaluate - train)).max() > 0.01
