"""A folded net is the unfolded one, whatever stands around its norms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxbn import batch_norm, init_batch_norm
from jaxbn.inference import fold
from jaxbn.preprocess import fit_standardize, transform
from tests.inference.nets_fold import X, conv, folded, norm, norm_variables, numbers, primitives
from tests.tolerances import assert_close


def test_the_four_operations():
    v = {"kernel": numbers(4, 5), "a": numbers(5, seed=2), "b": numbers(5, seed=3) + 4}

    def f(v, x):
        a, b = v["a"][None], v["b"][None]
        y = a - x @ v["kernel"]
        y = -(y / b) + 3.0
        return (2.0 - (b + y * b) * a) / 7.0

    function, weights, _ = folded(f, v, numbers(3, 4), into=3)
    assert primitives(function, weights, numbers(3, 4)) == ["dot_general", "reshape", "add"]


def test_two_norms_in_a_row():
    v = {"kernel": numbers(4, 5), "one": norm_variables(5), "two": norm_variables(5, seed=2)}
    _, weights, report = folded(lambda v, x: norm(v["two"], norm(v["one"], x @ v["kernel"])), v, numbers(3, 4), into=2)
    assert [n.name for n in report.norms] == ["one", "two"]
    assert [len(n.variables) for n in report.norms] == [4, 4]
    assert len(weights) == 2


def test_a_convolution_used_twice_by_one_norm_and_by_none():
    v = {"conv": {"kernel": numbers(3, 3, 4, 4)}, "norm": norm_variables(4)}

    def f(v, x):
        y = conv(x, v["conv"]["kernel"])
        return norm(v["norm"], y), jax.nn.relu(y)

    function, weights, report = folded(f, v, X, into=0, kept=1)
    assert primitives(function, weights, X).count("conv_general_dilated") == 1
    assert report.norms[0].kept == "after conv conv/kernel 3x3x4x4 (used 2 times), returned"
    assert sorted(weights) == ["conv/kernel", "norm/bias", "norm/mean", "norm/multiplier"]


def test_a_layer_called_twice_with_a_norm_after_one_call():
    v = {"conv": {"kernel": numbers(3, 3, 4, 4)}, "norm": norm_variables(4)}

    def f(v, x):
        y = jax.nn.relu(norm(v["norm"], conv(x, v["conv"]["kernel"])))
        return conv(jax.nn.relu(conv(y, v["conv"]["kernel"])), v["conv"]["kernel"])

    _, weights, _ = folded(f, v, X, into=1)
    # The kernel as it was is kept once.
    assert sorted(weights) == ["conv/bias", "conv/kernel", "conv/kernel_2"]


def test_what_nothing_needs_does_not_count():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}
    both = jax.jit(lambda v, y: (norm(v["norm"], y), jnp.tanh(y).sum()))
    function, weights, _ = folded(lambda v, x: both(v, x @ v["kernel"])[0], v, numbers(3, 4), into=1)
    assert "tanh" not in primitives(function, weights, numbers(3, 4))


def test_a_norm_used_twice_stays():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(4)}

    def f(v, x):
        y = norm(v["norm"], jnp.tanh(x))
        return y @ v["kernel"], y

    _, _, report = folded(f, v, numbers(3, 4), into=0, kept=1)
    assert report.norms[0].kept == "after tanh, used 2 times"


def test_a_residual_block():
    v = {f"conv{i}": {"kernel": numbers(3, 3, 4, 4, seed=i)} for i in range(3)}
    v |= {f"norm{i}": norm_variables(4, seed=i) for i in range(3)}

    def f(v, x):
        y = jax.nn.relu(norm(v["norm0"], conv(x, v["conv0"]["kernel"])))
        y = norm(v["norm1"], conv(y, v["conv1"]["kernel"]))
        return jax.nn.relu(y + norm(v["norm2"], conv(x, v["conv2"]["kernel"])))

    folded(f, v, X, into=3)


def test_then_concatenated():
    v = {"a": numbers(4, 5), "b": numbers(4, 2), "norm": norm_variables(5), "after": norm_variables(7)}

    def f(v, x):
        y = jnp.concatenate([norm(v["norm"], x @ v["a"]), x @ v["b"]], axis=1)
        return norm(v["after"], y)

    _, _, report = folded(f, v, numbers(3, 4), into=1, kept=1)
    assert report.kept[0].kept == "after concatenate, returned"


@pytest.mark.slow
@pytest.mark.parametrize(
    "between",
    [
        lambda y: y.transpose(0, 3, 1, 2).reshape(2, 6, -1).transpose(0, 2, 1),
        lambda y: jnp.squeeze(y.reshape(2, 81, 1, 6), 2),
        lambda y: jnp.broadcast_to(y[:, None], (2, 3, 9, 9, 6)),
        lambda y: jnp.moveaxis(y, 0, 2).reshape(-1, 6),
        jax.jit(lambda y: jnp.squeeze(y[None], 0)),
    ],
)
def test_the_layout_may_change_between(between):
    v = {"kernel": numbers(3, 3, 4, 6), "norm": norm_variables(6)}
    function, weights, _ = folded(lambda v, x: norm(v["norm"], between(conv(x, v["kernel"]))), v, X, into=1)
    assert "mul" not in primitives(function, weights, X)


@pytest.mark.slow
def test_features_that_a_reshape_splits():
    v = {"kernel": numbers(4, 6), "norm": norm_variables(2)}

    def f(v, x):
        return norm(v["norm"], (x @ v["kernel"]).reshape(-1, 3, 2))

    folded(f, v, numbers(3, 4), into=1)


def test_features_that_a_reshape_mixes_with_places_stay():
    v = {"kernel": numbers(3, 3, 4, 6), "norm": norm_variables(9 * 9 * 6)}
    _, _, report = folded(lambda v, x: norm(v["norm"], conv(x, v["kernel"]).reshape(2, -1)), v, X, into=0, kept=1)
    assert "along other axes" in report.norms[0].kept


@pytest.mark.slow
def test_a_norm_of_every_place_goes_into_the_dense_layer_after_it():
    v = {"kernel": numbers(9 * 9 * 4, 5), "t": fit_standardize(numbers(20, 9, 9, 4) * 3 + 1, axis=(1, 2, 3))}

    def f(v, x):
        return transform(v["t"], x).reshape(x.shape[0], -1) @ v["kernel"]

    function, weights, report = folded(f, v, X, into=1)
    assert set(primitives(function, weights, X)) == {"reshape", "dot_general", "add"}
    assert report.norms[0].into == "dot kernel 324x5"
    assert "t/spread" in report.norms[0].variables


def test_standardised_input_goes_into_the_first_layer():
    v = {"kernel": numbers(3, 3, 4, 6), "norm": norm_variables(6), "t": fit_standardize(X * 5 + 7)}

    def f(v, x):
        return jax.nn.relu(norm(v["norm"], conv(transform(v["t"], x), v["kernel"], padding="VALID")))

    function, weights, _ = folded(f, v, X, into=2)
    assert set(primitives(function, weights, X)) == {
        "conv_general_dilated",
        "reshape",
        "add",
        "custom_jvp_call",
        "jit",
        "max",
    }


def test_statistics_of_the_data_are_no_known_numbers():
    v = {"kernel": numbers(4, 5)}

    def f(v, x):
        y = x @ v["kernel"]
        return (y - y.mean(0, keepdims=True)) / jnp.sqrt(y.var(0, keepdims=True) + 1e-5)

    _, _, report = folded(f, v, numbers(3, 4), into=0, rooted=1)
    assert str(report).startswith("No norm depends on the variables alone; is the model in evaluation mode?")


def test_a_model_in_training_is_said_to_train():
    v = {"kernel": numbers(4, 5), "norm": init_batch_norm(5)}
    report = fold(lambda v, x: batch_norm(*v["norm"], x @ v["kernel"], train=True)[0], v, numbers(8, 4))[2]
    assert report["norm"].kept.startswith("it seems to be in training, for it multiplies a root of the batch; call")


@pytest.mark.parametrize("size", [1, 4])
def test_a_norm_of_each_example_is_not_said_to_train(size):
    def instance_norm(v, x):
        y = x - x.mean(1, keepdims=True)
        return y * (lax.rsqrt(jnp.square(y).mean(1, keepdims=True) + 1e-5) * v["scale"].reshape(1, 1, -1))

    report = fold(instance_norm, {"scale": numbers(3)}, numbers(size, 6, 3))[2]
    assert report["scale"].kept == "after rsqrt, before mul"


def test_a_layer_norm_gives_its_parameters_to_the_layer_after_it():
    v = {"ln": {"scale": numbers(4), "bias": numbers(4, seed=3)}, "kernel": numbers(4, 5)}

    def f(v, x):
        y = (x - x.mean(-1, keepdims=True)) * lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
        return (y * v["ln"]["scale"][None] + v["ln"]["bias"][None]) @ v["kernel"]

    folded(f, v, numbers(3, 4), into=1, rooted=1)


def test_known_outputs_and_what_is_not_needed():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5), "count": np.int32(3), "unused": numbers(7)}

    def f(v, x):
        return {"y": norm(v["norm"], x @ v["kernel"]), "state": v["norm"], "count": v["count"] + 1, "same": x}

    function, weights, _ = folded(f, v, numbers(3, 4), into=1)
    assert "unused" not in weights
    assert_close(function(weights, numbers(3, 4))["state"], v["norm"])


@pytest.mark.slow
def test_a_kernel_that_is_computed():
    """Standardised weights: known, and no norm of the data."""
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}

    def f(v, x):
        kernel = (v["kernel"] - v["kernel"].mean(0, keepdims=True)) / jnp.sqrt(v["kernel"].var(0, keepdims=True))
        return norm(v["norm"], x @ kernel)

    folded(f, v, numbers(3, 4), into=1)


def test_nothing_is_changed():
    v = {"kernel": numbers(4, 5), "norm": norm_variables(5)}
    before = jax.tree.map(np.copy, v)
    folded(lambda v, x: norm(v["norm"], x @ v["kernel"]), v, numbers(3, 4), into=1)
    jax.tree.map(np.testing.assert_array_equal, v, before)
