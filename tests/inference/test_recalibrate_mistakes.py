"""Every bad call is answered with one sentence, and what is left behind is as it was."""

import flax.linen
import flax.nnx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
from jaxbn import init_state
from jaxbn.inference import recalibrate
from jaxbn.inference._population import checks as shared_checks
from jaxbn.inference._recalibration import checks as own_checks
from tests.inference.nets_recalibrate import NETS, Linen, X, functional, left_behind, one
from tests.messages import unheard

STATE = init_state(5)


def call(apply=one, variables=STATE, batches=X, **kwargs):
    return lambda: recalibrate(apply, variables, batches, **kwargs)


def net(name, x):
    return lambda: recalibrate(*NETS[name]()[:2], x)


def training(name):
    """A call whose `apply` trains."""

    def apply(variables, x):
        if name.startswith("nnx"):
            variables.train()
            return variables(x)
        model = Linen(flax.linen.BatchNorm if name == "linen-flax" else jaxbn.linen.BatchNorm)
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs={"dropout": jax.random.key(0)})

    return lambda: recalibrate(apply, NETS[name]().variables, X)


def looped(state, x):
    return jax.lax.while_loop(lambda x: x.sum() < 0, lambda x: one(state, x), x)


def mapped(state, x):
    mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.shard_map(one, mesh=mesh, in_specs=(jax.P(), jax.P("d")), out_specs=jax.P("d"))(state, x)


def poisoned(where):
    x = X.copy()
    x[where, 2] = np.nan
    return [x[:20], x[20:]]


def scaled(state, x):
    return one(state._replace(var=2 * state.var), x)


def imaginary(norm):
    layer = norm(use_running_average=True, use_scale=False, use_bias=False)

    def apply(variables, x):
        with jax.numpy_dtype_promotion("standard"):
            return layer.apply(variables, x)

    return call(apply, {"batch_stats": {"mean": STATE.mean, "var": STATE.var}}, X + 1j * X)


