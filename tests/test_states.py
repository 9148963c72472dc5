"""A state never changes its type, passes from step to step and program to program, and carries no gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import batch_moments, batch_norm, check_state, init_batch_norm, init_state, update_state
from jaxbn.linen import BatchNorm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS, STATE = init_batch_norm(3)
AVERAGINGS = ["ema", "warmup", "cumulative"]


def test_training_and_evaluation_return_a_state_alike():
    (_, trained), (_, kept) = (batch_norm(PARAMS, STATE, noise(4, 3), train) for train in (True, False))
    assert_same(kept, STATE)
    assert [(p.shape, p.dtype) for p in trained] == [(p.shape, p.dtype) for p in STATE]
    assert not np.array_equal(trained.mean, STATE.mean)


def test_an_old_state_can_be_used_again():
    """Arrays of NumPy, which could be written to."""
    x, old = noise(4, 3), jax.tree.map(np.array, STATE)
    first = batch_norm(PARAMS, old, x, True)[1]
    assert_same(old, STATE)
    assert_same(batch_norm(PARAMS, old, x, True)[1], first)


def test_one_state_goes_through_two_programs():
    """Data of other shapes, one stream after the other."""
    params, state = init_batch_norm(2)
    streams = [noise(*shape, mean=5, std=10, seed=s) for s, shape in enumerate([(6, 2), (3, 2, 2), (6, 2)])]
    norm = jax.jit(batch_norm, static_argnames="train")
    for x in streams:
        y, state = norm(params, state, x, True, epsilon=1e-3)
        assert_close(y, reference.batch_norm(x, epsilon=1e-3), TOLERANCE["float32"])
    expected = reference.running(np.zeros(2), np.ones(2), 0, [reference.moments(x) for x in streams])
    assert_close(state, expected, TOLERANCE["float32"])


def carried(x, *, dtype="float32", averaging="ema", mask=None):
    """Train three steps under scan, which refuses a state that changes its type, then one more outside of it."""
    params, state = init_batch_norm(3, dtype=dtype)

    def step(state, x):
        return batch_norm(params, state, x, True, averaging=averaging, mask=mask)[::-1]

    final, y = jax.jit(lambda s, x: jax.lax.scan(step, s, x))(state, x)
    later, _ = step(final, x[0])
    for old, *new in zip(state, final, later, strict=True):
        assert all((n.dtype, n.shape, n.weak_type) == (old.dtype, old.shape, False) for n in new)
    assert y.dtype == x.dtype
    expected = reference.running(*init_state(3)[:2], 0, [reference.moments(b, mask=mask) for b in x], 0.99, averaging)
    assert_close(final, expected, TOLERANCE[str(final.var.dtype)])
    return final


@pytest.mark.slow
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(
    ("dtype", "averaging"),
    [("float32", "ema"), ("bfloat16", "ema"), ("float16", "warmup"), *(("complex64", a) for a in AVERAGINGS)],
)
def test_scan_carries_the_state(dtype, averaging, masked):
    x = noise(3, 6, 3, mean=2, std=3, dtype=dtype)
    mask = np.array([1, 1, 0, 1, 0, 1], bool)[:, None] if masked else None
    final = carried(x, dtype=dtype, averaging=averaging, mask=mask)
    wide = "complex64" if dtype == "complex64" else "float32"
    assert [p.dtype for p in final] == [wide, "float32", "int32"]


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "averaging"), [("float64", "ema"), ("complex128", "warmup")])
def test_double_precision_stays_double(dtype, averaging):
    with jax.enable_x64(True):
        final = carried(noise(3, 6, 3, mean=1e3, std=3, dtype=dtype), dtype=dtype, averaging=averaging)
        assert [p.dtype for p in final] == [dtype, "float64", "int32"]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["bfloat16", "float64"])
def test_a_single_precision_state_stays_single_beside_double_precision(dtype):
    with jax.enable_x64(True):
        carried(noise(3, 6, 3, mean=2, std=3, dtype=dtype))


def test_a_step_on_its_own_output_does_not_recompile():
    (params, state), traces = init_batch_norm(3), []

    @jax.jit
    def step(state, x):
        traces.append(x)
        return batch_norm(params, state, x, True, averaging="warmup")[1]

    for _ in range(3):
        state = step(state, jnp.ones([4, 3]))
    assert len(traces) == 1


def by_update(x, mean, averaging):
    return update_state(STATE._replace(mean=mean), batch_moments(x), momentum=0.5, averaging=averaging)


def by_core(x, mean, averaging):
    return batch_norm(PARAMS, STATE._replace(mean=mean), x, True, averaging=averaging)[1]


def by_layer(x, mean, averaging):
    layer = BatchNorm(use_running_average=False, averaging=averaging)
    stats = layer.init(jax.random.key(0), x)["batch_stats"] | {"mean": mean}
    variables = {"params": PARAMS._asdict(), "batch_stats": stats}
    return layer.apply(variables, x, mutable="batch_stats")[1]["batch_stats"]


@pytest.mark.parametrize("step", [by_update, by_core, by_layer])
@pytest.mark.parametrize("averaging", AVERAGINGS)
def test_no_gradient_flows_through_the_state(step, averaging):
    def total(x, mean):
        return sum(jnp.sum(jnp.square(part.astype("float32"))) for part in jax.tree.leaves(step(x, mean, averaging)))

    value, gradients = jax.jit(jax.value_and_grad(total, (0, 1)))(noise(4, 3), jnp.ones(3))
    assert value > 0
    assert_close(gradients, (np.zeros((4, 3)), np.zeros(3)), 0)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "complex64"])
def test_a_sound_state_passes_and_a_broken_one_does_not(dtype):
    params, state = init_batch_norm((2, 3), dtype=dtype)
    trained = batch_norm(params, state, noise(4, 2, 3, dtype=dtype), True, axis=(1, 2))[1]
    for sound in (state, trained, jax.tree.map(np.asarray, trained)):
        check_state(sound)
        with pytest.raises(ValueError, match=r"`state\.var` must be at least 0"):
            check_state(sound._replace(var=-sound.var))
