"""Layers to convert: ours, and what other frameworks would hold."""

import jax.numpy as jnp
import numpy as np

from jaxbn import BatchNormParams, BatchNormState

# Of Haiku's layers here.
HAIKU = {"decay": 0.9, "ndim": 4}


def layer(features=3, *, scale=True, bias=True, dtype="float32", count=0):
    """Random values in every part."""
    rng = np.random.default_rng(0)
    dtype = jnp.dtype(dtype)
    stats = dtype if jnp.finfo(dtype).bits >= 32 else jnp.dtype("float32")

    def values(dtype):
        array = rng.normal(size=features)
        return jnp.asarray(array + 1j * rng.normal(size=features) if dtype.kind == "c" else array).astype(dtype)

    params = BatchNormParams(values(dtype) if scale else None, values(dtype) if bias else None)
    var = jnp.abs(values(jnp.finfo(stats).dtype))
    return params, BatchNormState(values(stats), var, jnp.asarray(count, jnp.int32))


# What the other framework would hold, with one layer among others.
A, B, C, D = (np.array(row, "float32") for row in ([1, 2, 3], [4, 5, 6], [7, 8, 9], [0.5, 1, 2]))
FOREIGN = {
    "torch": {"weight": A, "bias": B, "running_mean": C, "running_var": D, "num_batches_tracked": np.array(5)},
    "keras": {"gamma": A, "beta": B, "moving_mean": C, "moving_variance": D},
    "haiku": (
        {"net/~/bn": {"scale": A.reshape(1, 1, 1, 3), "offset": B.reshape(1, 1, 1, 3)}},
        {
            f"net/~/bn/~/{name}": {
                "average": value.reshape(1, 1, 1, 3),
                "hidden": (value * (1 - np.float32(0.9) ** np.float64(5))).astype("float32").reshape(1, 1, 1, 3),
                "counter": np.array(5, "int32"),
            }
            for name, value in (("mean_ema", C), ("var_ema", D))
        },
    ),
    "equinox-ema": {"weight": A, "bias": None, "ema_first_time_index": np.array(False), "ema_state_index": (C, D)},
    "linen": {"params": {"scale": A, "bias": B}, "batch_stats": {"mean": C, "var": D}},
    "linen-count": {"params": {"scale": A}, "batch_stats": {"mean": C, "var": D, "count": np.array(5, "int32")}},
    "nnx": {"scale": A, "bias": B, "mean": C, "var": D},
}
