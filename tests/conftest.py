"""Strict promotion and reproducible examples for every test; set before the first array exists.

Programs of one device are what users run, and most of the tests. The process sees four, so that they are tested among
others; a test that uses more than one is marked `several_devices`.
"""

import hypothesis
import jax

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, max_examples=30, print_blob=False
)
hypothesis.settings.load_profile("deterministic")


def pytest_addoption(parser):
    parser.addoption("--plain", action="store_true", help="lower as on every platform but a CPU")
    parser.addoption("--devices", type=int, default=4, help="with 1, add -m 'not several_devices'")


def pytest_configure(config):
    jax.config.update("jax_num_cpu_devices", config.getoption("--devices"))
    if config.getoption("--plain"):
        from jaxbn._reduce import primitives

        primitives._devices = lambda _: None