SEVERAL_DEVICES = {"axis-name"}
# A readable id, the call, the error, and words that it must say.
BAD_CALLS = [
    ("apply", call("model"), TypeError, r"`apply` must be a function \(variables, batch\), got str\.$"),
    ("order", call(order="layer"), ValueError, "`order` must be one of 'layers', 'pass', got 'layer'"),
    ("samples-float", call(samples=1.5), TypeError, r"`samples` must be an int or None, got 1\.5"),
    ("samples-bool", call(samples=True), TypeError, r"`samples` must be an int or None, got True\."),
    ("samples-0", call(samples=0), ValueError, "`samples` must be at least 1, got 0; None uses all of the data"),
    ("tolerance-text", call(tolerance="1"), TypeError, "`tolerance` must be a real number, got '1'"),
    ("tolerance-0", call(tolerance=0), ValueError, r"`tolerance` must be positive and finite, got 0; .*, e\.g\. 0\.01"),
    ("tolerance-nan", call(tolerance=float("nan")), ValueError, "`tolerance` must be positive and finite, got nan"),
    ("prior-bool", call(prior=True), TypeError, "`prior` must be a real number, got True"),
    ("prior-large", call(prior=10**400), ValueError, "`prior` must be a number of at most 64 bits, got 1000"),
    ("prior-below", call(prior=-1), ValueError, "`prior` must be finite and at least 0, got -1; it is a number of sam"),
    (
        "prior-nan",
        call(variables=STATE._replace(mean=jnp.full(5, jnp.nan)), prior=10),
        ValueError,
        "`prior` must be 0 where the old statistics are broken, got 10 and NaN, inf or a negative variance at the batch"
        " norm 'batch_norm'; leave it out",
    ),
    ("prior-negative", call(variables=STATE._replace(var=-STATE.var), prior=1), ValueError, "`prior` must be 0 where "),
    ("batches-int", call(batches=3), TypeError, "`batches` must be an array or an iterable of batches, got int; give"),
    ("batches-none", call(batches=None), TypeError, "got NoneType; give what `apply` takes, in a list"),
    ("batches-text", call(batches="data"), TypeError, "`batches` must be an array or an iterable of .*, got str; give"),
    ("batches-bytes", call(batches=b"data"), TypeError, "`batches` must be an array or an iterable of .*, got bytes;"),
    ("batches-reference", call(batches=jax.new_ref(X)), TypeError, "`batches` must be an array or .*, got Ref; give"),
    (
        "batches-wide",
        call(batches=[np.ones([5, 6], "longdouble")]),
        TypeError,
        "`x` must have a dtype that JAX has, got",
    ),
    ("batches-dict", call(batches={"image": X}), TypeError, "`batches` must .*, got dict; a single batch is one in a"),
    ("no-batches", call(batches=[]), ValueError, "`batches` must hold at least one batch, got none; an iterator can"),
    ("used-up", call(batches=iter([])), ValueError, "got none; an iterator can be read only once"),
    ("empty", call(batches=[X[:0]]), ValueError, "`batches` must hold data, got only empty or masked batches"),
    ("no-layer", call(lambda _, x: x), ValueError, "`apply` must call a batch norm of jaxbn or Flax, got none; let it"),
    (
        "other-variables",
        call(lambda s, x: one(STATE, x) + s.mean[0]),
        ValueError,
        r"`apply` must give each batch norm its statistics .*, got a running mean .*, in batch norm 1\.",
    ),
    (
        "computed",
        call(scaled),
        ValueError,
        "got a running variance that is computed, or comes from elsewhere, in batch",
    ),
    (
        "training",
        call(lambda s, x: one(s, x, True)),
        ValueError,
        "`apply` must evaluate, .* with train=False, a Python",
    ),
    (
        "traced-flag",
        call(lambda s, x: one(s, x, x[0, 0] > 9)),
        ValueError,
        "`apply` must evaluate, .* train=False, a P",
    ),
    (
        "linen-flax",
        training("linen-flax"),
        ValueError,
        "`apply` must evaluate, got the batch norm 'one' in training; call",
    ),
    (
        "linen-ours",
        training("linen-ours"),
        ValueError,
        "got the batch norm 'one' in training; call it with use_running_average=True",
    ),
    (
        "nnx-flax",
        training("nnx-flax"),
        ValueError,
        r"'nnx.BatchNorm' in training; call it with use_running_average=True or after model\.eval\(\)\.",
    ),
    (
        "nnx-ours",
        training("nnx-ours"),
        ValueError,
        r"'nnx.BatchNorm' in training; call it with use_running_average=True or after model\.eval\(\)\.",
    ),
    (
        "while",
        call(looped),
        ValueError,
        "`apply` must not call a batch norm inside of `while`, of which its input can't be had; use a scan or a P",
    ),
    (
        "axis-int",
        call(axis_name=3),
        TypeError,
        r"`axis_name` must be the name of a mapped axis, or several in a tuple, got 3\.",
    ),
    ("axis-ints", call(axis_name=("d", 3)), TypeError, r"`axis_name` must be the name .*, got \('d', 3\)"),
    (
        "axis-nowhere",
        call(axis_name="nope"),
        ValueError,
        "`axis_name` must be a mapped axis, or several in a tuple, got 'nope', which is none here; leave it out",
    ),
    ("axis-name", call(mapped), ValueError, r"`axis_name` must name the axes \('d',\) of the shard_map in `apply`"),
    (
        "nan-functional",
        net("functional", poisoned(30)),
        ValueError,
        "`batches` must give finite .* got NaN, inf or more at the batch norm 'one' in batch 2; leave it out",
    ),
    ("nan-linen", net("linen-flax", poisoned(3)), ValueError, "at the batch norm 'one' in batch 1"),
    ("nan-nnx", net("nnx-ours", poisoned(3)), ValueError, "at the batch norm 'one' in batch 1"),
    (
        "overflow",
        net("functional", [X * np.float32(1e30)]),
        ValueError,
        "finite inputs, and small enough to be squared",
    ),
    (
        "second-layer",
        call(
            functional().apply,
            {"one": init_state(4)._replace(mean=jnp.full(4, jnp.nan)), "two": init_state(3)},
            order="pass",
        ),
        ValueError,
        "got NaN, inf or more at the batch norm 'two' in batch 1",
    ),
    (
        "complex-flax",
        imaginary(flax.linen.BatchNorm),
        TypeError,
        "`variables` must hold a complex running mean for com",
    ),
    ("complex-ours", imaginary(jaxbn.linen.BatchNorm), TypeError, "for complex data, got float32 in 'batch_norm'"),
    (
        "traced",
        lambda: jax.jit(lambda s, x: recalibrate(one, s, [x], samples=1))(STATE, X),
        ValueError,
        "`samples` must be None inside of jit, vmap and shard_map, got 1; give fewer batches",
    ),
]


CASES = [
    pytest.param(*row[1:], id=row[0], marks=pytest.mark.several_devices if row[0] in SEVERAL_DEVICES else ())
    for row in BAD_CALLS
]


@pytest.mark.parametrize(("call", "error", "words"), CASES)
def test_words(call, error, words):
    before = left_behind()
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")
    assert left_behind() == before


@pytest.mark.slow
@pytest.mark.several_devices
@pytest.mark.parametrize("checks", [shared_checks, own_checks], ids=["shared", "own"])
def test_every_message_is_in_the_table(checks):
    assert not unheard(checks, [row[1] for row in BAD_CALLS])


def test_an_error_of_apply_is_its_own():
    before = left_behind()
    with pytest.raises(ZeroDivisionError):
        recalibrate(lambda *_: 1 // 0, STATE, X)
    assert left_behind() == before


def test_a_batch_that_holds_no_array_is_named_beside_the_error_of_apply():
    with pytest.raises(TypeError, match="`x` must be an array, got str") as caught:
        recalibrate(one, STATE, ["data"])
    assert "`batches` gave a str without arrays; a batch is what `apply` takes." in caught.value.__notes__
    with pytest.raises(ValueError, match="`apply` must evaluate") as caught:
        recalibrate(lambda s, x: one(s, x, True), STATE, X)
    assert "without arrays" not in str(getattr(caught.value, "__notes__", ""))
