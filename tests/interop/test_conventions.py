"""What `conventions` states is what the presets do, and what the frameworks do where they are installed."""

import functools
import importlib.metadata
import importlib.util
import inspect
import os
import re
from pathlib import Path

import pytest

from jaxbn import presets
from jaxbn.interop import conventions
from tests.data import noise
from tests.interop.flax_peers import NNX, Linen
from tests.interop.peers import Equinox, Haiku, Keras, Torch
from tests.tolerances import assert_close

X = noise(6, 3, mean=1, std=2)
ALL = {name: value for name, value in vars(conventions).items() if isinstance(value, conventions.Convention)}
PEERS = {
    "TORCH": functools.partial(Torch, 2),
    "KERAS": functools.partial(Keras, 2),
    "HAIKU": functools.partial(Haiku, 2),
    "EQUINOX": functools.partial(Equinox, 2),
    "FLAX": functools.partial(Linen, 2),
    "FLAX-nnx": functools.partial(NNX, 2),
}


def of(name):
    return ALL[name.removesuffix("-nnx")]


def test_every_framework_is_here():
    assert set(ALL) == {"FLAX", "TORCH", "KERAS", "HAIKU", "EQUINOX", "SLIM"}


@pytest.mark.parametrize("name", ["FLAX", "TORCH", "KERAS", "SLIM"])
def test_the_presets_say_the_same(name):
    stated, preset = ALL[name], getattr(presets, name)
    old = stated.momentum if stated.momentum_weighs == "old" else 1 - stated.momentum
    assert (old, stated.epsilon, stated.ddof) == (preset["momentum"], preset["epsilon"], preset["ddof"])
    assert preset["averaging"] == "ema"
    assert not stated.debiased


def test_conventions_cannot_be_changed():
    with pytest.raises(AttributeError, match="cannot assign"):
        conventions.FLAX.momentum = 0.9


def constructors():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    return {
        "TORCH": ("torch", "nn.BatchNorm2d", "momentum", "eps"),
        "KERAS": ("keras", "layers.BatchNormalization", "momentum", "epsilon"),
        "HAIKU": ("haiku", "BatchNorm", "decay_rate", "eps"),
        "EQUINOX": ("equinox", "nn.BatchNorm", "momentum", "eps"),
        "FLAX": ("flax.linen", "BatchNorm", "momentum", "epsilon"),
        "FLAX-nnx": ("flax.nnx", "BatchNorm", "momentum", "epsilon"),
    }


@pytest.mark.parametrize("name", constructors())
def test_the_defaults_are_those_of_the_constructor(name):
    module, path, momentum, epsilon = constructors()[name]
    layer = functools.reduce(getattr, path.split("."), pytest.importorskip(module))
    defaults = {key: p.default for key, p in inspect.signature(layer.__init__).parameters.items()}
    assert defaults[epsilon] == of(name).epsilon
    assert defaults[momentum] == (inspect.Parameter.empty if of(name).momentum is None else of(name).momentum)


def names_of(name, peer):
    """Every array's name, as the framework itself has it."""
    if name == "TORCH":
        return set(peer.layer.state_dict())
    if name == "KERAS":
        return {v.name for v in peer.layer.variables}
    if name == "FLAX":
        return {name for tree in peer.variables.values() for name in tree}
    if name == "FLAX-nnx":
        return set(peer.nnx.to_pure_dict(peer.nnx.state(peer.layer)))
    if name == "HAIKU":
        averages = {f"{key.rpartition('/')[2]}/{name}" for key, tree in peer.state.items() for name in tree}
        return set(peer.params["bn"]) | averages
    source = inspect.getsource(type(peer.bn))
    return {name for name in re.findall(r"\w+", source) if name in vars(conventions.EQUINOX).values()}


@pytest.mark.parametrize("name", PEERS)
def test_the_names_are_those_of_the_framework(name):
    stated = of(name)
    wanted = {stated.scale, stated.bias, stated.mean, stated.var, stated.count} - {None}
    found = names_of(name, PEERS[name](True))
    assert wanted <= found
    if name != "HAIKU":
        assert found == wanted


@pytest.mark.parametrize("name", PEERS)
def test_one_step_from_the_start(name):
    """Start, direction of momentum, debiasing and kind of variance, all in one number per feature."""
    stated, peer = of(name), PEERS[name](True)
    momentum = peer.decay if stated.momentum is None else stated.momentum
    old = momentum if stated.momentum_weighs == "old" else 1 - momentum
    peer(X, True)
    values = X.astype("float64")
    divisor = 1 - old if stated.debiased else 1
    mean = (old * stated.mean_start + (1 - old) * values.mean(0)) / divisor
    var = (old * stated.var_start + (1 - old) * values.var(0, ddof=stated.ddof)) / divisor
    _, state = peer.convert()
    # Right after the start, 1 - momentum in float32 has lost six digits of it.
    assert_close(state[:2], (mean, var), 5e-6)
    assert state.count == (0 if stated.count is None else 1)


@pytest.mark.parametrize("name", PEERS)
def test_the_feature_axis(name):
    assert PEERS[name].func.axis == of(name).axis


@pytest.mark.parametrize("name", ALL)
def test_the_source_says_so(name):
    package, version = ALL[name].version.split("==")
    try:
        if importlib.metadata.version(package).partition("+")[0] != version:
            pytest.skip(f"another {package} is installed")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip(f"{package} is not installed")
    for place in ALL[name].source:
        path, first, last = re.fullmatch(r"(\S+):(\d+)-(\d+)", place).groups()
        root = Path(importlib.util.find_spec(path.split("/")[0]).origin).parents[1]
        lines = "\n".join((root / path).read_text(encoding="utf-8").splitlines()[int(first) - 1 : int(last)])
        assert re.search("momentum|decay", lines), place
