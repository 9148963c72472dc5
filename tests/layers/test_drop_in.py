"""A model trains the same after changing one import: every loss, and the logits in evaluation at the end."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxbn.linen
import jaxbn.nnx
from tests.tolerances import assert_close

OPTIMIZER = optax.sgd(0.05, momentum=0.9, nesterov=True)


class Residual(nn.Module):
    """Two residual blocks, the second with a projection, as in ResNet."""

    norm: type

    @nn.compact
    def __call__(self, x, train):
        for width, stride in ((4, 1), (8, 2)):
            y = nn.Conv(width, (3, 3), stride, use_bias=False)(x)
            y = nn.relu(self.norm(not train, momentum=0.9, dtype=x.dtype)(y))
            y = self.norm(not train, momentum=0.9, scale_init=nn.initializers.zeros)(nn.Conv(width, (3, 3))(y))
            x = nn.relu(y + nn.Conv(width, (1, 1), stride)(x))
        return nn.Dense(10)(x.mean((1, 2)))


def batches(steps, dtype):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, (steps, 16))
    return jnp.asarray(rng.normal(size=(steps, 16, 8, 8, 2)) + 0.3 * labels[..., None, None, None], dtype), labels


def cross_entropy(logits, labels):
    return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()


def linen_losses(norm, images, labels):
    net = Residual(norm)
    variables = net.init(jax.random.key(0), images[0], train=False)
    variables = {**variables, "params": jax.tree.map(lambda p: p.astype(images.dtype), variables["params"])}

    def step(carry, batch):
        variables, state = carry

        def loss(params):
            logits, updates = net.apply({**variables, "params": params}, batch[0], train=True, mutable=["batch_stats"])
            return cross_entropy(logits, batch[1]), updates

        (value, updates), gradient = jax.value_and_grad(loss, has_aux=True)(variables["params"])
        change, state = OPTIMIZER.update(gradient, state)
        updates = jax.tree.map(
            lambda new, old: new.astype(old.dtype), updates, {"batch_stats": variables["batch_stats"]}
        )
        return ({"params": optax.apply_updates(variables["params"], change), **updates}, state), value

    carry = variables, OPTIMIZER.init(variables["params"])
    ((variables, _), losses) = jax.jit(lambda carry: jax.lax.scan(step, carry, (images, labels)))(carry)
    return losses, net.apply(variables, images[0], train=False)


def nnx_losses(norm, images, labels):
    class Net(nnx.Module):
        def __init__(self, rngs):
            self.conv, self.norm = nnx.Conv(2, 8, (3, 3), rngs=rngs), norm(8, rngs=rngs, momentum=0.9)
            self.dense = nnx.Linear(8, 10, rngs=rngs)

        def __call__(self, x):
            return self.dense(nnx.relu(self.norm(self.conv(x))).mean((1, 2)))

    model = Net(nnx.Rngs(0))
    optimizer = nnx.Optimizer(model, OPTIMIZER, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer, x, y):
        value, gradient = nnx.value_and_grad(lambda model: cross_entropy(model(x), y))(model)
        optimizer.update(model, gradient)
        return value

    losses = jnp.stack([step(model, optimizer, x, y) for x, y in zip(images, labels, strict=True)])
    model.eval()
    return losses, model(images[0])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("train", "ours", "theirs"),
    [(linen_losses, jaxbn.linen.BatchNorm, nn.BatchNorm), (nnx_losses, jaxbn.nnx.BatchNorm, nnx.BatchNorm)],
    ids=["linen", "nnx"],
)
@pytest.mark.filterwarnings("ignore")  # Flax's own
def test_one_hundred_steps(train, ours, theirs):
    """In double precision: what differs in the last digit of single precision grows through kinks."""
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        data = batches(100, "float64")
        (losses, logits), expected = (jax.tree.map(np.asarray, train(norm, *data)) for norm in (ours, theirs))
    assert losses[-1] < 0.7 * losses[0]
    assert_close(losses, expected[0], 1e-10)
    # Flax keeps the statistics of double precision in it, ours in the single precision they began in.
    assert_close(logits, expected[1], 1e-5)


def test_code_that_asks_for_the_layer_of_flax_finds_ours():
    """Such as code that freezes, or counts, all batch norms of a model."""
    assert isinstance(jaxbn.linen.BatchNorm(), nn.BatchNorm)
    assert isinstance(jaxbn.nnx.BatchNorm(3, rngs=nnx.Rngs(0)), nnx.BatchNorm)
