"""Layers merged into the tree of a Flax model: one call, and nothing else changes."""

import functools

import flax
import jax
import numpy as np
import pytest

from jaxbn.interop import from_linen, from_nnx, from_torch, rename, to_linen, to_nnx
from tests.interop.layers import layer
from tests.interop.whole_models import leaves, linen_net, nnx_net, other, torch_net
from tests.tolerances import assert_same

INTO = {
    "linen": (linen_net, from_linen, to_linen),
    "linen-count": (functools.partial(linen_net, "warmup"), from_linen, to_linen),
    "nnx": (nnx_net, from_nnx, to_nnx),
    "nnx-count": (functools.partial(nnx_net, "cumulative"), from_nnx, to_nnx),
}


@pytest.mark.parametrize("name", INTO)
def test_merging_into_a_tree_is_one_call(name):
    net, back, forth = INTO[name]
    tree = net()
    new = jax.tree.map(lambda part: part + 1, back(tree))
    merged = forth(new, into=tree)
    assert jax.tree.structure(merged) == jax.tree.structure(tree)
    expected = new if name.endswith("count") else {p: (w, s._replace(count=0 * s.count)) for p, (w, s) in new.items()}
    assert_same(back(merged), expected)
    assert_same(forth(back(tree), into=merged), tree)
    assert_same(tree, net())
    norms = {path for path, _ in leaves(forth(new, averaging="warmup" if "count" in name else "ema"))}
    rest = {path: array for path, array in leaves(tree) if path not in norms}
    assert len(rest) >= 3
    assert all(array is dict(leaves(merged))[path] for path, array in rest.items())


def test_some_layers_or_a_part_of_the_tree():
    tree = linen_net()
    some = {"bn": layer(3, count=9)}
    merged = to_linen(some, path="Block_0", into=tree)
    assert_same(from_linen(merged, "Block_0/bn"), layer(3))
    assert_same(from_linen(merged, "head"), from_linen(tree, "head"))
    assert_same(to_linen(*layer(3), "Block_0/bn", into=tree), merged)


def test_what_is_merged_has_the_dtypes_that_it_finds():
    tree = linen_net()
    tree["params"] = jax.tree.map(lambda part: part.astype("bfloat16"), tree["params"])
    merged = to_linen(from_linen(linen_net()), into=flax.core.freeze(tree))
    assert type(merged) is dict
    assert jax.tree.map(lambda part: part.dtype, flax.core.unfreeze(merged)) == jax.tree.map(lambda p: p.dtype, tree)


def test_from_torch_to_linen():
    names = ["Block_0/bn", "Block_1/Inner/bn", "head"]
    merged = to_linen(rename(from_torch(torch_net()), names), into=linen_net("warmup"))
    assert_same(from_linen(merged), dict(zip(names, from_torch(torch_net()).values(), strict=True)))
    np.testing.assert_array_equal(merged["params"]["Conv_0"]["kernel"], other())
