"""The scaling bench: what it reads from programs, its model on paper by hand, its tables, its checks."""

import contextlib
import json
import os
from concurrent.futures import Future
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.bench import resnets, ways
from experiments.bench.collectives import collectives
from experiments.bench.scaling import __main__ as scaling
from experiments.bench.scaling import interconnects, paper, report, resnet50, sent, training
from experiments.harness.tables import markdown
from jaxbn._reduce.sharing import MOST

SOURCES = Path(os.environ.get("JAXBN_FLAX_SOURCES", "none"))
WITH_COMPILER = pytest.mark.skipif(not sent.compiler_is_there(), reason="needs libtpu")

TEXT = """
  %a = bf16[1,3,256]{2,1,0:T(4,128)(2,1)S(1)} all-reduce(%x), channel_id=1, replica_groups={{0,1}}
  %b = (f32[256]{0:T(256)}, /*index=1*/f32[2,8]{1,0}) all-reduce-start(%y, %z), metadata={op_name="psum"}
  %c = f32[] add(%p, %q)
  ROOT %d = f64[3]{0} all-gather(%w)
"""


def test_collectives_are_read_with_their_bytes():
    found = collectives(TEXT)
    assert [str(c) for c in found] == [
        "all-reduce of bf16[1,3,256]",
        "all-reduce of f32[256] and f32[2,8]",
        "all-gather of f64[3]",
    ]
    assert [c.bytes for c in found] == [3 * 256 * 2, 256 * 4 + 16 * 4, 24]


def numbers(sums, devices):
    return sorted(s.numbers * (devices if s.rows else 1) for s in sums)


def test_a_torus_by_hand():
    """4x4 chips at 1 GB/s and 1 us: as a whole two rings, a quarter of it two open lines."""
    torus = interconnects.Torus({4: (2, 2), 8: (2, 4), 16: (4, 4)}, link=1e9, hop=1e-6)
    assert [torus.latency(n) for n in torus.spans] == pytest.approx([2e-6 * 2, 2e-6 * 3, 2e-6 * 4])
    assert [torus.bandwidth(n) for n in torus.spans] == [2e9, 3e9, 4e9]
    assert interconnects.all_reduce(torus, 16, 1e6) == pytest.approx(8e-6 + 2 * 15 / 16 * 1e6 / 4e9)
    assert interconnects.all_reduce(torus, 1, 1e6) == 0


def test_nodes_by_hand():
    nodes = interconnects.SYSTEMS["DGX H100"].interconnect
    assert nodes.latency(8) == pytest.approx((6.8 + 2 * 7 * 0.6) * 1e-6)
    assert nodes.latency(1024) == pytest.approx((6.8 + 2 * (7 * 0.6 + 7 * 5)) * 1e-6)
    assert (nodes.bandwidth(8), nodes.bandwidth(16)) == (450e9, 400e9)


def test_a_step_on_paper_by_hand(monkeypatch):
    """Two norms of 10 and 30 channels on 4 chips; one all-reduce of 2 numbers, one with a row for each chip."""
    monkeypatch.setattr(resnet50, "channels", lambda: [10, 30])
    system = interconnects.System(interconnects.Torus({4: (2, 2)}, link=1e6, hop=1e-6), images=100)
    latency, bandwidth = 2e-6 * (1 + 1), 4e6  # both dimensions are whole, so they count as rings
    sums = (paper.Sum(2), paper.Sum(1, width=2, rows=True))
    each = [2 * 4 * 10, 2 * 4 * 30, 4 * 2 * 10, 4 * 2 * 30]
    expected = 4 * latency + 2 * 3 / 4 * sum(each) / bandwidth
    assert paper.statistics(system, 4, sums) == pytest.approx(expected)
    assert paper.statistics(system, 1, sums) == 0
    assert paper.compute(system) == paper.BATCH / 100


