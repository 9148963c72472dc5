"""What a result was made with."""

from __future__ import annotations

import importlib.metadata
import sys

PEERS = ("dm-haiku", "equinox", "keras", "torch", "scikit-learn", "libtpu", "jax-cuda13-plugin")
PACKAGES = ("jax", "flax", "optax", "numpy", *PEERS)


def describe_environment() -> dict[str, object]:
    """The device, and the versions of what is installed."""
    import jax

    import jaxbn

    device = jax.devices()[0]
    versions = {"python": sys.version.split()[0], "jaxbn": jaxbn.__version__}
    for name in PACKAGES:
        # Their metadata, for importing a package takes time that a program may be measuring.
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"device": f"{device.platform} ({device.device_kind})", "versions": versions}
