"""Live layers of other frameworks behind one face: run, convert to ours, load from ours."""

import contextlib
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxbn import presets
from jaxbn.interop import (
    debiased_momentum,
    from_equinox,
    from_haiku,
    from_keras,
    from_torch,
    to_equinox,
    to_haiku,
    to_keras,
    to_torch,
)

FEATURES = 3


@contextlib.contextmanager
def lenient():
    """Other frameworks rely on promotion, of dtypes and of ranks."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


class Peer:
    """`axis` is where the features lie, `trains_alike` whether it normalises with the batch in training."""

    axis = -1
    trains_alike = True
    options = presets.FLAX

    def keywords(self, _state):
        """Of `batch_norm`, for the next step."""
        return self.options


class Torch(Peer):
    axis = 1

    def __init__(self, ndim, affine, *, momentum=0.1):
        self.torch = pytest.importorskip("torch")
        self.options = {"averaging": "cumulative", "ddof": 1} if momentum is None else presets.TORCH
        kind = getattr(self.torch.nn, {2: "BatchNorm1d", 3: "BatchNorm1d", 4: "BatchNorm2d", 5: "BatchNorm3d"}[ndim])
        self.layer = kind(FEATURES, affine=affine, momentum=momentum)

    def __call__(self, x, train):
        with self.torch.no_grad():
            return self.layer.train(train)(self.torch.from_numpy(np.array(x))).numpy().copy()

    def convert(self):
        return from_torch(self.layer.state_dict())

    def load(self, params, state):
        arrays = to_torch(params, state)
        self.layer.load_state_dict({name: self.torch.from_numpy(a) for name, a in arrays.items()})


class Keras(Peer):
    options = presets.KERAS

    def __init__(self, ndim, affine):
        os.environ.setdefault("KERAS_BACKEND", "jax")
        keras = pytest.importorskip("keras")
        self.layer = keras.layers.BatchNormalization(scale=affine, center=affine)
        self.layer.build((None,) * (ndim - 1) + (FEATURES,))

    def __call__(self, x, train):
        with lenient():
            return np.array(self.layer(jnp.asarray(x), training=train))

    def convert(self):
        return from_keras({v.name: v for v in self.layer.variables})

    def load(self, params, state):
        arrays = to_keras(params, state)
        for v in self.layer.variables:
            v.assign(arrays[v.name])


class Haiku(Peer):
    def __init__(self, ndim, affine, *, decay=0.99):
        hk = pytest.importorskip("haiku")
        self.ndim, self.decay = ndim, decay

        def forward(x, train):
            return hk.BatchNorm(affine, affine, decay, name="bn")(x, is_training=train)

        self.model = hk.transform_with_state(forward)
        with lenient():
            x = jnp.ones([2] * (ndim - 1) + [FEATURES])
            self.params, self.state = self.model.init(jax.random.key(0), x, True)

    def __call__(self, x, train):
        with lenient():
            y, self.state = self.model.apply(self.params, self.state, None, jnp.asarray(x), train)
        return y

    def convert(self):
        return from_haiku(self.params, self.state, "bn")

    def load(self, params, state):
        self.params, self.state = to_haiku(params, state, "bn", decay=self.decay, ndim=self.ndim)

    def keywords(self, state):
        return {"momentum": debiased_momentum(self.decay, state.count)}


class Equinox(Peer):
    axis = 1

    def __init__(self, _ndim, affine, *, mode="batch", momentum=0.99):
        self.eqx = pytest.importorskip("equinox")
        self.mode, self.momentum = mode, momentum
        self.trains_alike = mode == "batch"
        self.names = {
            "batch": ("batch_counter", "batch_state_index"),
            "ema": ("ema_first_time_index", "ema_state_index"),
        }[mode]
        make = self.eqx.nn.make_with_state(self.eqx.nn.BatchNorm)
        self.bn, self.state = make(FEATURES, "batch", channelwise_affine=affine, momentum=momentum, mode=mode)

    def __call__(self, x, train):
        def one(x, state):
            return self.bn(x, state, inference=not train)

        with lenient():
            mapped = jax.vmap(one, axis_name="batch", in_axes=(0, None), out_axes=(0, None))
            y, self.state = mapped(jnp.asarray(x), self.state)
        return y

    def arrays(self):
        arrays = {"weight": self.bn.weight, "bias": self.bn.bias}
        return arrays | {name: self.state.get(getattr(self.bn, name)) for name in self.names}

    def convert(self):
        return from_equinox(self.arrays(), momentum=self.momentum)

    def load(self, params, state):
        self.put(to_equinox(params, state, momentum=self.momentum, mode=self.mode))

    def put(self, arrays):
        parameters = arrays["weight"], arrays["bias"]
        none = {"is_leaf": lambda part: part is None}
        self.bn = self.eqx.tree_at(lambda bn: (bn.weight, bn.bias), self.bn, parameters, **none)
        for name in self.names:
            self.state = self.state.set(getattr(self.bn, name), arrays[name])

    def keywords(self, state):
        if self.mode == "batch":
            return {"momentum": debiased_momentum(self.momentum, state.count)}
        return {"momentum": jnp.where(state.count == 0, 0, self.momentum)}
