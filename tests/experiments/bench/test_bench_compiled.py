"""The bench of compiled programs: what it reads from their text, its steps, its tables; without a compiler."""

import dataclasses
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench.ahead_of_time import program as hlo
from experiments.bench.ahead_of_time import targets
from experiments.bench.compiled import __main__ as compiled
from experiments.bench.compiled import layers, nets, overview, report
from experiments.bench.peers import norms
from experiments.harness.files import write_json
from experiments.harness.tables import markdown
from experiments.tutorial import classifier
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close


def program(body, *computations):
    text = "HloModule m, entry_computation_layout={(f32[4]{0})->f32[4]{0}}\n"
    for name, lines in (*computations, ("ENTRY %main", body)):
        text += "\n" + name + " (p: f32[4]) -> f32[4] {\n" + "".join(f"  {line}\n" for line in lines) + "}\n"
    return hlo.read(text)


def test_every_instruction_reads_and_writes_once():
    found = program(
        [
            "%p = f32[8,4]{1,0} parameter(0)",
            "%c = f32[4]{0} constant({1, 2, (3), 4})",
            '%r = (f32[4]{0}, /*index=1*/bf16[8,4]{1,0:T(8,128)(2,1)}) custom-call(%p, %c), metadata={op_name="a(b"}',
            "%g = bf16[8,4]{1,0} get-tuple-element(%r), index=1",
            "ROOT %n = bf16[8,4]{1,0} negate(%g)",
        ]
    )
    assert [(m.name, m.read, m.written) for m in found.moved] == [("r", 128 + 16, 16 + 64), ("n", 64, 64)]
    assert (found.bytes, found.kernels) == (352, 2)


def test_a_fusion_reads_the_slice_that_it_needs():
    inside = [
        "%a = bf16[100,4]{1,0} parameter(0)",
        "%b = f32[4]{0} parameter(1)",
        "%wide = f32[100,4]{1,0} convert(%a)",
        "%s = f32[2,4]{1,0} slice(%wide), slice={[0:2], [0:4]}",
        "ROOT %out = f32[2,4]{1,0} custom-call(%s, %b)",
    ]
    found = program(
        [
            "%b.1 = f32[4]{0} parameter(1)",
            "%a.1 = bf16[100,4]{1,0} parameter(0)",
            "ROOT %f = f32[2,4]{1,0} fusion(%a.1, %b.1), kind=kLoop, calls=%inside",
        ],
        ("%inside", inside),
    )
    assert [(m.read, m.written) for m in found.moved] == [(2 * 4 * 2 + 16, 32)]


def test_a_fusion_reads_all_that_someone_needs():
    inside = [
        "%a = f32[100]{0} parameter(0)",
        "%s = f32[2]{0} slice(%a), slice={[0:2]}",
        "%all = f32[] reduce(%a, %s), to_apply=%add",
        "ROOT %out = (f32[2]{0}, f32[]) tuple(%s, %all)",
    ]
    found = program(
        ["%a.1 = f32[100]{0} parameter(0)", "ROOT %f = (f32[2]{0}, f32[]) fusion(%a.1), kind=kLoop, calls=%inside"],
        ("%inside", inside),
    )
    assert [(m.read, m.written) for m in found.moved] == [(400, 12)]


def test_the_chips_own_memory_is_free():
    found = program(
        [
            "%p = f32[8]{0:T(128)} parameter(0)",
            "%s = (f32[8]{0:T(128)S(1)}, f32[8]{0:T(128)}, u32[]{:S(2)}) copy-start(%p)",
            "%d = f32[8]{0:T(128)S(1)} copy-done(%s)",
            "%q = ((f32[8]{0:T(128)}), f32[2]{0:T(128)S(1)}, s32[]{:S(2)}) slice-start(%p), slice={[0:2]}",
            "%e = f32[2]{0:T(128)S(1)} slice-done(%q)",
            "ROOT %n = f32[8]{0:T(128)} custom-call(%d, %e)",
        ]
    )
    assert [(m.op, m.read, m.written) for m in found.moved] == [
        ("copy-start", 32, 0),
        ("slice-start", 8, 0),
        ("custom-call", 0, 32),
    ]
    assert found.kernels == 1


def test_scratch_is_free():
    found = program(
        [
            "%p = f32[4]{0} parameter(0)",
            '%c = (f32[4]{0}, s8[8]{0}, u8[90]{0}) custom-call(%p), custom_call_target="__cudnn$convForward"',
            "%y = f32[4]{0} get-tuple-element(%c), index=0",
            "%bytes = s8[8]{0} get-tuple-element(%c), index=1",
            'ROOT %d = (f32[4]{0}, u8[90]{0}) custom-call(%y, %bytes), custom_call_target="__cublas$gemm"',
        ]
    )
    assert [(m.read, m.written) for m in found.moved] == [(16, 24), (24, 106)]


def test_an_update_in_place_writes_the_slice():
    update = "dynamic-update-slice(%a, %b, %i)"
    arguments = ["%a = f32[100]{0} parameter(0)", "%b = f32[5]{0} parameter(1)", "%i = s32[] parameter(2)"]
    alone = program([*arguments, f"ROOT %u = f32[100]{{0}} {update}"])
    fused = program(
        [*arguments, "ROOT %f = f32[100]{0} fusion(%a, %b, %i), kind=kLoop, calls=%inside"],
        ("%inside", [*arguments, f"ROOT %u = f32[100]{{0}} {update}"]),
    )
    assert [(m.read, m.written) for m in alone.moved] == [(20, 20)]
    assert [(m.read, m.written) for m in fused.moved] == [(24, 20)]


def test_what_is_called_counts_and_cycles_are_summed():
    found = program(
        [
            "%p = f32[4]{0} parameter(0)",
            '%n = f32[4]{0} negate(%p), backend_config={"estimated_cycles":"70"}',
            '%c = f32[4]{0} call(%n), to_apply=%more, backend_config={"estimated_cycles":"5"}',
            "ROOT %t = (f32[4]{0}) tuple(%c)",
        ],
        ("%more", ["%p = f32[4]{0} parameter(0)", "ROOT %e = f32[4]{0} exponential(%p)"]),
    )
    assert [m.op for m in found.moved] == ["negate", "exponential"]
    assert (found.cycles, found.kernels, found.bytes) == (75, 2, 64)


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
def test_the_nets_of_the_main_job_take_a_step(tmp_path, monkeypatch):
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


def test_the_description_of_the_gpu_is_here():
    assert "NVIDIA H100" in (Path(targets.__file__).parent / "h100.txtpb").read_text()
