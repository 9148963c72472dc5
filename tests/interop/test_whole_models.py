"""All batch norms of a model at once: found among other layers, converted as one by one, there and back unchanged."""

import jax
import pytest

from jaxbn.interop import (
    from_equinox,
    from_haiku,
    from_keras,
    from_linen,
    from_nnx,
    from_torch,
    rename,
    to_haiku,
    to_keras,
    to_linen,
    to_nnx,
    to_torch,
)
from tests.interop.whole_models import NDIM, NETS, keras_net, leaves, own
from tests.tolerances import assert_same

PATHS = {
    "torch": ["stem.bn", "blocks.0.bn1", "head"],
    "keras": ["net/stem", "net/b/bn", "bn"],
    "haiku": list(NDIM),
    "linen": ["Block_0/bn", "Block_1/Inner/bn", "head"],
    "nnx": ["blocks/0/bn", "blocks/1/bn", "head"],
    "equinox": ["stem", "layers.0.bn", "head"],
}


@pytest.mark.parametrize("name", NETS)
def test_all_are_found_and_nothing_else(name):
    net, back, _ = NETS[name]
    assert list(back(net())) == PATHS[name.split("-")[0]]


ONE = {
    "torch": from_torch,
    "keras": from_keras,
    "haiku": lambda dicts, module: from_haiku(*dicts, module),
    "linen": from_linen,
    "nnx": from_nnx,
    "equinox": lambda dicts, path: from_equinox(dicts[path]),
}


@pytest.mark.parametrize("name", NETS)
def test_each_is_as_if_converted_alone(name):
    net, back, _ = NETS[name]
    for path, found in back(net()).items():
        assert_same(found, ONE[name.split("-")[0]](net(), path))


@pytest.mark.parametrize("name", NETS)
def test_there_and_back_is_what_was_there(name):
    net, back, forth = NETS[name]
    layers = back(net())
    there = dict(leaves(forth(layers)))
    before = dict(leaves(net()))
    assert set(there) <= set(before)
    assert_same(there, {path: before[path] for path in there})
    again = back(forth(layers))
    assert set(again) == set(layers)
    assert_same(again, layers)


@pytest.mark.parametrize("name", NETS)
def test_nothing_that_is_given_is_changed(name):
    net, back, forth = NETS[name]
    given = net()
    layers = back(given)
    before = dict(layers)
    for array in jax.tree.leaves(forth(layers)):
        array[...] = 0 if array.dtype != bool else ~array
    assert layers == before
    assert_same(layers, back(net()))
    assert_same(dict(leaves(given)), dict(leaves(net())))


@pytest.mark.parametrize("end", ["", ":0"])
def test_names_of_keras_may_end_in_a_number(end):
    assert_same(from_keras(keras_net(end)), from_keras(keras_net()))
    assert_same(from_keras(keras_net(end), "net/b/bn"), from_keras(keras_net(), "net/b/bn"))


def test_dicts_of_keras_may_be_nested_as_in_a_file():
    nested = {}
    for name, array in keras_net(":0").items():
        *groups, last = name.split("/")
        place = nested
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = array
    found, expected = from_keras({"model_weights": nested}), from_keras(keras_net())
    assert set(found) == {f"model_weights/{path}" for path in expected}
    assert_same(found["model_weights/net/stem"], expected["net/stem"])
    assert_same(from_keras(nested, "net/stem"), expected["net/stem"])


def test_an_open_h5_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "weights.h5", "w") as file:
        for name, array in keras_net(":0").items():
            file[name] = array
    with h5py.File(tmp_path / "weights.h5") as file:
        found = from_keras(file)
        assert_same(from_keras(file["net"], "stem"), found["net/stem"])
    assert_same(found, {path: from_keras(keras_net())[path] for path in found})
    assert len(found) == 3


def test_a_prefix_goes_before_all_paths():
    layers = own()
    assert set(from_torch(to_torch(layers, prefix="encoder."))) == {f"encoder.{path}" for path in layers}
    assert set(from_keras(to_keras(layers, prefix="net"))) == {f"net/{path}" for path in layers}
    assert set(from_linen(to_linen(layers, path=("a", "b")))) == {f"a/b/{path}" for path in layers}
    assert set(from_nnx(to_nnx(layers, path="a"))) == {f"a/{path}" for path in layers}
    params, state = to_haiku(layers, module="net", decay=0.5, ndim=2)
    assert set(from_haiku(params, state)) == {f"net/{path}" for path in layers}


RENAMED = {
    "dict": ({"stem.bn": "a", "head": "b"}, ["a", "blocks.0.bn1", "b"]),
    "list": (["x", "y", "z"], ["x", "y", "z"]),
    "tuple": (("x", "y", "z"), ["x", "y", "z"]),
    "function": (lambda path: path.replace(".", "/"), ["stem/bn", "blocks/0/bn1", "head"]),
    "swap": ({"stem.bn": "head", "head": "stem.bn"}, ["head", "blocks.0.bn1", "stem.bn"]),
}


@pytest.mark.parametrize("names", RENAMED)
def test_rename(names):
    layers = own()
    new = rename(layers, RENAMED[names][0])
    assert list(new) == RENAMED[names][1]
    assert all(a is b for a, b in zip(new.values(), layers.values(), strict=True))
    assert list(layers) == PATHS["torch"]


def test_each_module_of_haiku_has_its_own_dimensions():
    params, state = to_haiku(own(paths=tuple(NDIM)), decay=0.9, ndim=NDIM)
    assert params["net/~/stem/bn"]["scale"].shape == (1, 1, 1, 3)
    assert state["net/~/head_bn/~/mean_ema"]["average"].shape == (1, 2)


def test_no_layers_give_nothing():
    assert to_torch({}) == to_keras({}) == to_linen({}) == to_nnx({}) == {}
    assert to_haiku({}, decay=0.5, ndim=2) == ({}, {})
    assert rename({}, []) == {}