def test_tables_on_paper():
    by_program, by_number, forward, beside = paper.tables()
    assert "the 53 norms (26,560 channels)" in by_program.title
    cells = by_number.cells()
    assert cells["1"] == dict.fromkeys(interconnects.SYSTEMS, "0.00 (0%)")
    assert cells["256"]["TPU v4"] == "4.17 (45%)"  # 106 of 28 us, 26,560 channels of 16 * 256 + 8 bytes, 180 GB/s
    # 159 all-reduces of 32 us each, and 26,560 channels of 22 bytes twice at 270 GB/s: 5.09 ms of 9.2.
    assert cells["1,024"]["TPU v4"] == by_program.cells()["jaxbn, jit"]["TPU v4"] == "5.09 (55%)"
    assert cells["1,024"]["TPU v5e"] == forward.cells()["1,024"]["TPU v5e"] == ""
    assert set(by_program.cells()["jaxbn, ghosts"].values()) == {"0.00 (0%)", ""}
    assert beside.cells()["chips"]["TPU v5e"] == "256"


def test_one_message_up_to_as_many_chips_as_the_library_says():
    """It is the largest power of two of chips on which one message is the faster on every system."""
    assert [numbers(paper.programs(n)["jaxbn, jit"], n) for n in (MOST, MOST + 1)] == [[2, 4 * MOST], [2, 2, 3]]
    faster = {}
    for chips, row in paper.tables()[2].cells().items():
        pairs = [[float(ms) for ms in cell.split(" / ")] for cell in row.values() if cell]
        faster[int(chips.replace(",", ""))] = all(one < two for one, two in pairs)
    assert faster == {8: True, 64: True, MOST: True, 2 * MOST: False, 4 * MOST: False}


def test_the_channels_of_a_resnet_50():
    assert (len(resnet50.channels()), sum(resnet50.channels()), resnet50.parameters()) == (53, 26560, 25557032)


@pytest.mark.slow
@pytest.mark.skipif(not (SOURCES / resnets.FILE).exists(), reason="JAXBN_FLAX_SOURCES is no folder with Flax's sources")
def test_the_channels_are_those_of_the_net():
    net = resnets.make_net(SOURCES, 50, resnets.LINEN["jaxbn"], jnp.float32)
    found = jax.eval_shape(net.init, jax.random.key(0), jnp.zeros((1, 224, 224, 3)))
    assert sum(leaf.size for leaf in jax.tree.leaves(found["params"])) == resnet50.parameters()
    states = [leaf.size for leaf in jax.tree.leaves(found["batch_stats"])]
    assert sorted(states) == sorted(2 * resnet50.channels())


@pytest.mark.slow
@pytest.mark.several_devices
def test_the_paper_sends_what_the_programs_send(monkeypatch):
    monkeypatch.setattr(sent, "PART", (8, 2, 2, 6))
    there = jax.devices()[:4]
    for p in sent.sent(there, "float32", "cpu"):
        programs = paper.programs(4)
        name = f"{p['layer']}, {'jit' if p['way'] == 'jit-sharded' else 'axis_name'}"
        sums = programs.get(name, programs.get(p["layer"]))
        # With its parameters a ghost norm waits for their gradient, as any layer does.
        mode = sent.DATA if p["layer"] == "jaxbn, ghosts" else "forward+backward"
        made = [c["bytes"] / 6 / 4 for c in p["collectives"][mode]]
        assert sorted(made) == numbers(sums, 4), name


@pytest.mark.slow
@WITH_COMPILER
def test_the_paper_sends_what_a_tpu_sends():
    place = sent.compiled_for("v5e:2x2")
    assert (place["device"], place["devices"]) == ("TPU v5 lite", 4)
    for p in place["programs"]:
        made = [c["bytes"] for c in p["collectives"]["forward+backward"]]
        if p["layer"] == "jaxbn":
            assert sorted(made) == [256 * 2 * 4, 256 * 4 * 4 * 4], p["way"]
        elif p["layer"] == "jaxbn, ghosts":
            assert p["collectives"][sent.DATA] == [], p["way"]
        elif p["way"] == "jit-sharded":
            sums = paper.programs(4)[p["layer"]]
            assert sorted(made) == sorted(256 * s.numbers * s.width for s in sums), p["layer"]


