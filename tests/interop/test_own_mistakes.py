"""Mistakes in what goes out, one layer or those of a model, and in where it shall go: one sentence each."""

import jax
import jax.numpy as jnp
import pytest

from jaxbn import BatchNormParams, init_batch_norm
from jaxbn.interop import (
    _own_checks,
    rename,
    to_equinox,
    to_haiku,
    to_keras,
    to_linen,
    to_nnx,
    to_torch,
)
from tests.messages import unheard

OWN = init_batch_norm(3)
PARAMS, STATE = OWN
PLANE = init_batch_norm((2, 3))
Z = init_batch_norm(3, dtype="complex64")
TWO = {"bn1": OWN, "bn2": OWN}
MANY = {f"bn{n}": OWN for n in range(7)}
LINEN, NNX = to_linen(TWO), to_nnx(TWO)
KEYS = jax.random.split(jax.random.key(0), 3)


def given(how, **parts):
    return lambda: how(PARAMS, STATE._replace(**parts))


def traced(how):
    return lambda: jax.jit(how)(STATE.mean)


def without(tree, part):
    """The tree without this part of its layers."""
    if not isinstance(tree, dict):
        return tree
    return {name: without(branch, part) for name, branch in tree.items() if name != part}


# A readable id, the call, the error, and words that it must say.
MISTAKES = [
    ("complex-var", given(to_linen, var=STATE.var.astype("complex64")), TypeError,
     "`state.var` must be real, got complex64; take its real part"),
    ("mean-none", given(to_torch, mean=None), TypeError, "`state.mean` must be floating or complex, got object"),
    ("own-params", lambda: to_torch({}, STATE), TypeError, "`params` must be BatchNormParams, got dict; see init"),
    ("own-state", lambda: to_torch(PARAMS, {}), TypeError, "`state` must be BatchNormState, got dict; see init"),
    ("own-traced", traced(lambda x: to_torch(BatchNormParams(x, None), STATE)["weight"]), TypeError,
     "`params.scale` must hold values, got a traced array; convert outside of jit, vmap and grad"),
    ("own-traced-count", traced(lambda x: to_nnx(PARAMS, STATE._replace(count=x[0]))["mean"]), TypeError,
     "`state.count` must hold values, got a traced array"),
    ("own-shape", given(to_linen, mean=jnp.ones(2)), ValueError,
     r"`params.scale` must have the shape \(2,\) of `state.mean`, got \(3,\); all must be of one layer"),
    ("own-int", given(to_keras, var=jnp.ones(3, int)), TypeError, "`state.var` must be floating or complex, got int32"),
    ("own-counts", given(to_equinox, count=jnp.ones(2, int)), ValueError, "`state.count` must be a scalar, got"),
    *(
        (f"plane-{name}", lambda how=how: how(*PLANE), ValueError,
         rf"`state.mean` must have one feature axis for {name}, got the shape \(2, 3\); make one axis of them")
        for name, how in {"PyTorch": to_torch, "Keras": to_keras, "Equinox": to_equinox}.items()
    ),
    *(
        (f"complex-{name}", lambda how=how: how(*Z), TypeError,
         f"`params.scale` must be real for {name}, got complex64; only Flax and Equinox hold it")
        for name, how in {
            "PyTorch": to_torch, "Keras": to_keras,
            "Haiku": lambda *own: to_haiku(*own, "bn", decay=0.9, ndim=2),
        }.items()
    ),
    ("own-no-state", lambda: to_torch(PARAMS), TypeError, "`state` must be BatchNormState, got NoneType; see init"),
    ("layers", lambda: rename([OWN], ["a"]), TypeError,
     "`layers` must be a dict of layers by their paths, got list; from_torch and its like return one for a model"),
    ("layers-of-ints", lambda: to_torch({1: OWN}), TypeError, "`params` must be a dict of layers by their paths, got"),
    ("no-pair", lambda: to_linen({"bn": [PARAMS, STATE]}), TypeError,
     r"`params\['bn'\]` must be a pair \(params, state\), got list; from_torch and its like return one for every la"),
    ("params-for-a-pair", lambda: to_nnx({"bn": STATE}), TypeError, r"`params\['bn'\]` must be a pair .*, got Batch"),
    ("member-params", lambda: to_keras({"bn": (STATE, STATE)}), TypeError,
     "`params at 'bn'` must be BatchNormParams, got BatchNormState; see init"),
    ("member-state", lambda: to_torch({"bn": (PARAMS, PARAMS)}), TypeError, "`state at 'bn'` must be BatchNormState"),
    ("member-shape", lambda: to_linen({"a/bn": (PARAMS, STATE._replace(var=jnp.ones(2)))}), ValueError,
     r"`state.var at 'a/bn'` must have the shape \(3,\) of `state.mean`, got \(2,\)"),
    ("member-plane", lambda: to_torch({"bn": PLANE}), ValueError, "`state.mean at 'bn'` must have one feature axis fo"),
    ("member-complex", lambda: to_keras({"bn": Z}), TypeError, "`params.scale at 'bn'` must be real for Keras, got c"),
    ("names", lambda: rename(TWO, "ab"), TypeError,
     "`names` must be a dict, a list or a function, got str; it says what each layer is called"),
    ("names-few", lambda: rename(MANY, ["a"]), ValueError,
     r"`names` must be 7, one for each of 'bn0', 'bn1', 'bn2', 'bn3', 'bn4', \.\.\., got 1; give all of them, in this"),
    ("names-unknown", lambda: rename(TWO, {"bn1": "a", "bn3": "b"}), ValueError,
     "`names` must be for 'bn1', 'bn2', got one for 'bn3'; check its keys"),
    ("names-twice", lambda: rename(MANY, lambda path: path[:2]), ValueError,
     "`names` must differ, got 'bn' more than once; every layer needs one of its own"),
    ("names-taken", lambda: rename(TWO, {"bn1": "bn2"}), ValueError, "`names` must differ, got 'bn2' more than once"),
    ("names-tuples", lambda: rename(TWO, [("a", "b"), "c"]), TypeError,
     r"`names` must give strings, got \('a', 'b'\) for 'bn1'; write a path as 'Block_0/bn'"),
    ("into", lambda: to_linen(TWO, into=7), TypeError, "`into` must be a dict of arrays, got int"),
    ("into-nnx", lambda: to_nnx(TWO, into=[]), TypeError, "`into` must be a dict of arrays, got list"),
    *(
        row for name, how, tree in (("linen", to_linen, LINEN), ("nnx", to_nnx, NNX)) for row in (
            (f"into-{name}-elsewhere", lambda how=how, tree=tree: how({"a/bn": OWN}, into=tree), ValueError,
             "`into` must hold a batch norm at 'a/bn', got 'bn1', 'bn2'; call the layers as there, by interop.rename"),
            (f"into-{name}-nothing", lambda how=how: how(TWO, into={}), ValueError, "norm at 'bn1', got none; call"),
            (f"into-{name}-no-scale", lambda how=how, tree=tree: how(TWO, into=without(tree, "scale")), ValueError,
             "`into` must have at 'bn1' what the layer has, 'bias', 'mean', 'scale', 'var', got 'bias', 'mean', 'var'; "
             "build the model with the same scales and biases"),
            (f"into-{name}-scale", lambda how=how, tree=tree: how({"bn1": init_batch_norm(3, use_scale=False)},
             into=tree), ValueError, "what the layer has, 'bias', 'mean', 'var', got 'bias', 'mean', 'scale', 'var'; "),
            (f"into-{name}-shape", lambda how=how, tree=tree: how({"bn1": init_batch_norm(4)}, into=tree), ValueError,
             r"`into` must have the shape \(4,\) at 'bn1', got \(3,\) for 'scale'; check that the two layers are"),
            (f"into-{name}-averaging", lambda how=how, tree=tree: how(TWO, into=tree, averaging="sma"), ValueError,
             "`averaging` must be one of"),
        )
    ),
    *(
        (f"into-{how.__name__}-real", lambda how=how, tree=tree: how(*Z, path="bn1", into=tree), TypeError,
         r"`into` must be complex at 'bn1', got float32 for '\w+'; build the model with complex data")
        for how, tree in ((to_linen, LINEN), (to_nnx, NNX))
    ),
    ("into-keys", lambda: to_nnx(TWO, into=NNX | {"bn1": NNX["bn1"] | {"bias": KEYS}}), TypeError,
     "`into` must hold numbers of the kind of float32 at 'bn1', got key<fry> for 'bias'; check"),
    ("into-no-pair", lambda: to_equinox(TWO, into={}), TypeError,
     r"`into` must be the pair \(model, state\), got dict; pass what make_with_state returns"),
    ("into-no-model", lambda: to_equinox(TWO, into=([], [])), ValueError, "`into` must hold a batch norm at 'bn1', g"),
    ("ndim-missing", lambda: to_haiku(TWO, decay=0.9, ndim={"bn1": 4}), ValueError,
     "`ndim` must be given for 'bn2', got 'bn1'; add it"),
    ("ndim-of-one", lambda: to_haiku({"bn": OWN}, decay=0.9, ndim={"bn": 0}), ValueError, "`ndim` must be an int from"),
    ("haiku-nameless", lambda: to_haiku(*OWN, decay=0.9, ndim=2), ValueError,
     "`module` must be the name of the layer's module, got ''; only the layers of a model bring their own"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), [row[1:] for row in MISTAKES], ids=[row[0] for row in MISTAKES])
def test_words(call, error, words):
    with pytest.raises(error, match=words) as caught:
        call()
    assert type(caught.value) is error
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_every_message_is_in_the_table():
    assert not unheard(_own_checks, [row[1] for row in MISTAKES])
