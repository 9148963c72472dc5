"""The bench of devices: every way takes the same step, what it counts and writes, its tables."""

import dataclasses
import json
import warnings
from typing import get_args

import jax
import numpy as np
import pytest

from experiments.bench import ways
from experiments.bench.collectives import collectives as collectives_of
from experiments.bench.devices import __main__ as devices
from experiments.bench.devices import calls
from tests import reference
from tests.collectives import collectives
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

SHAPE = (16, 3, 3, 6)
WAYS = [("vmap", 1), *((name, 4) for name in get_args(devices.Way) if name != "vmap")]
MARKED = [pytest.param(*way, marks=pytest.mark.several_devices if way[1] > 1 else ()) for way in WAYS]

# Some versions of JAX announce the end of pmap wherever it is used.
pytestmark = pytest.mark.filterwarnings(r"ignore:.*\bpmap\b:DeprecationWarning")


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["jaxbn", "linen"])
@pytest.mark.parametrize(("name", "number"), MARKED)
def test_every_way_takes_the_same_step(name, number, layer):
    way = ways.ways(jax.devices()[:number])[name]
    norm = ways.LAYERS[layer](use_running_average=False, axis_name=way.axis_name)
    variables, x = ways.problem(SHAPE)
    scale, bias = (np.asarray(variables["params"][part]) for part in ("scale", "bias"))
    y = reference.batch_norm(x, scale, bias)
    step = way.compiled(ways.steps(norm, way)["forward+backward"])
    (updates, by_params), by_x = step(*way.place(variables, x))
    expected = reference.gradient(x, 2 * np.maximum(y, 0), scale)
    assert_close((by_x.reshape(SHAPE), by_params["scale"], by_params["bias"]), expected, GRADIENT["float32"])
    stats = reference.running(np.zeros(6), np.ones(6), 0, [reference.moments(x)])
    assert_close([updates["batch_stats"][part] for part in ("mean", "var")], stats[:2], TOLERANCE["float32"])


@pytest.mark.several_devices
def test_collectives_are_counted_as_in_the_tests():
    way = ways.ways(jax.devices()[:4])["shard_map"]
    norm = ways.LAYERS["jaxbn"](use_running_average=False, axis_name=way.axis_name)
    arguments = way.place(*ways.problem(SHAPE))
    program = way.compiled(ways.steps(norm, way)["forward"]).lower(*arguments).compile()
    assert len(collectives_of(program.as_text())) == collectives(program) == 1


@pytest.mark.slow
def test_it_measures_both_processes_and_writes_its_tables(tmp_path, capsys):
    flags = "--shape 4 2 --ways jit jit-sharded --rounds 1 --least 1e-6 --out"
    assert devices.main([*flags.split(), str(tmp_path)]) == 0
    measured = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert {(m["way"], m["devices"]) for m in measured} == {("jit", 1), ("jit", 4), ("jit-sharded", 4)}
    assert all(len(m["milliseconds"]) == 1 and m["milliseconds"][0] > 0 for m in measured)
    text = (tmp_path / "summary.md").read_text()
    assert text in capsys.readouterr().out
    assert "| jaxbn | yes |" in text


def made_up():
    """Ours takes 1 ms and the others 2 and 3, and with four devices a quarter of it."""
    return [
        {"way": name, "devices": number, "layer": layer, "digest": f"{layer != 'linen' or number}"}
        | {"milliseconds": [9.0, t / number, t / number], "seconds": {"forward": 0.1, "forward+backward": t / 4}}
        | {"collectives": {"forward": number - 1, "forward+backward": 2 * (number - 1)}}
        for name, number in (("jit", 1), *WAYS)
        for t, layer in enumerate(ways.LAYERS, 1)
    ]


def test_tables():
    text = devices.tables(made_up())
    assert "| vmap | 1 | 1.00 | 2.00 | 3.00 | 2.00 | 3.00 |" in text
    assert "| shard_map | 4 | 0.25 | 0.50 | 0.75 | 2.00 | 3.00 |" in text
    assert "| jit-sharded | 4 | 3 / 6 | 3 / 6 | 3 / 6 |" in text
    assert "| pmap | 4 | 0.25 | 0.50 | 0.75 |" in text
    assert "| jaxbn | yes | 0.25 |\n| linen | no | 0.25 |" in text
    assert "same bits" not in devices.tables([m for m in made_up() if m["way"] != "jit"])


def test_without_pmap_where_its_end_is_announced(tmp_path, monkeypatch, capsys):
    def announced(*_):
        warnings.warn("jax.pmap goes", DeprecationWarning, stacklevel=2)

    there = ways.ways(jax.devices()[:1])
    monkeypatch.setattr(calls, "ways", lambda _: {"pmap": dataclasses.replace(there["pmap"], place=announced)})
    assert calls.prepare((4, 2), ("pmap",)) == []
    monkeypatch.setattr(devices, "measure", lambda *_: ([m for m in made_up() if m["way"] != "pmap"], {}))
    assert devices.main(["--out", str(tmp_path)]) == 0
    assert "Without `pmap`, whose end this JAX announces.\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--shape 6 3", "`--shape` must be examples, a multiple of 4, and features, got [6, 3]."),
        ("--shape 8", "`--shape` must be examples, a multiple of 4, and features, got [8]."),
        ("--shape 8 0", "`--shape` must be examples, a multiple of 4, and features, got [8, 0]."),
        ("--ways", "`--ways` must name at least one of jit, jit-sharded, shard_map, shard_map-unchecked, pmap, vmap."),
        ("--rounds 0", "`--rounds` must be at least 1, got 0."),
        ("--least 0", "`--least` must be above 0 and finite, got 0.0."),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert devices.main(flags.split()) == 2
    assert capsys.readouterr() == ("", f"error: {words}\n")
