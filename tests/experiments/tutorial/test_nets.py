"""The two networks: every form of the convolutional one, their parameters, their start, and any norm in them."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.linen import initializers

from experiments.tutorial import nets
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
