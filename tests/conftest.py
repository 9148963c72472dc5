"""Strict promotion, four devices and reproducible examples for every test; set before the first array exists."""

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_num_cpu_devices", 4)

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, max_examples=30, print_blob=False
)
hypothesis.settings.load_profile("deterministic")


def pytest_addoption(parser):
    parser.addoption("--plain", action="store_true", help="lower as on every platform but a CPU")


def pytest_configure(config):
    if config.getoption("--plain"):
        from jaxbn._reduce import primitives

        primitives._devices = lambda _: None
