"""No framework is imported, and arrays of any kind are read."""

import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import init_batch_norm
from jaxbn.interop import from_torch, to_torch
from tests.sources import modules_after
from tests.tolerances import assert_same

FRAMEWORKS = {"flax", "torch", "keras", "haiku", "equinox", "tensorflow"}


@pytest.mark.slow
def test_no_framework_is_loaded():
    loaded = modules_after("import jaxbn.interop")
    assert "jaxbn.interop.torch" in loaded
    assert not {name.split(".")[0] for name in loaded} & FRAMEWORKS


@pytest.mark.slow
def test_the_library_does_not_load_it():
    assert "jaxbn.interop" not in modules_after("import jaxbn")


class Foreign:
    """An array of a framework that NumPy does not know."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.array(self.array, dtype)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, list, Foreign], ids=["numpy", "jax", "list", "foreign"])
def test_values_are_arrays_of_any_kind(kind):
    expected = from_torch({"running_mean": np.array([1.0, 2.0]), "running_var": np.array([3.0, 4.0])})
    got = from_torch({"running_mean": kind([1.0, 2.0]), "running_var": kind([3.0, 4.0])})
    assert_same(got, expected)


def test_a_mapping_need_not_be_a_dict(tmp_path):
    np.savez(tmp_path / "bn.npz", **to_torch(*init_batch_norm(3)))
    with np.load(tmp_path / "bn.npz") as archive:
        assert_same(from_torch(archive), init_batch_norm(3))


def test_tensors_of_torch_are_read():
    torch = pytest.importorskip("torch")
    state_dict = torch.nn.Sequential(torch.nn.BatchNorm1d(3)).state_dict()
    assert_same(from_torch(state_dict, "0"), init_batch_norm(3))
    params, state = from_torch(torch.nn.BatchNorm1d(3).half().state_dict())
    assert_same(params, init_batch_norm(3, dtype="float16")[0])
    assert_same(state, init_batch_norm(3)[1])


def test_what_numpy_cannot_read_of_torch():
    torch = pytest.importorskip("torch")
    state_dict = torch.nn.BatchNorm1d(3).to(torch.bfloat16).state_dict()
    words = r"`state_dict\['running_mean'\]` must be an array that NumPy can read, got Tensor of torch.bfloat16; .*f"
    with pytest.raises(TypeError, match=words):
        from_torch(state_dict)
    assert_same(from_torch({name: t.float() if t.ndim else t for name, t in state_dict.items()}), init_batch_norm(3))
    layer = torch.nn.BatchNorm1d(3)
    with pytest.raises(TypeError, match=r"got Parameter of torch.float32 that requires grad; .*detach"):
        from_torch(dict(layer.named_parameters()) | dict(layer.named_buffers()))


def test_what_is_for_torch_it_can_read():
    torch = pytest.importorskip("torch")
    arrays = to_torch(*init_batch_norm(3, dtype=jnp.bfloat16))
    layer = torch.nn.BatchNorm1d(3).to(torch.bfloat16)
    layer.load_state_dict({name: torch.from_numpy(array) for name, array in arrays.items()})
    assert layer.weight.dtype == torch.bfloat16
    assert layer.num_batches_tracked.dtype == torch.int64
