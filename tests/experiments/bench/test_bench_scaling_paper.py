"""The scaling bench on paper: interconnects and a step by hand, its tables, and that programs send what it counts."""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from experiments.bench import resnets
from experiments.bench.scaling import interconnects, paper, resnet50, sent
from jaxbn._reduce.sharing import MOST

SOURCES = Path(os.environ.get("JAXBN_FLAX_SOURCES", "none"))


def numbers(sums, devices):
    """Of each all-reduce, how many numbers of a channel it makes on a chip."""
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
@pytest.mark.skipif(not sent.compiler_is_there(), reason="needs libtpu")
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
