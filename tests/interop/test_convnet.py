"""A convolutional net of PyTorch becomes one of Flax linen with our layers: the same logits."""

import pytest

from jaxbn.interop import from_torch, to_linen
from tests.tolerances import assert_close

torch = pytest.importorskip("torch")
linen = pytest.importorskip("flax.linen")


def their_net():
    nn = torch.nn
    torch.manual_seed(0)
    convolutions = [
        nn.Conv2d(3, 8, 3),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3),
        nn.BatchNorm2d(16),
        nn.ReLU(),
    ]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(16 * 4 * 4, 10))


class OurNet(linen.Module):
    @linen.compact
    def __call__(self, x, train):
        from jaxbn.linen import BatchNorm

        for features in (8, 16):
            x = linen.Conv(features, (3, 3), padding="VALID")(x)
            x = linen.relu(BatchNorm(momentum=0.9, ddof=1)(x, use_running_average=not train))
        # Flattened as PyTorch does it, channels first.
        return linen.Dense(10)(x.transpose(0, 3, 1, 2).reshape(len(x), -1))


def converted(weights):
    """Variables for `OurNet` from the state dict of `their_net()`."""

    def array(name):
        return weights[name].numpy()

    variables = {"params": {"Dense_0": {"kernel": array("7.weight").T, "bias": array("7.bias")}}, "batch_stats": {}}
    for n, (convolution, norm) in enumerate([("0", "1"), ("3", "4")]):
        kernel = array(f"{convolution}.weight").transpose(2, 3, 1, 0)
        variables["params"][f"Conv_{n}"] = {"kernel": kernel, "bias": array(f"{convolution}.bias")}
        for kind, layer in to_linen(*from_torch(weights, norm), f"BatchNorm_{n}").items():
            variables[kind] |= layer
    return variables


def test_the_same_logits_before_and_after_further_training():
    net = their_net()
    images = torch.randn(12, 3, 8, 8) * 2 + 0.5
    x = images.permute(0, 2, 3, 1).numpy()
    optimizer = torch.optim.SGD(net.parameters(), 0.1)
    for _ in range(5):
        optimizer.zero_grad()
        net(images).square().mean().backward()
        optimizer.step()

    variables = converted(net.state_dict())
    with torch.no_grad():
        expected = net.eval()(images).numpy()
        assert_close(OurNet().apply(variables, x, train=False), expected, 1e-5)
        for _ in range(3):
            expected = net.train()(images).numpy()
            y, updates = OurNet().apply(variables, x, train=True, mutable=["batch_stats"])
            variables |= updates
            assert_close(y, expected, 1e-5)
        assert_close(OurNet().apply(variables, x, train=False), net.eval()(images).numpy(), 1e-5)
