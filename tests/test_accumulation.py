"""Micro-batches make one update of the running statistics: that of the batch which holds them all."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxbn import (
    BatchNormParams,
    BatchNormState,
    batch_moments,
    batch_norm,
    check_state,
    init_batch_norm,
    update_state,
)
from jaxbn.variants import accumulate, batch_renorm, ghost_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import TOLERANCE, assert_close, assert_same

PARAMS = init_batch_norm(3)[0]
STATE = BatchNormState(jnp.asarray([1.0, -1.0, 0.5]), jnp.asarray([1.0, 4.0, 0.25]), jnp.asarray(3, jnp.int32))
NORMS = {
    "batch_norm": batch_norm,
    "ghost": functools.partial(ghost_batch_norm, ghost_size=2),
    "renorm": functools.partial(batch_renorm, r_max=1.5, d_max=0.5),
}


def parts(sizes=(4, 1, 0, 7)):
    """Micro-batches of unequal sizes, whose means differ by more than they spread."""
    return [noise(size, 3, mean=3 * i, seed=i) for i, size in enumerate(sizes)]


def learned(state, batches, masks=None, norm=batch_norm, **rule):
    step = jax.jit(functools.partial(norm, PARAMS, train=True, **rule))
    for x, mask in zip(batches, masks or [None] * len(batches), strict=True):
        _, state = step(state, x, mask=mask)
    return state


def whole(batches, masks=None, state=STATE, **rule):
    mask = None if masks is None else np.concatenate(masks)
    return reference.running(*state[:3], [reference.moments(np.concatenate(batches), mask=mask)], **rule)


def assert_idle(state):
    """Nothing is left of the micro-batches."""
    assert not any(np.any(part) for part in (*state.pending, state.seen))


@pytest.mark.parametrize("averaging", ["ema", "warmup", "cumulative"])
@pytest.mark.parametrize("ddof", [0, 1])
def test_all_micro_batches_are_one_update(averaging, ddof):
    """One of them has no data, and counts as a call."""
    rule = {"averaging": averaging, "ddof": ddof, "momentum": 0.9}
    state, update = accumulate(STATE, 4), jax.jit(functools.partial(update_state, **rule))
    for x in parts():
        state = update(state, batch_moments(x))
    assert_close(state[:3], whole(parts(), **rule), TOLERANCE["float32"])
    assert_idle(state)


def test_a_norm_updates_alike():
    state = learned(accumulate(STATE, 4), parts(), averaging="warmup", ddof=1)
    assert_close(state[:3], whole(parts(), averaging="warmup", ddof=1), TOLERANCE["float32"])
    assert_idle(state)


@pytest.mark.parametrize("norm", NORMS)
def test_every_norm_takes_the_state(norm):
    batches = parts((4, 4))
    state = learned(accumulate(STATE, 2), batches, norm=NORMS[norm])
    assert_close(state[:3], whole(batches), TOLERANCE["float32"])
    step = jax.jit(functools.partial(NORMS[norm], PARAMS, x=batches[0], train=True))
    assert_close(step(accumulate(STATE, 2))[0], step(STATE)[0], TOLERANCE["float32"])


@pytest.mark.parametrize("kind", ["bool", "weights"])
def test_masked_micro_batches_count_by_their_weights(kind):
    batches = parts((4, 4, 4))
    masks = [np.arange(len(x))[:, None] % 3 != i % 3 for i, x in enumerate(batches)]
    masks[2][:] = False
    if kind == "weights":
        masks = [m * np.float32([[0.5, 1, 2]]) for m in masks]
    poisoned = [np.where(m > 0, x, np.float32(np.nan)) for x, m in zip(batches, masks, strict=True)]
    state = learned(accumulate(STATE, 3), poisoned, masks)
    assert_close(state[:3], whole(poisoned, masks), TOLERANCE["float32"])


def test_until_the_last_one_nothing_is_learnt():
    state = accumulate(STATE, 4)
    for number, x in enumerate(parts((4, 4, 4))):
        state = learned(state, [x])
        assert_same(state[:3], STATE)
        assert state.seen == number + 1


def test_micro_batches_without_any_data_are_no_update():
    state = learned(accumulate(STATE, 2), [np.zeros((0, 3), "float32")] * 2)
    assert_same(state, accumulate(STATE, 2))


def test_one_micro_batch_is_a_batch():
    state = learned(accumulate(STATE, 1), parts((4, 5)))
    assert_close(state[:3], learned(STATE, parts((4, 5))), 1e-6)


def test_scan_carries_the_state_over_several_updates():
    x = noise(6, 5, 3, mean=2, std=3)

    def step(state, x):
        return batch_norm(PARAMS, state, x, True, averaging="warmup")[::-1]

    state, _ = jax.jit(lambda x: jax.lax.scan(step, accumulate(STATE, 2), x))(x)
    pairs = [reference.moments(pair) for pair in x.reshape(3, 10, 3)]
    assert_close(state[:3], reference.running(*STATE, pairs, averaging="warmup"), TOLERANCE["float32"])
    assert_idle(state)


def test_a_step_traces_once_and_takes_its_arrays_back():
    traces = []

    @functools.partial(jax.jit, donate_argnums=0)
    def step(state, x):
        traces.append(x)
        return batch_norm(PARAMS, state, x, True)[1]

    state, batches = accumulate(jax.tree.map(jnp.copy, STATE), 2), noise(4, 5, 3)
    for x in batches:
        state = step(state, x)
    pairs = [reference.moments(pair) for pair in batches.reshape(2, 10, 3)]
    assert_close(state[:3], reference.running(*STATE, pairs), TOLERANCE["float32"])
    assert len(traces) == 1


def test_with_multi_steps_weights_and_statistics_change_in_the_same_calls():
    optimizer = optax.MultiSteps(optax.sgd(0.1), every_k_schedule=3)
    params = BatchNormParams(jnp.ones(3), jnp.zeros(3))
    state, steps = accumulate(STATE, 3), optimizer.init(params)

    @jax.jit
    def step(params, state, steps, x):
        def loss(params):
            y, new = batch_norm(params, state, x, True)
            return jnp.mean((y - 1) ** 2), new

        gradient, state_after = jax.grad(loss, has_aux=True)(params)
        with jax.numpy_dtype_promotion("standard"):  # by which optax divides by its counter
            updates, steps = optimizer.update(gradient, steps, params)
        return optax.apply_updates(params, updates), state_after, steps

    x = noise(6, 5, 3, mean=2, std=3)
    for part in x:
        before = params, state
        params, state, steps = step(params, state, steps, part)
        changed = [not np.array_equal(a, b) for a, b in ((params.bias, before[0].bias), (state.mean, before[1].mean))]
        assert changed == [bool(optimizer.has_updated(steps))] * 2
    assert state.count == 5
    triples = [reference.moments(triple) for triple in x.reshape(2, 15, 3)]
    assert_close(state[:3], reference.running(*STATE, triples), TOLERANCE["float32"])


@pytest.mark.parametrize("norm", NORMS)
def test_a_flag_that_is_false_leaves_it_as_it_was(norm):
    state = learned(accumulate(STATE, 3), parts((4,)))
    x, one = noise(6, 3), jax.jit(functools.partial(NORMS[norm], PARAMS))
    y, kept = one(state, x, np.array(False))
    assert_same(kept, state)
    assert_close(y, reference.normalize(x, STATE.mean, STATE.var), TOLERANCE["float32"])
    _, moved = one(state, x, np.array(True))
    assert_close(moved, learned(state, [x], norm=NORMS[norm]), TOLERANCE["float32"])
    assert moved.seen == 2


def test_evaluation_reads_mean_and_variance():
    state = learned(accumulate(STATE, 3), parts((4,)))
    y, kept = batch_norm(PARAMS, state, noise(6, 3), False)
    assert_same((y, kept), (batch_norm(PARAMS, STATE, noise(6, 3), False)[0], state))


@pytest.mark.parametrize(("replaced", "updates"), [(2, [2, 4]), (1, [2, 3, 4]), (4, [4])])
def test_their_number_may_be_replaced_on_the_way(replaced, updates):
    """After the first one. Those that wait are learnt from at the next call, if they are enough by then."""
    state, batches, seen = accumulate(STATE, 3), parts((4, 4, 4, 4)), []
    for number, x in enumerate(batches, 1):
        before = state.count
        state = learned(state, [x])
        if number == 1:
            state = state._replace(micro_batches=jnp.asarray(replaced, jnp.int32))
        seen += [number] * int(state.count - before)
    assert seen == updates
    ends = [0, *updates]
    together = [reference.moments(np.concatenate(batches[a:b])) for a, b in zip(ends, updates, strict=False)]
    assert_close(state[:3], reference.running(*STATE, together), TOLERANCE["float32"])


def test_members_accumulate_on_their_own():
    """One of them has its update earlier than the other."""
    states = jax.tree.map(lambda *leaves: jnp.stack(leaves), accumulate(STATE, 2), accumulate(STATE, 3))
    x = noise(3, 2, 5, 3, mean=2, std=3)
    step = jax.jit(jax.vmap(lambda state, x: batch_norm(PARAMS, state, x, True)[1]))
    for part in x:
        states = step(states, part)
    first, second = ([part[i] for part in states[:3]] for i in range(2))
    assert_close(first, whole(x[:2, 0]), TOLERANCE["float32"])
    assert_close(second, whole(x[:, 1]), TOLERANCE["float32"])
    assert states.seen.tolist() == [1, 0]


def test_members_of_a_named_axis_are_one_micro_batch():
    x, mask = noise(2, 4, 5, 3, std=2), np.arange(5) < np.array([[5], [0], [2], [3]])
    one = functools.partial(batch_norm, PARAMS, train=True, axis_name="i")
    shards = jax.vmap(lambda s, x, m: one(s, x, mask=m[:, None])[1], (None, 0, 0), None, axis_name="i")
    state = accumulate(STATE, 2)
    for part in x:
        state = jax.jit(shards)(state, part, mask)
    assert_close(state[:3], whole([part[mask] for part in x]), TOLERANCE["float32"])


@pytest.mark.parametrize("dtype", ["bfloat16", "complex64"])
def test_dtypes_stay(dtype):
    params, state = init_batch_norm(3, dtype=dtype)
    start, x = accumulate(state, 2), noise(2, 5, 3, mean=2, dtype=dtype)
    found, step = start, jax.jit(functools.partial(batch_norm, params, train=True))
    for part in x:
        _, found = step(found, part)
    assert [(p.dtype, p.shape) for p in jax.tree.leaves(found)] == [(p.dtype, p.shape) for p in jax.tree.leaves(start)]
    assert_close(found[:3], whole(x, state=state), TOLERANCE["float32"])
    check_state(found)


def test_no_gradient_flows_through_it():
    def total(x, start):
        state = accumulate(STATE._replace(mean=start), 2)
        for part in x:
            _, state = batch_norm(PARAMS, state, part, True)
        return sum(jnp.sum(part.astype("float32")) for part in jax.tree.leaves(state))

    found = jax.jit(jax.grad(total, (0, 1)))(noise(3, 5, 3), STATE.mean)
    assert not any(np.any(part) for part in found)


@pytest.mark.several_devices
@pytest.mark.parametrize("norm", NORMS)
def test_explicitly_sharded_arrays_accumulate_as_others_do(norm):
    mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)
    params, state = init_batch_norm(4)
    x = noise(2, 8, 4, mean=2)
    found = accumulate(state, 2)
    with jax.set_mesh(mesh):
        for part in x:
            split = jax.device_put(part, jax.P("a", "b"))
            _, found = jax.jit(functools.partial(NORMS[norm], params, train=True))(found, split)
    assert_close(found[:3], whole(x, state=state), TOLERANCE["float32"])
