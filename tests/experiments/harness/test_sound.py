"""A seed whose metrics are not finite is left out from then on, and the run ends with the last of them."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from rich.console import Console

from experiments.harness import folder as folders
from experiments.harness import progress, training
from experiments.harness.errors import UserError
from experiments.harness.sound import SoundSeeds

SEEDS = [3, 8, 11]


def loss(params: Any, extras: Any, data: jax.Array, indices: jax.Array) -> tuple[jax.Array, Any]:
    return ((params * data[indices]) ** 2).mean(), extras


PROBLEM = training.Problem(lambda key: (jax.random.normal(key), ()), loss, optax.sgd(0.01))


def run(folder: Path, broken: dict[int, int], *, resume: bool = False, stop_at: int = 0) -> tuple[str, list[Any]]:
    """What was printed, and the metrics that were told of; a seed is broken from a step on."""
    console, told = Console(file=io.StringIO(), width=160), []

    def evaluate(state: training.TrainState, step: int, _batch: np.ndarray) -> training.Metrics:
        bad = [step >= broken.get(seed, 10_000) for seed in SEEDS]
        return {"acc": np.arange(3.0), "loss": np.where(bad, np.inf, np.asarray(state.params))}

    def on_evaluation(evaluation: training.Evaluation) -> None:
        told.append(evaluation.metrics["acc"].tolist())
        if evaluation.step == stop_at:
            raise KeyboardInterrupt

    folders.run_in_folder(
        folder,
        {"steps": 60},
        PROBLEM,
        jnp.arange(8.0),
        lambda _first, count: np.ones((3, count, 2), np.int32),
        seeds=SEEDS,
        steps=60,
        evaluate_every=20,
        evaluate=evaluate,
        on_evaluation=on_evaluation,
        explain=lambda state: f"w is {float(state.params):.1f}",
        resume=resume,
        console=console,
    )
    return console.file.getvalue(), told


def steps_and_seeds(folder: Path) -> list[tuple[int, int]]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert all(np.isfinite(record["loss"]) for record in records)
    return [(record["step"], record["seed"]) for record in records]


def test_a_broken_seed_is_named_once_and_left_out(tmp_path: Path) -> None:
    said, told = run(tmp_path / "line", {8: 40})
    assert said.count("seed 8") == 1
    assert "line: seed 8 has no finite loss at step 40: w is " in said
    assert told == [[0, 1, 2], [0, 2], [0, 2]]
    assert steps_and_seeds(tmp_path / "line") == [(20, 3), (20, 8), (20, 11), (40, 3), (40, 11), (60, 3), (60, 11)]


def test_it_stays_left_out_where_the_run_goes_on(tmp_path: Path) -> None:
    run(tmp_path / "whole", {8: 20})
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "line", {8: 20}, stop_at=40)
    said, told = run(tmp_path / "line", {}, resume=True)
    assert ("seed 8" in said, told) == (False, [[0, 2]])
    assert (tmp_path / "line" / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


def test_with_the_last_one_the_run_ends_and_keeps_its_last_good_state(tmp_path: Path) -> None:
    with pytest.raises(
        UserError,
        match=r"^`line` can't go on: seed 11 has no finite loss at step 60: w is .*; the last"
        r" good state is the checkpoint of step 40, look at the data and the learning rate.$",
    ):
        run(tmp_path / "line", {3: 40, 8: 60, 11: 60})
    assert sorted(path.name for path in (tmp_path / "line" / "checkpoints").iterdir()) == ["20", "40"]
    assert steps_and_seeds(tmp_path / "line")[-1] == (40, 11)


def test_what_is_not_finite_is_worth_no_checkpoint() -> None:
    seeds = SoundSeeds(SEEDS, np.array([False, True, False]), str)
    count = jnp.zeros(3, jnp.int32)
    assert seeds.are_finite(training.TrainState(jnp.asarray([1.0, np.nan, 2.0]), count, ()))
    assert not seeds.are_finite(training.TrainState(jnp.asarray([1.0, 1.0, np.inf]), count, ()))


def test_a_stop_on_a_bad_way_keeps_the_last_good_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exploding = optax.sgd(lambda step: jnp.where(step < 22, 0.01, 1e38))
    monkeypatch.setattr(sys.modules[__name__], "PROBLEM", PROBLEM._replace(optimizer=exploding))
    monkeypatch.setattr(training, "STEPS_PER_DISPATCH", 5)
    dispatches = iter(range(100))
    monkeypatch.setattr(progress.stopping, "asked", lambda: next(dispatches) == 5)
    with pytest.raises(progress.Stopped):
        run(tmp_path / "line", {})
    assert [path.name for path in (tmp_path / "line" / "checkpoints").iterdir()] == ["20"]


def test_without_a_good_state_there_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"at step 20: .*; no state was good, look at"):
        run(tmp_path / "line", dict.fromkeys(SEEDS, 20))
    assert not (tmp_path / "line").exists()
