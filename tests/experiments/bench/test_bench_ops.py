"""The bench of the op: what it times is the layer, with the gradients of all that is learnt."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench.opened import opened
from experiments.bench.ops import __main__ as ops
from experiments.bench.ops import calls
from experiments.bench.peers import norms
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

SHAPE = (16, 4, 4, 6)


def data():
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.standard_normal(SHAPE, np.float32)) for _ in range(2)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jaxbn", "linen", "nnx"])
def test_scale_and_bias_are_arguments_and_learn(name):
    x, dy = data()
    layer, arrays = opened(norms(SHAPE)[name], x, train=True)
    learnt = [i for i, a in enumerate(arrays) if a.shape == (6,)]
    assert len(learnt) == 4
    moved, remembered, y, dx = calls.learning(layer, arrays, x, dy)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    by_x, *by_params = reference.gradient(x, dy, 1.0)
    assert_close(dx, by_x, GRADIENT["float32"])
    steps = [np.asarray(moved[i] - arrays[i]) / calls.RATE for i in learnt]
    for gradient in by_params:
        assert any(np.allclose(step, gradient, atol=0.1) for step in steps)
    means = reference.moments(x).mean
    assert any(np.allclose(leaf, 0.01 * means, atol=1e-6) for leaf in jax.tree.leaves(remembered) if leaf.shape == (6,))


@pytest.mark.parametrize("mode", ops.PASSES)
def test_in_a_loop_each_call_goes_on_with_the_results_of_the_one_before(mode):
    """Shown by a layer that doubles its input: a batch norm leaves nothing to do for the next one."""
    given, scale = data(), jnp.full(SHAPE, 2.0)

    def doubled(x, *, train):
        assert train == (mode != "evaluation")
        return scale * x

    once, loop, _ = calls.jax_calls(doubled, mode, *given, 3)
    for call, factor in ((once, 2), (loop, 8)):
        _, remembered, *found = call()
        assert remembered == []
        expected = given if mode == "forward+backward" else given[:1]
        # Learning moves the 2 by some millionths.
        assert_close(found, [factor * value for value in expected], 1e-3)


@pytest.mark.slow
def test_the_memory_that_a_layer_needs_is_measured():
    """Ours needs none of the size of the data, and Flax's does, as the docs say."""
    x = jnp.asarray(noise(64, 28, 28, 6))
    needed = {
        name: calls.jax_calls(norms(x.shape)[name], "forward+backward", x, x, 2)[2] / x.nbytes
        for name in ("jaxbn", "linen")
    }
    assert needed["jaxbn"] < 0.01
    assert needed["linen"] > 0.5


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of PyTorch
def test_tables_and_files(tmp_path, monkeypatch, capsys):
    # Peers do not bear the strict promotion of these tests, and not all of them are installed everywhere.
    monkeypatch.setattr(ops, "norms", lambda *args, **options: dict(list(norms(*args, **options).items())[:2]))
    flags = "--shapes 0 --dtypes float32 bfloat16 --rounds 1 --least 1e-4 --out"
    with jax.numpy_dtype_promotion("standard"):
        assert ops.main([*flags.split(), str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert len(measured) == 2 * len(ops.PASSES)
    text = (tmp_path / "summary.md").read_text()
    assert text in capsys.readouterr().out
    assert text.count("| 64x100 |") == 2 * 3 * len(ops.PASSES)
    assert (tmp_path / "ops.png").stat().st_size > 0


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--shapes 0 10", "`--shapes` must be numbers from 0 to 9, got [0, 10]."),
        ("--shapes", "`--shapes` must be numbers from 0 to 9, got []."),
        ("--dtypes", "`--dtypes` must name at least one of float32, bfloat16."),
        ("--rounds 0", "`--rounds` must be at least 1, got 0."),
        ("--least nan", "`--least` must be above 0 and finite, got nan."),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert ops.main(flags.split()) == 2
    assert capsys.readouterr() == ("", f"error: {words}\n")


def test_a_folder_that_cannot_be_written_is_refused_before_any_measurement(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(ops, "measure", lambda *_: pytest.fail("it was measured"))
    (tmp_path / "file").write_text("")
    assert ops.main(["--out", str(tmp_path / "file")]) == 2
    assert capsys.readouterr().err.startswith("error: `--out` must be a folder that can be written, got")
