"""Beside the live frameworks: the same outputs after conversion, after further training, and after going back."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, batch_norm
from jaxbn.interop import from_equinox, from_torch, to_equinox
from tests.interop.flax_peers import NNX, Linen
from tests.interop.peers import FEATURES, Equinox, Haiku, Keras, Torch
from tests.tolerances import assert_close

PEERS = {
    "torch-1d": functools.partial(Torch, 2),
    "torch-1d-sequence": functools.partial(Torch, 3),
    "torch-2d": functools.partial(Torch, 4),
    "torch-3d": functools.partial(Torch, 5),
    "torch-cumulative": functools.partial(Torch, 4, momentum=None),
    "keras": functools.partial(Keras, 4),
    "haiku": functools.partial(Haiku, 4),
    "haiku-fast": functools.partial(Haiku, 2, decay=0.9),
    "equinox-batch": functools.partial(Equinox, 3),
    "equinox-batch-fast": functools.partial(Equinox, 2, momentum=0.9),
    "equinox-ema": functools.partial(Equinox, 3, mode="ema"),
    "linen": functools.partial(Linen, 4),
    "linen-ours-warmup": functools.partial(Linen, 4, averaging="warmup"),
    "nnx": functools.partial(NNX, 4),
    "nnx-ours-cumulative": functools.partial(NNX, 4, averaging="cumulative"),
}
AGREE = 1e-6


def batches(peer, ndim, count, seed):
    """Off centre and of several scales, but not so far that the peers' own variance loses digits."""
    rng = np.random.default_rng(seed)
    shape = [48, *[3] * (ndim - 2), FEATURES]
    for _ in range(count):
        x = rng.normal(size=shape) * [0.5, 1, 3] + [1, -0.5, 2]
        yield np.moveaxis(x, -1, peer.axis).astype("float32")


def step(peer, params, state, x, train):
    return batch_norm(params, state, jnp.asarray(x), train, axis=peer.axis, **peer.keywords(state))


def trained(make, affine):
    """A peer after seven steps, with parameters that are not 1 and 0, and data to go on with."""
    ndim, peer = make.args[0], make(affine)
    if affine:
        _, state = peer.convert()
        peer.load(BatchNormParams(jnp.array([0.5, -1.5, 2.0]), jnp.array([1.0, 0.0, -3.0])), state)
    for x in batches(peer, ndim, 7, seed=0):
        peer(x, True)
    return peer, list(batches(peer, ndim, 10, seed=1))


@pytest.mark.slow
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", PEERS)
def test_agrees(name, affine):
    peer, data = trained(PEERS[name], affine)
    params, state = peer.convert()
    assert (params.scale is not None, params.bias is not None) == (affine, affine)
    assert_close(step(peer, params, state, data[0], False)[0], peer(data[0], False), AGREE)

    for x in data:
        y, state = step(peer, params, state, x, True)
        theirs = peer(x, True)
        if peer.trains_alike:
            assert_close(y, theirs, AGREE)
    assert_close((state.mean, state.var), peer.convert()[1][:2], AGREE)
    assert_close(step(peer, params, state, data[0], False)[0], peer(data[0], False), AGREE)

    fresh = PEERS[name](affine)
    fresh.load(params, state)
    assert_close(fresh(data[0], False), step(peer, params, state, data[0], False)[0], AGREE)
    for x in data[:3]:
        fresh(x, True)
        state = step(peer, params, state, x, True)[1]
    assert_close(fresh(data[0], False), step(peer, params, state, data[0], False)[0], AGREE)


@pytest.mark.parametrize("name", PEERS)
def test_an_untrained_layer_agrees(name):
    peer = PEERS[name](True)
    x = next(batches(peer, PEERS[name].args[0], 1, seed=0))
    params, state = peer.convert()
    assert state.count == 0
    assert_close(step(peer, params, state, x, False)[0], peer(x, False), AGREE)


@pytest.mark.parametrize(
    "make", [functools.partial(Haiku, 2, decay=0.999), functools.partial(Equinox, 2, momentum=0.999)]
)
def test_debiased_averages_agree_to_the_last_digits_in_float64(make):
    """In float32 these frameworks compute `1 - 0.999**t` with an error of 2e-5, which is not ours to imitate."""
    with jax.enable_x64(True):
        peer = make(True)
        peer(next(batches(peer, 2, 1, seed=2)).astype("float64"), True)
        params, state = peer.convert()
        for x in batches(peer, 2, 10, seed=1):
            state = step(peer, params, state, x.astype("float64"), True)[1]
            peer(x.astype("float64"), True)
        assert state.mean.dtype == state.var.dtype == "float64"
        assert state.count == 11
        assert_close(state, peer.convert()[1], 1e-12)


def test_equinox_excess_of_the_variance_can_be_removed():
    peer, data = trained(PEERS["equinox-batch"], True)
    _, as_is = peer.convert()
    params, right = from_equinox(peer.arrays(), remove_excess=True)
    assert np.min(np.abs(as_is.var - right.var)) > 10
    values = np.concatenate(list(batches(peer, 3, 7, seed=0)))
    assert_close(right.var, values.var((0, 2)), 0.05)

    repaired = PEERS["equinox-batch"](True)
    repaired.put(to_equinox(params, right))
    for x in data:
        repaired(x, True)
        right = step(peer, params, right, x, True)[1]
    assert_close(repaired.convert()[1], right, AGREE)
    assert_close(repaired(data[0], False), step(peer, params, right, data[0], False)[0], AGREE)


def test_equinox_keeps_a_complex_variance():
    eqx = pytest.importorskip("equinox")
    bn, state = eqx.nn.make_with_state(eqx.nn.BatchNorm)(3, "batch", dtype="complex64", mode="batch")
    peer = PEERS["equinox-batch"](True)
    peer.bn, peer.state = bn, state
    x = np.random.default_rng(0).normal(size=[16, 3, 4]) + 1j
    peer(x.astype("complex64"), True)
    params, state = peer.convert()
    assert state.mean.dtype == params.scale.dtype == "complex64"
    assert state.var.dtype == "float32"
    expected = peer(x.astype("complex64"), False)
    assert_close(step(peer, params, state, x.astype("complex64"), False)[0], expected, AGREE)
    peer.load(params, state)
    assert_close(peer(x.astype("complex64"), False), expected, AGREE)


def test_torch_sync_batch_norm():
    peer, data = trained(PEERS["torch-2d"], True)
    sync = peer.torch.nn.SyncBatchNorm.convert_sync_batchnorm(peer.torch.nn.Sequential(peer.layer))
    params, state = from_torch(sync.state_dict(), "0")
    theirs = sync.eval()(peer.torch.from_numpy(data[0])).detach().numpy()
    assert_close(step(peer, params, state, data[0], False)[0], theirs, AGREE)


def test_torch_goes_on_training_without_touching_ours():
    peer, data = trained(PEERS["torch-2d"], True)
    params, state = peer.convert()
    before = jax.tree.map(np.array, (params, state))
    peer(data[0], True)
    with peer.torch.no_grad():
        peer.layer.weight.fill_(7)
    assert_close((params, state), before, 0)
