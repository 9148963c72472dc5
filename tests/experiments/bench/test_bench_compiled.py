"""The bench of compiled programs: its steps and its tables; without a compiler."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench.ahead_of_time import targets
from experiments.bench.compiled import __main__ as compiled
from experiments.bench.compiled import layers, nets, overview, report
from experiments.bench.peers import norms
from experiments.harness.files import write_json
from experiments.harness.tables import markdown
from experiments.tutorial import classifier
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

pytestmark = pytest.mark.optimized


@pytest.mark.slow
@pytest.mark.parametrize("name", ["jaxbn", "linen", "nnx"])
def test_the_steps_learn_scale_and_bias(name):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.standard_normal((16, 2, 2, 6), np.float32))
    steps, arrays = layers.steps(norms((1, 1, 1, 6))[name], x)
    y, remembered = steps["forward"](arrays, x)
    assert_close(y, reference.batch_norm(x), TOLERANCE["float32"])
    (by_params, by_x), again = steps["forward+backward"](arrays, x)
    dx, *slopes = reference.gradient(x, 2 * np.maximum(np.asarray(y), 0), 1.0)
    assert_close(by_x, dx, GRADIENT["float32"])
    assert len(by_params) == 2
    for slope in slopes:
        assert any(np.allclose(got, slope, atol=1e-3) for got in by_params)
    assert [leaf.shape for leaf in remembered].count((6,)) == 2
    jax.tree.map(np.testing.assert_array_equal, remembered, again)


@pytest.mark.parametrize(("target", "extra"), [("tpu-v5e", "aot-tpu"), ("h100", "aot-cuda")])
def test_a_missing_compiler_is_one_line(target, extra, monkeypatch, capsys, tmp_path):
    there = dataclasses.replace(targets.TARGETS[target], plugin="no_such_plugin")
    monkeypatch.setitem(compiled.TARGETS, target, there)
    assert compiled.main(["--target", target, "--out", str(tmp_path)]) == 2
    words = f"The compiler for this target is not installed (no_such_plugin); `pip install -e '.[{extra}]'`."
    assert capsys.readouterr() == ("", f"error: {words}\n")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--shapes 1 10", "`--shapes` must be numbers from 0 to 9, got [1, 10].\n"),
        ("--shapes", "`--shapes` must be numbers from 0 to 9, got [].\n"),
        ("--nets resnet18 --sources none", "`--sources` must be a folder with Flax's sources, got none; get them by "),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert compiled.main(["--target", "h100", *flags.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: " + words)
    assert said.count("\n") == 1


def numbers(moved, cycles):
    return {"bytes": moved, "kernels": 3, "cycles": cycles, "lines": 9, "temporary": 50, "seconds": [0.5, 0.25, 1]}


def made_up(cycles):
    return [
        {"shape": [10, 10], "dtype": "float32", "size": 400, "mode": "forward"}
        | {"layers": {"jaxbn": numbers(1200, cycles), "linen": numbers(2400, 4 * cycles)}},
        {"shape": [1024, 1024], "dtype": "bfloat16", "size": 2**21, "mode": "forward"}
        | {"layers": {"jaxbn": numbers(2**23, cycles), "linen": numbers(2**22, cycles)}},
    ]


def test_tables():
    text = report.tables(made_up(0))
    assert "forward: bytes of ours / others" in text
    assert "| 10x10 f32 | 1200 | 0.50 |" in text
    assert "| geometric mean |  | 1.00 |\n| worst of 1 MB or more |  | 2.00 |" in text
    assert "| 10x10 f32 | 3.00 | 6.00 |\n| 1024x1024 bf16 | 4.00 | 2.00 |" in text
    assert "| 10x10 f32 | 0.12 | 0.12 |" in text
    assert "| 10x10 f32 | 1.75 | 1.75 |" in text
    text = report.tables(made_up(100))
    assert "forward: cycles of ours / others" in text
    assert "| geometric mean |  | 0.50 |\n| worst of 1 MB or more |  | 1.00 |" in text
    # The worst of the large data alone, and cycles only where all have them.
    small, large = made_up(0)
    assert report.ratio_table("", [small | {"size": 2**20}, large | {"size": 400}]).rows[-1][-1] == "0.50"
    assert report.decisive({"jaxbn": numbers(1, 5), "linen": numbers(1, 0)}) == "bytes"
    table = report.nets_table("resnet18", {"linen": numbers(2e9, 0)})
    assert "| linen | 2.000 |  | 3 | 0.000 | 9 | 0.50 | 0.25 | 1.00 |" in markdown([table])


def test_the_first_line_and_the_files(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "place", lambda _: None)
    monkeypatch.setattr(compiled, "measure", lambda *_: made_up(100)[:1])
    assert compiled.main(["--target", "tpu-v5e", "--shapes", "0", "--out", str(tmp_path)]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Nothing is run on a device")
    assert (tmp_path / "tpu-v5e/summary.md").read_text() in text
    assert json.loads((tmp_path / "tpu-v5e/summary.json").read_text())["measured"] == made_up(100)[:1]
    assert (tmp_path / "tpu-v5e/compiled.png").stat().st_size > 0
    assert "| TPU v5e, forward | estimated cycles | 0.25 |" in (tmp_path / "summary.md").read_text()


@pytest.mark.slow
def test_ten_seeds_of_a_net_of_the_tutorial_take_a_step():
    """Here on this machine, and not for an accelerator."""
    draw = np.random.default_rng(0).integers
    rows = {row: (step, arguments) for row, step, arguments in nets.mnist_nets()}
    assert [row for row in rows if row.endswith("10 seeds")] == [
        f"{net}, 10 seeds"
        for net in ("mlp-bn", "mlp", "conv-bn, channels last", "conv-bn, cells", "conv, channels last", "conv, cells")
    ]
    step, (data, state, indices) = rows["mlp-bn, 10 seeds"]
    data = classifier.Examples(draw(0, 256, data.images.shape, np.uint8), draw(0, 10, data.labels.shape, np.int32))
    state = jax.tree.map(lambda a: jnp.ones(a.shape, a.dtype), state)
    after = jax.jit(step)(data, state, draw(0, len(data.labels), indices.shape, np.int32))
    assert np.all(np.isfinite(after.params["Dense_1"]["kernel"]))
    assert len(np.unique(after.params["Dense_1"]["bias"], axis=0)) == 10


def test_the_tables_of_nets_are_kept(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(compiled, "place", lambda _: None)
    monkeypatch.setattr(compiled, "mnist_nets", lambda: [("mlp, 1 seed", None, ())])
    monkeypatch.setattr(compiled, "compiled", lambda *_: numbers(2e9, 7e6))
    assert compiled.main(["--target", "tpu-v5e", "--nets", "mnist", "--out", str(tmp_path)]) == 0
    text = (tmp_path / "tpu-v5e/nets.md").read_text()
    assert text in capsys.readouterr().out
    assert "| mlp, 1 seed | 2.000 | 7.000 | 3 |" in text
    kept = json.loads((tmp_path / "tpu-v5e/nets.json").read_text())
    assert kept["measured"] == {"mnist": {"mlp, 1 seed": numbers(2e9, 7e6)}}


def test_all_targets_side_by_side(tmp_path):
    assert overview.overview(tmp_path) == []
    resnet = {"resnet18": {"jaxbn": numbers(2.5e9, 7e6), "linen": numbers(1e9, 5e6)}}
    without = {net: {name: n | {"cycles": 0} for name, n in rows.items()} for net, rows in resnet.items()}
    found = {
        "tpu-v6e/summary": made_up(100),
        "h100/summary": [m | {"mode": "forward+backward"} for m in made_up(0)],
        "tpu-v5e/nets": resnet | {"mnist": {"mlp, 1 seed": numbers(3e6, 5e4)}},
        "h100/nets": without,
    }
    for name, measured in found.items():
        write_json(tmp_path / f"{name}.json", {"measured": measured})
    layers, resnets, tutorial = overview.overview(tmp_path)
    assert layers.header == ["target, mode", "what", "linen"]
    assert layers.rows == [
        ["TPU v6e, forward", "estimated cycles", "0.50"],
        ["H100, forward and backward", "bytes moved", "1.00"],
    ]
    columns = ["TPU v5e, million cycles", "TPU v5e, GB moved", "H100, GB moved", "H100, kernels"]
    assert resnets.header == ["net, norm", *columns]
    assert resnets.rows == [
        ["ResNet-18, jaxbn", "7.00", "2.50", "2.50", "3"],
        ["ResNet-18, linen", "5.00", "1.00", "1.00", "3"],
    ]
    assert (tutorial.header, tutorial.rows) == (["net", "TPU v5e, million cycles"], [["mlp, 1 seed", "0.050"]])


def test_every_target_has_a_name():
    assert list(overview.TARGETS) == list(targets.TARGETS)
