"""Steps of Keras's batch renormalisation; what it gave lies in `tests/recorded/keras_renorm.json`.

`python -m tests.record_renorm` records it anew, where Keras is installed (`pip install -e '.[peers]'`).
"""

import importlib.metadata
import json
import os
import warnings
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from tests.record_presets import BIAS, RECORDED, SCALE

PATH = RECORDED / "keras_renorm.json"
STEPS, EPSILON, MOMENTUM = 6, 1e-2, 0.9
LIMITS = {"r_max": 1.5, "d_max": 0.5}


class Steps(NamedTuple):
    """`[steps, ...]`: the outputs, and what each step started from and left behind."""

    y: np.ndarray
    mean: np.ndarray
    deviation: np.ndarray
    new_mean: np.ndarray
    new_deviation: np.ndarray


def batches():
    """Uniform numbers are the same in every version of NumPy. The last feature varies far less than epsilon."""
    x = np.random.default_rng(0).random((STEPS, 8, 3))
    return (([8.0, 3.0, 0.1] * (x - 0.5)) + [1.0, -0.6, 0.02]).astype("float32")


def keras():
    """Every limit holds somewhere. Of the deviation it keeps the average, and not of the variance."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if keras.backend.backend() != "jax":
        raise ImportError("Keras runs on another backend here.")
    clipping = {"rmax": LIMITS["r_max"], "rmin": 1 / LIMITS["r_max"], "dmax": LIMITS["d_max"]}
    layer = keras.layers.BatchNormalization(
        momentum=MOMENTUM, renorm_momentum=MOMENTUM, epsilon=EPSILON, renorm=True, renorm_clipping=clipping
    )
    layer.build((None, 3))
    params = {"gamma": SCALE, "beta": BIAS}
    trainable = [jnp.asarray(params[v.name]) for v in layer.trainable_variables]
    names = [v.name for v in layer.non_trainable_variables]
    kept = [jnp.asarray(v.value) for v in layer.non_trainable_variables]
    mean, deviation = names.index("renorm_mean"), names.index("renorm_stddev")
    kept[deviation] = jnp.sqrt(jnp.asarray([1.0, 1.0, 4e-4]) + EPSILON)
    steps = []
    for x in batches():
        y, new = layer.stateless_call(trainable, kept, x, training=True)
        steps.append(Steps(y, kept[mean], kept[deviation], new[mean], new[deviation]))
        kept = new
    return Steps(*(np.stack(parts) for parts in zip(*steps, strict=True)))


def live():
    """What Keras gives.

    Raises:
        ImportError: it is not installed, or runs on another backend here.
    """
    with warnings.catch_warnings(), jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        warnings.simplefilter("ignore")  # what others warn of is not ours to mend
        return keras()


def recorded():
    parts = json.loads(PATH.read_text())
    return Steps(*(np.array(parts[field]) for field in Steps._fields))


def main():
    parts = {field: np.round(np.float64(part), 10).tolist() for field, part in live()._asdict().items()}
    parts = {"source": f"keras {importlib.metadata.version('keras')}", **parts}
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in parts.items()]
    PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(parts["source"])


if __name__ == "__main__":
    main()
