"""A residual net of PyTorch with 14 batch norms becomes one of Flax: their conversion is one call."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn.interop import from_linen, from_torch, rename, to_linen, to_torch
from tests.interop.whole_models import changed
from tests.tolerances import assert_close, assert_same


def torch_resnet(torch):
    """A stem and six blocks, one of which needs a projection: 14 batch norms."""
    nn = torch.nn

    class Block(nn.Module):
        def __init__(self, before, after):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
            self.conv2, self.bn2 = nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
            self.down = nn.Sequential()
            if before != after:
                self.down = nn.Sequential(nn.Conv2d(before, after, 1, bias=False), nn.BatchNorm2d(after))

        def forward(self, x):
            y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
            return (y + self.down(x)).relu()

    class ResNet(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)
            self.layers = nn.Sequential(*(Block(4, 4) for _ in range(3)), Block(4, 6), Block(6, 6), Block(6, 6))
            self.norm, self.fc = nn.LayerNorm(6), nn.Linear(6, 5)

        def forward(self, x):
            return self.fc(self.norm(self.layers(self.bn1(self.conv1(x)).relu()).mean((2, 3))))

    torch.manual_seed(0)
    return ResNet()


def linen_resnet():
    linen = pytest.importorskip("flax.linen")
    from jaxbn.linen import BatchNorm

    class Block(linen.Module):
        features: int

        @linen.compact
        def __call__(self, x):
            y = linen.relu(BatchNorm(True)(linen.Conv(self.features, (3, 3), use_bias=False)(x)))
            y = BatchNorm(True)(linen.Conv(self.features, (3, 3), use_bias=False)(y))
            if x.shape != y.shape:
                x = BatchNorm(True, name="bn_proj")(linen.Conv(self.features, (1, 1), use_bias=False, name="proj")(x))
            return linen.relu(x + y)

    class ResNet(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = linen.relu(BatchNorm(True, name="bn_init")(linen.Conv(4, (3, 3), use_bias=False, name="conv_init")(x)))
            for features in (4, 4, 4, 6, 6, 6):
                x = Block(features)(x)
            return linen.Dense(5)(linen.LayerNorm(epsilon=1e-5)(x.mean((1, 2))))

    return ResNet()


# What PyTorch's norms are called in Flax, in the order of the state dict.
NAMES = [
    "bn_init",
    *(f"Block_{n}/BatchNorm_{i}" for n in range(3) for i in range(2)),
    *("Block_3/BatchNorm_0", "Block_3/BatchNorm_1", "Block_3/bn_proj"),
    *(f"Block_{n}/BatchNorm_{i}" for n in (4, 5) for i in range(2)),
]


def other_weights(weights, tree):
    """All but the norms, which are not this library's business."""
    convs = {"conv_init": "conv1", "Block_3/proj": "layers.3.down.0"}
    convs |= {f"Block_{n}/Conv_{i}": f"layers.{n}.conv{i + 1}" for n in range(6) for i in range(2)}
    for ours, theirs in convs.items():
        node = tree
        for step in ours.split("/"):
            node = node[step]
        node["kernel"] = weights[f"{theirs}.weight"].numpy().transpose(2, 3, 1, 0)
    tree["Dense_0"] = {"kernel": weights["fc.weight"].numpy().T, "bias": weights["fc.bias"].numpy()}
    tree["LayerNorm_0"] = {"scale": weights["norm.weight"].numpy(), "bias": weights["norm.bias"].numpy()}


def test_a_resnet_of_pytorch_becomes_one_of_flax():
    torch = pytest.importorskip("torch")
    theirs, ours = torch_resnet(torch), linen_resnet()
    layers = changed(from_torch(theirs.state_dict()))
    assert len(layers) == len(NAMES) == 14
    put = {name: torch.from_numpy(array) for name, array in to_torch(layers).items()}
    assert theirs.load_state_dict(put, strict=False).unexpected_keys == []
    assert_same(from_torch(theirs.state_dict()), layers)

    images = torch.randn(2, 3, 6, 6)
    x = images.permute(0, 2, 3, 1).numpy()
    variables = to_linen(rename(from_torch(theirs.state_dict()), NAMES), into=ours.init(jax.random.key(0), x))
    other_weights(theirs.state_dict(), variables["params"])
    assert_close(ours.apply(variables, x), theirs.eval()(images).detach().numpy(), 1e-5)

    back = dict(zip(NAMES, layers, strict=True))
    assert_same(to_torch(rename(from_linen(variables), back)), {**to_torch(layers), **counts(layers, 0)})


def counts(layers, count):
    return {f"{path}.num_batches_tracked": np.array(count) for path in layers}


@pytest.mark.slow
def test_a_live_net_of_linen_in_a_frozen_dict():
    core = pytest.importorskip("flax.core")
    net = linen_resnet()
    variables = net.init(jax.random.key(0), jnp.ones((1, 6, 6, 3)))
    frozen = core.freeze(variables)
    assert_same(from_linen(frozen), from_linen(variables))
    assert sorted(from_linen(variables)) == sorted(NAMES)
    assert_same(to_linen(from_linen(frozen), into=frozen), variables)
