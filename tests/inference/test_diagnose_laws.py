"""The figures of a diagnosis are those of NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormState, batch_norm, init_state
from jaxbn.inference import diagnose, recalibrate
from jaxbn.inference._diagnosis.harm import change
from tests.inference.nets_diagnose import BATCHES, NONE, WEIGHTS, X, forward, half_settled, one, settled, slow
from tests.tolerances import assert_close

pytestmark = pytest.mark.slow


def normalised(x, mean, var):
    return (x - mean) / np.sqrt(var + 1e-5)


def test_running_and_population_statistics_are_in_the_report():
    report = diagnose(slow, half_settled(), BATCHES)
    x = X.astype("float64") @ WEIGHTS["one"]
    norm = report["one"]
    assert_close((norm.mean, norm.var), (x.mean(0), x.var(0)), 1e-6)
    assert_close((norm.running_mean, norm.running_var), half_settled()["one"][:2], 1e-7)
    gap = np.hypot((norm.running_mean - x.mean(0)) / x.std(0), np.sqrt(norm.running_var) / x.std(0) - 1)
    np.testing.assert_allclose(norm.gap, gap.mean(), rtol=1e-5)
    assert norm.samples == len(X)


def test_what_the_sample_explains():
    """Of independent samples, and of images whose pixels are all one number: these are known by their batches."""
    x = X.astype("float64")
    kurtosis = ((x - x.mean(0)) ** 4).mean(0) / x.var(0) ** 2
    errors = np.hypot(1 / np.sqrt(len(x)), np.sqrt((kurtosis - 1) / (4 * len(x)))).mean()
    np.testing.assert_allclose(diagnose(one, init_state(6), [X])["batch_norm"].error, errors, rtol=1e-4)
    np.testing.assert_allclose(diagnose(one, init_state(6), BATCHES)["batch_norm"].error, errors, rtol=0.2)
    pixels = [np.broadcast_to(batch[:, None], (64, 5, 6)) for batch in BATCHES]
    np.testing.assert_allclose(diagnose(one, init_state(6), pixels)["batch_norm"].error, errors, rtol=0.2)
    noise = np.random.default_rng(4).normal(size=(1280, 25, 6)).astype("float32")
    few, many = (diagnose(one, init_state(6), np.split(noise, n))["batch_norm"].error for n in (4, 20))
    np.testing.assert_allclose(few / many, 5, rtol=0.2)


def test_a_layer_behind_a_fault_is_compared_with_what_it_sees_in_training():
    report = diagnose(slow, half_settled(), BATCHES)
    parts = [
        np.maximum(normalised(b, b.mean(0), b.var(0)), 0) @ WEIGHTS["two"] for b in np.array(BATCHES) @ WEIGHTS["one"]
    ]
    x = np.concatenate(parts).astype("float64")
    assert_close((report["two"].mean, report["two"].var), (x.mean(0), x.var(0)), 1e-5)


@pytest.mark.parametrize("name", ["one", "two"])
def test_harm_is_the_change_of_the_output_if_that_layer_alone_is_recalibrated(name):
    report = diagnose(slow, half_settled(), BATCHES)
    new, _ = recalibrate(slow, half_settled(), BATCHES, order="pass")
    alone = {**half_settled(), name: new[name]}
    before, after = (np.asarray(slow(v, BATCHES[0]), "float64") for v in (half_settled(), alone))
    np.testing.assert_allclose(report[name].harm, np.linalg.norm(after - before) / np.linalg.norm(before), rtol=1e-4)


@pytest.mark.parametrize(
    "batches",
    [[X], [X[:64], 3 * X[64:]], [X[:0], X[:0], X[:64], 3 * X[64:]]],
    ids=["one", "two", "empty-ones-first"],
)
def test_harm_in_numpy(batches):
    """Of one layer, `(x - mean) / std` for `x`: on the first batch with data, with the statistics of all."""
    report = diagnose(one, init_state(6), batches)
    first = next(batch for batch in batches if len(batch)).astype("float64")
    x = np.concatenate(batches).astype("float64")
    before, after = normalised(first, 0, 1), normalised(first, x.mean(0), x.var(0))
    harm = np.linalg.norm(after - before) / np.linalg.norm(before)
    np.testing.assert_allclose(report["batch_norm"].harm, harm, rtol=1e-5)


def test_of_several_outputs_the_largest_counts_and_of_whole_numbers_the_share():
    zero, ones = jnp.zeros(4), jnp.ones(4)
    assert change([ones, 2 * ones], [ones, 3 * ones]) == 0.5
    integers, flags = [jnp.arange(4), jnp.array([0, 1, 9, 3])], [jnp.array([True, False])] * 2
    assert change(*zip(integers, flags, strict=True)) == 0.25
    assert change([zero], [zero]) == change([], []) == change([ones[:0]], [ones[:0]]) == 0
    assert change([zero], [ones]) == change([ones], [ones * jnp.nan]) == change([ones / 0], [ones]) == np.inf
    assert change([jax.random.key(0)], [jax.random.key(0)]) == 0
    np.testing.assert_allclose(change([jnp.full(4, 1 + 1j)], [jnp.full(4, 1 - 1j)]), np.sqrt(2))
    assert change([ones.astype("bfloat16")], [2 * ones.astype("bfloat16")]) == 1


def returning_the_states(variables, x):
    def one_by_one(states, part):
        y, new = forward({**variables, **states}, part, momentum=0.999)
        return new, y

    states = {name: variables[name] for name in ("one", "two")}
    return jax.lax.scan(one_by_one, states, jnp.reshape(x, (2, -1, 6)))


@pytest.mark.parametrize("call", [jax.jit(lambda v, x: forward(v, x, momentum=0.999)), returning_the_states])
def test_variables_that_are_returned_are_no_output(call):
    for name in ("one", "two"):
        harm = diagnose(call, half_settled(), BATCHES)[name].harm
        np.testing.assert_allclose(harm, diagnose(slow, half_settled(), BATCHES)[name].harm, rtol=1e-4)


def test_infinite_outputs_that_stay_are_no_change():
    logits = jnp.array([1.0, -jnp.inf, jnp.inf])
    assert change([logits], [logits]) == 0
    assert change([logits], [logits.at[0].set(2)]) == 1
    assert change([logits], [logits.at[1].set(0)]) == np.inf


def test_the_data_are_read_once():
    reads = []

    def batches():
        reads.append(None)
        yield from BATCHES

    assert diagnose(slow, half_settled(), batches()).codes == diagnose(slow, half_settled(), BATCHES).codes
    assert len(reads) == 1


@pytest.mark.parametrize("steps", [200, 700, 2000])
def test_the_residual_is_that_of_the_count_and_is_also_fitted(steps):
    numbers = diagnose(slow, settled(0.999, steps), BATCHES)["one"].findings[0].numbers
    np.testing.assert_allclose(numbers["residual"], 0.999**steps, rtol=1e-6)
    np.testing.assert_allclose(numbers["fitted"], 0.999**steps, rtol=0.05)
    assert numbers["left"] < 0.1 * numbers["gap"]


def test_the_noise_is_that_of_the_formula():
    """`sigma * sqrt((1 - m) / ((1 + m) * B))`, for batches of 16 and a momentum of 0.5."""
    call = lambda variables, x: forward(variables, x, momentum=0.5)[0]  # noqa: E731
    batches = np.split(X, 80)
    (finding,) = diagnose(call, settled(0.5, batches=batches), batches)["one"].findings
    assert finding.code == "BN104"
    np.testing.assert_allclose(finding.numbers["noise"], np.sqrt(0.5 / (1.5 * 16)), rtol=0.1)
    np.testing.assert_allclose(finding.numbers["samples"], 16 * 1.5 / 0.5)


def test_the_share_between_groups_is_that_of_the_variance():
    x = np.concatenate([X[:640], X[640:] + np.float32(6)])
    batches, groups = np.split(x, 20), [0] * 10 + [1] * 10
    state = BatchNormState(jnp.asarray(x.mean(0)), jnp.asarray(x.var(0)), jnp.int32(9))
    numbers = diagnose(one, state, batches, groups=groups)["batch_norm"].findings[0].numbers
    wide = x.astype("float64")
    share = 1 - (wide[:640].var(0) + wide[640:].var(0)) / 2 / wide.var(0)
    np.testing.assert_allclose(numbers["share"], share.mean(), rtol=1e-4)
    assert numbers["parts"] == 2


@pytest.mark.parametrize("keep", [0.5, 0.8])
def test_the_ratio_under_dropout_is_that_of_the_formula(keep):
    """`1 + (1 - p) / p * (E[x^2] @ W^2) / Var(xW)`, as it is in the running variance of training."""
    x, weight = X.astype("float64"), WEIGHTS["one"].astype("float64")
    factor = 1 + (1 - keep) / keep * ((x**2).mean(0) @ weight**2) / (x @ weight).var(0)
    call = lambda state, x: one(state, x @ WEIGHTS["one"])  # noqa: E731
    kept = np.random.default_rng(0).random((300, *BATCHES[0].shape)) < keep

    @jax.jit
    def run(batches):
        def step(state, this):
            number, mask = this
            dropped = jnp.where(mask, batches[number % 20] / np.float32(keep), 0)
            return batch_norm(NONE, state, dropped @ WEIGHTS["one"], True, momentum=0.98)[1], None

        return jax.lax.scan(step, init_state(8), (jnp.arange(300), kept))[0]

    state = run(np.stack(BATCHES))
    (finding,) = diagnose(call, state, BATCHES)["batch_norm"].findings
    assert finding.code == "BN105"
    np.testing.assert_allclose(finding.numbers["ratio"], np.median(factor), rtol=0.05)


def test_a_unit_that_seldom_fires_is_not_far():
    """It may have been in none of the samples of a running average."""
    fires = np.random.default_rng(2).random((12800, 64)) < np.linspace(0.0005, 0.1, 64)
    fires[:2560, 0] = False
    past, batches = fires[:2560].astype("float32"), np.split(fires[2560:].astype("float32"), 40)
    state = BatchNormState(past.mean(0), past.var(0), np.int32(99))
    assert diagnose(one, state, batches).codes == ()
    assert state.var[0] == 0 < np.min(fires[2560:].var(0))
