"""Fifty training steps of every framework that `jaxbn.presets` follows; the ends of them lie in `tests/recorded`.

`python -m tests.record_presets` records anew those of the frameworks that are installed (`pip install -e '.[peers]'`).
Of TensorFlow 1 there is nothing to install, so its layer and the tutorial's own are written here, in NumPy float64.
"""

import importlib.metadata
import json
import os
import warnings
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

RECORDED = Path(__file__).parent / "recorded"
STEPS, VALUES, RATE = 50, 16, 0.2
# No defaults, so that a gradient that is taken for another one shows.
SCALE, BIAS = np.float32([0.5, 1.5, -2.0]), np.float32([1.0, 0.0, -1.0])


class Trajectory(NamedTuple):
    """`[steps, ...]`, channels last: the outputs in training, and what every step leaves behind; then an evaluation."""

    y: np.ndarray
    scale: np.ndarray
    bias: np.ndarray
    mean: np.ndarray
    var: np.ndarray
    evaluated: np.ndarray

    def end(self):
        return Trajectory(*(part[-1] for part in self[:-1]), self.evaluated)


def batches():
    """A fresh batch for every step and one for the evaluation, and what the outputs are drawn towards.

    The offsets are moderate, since far from 0 it is the others that lose digits. Uniform numbers are the same in every
    version of NumPy.
    """
    x = np.random.default_rng(0).random((STEPS + 1, VALUES // 4, 2, 2, 3))
    x = (6 * (x - 0.5) + [0.0, 1.5, -2.0]).astype("float32")
    return x, np.float32(0.5) * np.abs(x)


def walk(step, evaluate):
    """`step(x, target) -> y, scale, bias, mean, var` for every batch but the last, then `evaluate(x)`."""
    x, targets = batches()
    parts = zip(*(map(np.array, step(*pair)) for pair in zip(x[:-1], targets[:-1], strict=True)), strict=True)
    return Trajectory(*map(np.stack, parts), np.array(evaluate(x[-1])))


def loss(y, target):
    """Half the squares, averaged over the values of each feature."""
    return ((y - target) ** 2).sum() / (2 * VALUES)


def flax():
    import flax.linen as nn

    layer = nn.BatchNorm(use_fast_variance=False)
    stats = {"mean": jnp.zeros(3), "var": jnp.ones(3)}
    variables = {"params": {"scale": SCALE, "bias": BIAS}, "batch_stats": stats}

    @jax.jit
    def descend(variables, x, target):
        def objective(params):
            call = {"use_running_average": False, "mutable": ["batch_stats"]}
            y, updates = layer.apply({**variables, "params": params}, x, **call)
            return loss(y, target), (y, updates)

        gradient, (y, updates) = jax.grad(objective, has_aux=True)(variables["params"])
        return y, {"params": jax.tree.map(lambda p, g: p - RATE * g, variables["params"], gradient), **updates}

    def step(x, target):
        nonlocal variables
        y, variables = descend(variables, x, target)
        params, stats = variables["params"], variables["batch_stats"]
        return y, params["scale"], params["bias"], stats["mean"], stats["var"]

    return walk(step, lambda x: layer.apply(variables, x, use_running_average=True))


def torch():
    import torch

    layer = torch.nn.BatchNorm2d(3)
    layer.load_state_dict({"weight": torch.tensor(SCALE), "bias": torch.tensor(BIAS)}, strict=False)
    descent = torch.optim.SGD(layer.parameters(), RATE)

    def forward(x):
        return layer(torch.tensor(x).movedim(-1, 1)).movedim(1, -1)

    def step(x, target):
        descent.zero_grad()
        y = forward(x)
        loss(y, torch.tensor(target)).backward()
        descent.step()
        return [v.detach().clone() for v in (y, layer.weight, layer.bias, layer.running_mean, layer.running_var)]

    def evaluate(x):
        layer.eval()
        return forward(x).detach()

    return walk(step, evaluate)


def keras():
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend here.")
    layer = keras.layers.BatchNormalization()
    layer.build((None, None, None, 3))
    params, stats = [jnp.asarray(SCALE), jnp.asarray(BIAS)], [jnp.zeros(3), jnp.ones(3)]

    @jax.jit
    def descend(params, stats, x, target):
        def objective(params):
            y, updated = layer.stateless_call(params, stats, x, training=True)
            return loss(y, target), (y, updated)

        gradient, (y, updated) = jax.grad(objective, has_aux=True)(params)
        return y, [p - RATE * g for p, g in zip(params, gradient, strict=True)], updated

    def step(x, target):
        nonlocal params, stats
        y, params, stats = descend(params, stats, x, target)
        return y, *params, *stats

    return walk(step, lambda x: layer.stateless_call(params, stats, x, training=False)[0])


def slim():
    """`tf_slim/layers/layers.py` at 1287b1e: defaults in lines 459-481, and lines 587-607 fuse by default.

    There (and in `tf.layers.BatchNormalization`, which 4 dimensions go to by default) the statistics are those of
    `tensorflow/core/kernels/fused_batch_norm_op.cc`, `FusedBatchNorm<CPUDevice, T, U, true>`: the variance that it
    normalises with is biased, and the one that it returns is multiplied by `rest_size_adjust`. Then lines 406-409:
    `assign_moving_average`, which takes `(1 - decay) * (variable - value)` off the variable.
    """
    decay, epsilon = 0.999, 0.001
    beta, moving_mean, moving_variance = np.float64(BIAS), np.zeros(3), np.ones(3)

    def step(x, target):
        nonlocal beta, moving_mean, moving_variance
        x = np.float64(x).reshape(-1, 3)
        rest_size = len(x)
        batch_mean = x.sum(0) / rest_size
        batch_variance = np.square(x - batch_mean).sum(0) / rest_size
        y = (x - batch_mean) / np.sqrt(batch_variance + epsilon) + beta
        moving_mean = moving_mean - (1 - decay) * (moving_mean - batch_mean)
        adjusted = batch_variance * (rest_size / (rest_size - 1))
        moving_variance = moving_variance - (1 - decay) * (moving_variance - adjusted)
        beta = beta - RATE * np.sum(y - target.reshape(-1, 3), 0) / VALUES
        return y.reshape(target.shape), np.ones(3), beta, moving_mean, moving_variance

    return walk(step, lambda x: (x - moving_mean) / np.sqrt(moving_variance + epsilon) + beta)


def tutorial():
    """`batch_norm_1d` of the tutorial, its input 5: the moving variance starts at 0, and decay weighs the old value."""
    decay, eps = 0.1, 1e-5
    gamma, beta, moving_mean, moving_var = np.float64(SCALE), np.float64(BIAS), np.zeros(3), np.zeros(3)

    def step(x, target):
        nonlocal gamma, beta, moving_mean, moving_var
        x = np.float64(x).reshape(-1, 3)
        x_mean = np.mean(x, axis=0)
        x_var = np.mean((x - x_mean) ** 2, axis=0)
        x_hat = (x - x_mean) / np.sqrt(x_var + eps)
        moving_mean = decay * moving_mean + (1 - decay) * x_mean
        moving_var = decay * moving_var + (1 - decay) * x_var
        y = gamma * x_hat + beta
        slope = (y - target.reshape(-1, 3)) / VALUES
        gamma, beta = gamma - RATE * np.sum(slope * x_hat, 0), beta - RATE * np.sum(slope, 0)
        return y.reshape(target.shape), gamma, beta, moving_mean, moving_var

    return walk(step, lambda x: gamma * ((x - moving_mean) / np.sqrt(moving_var + eps)) + beta)


# What each needs beside NumPy, and its steps.
PEERS = {
    "FLAX": ("flax", flax),
    "TORCH": ("torch", torch),
    "KERAS": ("keras", keras),
    "SLIM": (None, slim),
    "TUTORIAL": (None, tutorial),
}


def live(name):
    """The trajectory of the framework itself.

    Raises:
        ImportError: it is not installed.
    """
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # what others warn of is not ours to mend
        return PEERS[name][1]()


def recorded(name):
    parts = json.loads((RECORDED / f"{name.lower()}.json").read_text())
    return Trajectory(*(np.array(parts[field]) for field in Trajectory._fields))


def main():
    RECORDED.mkdir(exist_ok=True)
    for name, (package, _) in PEERS.items():
        try:
            end = live(name).end()
        except ImportError as error:
            print(f"{name}: left as it is, {error}")
            continue
        source = f"{package} {importlib.metadata.version(package)}" if package else "NumPy, float64"
        parts = {field: np.round(np.float64(part), 10).tolist() for field, part in end._asdict().items()}
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in {"source": source, **parts}.items()]
        (RECORDED / f"{name.lower()}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(f"{name}: {source}")


if __name__ == "__main__":
    main()
