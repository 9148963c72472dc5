"""The cases of fvcore's, init2winit's and Equinox's own tests of batch norm, as laws of ours against NumPy float64.

fvcore, `test_precise_bn.py`:
    test_precise_bn: `test_statistics_of_a_whole_pass_...`, for unequal batches as well; the numbers that it expects
        leave out the variance between batches: `test_the_average_of_equal_batches_...`.
    test_precise_bn_insufficient_data: once there is a recalibration that takes an iterator.

init2winit, `test_normalization.py`, whose virtual batches are members of a `vmap` here:
    test_batch_norm, test_forward_pass: `test_members_of_a_vmap_are_virtual_batches`.
    test_batch_norm_sync: `test_averages_may_be_averaged_now_and_then`.
    test_different_eval_batch_size: `test_evaluation_takes_every_row_by_itself`.

Equinox, `test_nn.py`:
    test_batch_norm, calls without data of its own: `test_examples_under_a_vmap_are_a_batch`.
    test_batch_norm, no axis of that name: `test_an_axis_that_is_not_there_is_a_name_error`.
    test_batch_norm, other vmaps: `test_a_vmap_without_a_name_keeps_batches_apart`; several names:
        `test_parallel.py::test_shards_are_the_whole_batch`.
    test_batch_norm, it normalises, and only training updates: `test_normalization.py::test_training`,
        `test_normalization.py::test_evaluation`; its gradient: `test_a_batch_of_one_has_gradient_0`.
    test_batch_norm in mode "ema": makes no sense, training never normalises with running statistics here.
    test_batch_norm_zero_training_steps:
        `test_traps_haiku_equinox.py::test_equinox_2_an_untrained_layer_divides_by_0`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormParams, batch_moments, batch_norm, init_batch_norm, merge_moments, normalize
from tests import reference
from tests.tolerances import GRADIENT, TOLERANCE, assert_close

norm = jax.jit(batch_norm, static_argnames=("train", "axis", "averaging", "ddof"))
moments = jax.jit(batch_moments, static_argnames="axis")
PARAMS = BatchNormParams(jnp.asarray([0.5, 2.0, -1.0]), jnp.asarray([0.0, 1.0, 3.0]))
STATE = init_batch_norm(3)[1]


def noise(*shape, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 2, shape).astype("float32")


def drifting(sizes, *spatial):
    """Batches with channels in axis 1, each further from 0 than the one before."""
    return [noise(n, 3, *spatial, mean=3.0 * i, seed=i) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("sizes", [(4, 4, 4), (4, 1, 4, 2)], ids=["equal", "unequal"])
@pytest.mark.parametrize("spatial", [(5,), (3, 2), (2, 1, 3)], ids=["1d", "2d", "3d"])
def test_statistics_of_a_whole_pass_are_the_merged_ones(spatial, sizes):
    batches = drifting(sizes, *spatial)
    whole = functools.reduce(jax.jit(merge_moments), [moments(x, axis=1) for x in batches])
    population = np.concatenate(batches)
    expected = reference.moments(population, 1)
    assert_close(whole, expected, TOLERANCE["float32"])
    y = normalize(PARAMS, population, whole.mean, whole.m2 / whole.count, axis=1)
    assert_close(y, reference.batch_norm(population, PARAMS.scale, PARAMS.bias, axis=1), TOLERANCE["float32"])


@pytest.mark.parametrize("ddof", [0, 1])
def test_the_average_of_equal_batches_leaves_out_the_variance_between_them(ddof):
    batches, state = drifting([4] * 8, 3, 2), STATE
    for x in batches:
        state = norm(PARAMS, state, x, True, axis=1, averaging="cumulative", ddof=ddof)[1]
    every = np.float64(batches)
    assert_close(state.mean, every.mean((0, 1, 3, 4)), TOLERANCE["float32"])
    assert_close(state.var, every.var((1, 3, 4), ddof=ddof).mean(0), TOLERANCE["float32"])
    assert np.all(every.var((0, 1, 3, 4)) > 5 * np.asarray(state.var))


@pytest.mark.parametrize("groups", [1, 2, 5])
def test_members_of_a_vmap_are_virtual_batches(groups):
    """Two steps, so that what each of them remembers comes in too."""
    x = noise(10, 2, 2, 3) + np.arange(10, dtype="float32").reshape(10, 1, 1, 1)
    virtual = x.reshape(groups, -1, 2, 2, 3)
    step = jax.jit(jax.vmap(functools.partial(batch_norm, PARAMS, train=True, momentum=0.9)))
    states = jax.tree.map(lambda v: jnp.stack([v] * groups), STATE)
    for _ in range(2):
        y, states = step(states, virtual)
    by_formula = functools.partial(reference.batch_norm, scale=PARAMS.scale, bias=PARAMS.bias)
    assert_close(y, np.stack([by_formula(part) for part in virtual]), TOLERANCE["float32"])
    assert (groups == 1) == np.allclose(y.reshape(x.shape), by_formula(x), atol=1e-3)
    for member, part in enumerate(virtual):
        mean, var = np.float64(part).mean((0, 1, 2)), np.float64(part).var((0, 1, 2))
        closed = (0.19 * mean, 0.81 + 0.19 * var, 2)
        assert_close([v[member] for v in states], closed, TOLERANCE["float32"])


@pytest.mark.parametrize("every", [1, 5, 10, 20])
def test_averages_may_be_averaged_now_and_then(every):
    """They are linear in what they have seen, so it is no matter how often, or after which step."""
    x = np.stack([np.full((4, 3), value, "float32") + noise(4, 3, seed=1) for value in (1.5, 4, 8.5)])

    @jax.jit
    def run(states):
        def step(states, t):
            _, states = jax.vmap(functools.partial(batch_norm, PARAMS, train=True, momentum=0.9))(states, x)
            shared = jax.tree.map(lambda v: jnp.broadcast_to(v.mean(0).astype(v.dtype), v.shape), states)
            return jax.tree.map(functools.partial(jnp.where, t % every == 0), shared, states), None

        return jax.lax.scan(step, states, jnp.arange(1, 21))[0]

    states = run(jax.tree.map(lambda v: jnp.stack([v] * 3), STATE))
    old, double = 0.9**20, np.float64(x)
    closed = ((1 - old) * double.mean((0, 1)), old + (1 - old) * double.var(1).mean(0), 20)
    for member in range(3):
        assert_close([v[member] for v in states], closed, TOLERANCE["float32"])


def test_evaluation_takes_every_row_by_itself():
    state = norm(PARAMS, STATE, noise(10, 2, 2, 3, mean=4.0), True, momentum=0.5)[1]
    x = noise(13, 2, 2, 3, seed=1)
    whole = reference.normalize(x, state.mean, state.var, PARAMS.scale, PARAMS.bias)
    for rows in (slice(0, 13), slice(0, 1), slice(12, 13)):
        assert_close(norm(PARAMS, state, x[rows], False)[0], whole[rows], TOLERANCE["float32"])


def examples(x, state=STATE, **kwargs):
    """`batch_norm` of one example `[channels, ...]`, mapped over all of them; they share the state that comes out."""
    one = functools.partial(batch_norm, PARAMS, state, train=True, axis=0, axis_name="batch")
    return jax.vmap(one, axis_name="batch", out_axes=(0, None), **kwargs)(x)


@pytest.mark.parametrize("shape", [(10, 3), (10, 3, 4), (10, 3, 2, 5)], ids=str)
def test_examples_under_a_vmap_are_a_batch(shape):
    x = noise(*shape, mean=5.0)
    y, state = jax.jit(examples)(x)
    assert_close(y, reference.batch_norm(x, PARAMS.scale, PARAMS.bias, 1), TOLERANCE["float32"])
    assert_close(state, reference.running(*STATE, [reference.moments(x, 1)]), TOLERANCE["float32"])


def test_an_axis_that_is_not_there_is_a_name_error():
    one = functools.partial(batch_norm, PARAMS, STATE, train=True, axis_name="batch")
    for call, x in ((one, noise(3)), (jax.vmap(one), noise(10, 3)), (jax.vmap(one, axis_name="other"), noise(10, 3))):
        with pytest.raises(NameError, match="batch"):
            call(x)


def test_a_vmap_without_a_name_keeps_batches_apart():
    x = noise(4, 3, 6) * np.arange(1, 5, dtype="float32").reshape(4, 1, 1)
    y, states = jax.jit(jax.vmap(lambda x: examples(x, in_axes=1)))(x)
    assert_close(np.swapaxes(y, 1, 2), reference.batch_norm(x, *(np.tile(p, (4, 1)) for p in PARAMS), (0, 1)), 5e-6)
    for i, part in enumerate(x):
        expected = reference.running(*STATE, [reference.moments(part, 0)])
        assert_close([v[i] for v in states], expected, TOLERANCE["float32"])


@pytest.mark.parametrize("members", [1, 5])
def test_a_batch_of_one_has_gradient_0(members):
    """A larger one has that of the formula."""
    x, dy = noise(members, 3), noise(members, 3, seed=1)
    dx = jax.jit(jax.grad(lambda x: jnp.sum(dy * examples(x)[0])))(x)
    assert_close(dx, reference.gradient(x, dy, PARAMS.scale)[0], GRADIENT["float32"])
    # To the last digit of the terms that cancel.
    assert (np.max(np.abs(dx)) > 1e-7 * np.max(np.abs(dy)) / np.sqrt(1e-5)) == (members > 1)
