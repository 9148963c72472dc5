"""The bench of folded nets."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments.bench.inference import __main__ as inference
from experiments.bench.inference import nets
from experiments.tutorial.nets import CELLS, CHANNELS_LAST
from jaxbn.inference import fold

FORMS = {"cells": CELLS, "channels-last": CHANNELS_LAST}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "form", "norms", "dtype"),
    [
        ("mlp-bn", "cells", 1, "float32"),
        ("mlp-bn", "cells", 1, "bfloat16"),
        ("conv-bn", "cells", 2, "float32"),
        ("conv-bn", "channels-last", 2, "bfloat16"),
        # Not in bfloat16, in which XLA of jax 0.12 compiles it wrongly for a CPU, with Flax's own norms too.
        ("depthwise", "cells", 5, "float32"),
    ],
)
def test_every_norm_of_the_nets_is_folded(
    name: str, form: str, norms: int, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The others differ in their sizes alone.
    monkeypatch.setattr(nets, "BLOCKS", nets.BLOCKS[:2])
    net = nets.make_net(name, dtype, Path("none"), 32, FORMS[form])
    images = inference.images_of(net, 2, dtype)
    function, weights, report = fold(net.call, net.variables, images)
    assert len(report.folded) == len(report.norms) == norms
    before, after = jax.make_jaxpr(net.call)(net.variables, images), jax.make_jaxpr(function)(weights, images)
    assert ("sqrt" in str(before), "sqrt" in str(after)) == (True, False)
    assert jax.eval_shape(net.call, net.variables, images).dtype == dtype


@pytest.mark.slow
def test_no_norm_of_the_nets_is_the_identity() -> None:
    net = nets.make_net("mlp-bn", "float32", Path("none"), 32, CELLS)
    for tree in (net.variables["params"]["BatchNorm_0"], net.variables["batch_stats"]["BatchNorm_0"]):
        assert all(np.std(leaf) > 0.05 for leaf in jax.tree.leaves(tree))


@pytest.mark.slow
def test_it_prints_and_writes_a_row_for_every_batch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--nets", "mlp-bn", "--batches", "1", "3", "--dtypes", "float32", "--rounds", "1", "--least", "1e-9"]
    assert inference.main([*flags, "--out", str(tmp_path)]) == 0
    rows = json.loads((tmp_path / "summary.json").read_text())["measured"]
    assert [(row["net"], row["batch"], row["norms"]) for row in rows] == [
        ("mlp-bn", 1, "1 of 1"),
        ("mlp-bn", 3, "1 of 1"),
    ]
    assert all(min(row["milliseconds"].values()) > 0 for row in rows)
    assert "| mlp-bn, batch 3, float32 | 1 of 1 |" in (tmp_path / "summary.md").read_text()
    assert "mlp-bn, batch 3, float32" in capsys.readouterr().out


def test_gains_are_before_over_after_and_torch_may_be_missing() -> None:
    row = {"net": "n", "batch": 1, "dtype": "float32", "norms": "1 of 1", "error": 1e-7}
    own = {"as it is": 3.0, "folded": 2.0}
    tables = [
        inference.times_table([{**row, "milliseconds": own | more}])
        for more in ({}, {"PyTorch": 1.0, "PyTorch, fused": 4.0})
    ]
    assert tables[0].rows[0][5:] == ["1.50", "", "", ""]
    assert tables[1].rows[0][5:] == ["1.50", "1.00", "4.00", "0.25"]


def test_programs_are_compared_by_cycles_where_there_are_any() -> None:
    def program(moved: float, cycles: int) -> dict[str, float]:
        return {"bytes": moved, "cycles": cycles, "temporary": 2e6, "kernels": 5}

    row = {"net": "n", "batch": 1, "dtype": "float32", "norms": "1 of 1"}
    both = [{"as it is": program(8e6, c), "folded": program(4e6, c // 4)} for c in (0, 4000)]
    gpu, tpu = (inference.programs_table([{**row, "programs": programs}]) for programs in both)
    assert (gpu.rows[0][-1], tpu.rows[0][-1]) == ("2.00", "4.00")
    assert ("GPU" in gpu.title, "TPU" in tpu.title) == (True, True)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--batches", "0"], "`--batches` must be numbers from 1 on"),
        (["--rounds", "0"], "`--rounds` must be at least 1"),
        (["--sources", "nowhere"], "`--sources` must be a folder with Flax's sources"),
        (["--nets", "vgg"], "--nets"),
        (["--nets"], "`--nets` must name at least one of mlp-bn, conv-bn, depthwise, resnet18, resnet50."),
        (["--dtypes"], "`--dtypes` must name at least one of float32, bfloat16."),
    ],
)
def test_a_mistake_is_one_line(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert inference.main(["--out", str(tmp_path), *flags]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert words in said
    assert said.count("\n") == 1
