"""The scaling bench: what it reads from programs, its tables, its files, its mistakes; not its model on paper."""

import contextlib
import json
from concurrent.futures import Future

import pytest

from experiments.bench import ways
from experiments.bench.collectives import collectives
from experiments.bench.scaling import __main__ as scaling
from experiments.bench.scaling import paper, report, sent, training
from experiments.harness.tables import markdown

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


@pytest.mark.slow
@pytest.mark.skipif(not sent.compiler_is_there(), reason="needs libtpu")
def test_a_topology_that_does_not_compile_is_a_line():
    assert sent.compiled_for("v5e:16x32") == {"where": "v5e:16x32", "failed": "the compiler ends its process"}
    assert sent.compiled_for("v5e:3x5")["failed"].startswith("refused: ")


def measured():
    """As many ms as the batch has examples, twice as many with linen; on two devices a tenth more, of CPU time half."""
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