@pytest.mark.slow
@WITH_COMPILER
def test_a_topology_that_does_not_compile_is_a_line():
    assert sent.compiled_for("v5e:16x32") == {"where": "v5e:16x32", "failed": "the compiler ends its process"}
    assert sent.compiled_for("v5e:3x5")["failed"].startswith("refused: ")


def measured():
    """A step takes as many ms as it has examples, twice as many with linen; a tenth, of the CPU a half more on two."""
    batches = {("strong", 1): 8, ("strong", 2): 8, ("weak", 1): 4, ("weak", 2): 8}
    return [
        {"kind": kind, "devices": n, "layer": layer, "batch": batch, "seconds": 0.5, "collectives": 7 * (n - 1)}
        | {"milliseconds": [99.0, slow * batch * (1 + (n - 1) / 10), 0.0], "processors": [batch * (n + 1) / 2]}
        | {"loss": 1.5, "apart": 2e-7 * (n - 1)}
        for (kind, n), batch in batches.items()
        for layer, slow in (("jaxbn", 1), ("linen", 2))
    ]


def test_tables_of_scaling():
    text = markdown(report.scaling_tables(measured()))
    strong, weak = text.index("Strong scaling: a batch of 8 in all"), text.index("Weak scaling: a batch of 4 on each")
    assert "| 2 | 8.80 | 17.60 | 1.10 / 1.50 | 1.10 / 1.50 |" in text[strong:weak]
    assert "| 1 | 4.00 | 8.00 | 1.00 / 1.00 | 1.00 / 1.00 |\n| 2 | 8.80 | 17.60 | 1.10 / 1.50 |" in text[weak:]
    assert "| 2 | 1.500000 / 2e-07 | 1.500000 / 2e-07 |" in text
    assert "| 2 | 7 / 0.50 | 7 / 0.50 |" in text


def places():
    def place(where, platform, size):
        one = {"what": f"all-reduce of f32[{size}]", "bytes": 4 * size}
        made = {"forward": [one], "forward+backward": [one, one], sent.DATA: [one, one, one]}
        program = {"way": "shard_map", "layer": "jaxbn", "collectives": made, "seconds": 1.25}
        known = {"where": where, "platform": platform, "device": platform, "devices": 1024}
        return known | {"programs": [program, program | {"layer": "linen", "collectives": {mode: [] for mode in made}}]}

    return [place("CPU", "cpu", 4), place("v5e:2x2", "tpu", 8), place("v5e:4x4", "tpu", 16)]


def test_tables_of_what_is_sent():
    text = markdown(report.sent_tables([*places(), {"where": "v5e:16x32", "failed": "the compiler ends its process"}]))
    assert "| v5e:4x4, shard_map | 1,024 | 1 / 2 | 0 / 0 |" in text
    assert "| v5e:4x4, shard_map | 1,024 | 64 / 128 | 0 / 0 |" in text
    assert "| v5e:4x4, shard_map | 1,024 | 3 | 0 |" in text
    assert "| CPU, shard_map, linen | none | none |" in text
    assert "| v5e:2x2, shard_map, jaxbn | all-reduce of f32[8] | all-reduce of f32[8]; all-reduce of f32[8] |" in text
    assert "v5e:4x4, shard_map, jaxbn" not in text
    assert "| v5e:2x2 | tpu | 1,024 | 2.5 |" in text
    assert "| v5e:16x32 |  |  | the compiler ends its process |" in text


