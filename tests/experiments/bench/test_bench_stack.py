"""The bench of layers in a stack: what it times is the training step of all of them."""

import json
import sys
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import stack, torch_device
from experiments.bench.peers import norms
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, assert_close


def by_hand(x, layers):
    """The gradient of the mean square of the last output, in float64."""
    data = [np.asarray(x, np.float64)]
    for _ in range(layers):
        data.append(np.maximum(reference.batch_norm(data[-1]), 0))
    slope = 2 * data[-1] / data[-1].size
    for x, y in zip(data[-2::-1], data[:0:-1], strict=True):
        slope, *_ = reference.gradient(x, slope * (y > 0), 1.0)
    return slope


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jaxbn", "linen", "nnx"])
def test_a_step_has_the_gradient_of_all_layers(name):
    x = jnp.asarray(noise(64, 6))
    (by_arrays, by_x), remembered = stack.jax_call(norms(x.shape)[name], x)()
    expected = by_hand(x, stack.LAYERS)
    assert_close(by_x * x.size, expected * x.size, 10 * GRADIENT["float32"])
    # Scale and bias of each have a gradient, and each remembers statistics of its own.
    assert len(by_arrays) == len(remembered) == stack.LAYERS
    for slopes in by_arrays:
        assert sum(bool(np.any(slope)) for slope in slopes.values()) == 2
    first, second = (jax.tree.leaves(layer) for layer in remembered[:2])
    assert any(not np.array_equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch
def test_the_stack_of_torch_is_the_same():
    pytest.importorskip("torch")
    x = np.asarray(noise(64, 6))
    by_x = stack.torch_calls(x, "float32")["PyTorch"]().value
    assert_close(by_x.numpy() * x.size, by_hand(x, stack.LAYERS) * x.size, 10 * GRADIENT["float32"])


@pytest.mark.parametrize(
    ("backend", "found", "device"), [("cpu", True, "cpu"), ("gpu", True, "cuda"), ("gpu", False, "cpu")]
)
def test_torch_runs_where_jax_does(backend, found, device, monkeypatch):
    synchronized = []
    cuda = types.SimpleNamespace(is_available=lambda: found, synchronize=lambda: synchronized.append(True))
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(jax, "default_backend", lambda: backend)
    assert torch_device.device() == device
    torch_device.wait()
    assert bool(synchronized) == (device == "cuda")


def test_what_a_gpu_still_computes_is_waited_for(monkeypatch):
    waited = []
    monkeypatch.setattr(torch_device, "wait", lambda: waited.append(True))
    jax.block_until_ready([torch_device.Queued(1), jnp.ones(2)])
    assert waited == [True]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch
def test_tables_and_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(stack, "SHAPES", ((16, 2, 2, 3), (32, 5)))
    monkeypatch.setattr(stack, "norms", lambda shape: dict(list(norms(shape).items())[:2]))
    monkeypatch.setattr(stack, "torch_calls", lambda *_: {})
    flags = ["--rounds", "1", "--least", "1e-4", "--shapes", "0", "1", "--out", str(tmp_path)]
    # Peers do not bear the strict promotion of these tests.
    with jax.numpy_dtype_promotion("standard"):
        assert stack.main(flags) == 0
    measured = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert [m["shape"] for m in measured] == [[16, 2, 2, 3], [32, 5]]
    assert all(min(m["microseconds"].values()) > 0 for m in measured)
    text = (tmp_path / "summary.md").read_text()
    assert text in capsys.readouterr().out


def test_the_table_has_ratios_and_the_rate_of_ours():
    measured = [
        {"shape": [4, 2], "dtype": "float32", "bytes": 1e6, "microseconds": {"jaxbn": 2.0, "linen": 3.0, "floor": 1.0}},
        {
            "shape": [8, 2],
            "dtype": "float32",
            "bytes": 1e7,
            "microseconds": {"jaxbn": 8.0, "linen": 48.0, "floor": 4.0},
        },
    ]
    assert stack.table(measured, "float32").rows == [
        ["4x2", "2", "4.00", "1.50", "0.50"],
        ["8x2", "8", "10.00", "6.00", "0.50"],
        ["geometric mean", "", "", "3.00", "0.50"],
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--shapes 5", "`--shapes` must be numbers from 0 to 4, got [5]."),
        ("--dtypes", "`--dtypes` must name at least one of float32, bfloat16."),
        ("--rounds 0", "`--rounds` must be at least 1, got 0."),
        ("--least inf", "`--least` must be above 0 and finite, got inf."),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert stack.main(flags.split()) == 2
    assert capsys.readouterr() == ("", f"error: {words}\n")
