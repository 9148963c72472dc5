"""The transformations of JAX, by themselves and nested, do to `batch_norm` what they do to the formula."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import BatchNormState, batch_norm, init_batch_norm
from tests import reference
from tests.data import noise
from tests.tolerances import GRADIENT, TOLERANCE, assert_close, assert_same

# Of `[rows, features]` the first rows propose the pivot; where there are more axes, values of the first row do.
SHAPES = {"few": (6, 3), "many": (16, 64, 2)}
every_size = pytest.mark.parametrize("size", SHAPES)
masked_or_not = pytest.mark.parametrize("masked", [False, True])


class Case:
    """`loss(x) = sum(dy * y**2)`, with its gradient in NumPy float64."""

    def __init__(self, size, dtype="float32", *, masked):
        shape = SHAPES[size]
        self.x, self.dy, self.v = (noise(*shape, dtype=dtype, seed=s) for s in range(3))
        self.mask = np.arange(shape[0]).reshape(-1, *[1] * (len(shape) - 1)) % 3 != 1 if masked else None
        self.state = init_batch_norm(shape[-1], dtype=dtype)[1]
        self.params = jax.tree.map(lambda p: p + 0.5, init_batch_norm(shape[-1], dtype=dtype)[0])

    def y(self, x, train):
        return batch_norm(self.params, self.state, x, train, mask=self.mask)[0]

    def loss(self, x):
        return jnp.sum(self.dy * jnp.square(self.y(x, True)))

    def gradient(self, x):
        towards = 2 * np.float64(self.dy) * reference.batch_norm(x, 1.5, 0.5, mask=self.mask)
        return reference.gradient(x, towards, 1.5, mask=self.mask)[0]


def forward(f, v):
    return lambda x: jax.jvp(f, [x], [v])[1]


def reverse(f, v):
    return lambda x: jnp.vdot(v, jax.grad(f)(x))


def first_order(f, x, v):
    """The derivative of `f` along `v`, and its gradient, by every function that JAX has for it."""
    primal, pullback = jax.vjp(f, x)
    linear, one = jax.linearize(f, x)[1], jnp.ones_like(primal)
    gradients = [jax.grad(f)(x), pullback(one)[0], jax.linear_transpose(linear, x)(one)[0], jax.jacrev(f)(x)]
    return [forward(f, v)(x), linear(v)], gradients


@every_size
@masked_or_not
def test_first_derivatives(size, masked):
    case = Case(size, masked=masked)
    gradient = case.gradient(case.x)
    along, gradients = jax.jit(functools.partial(first_order, case.loss))(case.x, case.v)
    for got in along:
        assert_close(got, np.sum(gradient * case.v), GRADIENT["float32"])
    for got in gradients:
        assert_close(got, gradient, GRADIENT["float32"])


@pytest.mark.slow
@pytest.mark.parametrize(("size", "masked", "within"), [("few", False, -1), ("many", True, 0)])
def test_vmap_of_derivatives(size, masked, within):
    case = Case(size, masked=masked)
    xs, vs = (case.x, 3 * case.x[::-1], case.x + 7), (case.v, case.dy, case.v[::-1])
    mapped = jax.jit(jax.vmap(functools.partial(first_order, case.loss), within))
    along, gradients = mapped(np.stack(xs, within), np.stack(vs, within))
    expected = np.stack([case.gradient(x) for x in xs])
    for got in along:
        assert_close(got, np.array([np.vdot(g, v) for g, v in zip(expected, vs, strict=True)]), GRADIENT["float32"])
    for got in gradients:
        assert_close(got, expected, GRADIENT["float32"])


@masked_or_not
def test_jacobians_of_the_output(masked):
    case = Case("few", masked=masked)
    rows = [reference.gradient(case.x, dy, 1.5, mask=case.mask)[0] for dy in np.eye(case.x.size).reshape(-1, 6, 3)]
    for jacobian in (jax.jacfwd, jax.jacrev):
        got = jax.jit(jacobian(lambda x: case.y(x, True)))(case.x)
        assert_close(got, np.reshape(rows, (6, 3, 6, 3)), GRADIENT["float32"])


@pytest.mark.slow
@masked_or_not
def test_second_derivatives_of_many_values(masked):
    with jax.enable_x64(True):
        case, step = Case("many", "float64", masked=masked), 1e-5
        up, down = (case.gradient(case.x + sign * step * case.v) for sign in (1, -1))
        along, gradient = forward(case.loss, case.v), jax.grad(case.loss)
        products = [forward(gradient, case.v), jax.grad(along), jax.grad(reverse(case.loss, case.v))]
        for got in jax.jit(lambda x: [product(x) for product in products])(case.x):
            assert_close(got, (up - down) / (2 * step), 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "masked", "modes"),
    [("few", False, "fff"), ("few", True, "rrr"), ("many", False, "frf"), ("many", True, "rfr")],
)
def test_third_derivatives(size, masked, modes):
    with jax.enable_x64(True):
        case, step = Case(size, "float64", masked=masked), 1e-3
        along = functools.reduce(lambda f, mode: {"f": forward, "r": reverse}[mode](f, case.v), modes, case.loss)
        slopes = [np.vdot(case.gradient(case.x + t * step * case.v), case.v) for t in (-2, -1, 0, 1, 2)]
        assert_close(jax.jit(along)(case.x), np.dot([-1, 16, -30, 16, -1], slopes) / (12 * step**2), 1e-7)


LOOPS = {
    "python": lambda f, carry: f(f(carry)),
    "scan": lambda f, carry: jax.lax.scan(lambda c, _: (f(c), None), carry, length=2)[0],
    "fori_loop": lambda f, carry: jax.lax.fori_loop(0, 2, lambda _, c: f(c), carry),
    "while_loop": lambda f, carry: jax.lax.while_loop(lambda c: c[1].count < 2, f, carry),
    "cond": lambda f, carry: jax.lax.cond(carry[1].count == 0, lambda c: f(f(c)), lambda c: c, carry),
    "checkpoint": lambda f, carry: jax.checkpoint(f)(jax.checkpoint(f)(carry)),
}


def two_layers(loop):
    """Of two layers with one state: a loss of `x` that also returns the state, and the point where it is tried."""
    case = Case("few", masked=True)

    def layer(carry):
        x, state = carry
        y, state = batch_norm(case.params, state, x, True, mask=case.mask)
        return x + jnp.sin(y), state

    def loss(x):
        x, state = LOOPS[loop](layer, (x, case.state))
        return jnp.sum(case.dy * x), state

    return loss, case.x, case.v


@functools.cache
def gradient_of_two_layers(loop):
    loss, x, _ = two_layers(loop)
    return jax.jit(jax.value_and_grad(loss, has_aux=True))(x)


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["scan", "fori_loop", "cond", "checkpoint"])
def test_reverse_mode_in_control_flow(loop):
    assert_close(gradient_of_two_layers(loop), gradient_of_two_layers("python"), TOLERANCE["float32"])


@pytest.mark.slow
@pytest.mark.parametrize("loop", ["python", "while_loop", "scan"])
def test_forward_mode_in_control_flow(loop):
    loss, x, v = two_layers(loop)
    value, along, state = jax.jit(lambda x: jax.jvp(loss, [x], [v], has_aux=True))(x)
    expected, gradient = gradient_of_two_layers("python")
    assert state.count == 2
    assert_close([(value, state), along], [expected, np.vdot(gradient, v)], GRADIENT["float32"])


@masked_or_not
def test_a_traced_flag_is_a_static_one(masked):
    case = Case("few", masked=masked)
    case.state = BatchNormState(case.state.mean + 0.25, case.state.var + 3, case.state.count)
    slope = jax.value_and_grad(lambda x, train: jnp.sum(case.dy * jnp.square(case.y(x, train))))
    static = [jax.jit(slope, static_argnums=1)(case.x, train) for train in (True, False)]
    assert np.max(np.abs(static[0][1] - static[1][1])) > 0.1
    traced = jax.jit(slope)
    assert_close([traced(case.x, train) for train in (True, False)], static, TOLERANCE["float32"])
    mapped = jax.jit(jax.vmap(slope, (None, 0)))(case.x, np.array([True, False]))
    assert_close(mapped, jax.tree.map(lambda *parts: np.stack(parts), *static), TOLERANCE["float32"])


def test_a_second_step_does_not_trace_again():
    case, traces = Case("few", masked=True), []

    @jax.jit
    def step(params, state, x, train, momentum):
        def loss(params, x):
            y, new = batch_norm(params, state, x, train, momentum=momentum, mask=case.mask)
            return jnp.sum(case.dy * y), new

        traces.append(x)
        (dparams, dx), new = jax.grad(loss, (0, 1), has_aux=True)(params, x)
        return jax.tree.map(jnp.subtract, params, dparams), new, x - dx

    def three_steps(*momenta):
        carry = case.params, case.state, jnp.asarray(case.x)
        for train, momentum in zip([True, False, True], momenta, strict=True):
            carry = step(*carry, train, momentum)
        return carry, len(traces)

    of_floats = three_steps(0.9, 0.5, 0.25)
    of_arrays = three_steps(*np.float32([0.9, 0.5, 0.25]))
    assert_same([of_floats[0], of_arrays[0]], [three_steps(*jnp.asarray([0.9, 0.5, 0.25]))[0]] * 2)
    assert (of_floats[1], of_arrays[1], len(traces)) == (1, 2, 2)


@pytest.mark.slow
@masked_or_not
def test_nothing_has_to_be_compiled(masked):
    x, mask = noise(8, 3, mean=2), np.arange(8)[:, None] < 6 if masked else None
    params, state = init_batch_norm(3)
    with jax.disable_jit():
        y, _ = batch_norm(params, state, x, True, mask=mask)
        dx = jax.grad(lambda x: (batch_norm(params, state, x, True, mask=mask)[0] ** 3).sum())(x)
    expected = reference.batch_norm(x, mask=mask)
    assert_close(y, expected, TOLERANCE["float32"])
    assert_close(dx, reference.gradient(x, 3 * expected**2, 1.0, mask=mask)[0], GRADIENT["float32"])


def test_a_checkpoint_updates_the_state_once():
    params, state = init_batch_norm(3)

    def loss(x):
        y, new = jax.checkpoint(lambda x: batch_norm(params, state, x, True))(x)
        return jnp.sum(y**2), new

    (_, new), _ = jax.jit(jax.value_and_grad(loss, has_aux=True))(noise(4, 3))
    assert_close(new, reference.running(*state, [reference.moments(noise(4, 3))]), TOLERANCE["float32"])


def test_nested_forward_derivatives_are_nested_reverse_ones():
    with jax.enable_x64(True):
        (params, state), x, v = init_batch_norm(3), *(noise(6, 3, seed=s).astype("float64") for s in (0, 1))

        def along(t):
            return jnp.sum(jnp.sin(batch_norm(params, state, x + t * v, True)[0]))

        @jax.jit
        def curvatures(t, h):
            forward = jax.jvp(lambda t: jax.jvp(along, (t,), (1.0,))[1], (t,), (1.0,))[1]
            return forward, jax.grad(jax.grad(along))(t), (along(t + h) - 2 * along(t) + along(t - h)) / h**2

        forward, backward, differences = curvatures(0.0, 1e-4)
        np.testing.assert_allclose(forward, backward, rtol=1e-10)
        np.testing.assert_allclose(forward, differences, rtol=1e-5)