@pytest.fixture
def without_processes(monkeypatch):
    monkeypatch.setattr(scaling, "environment", lambda: {"device": "none"})
    monkeypatch.setattr(scaling, "compiler_is_there", lambda: True)
    monkeypatch.setattr(scaling, "compiled_for", lambda where: places()[1] | {"where": where})
    monkeypatch.setattr(scaling, "measure", lambda *_: measured())


def test_what_it_writes(without_processes, tmp_path, capsys):
    flags = ["--parts", "times", "tpu", "paper", "--topologies", "v6e:2x2", "v6e:4x4", "--out", str(tmp_path)]
    assert scaling.main(flags) == 0
    text = (tmp_path / "summary.md").read_text()
    said = capsys.readouterr().out
    assert text in said
    assert "v6e:2x2: compiled\nv6e:4x4: compiled\n" in said
    for words in (report.CAN, "can not show a speed-up", "| v6e:4x4, shard_map |", "On paper: ms that", paper.NOTE):
        assert words in text
    found = json.loads((tmp_path / "summary.json").read_text())
    assert (found["times"], found["device"]) == (measured(), "none")
    assert [place["where"] for place in found["sent"]] == ["v6e:2x2", "v6e:4x4"]


def test_without_the_compiler_for_tpus(without_processes, monkeypatch, tmp_path):
    monkeypatch.setattr(scaling, "compiler_is_there", lambda: False)
    assert scaling.main(["--parts", "tpu", "--out", str(tmp_path)]) == 0
    words = "Without TPUs, whose compiler is not installed; `pip install -e '.[aot-tpu]'`.\n"
    assert (tmp_path / "summary.md").read_text() == words


class Here:
    """Instead of a process, which would take as long again to start and to compile."""

    def submit(self, function, *arguments):
        future = Future()
        future.set_result(function(*arguments))
        return future


@pytest.mark.slow
@pytest.mark.several_devices
def test_it_measures_two_devices(monkeypatch, tmp_path):
    monkeypatch.setattr(training, "LAYERS", {"jaxbn": ways.LAYERS["jaxbn"]})
    monkeypatch.setattr(scaling, "processes", lambda counts: contextlib.nullcontext(dict.fromkeys(counts, Here())))
    flags = "--parts times --devices 1 2 --batch 8 --rounds 2 --least 1e-6 --out"
    assert scaling.main([*flags.split(), str(tmp_path)]) == 0
    found = json.loads((tmp_path / "summary.json").read_text())["times"]
    assert [(m["kind"], m["devices"], m["batch"], m["collectives"]) for m in found] == [
        ("strong", 1, 8, 0),
        ("weak", 1, 4, 0),
        # Two layers with one all-reduce forward and one backward each, and one for the gradient.
        ("strong", 2, 8, 5),
        ("weak", 2, 8, 5),
    ]
    assert all(len(m[clock]) == 2 and min(m[clock]) > 0 for m in found for clock in ("milliseconds", "processors"))
    assert 0 < found[2]["apart"] < 1e-4


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--parts", "`--parts` must name at least one of times, collectives, tpu, paper."),
        ("--devices 1", "`--devices` must be several numbers of devices in ascending order, got [1]."),
        ("--devices 2 1", "`--devices` must be several numbers of devices in ascending order, got [2, 1]."),
        ("--devices 0 1", "`--devices` must be several numbers of devices in ascending order, got [0, 1]."),
        ("--batch 6", "`--batch` must be a multiple of each of `--devices` [1, 2, 4, 8], got 6."),
        ("--batch 0", "`--batch` must be a multiple of each of `--devices` [1, 2, 4, 8], got 0."),
        ("--topologies v5e", "`--topologies` must be a TPU and its sizes, such as v5e:4x4, got v5e."),
        ("--rounds 0", "`--rounds` must be at least 1, got 0."),
        ("--least nan", "`--least` must be above 0 and finite, got nan."),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert scaling.main(flags.split()) == 2
    assert capsys.readouterr() == ("", f"error: {words}\n")
