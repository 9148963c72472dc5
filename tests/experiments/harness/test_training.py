"""The training loop on a linear regression, against plain loops of optax and NumPy."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from experiments.harness import placement, training
from experiments.harness.training import Evaluation, Problem, TrainState

EXAMPLES, FEATURES, BATCH = 40, 3, 8
OPTIMIZER = optax.sgd(0.05, momentum=0.9)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(EXAMPLES, FEATURES)).astype(np.float32)
DATA = (jnp.asarray(X), jnp.asarray(X @ [1.0, -2.0, 0.5] + 0.1 * RNG.normal(size=EXAMPLES), jnp.float32))


def init(key: jax.Array) -> tuple[Any, Any]:
    return {"w": jax.random.normal(key, (FEATURES,)), "b": jnp.zeros(())}, {"steps": jnp.zeros((), jnp.int32)}


def loss(params: Any, extras: Any, data: Any, indices: jax.Array) -> tuple[jax.Array, Any]:
    error = data[0][indices] @ params["w"] + params["b"] - data[1][indices]
    return (error**2).mean(), {"steps": extras["steps"] + 1}


PROBLEM = Problem(init, loss, OPTIMIZER)


def batches_of(seeds: list[int]) -> Any:
    draws = {seed: np.random.default_rng(seed).integers(0, EXAMPLES, (600, BATCH), np.int32) for seed in seeds}
    return lambda first, count: np.stack([draws[seed][first : first + count] for seed in seeds])


def nothing(_state: TrainState, _step: int, _batch: np.ndarray) -> training.Metrics:
    return {}


def train(seeds: list[int], steps: int, **options: Any) -> tuple[TrainState, list[Evaluation]]:
    options = {"state": training.init_state(PROBLEM, seeds), "evaluate_every": 1_000, "evaluate": nothing} | options
    state = options.pop("state")
    problem, data = options.pop("problem", PROBLEM), options.pop("data", DATA)
    return training.train(problem, state, data, batches_of(seeds), steps=steps, **options)


def copy(state: TrainState) -> TrainState:
    return jax.tree.map(np.array, state)


def assert_equal(got: TrainState, expected: TrainState) -> None:
    jax.tree.map(np.testing.assert_array_equal, got, expected)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 99, 100, 101, 230])
def test_training_is_a_plain_loop_of_optimizer_steps(steps: int) -> None:
    state, _ = train([3], steps)
    params, extras = init(jax.random.key(3))
    optimizer = OPTIMIZER.init(params)
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    for batch in batches_of([3])(0, steps)[0]:
        slope, extras = gradient(params, extras, DATA, batch)
        updates, optimizer = OPTIMIZER.update(slope, optimizer, params)
        params = optax.apply_updates(params, updates)
    expected = TrainState(params, extras, optimizer)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a[0], b, rtol=1e-5, atol=1e-5), state, expected)
    assert int(state.extras["steps"][0]) == steps


@pytest.mark.parametrize(
    ("first", "steps", "every", "expected"),
    [
        (0, 4, 1, [1, 2, 3, 4]),
        (0, 250, 100, [100, 200, 250]),
        (0, 300, 150, [150, 300]),
        (0, 5, 10, [5]),
        (130, 260, 100, [200, 260]),
        (200, 300, 100, [300]),
        (300, 300, 100, []),
    ],
)
def test_evaluations_are_at_every_multiple_and_at_the_end(
    first: int, steps: int, every: int, expected: list[int]
) -> None:
    seen = []

    def evaluate(state: TrainState, step: int, last_batch: np.ndarray) -> training.Metrics:
        np.testing.assert_array_equal(last_batch, batches_of([0, 1])(step - 1, 1)[:, 0])
        seen.append((step, int(state.extras["steps"][0])))
        return {"step": np.full(2, step)}

    told = []
    _, history = train(
        [0, 1],
        steps,
        first_step=first,
        evaluate_every=every,
        evaluate=evaluate,
        on_evaluation=lambda evaluation, state: told.append((evaluation.step, int(state.extras["steps"][0]))),
    )
    assert told == seen == [(step, step - first) for step in expected]
    assert [evaluation.step for evaluation in history] == expected
    for evaluation in history:
        np.testing.assert_array_equal(evaluation.metrics["step"], np.full(2, evaluation.step))


def test_every_dispatch_is_told_of() -> None:
    told: list[int] = []
    train([0], 250, evaluate_every=130, on_dispatch=lambda step, _: told.append(step))
    assert told == [100, 130, 230, 250]


@pytest.mark.slow
def test_a_seed_starts_and_trains_as_it_does_alone() -> None:
    seeds = [5, 0, 2**32 - 1]
    start = copy(training.init_state(PROBLEM, seeds))
    end, _ = train(seeds, 130)
    for i, seed in enumerate(seeds):
        alone, _ = train([seed], 130)
        assert_equal(jax.tree.map(lambda a, i=i: a[i : i + 1], end), alone)
        assert_equal(jax.tree.map(lambda a, i=i: a[i : i + 1], start), training.init_state(PROBLEM, [seed]))
    assert len({float(w) for w in start.params["w"][:, 0]}) == len(seeds)


def test_seeds_in_one_program_train_as_in_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [5, 0, 7]
    expected, _ = train(seeds, 130)
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    monkeypatch.setattr("experiments.harness.seeds.map_lanes", None)
    got, _ = train(seeds, 130)
    # Sums of a batch of seeds are made in another order.
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)


@pytest.mark.several_devices
def test_several_devices_train_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [5, 0, 7]
    expected, _ = train(seeds, 130)
    monkeypatch.setattr("experiments.harness.seeds.map_lanes", None)
    data = placement.place(DATA, placement.mesh_over(jax.devices()[:4]))
    got, _ = train(seeds, 130, data=data)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), got, expected)
    # What they have computed is whole on each.
    assert all(leaf.is_fully_replicated for leaf in jax.tree.leaves(got))


@pytest.mark.slow
@pytest.mark.parametrize("middle", [50, 100, 200])
@pytest.mark.parametrize("seeds", [[4], [4, 9]])
def test_training_from_a_restored_state_is_the_unbroken_run(middle: int, seeds: list[int]) -> None:
    states = {}
    whole, _ = train(seeds, 260, evaluate_every=50, on_evaluation=lambda e, state: states.update({e.step: copy(state)}))
    restored, _ = train(seeds, 260, evaluate_every=50, first_step=middle, state=states[middle])
    assert_equal(restored, whole)


def test_a_shorter_dispatch_does_not_compile_anew() -> None:
    traces, after = [], []

    def counted(*args: Any) -> Any:
        traces.append(1)
        return loss(*args)

    train(
        [0, 1],
        235,
        evaluate_every=130,
        problem=PROBLEM._replace(loss=counted),
        on_dispatch=lambda *_: after.append(len(traces)),
    )
    assert after == [after[0]] * 4
    assert after[0] > 0


MANY = [pytest.param("cpu", count, marks=pytest.mark.several_devices) for count in (3, 4)]


@pytest.mark.parametrize(("platform", "devices"), [("cpu", 1), ("tpu", 1), *MANY])
@pytest.mark.parametrize("examples", [1, 7, 99, 100, 101, 250, 5_000, 5_100, 10_050])
def test_a_mean_counts_every_example_once(
    examples: int, platform: str, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    # Whole numbers, whose sums are exact: an example lost, doubled or padded in would show.
    values = np.random.default_rng(examples).integers(1, 200, 12_000).astype(np.float32)
    indices = np.stack([np.random.default_rng(seed).permutation(12_000)[:examples] for seed in (0, 1)]).astype(np.int32)
    state = TrainState({"factor": jnp.array([1.0, 3.0])}, {}, ())

    def score(state: TrainState, data: jax.Array, chosen: jax.Array) -> dict[str, jax.Array]:
        value = data[chosen] * state.params["factor"]
        of_chunk = jnp.broadcast_to(data[chosen].max(), value.shape)
        return {"value": value, "even": (data[chosen] % 2 == 0).astype(jnp.float32), "of_chunk": of_chunk}

    mesh = placement.mesh_over(jax.devices()[:devices]) if devices > 1 else None
    got = training.mean_score(score)(state, placement.place(values, mesh), indices)
    expected = values[indices].astype(np.float64)
    np.testing.assert_allclose(got["value"], expected.mean(axis=1) * [1, 3], rtol=1e-12)
    np.testing.assert_allclose(got["even"], (expected % 2 == 0).mean(axis=1), rtol=1e-12)
    chunks = [expected[:, first : first + 100] for first in range(0, examples, training.EXAMPLES_PER_CHUNK)]
    np.testing.assert_allclose(got["of_chunk"], sum(of.max(1) * of.shape[1] for of in chunks) / examples, rtol=1e-12)
