"""Strict promotion and reproducible examples for every test; set before the first array exists.

Most programs of users, and most tests, use one device. They are tested in a process that sees four, for the others must
not matter to them; a test that uses more than one is marked `several_devices`.
"""

import gc
import os
import tempfile

import hypothesis
import jax
import pytest
from jax._src import compiler

from tests.quick import mark_the_others

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
# A GPU's default, TF32, leaves ten bits of what the tests multiply around a norm.
jax.config.update("jax_default_matmul_precision", "highest")

hypothesis.settings.register_profile(
    "deterministic", derandomize=True, database=None, deadline=None, max_examples=30, print_blob=False
)
hypothesis.settings.load_profile("deterministic")


# Without other optimizations, the newer emitters of a CPU's kernels take most of the time that compilation takes. Said
# for the processes that tests start too. jaxlib 0.12 has no other emitters.
NEWER_EMITTERS = "xla_cpu_use_fusion_emitters"
HAS_OLDER_ONES = jax.__version_info__ < (0, 11)
compile_options = compiler.get_compile_options


def with_newer_emitters(*args, env_options_overrides=None, **options):
    overrides = {NEWER_EMITTERS: True, **(env_options_overrides or {})}
    return compile_options(*args, env_options_overrides=overrides, **options)


def compile_quickly(quickly):
    """Programs that are compiled sooner and run slower, or those of users."""
    jax.config.update("jax_disable_most_optimizations", quickly)
    compiler.get_compile_options = with_newer_emitters if HAS_OLDER_ONES and not quickly else compile_options


def pytest_addoption(parser):
    parser.addoption("--plain", action="store_true", help="lower as on every platform but a CPU")
    parser.addoption("--devices", type=int, default=4, help="with 1, add -m 'not several_devices'")


def pytest_configure(config):
    compile_quickly(True)
    flags = os.environ.get("XLA_FLAGS", "")
    if HAS_OLDER_ONES and NEWER_EMITTERS not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --{NEWER_EMITTERS}=false".strip()
    # For the processes to come: threads of OpenBLAS that wait for each other take the cores from other tests.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # To search all objects every 700 new ones, Python's default, takes a tenth of the time: tracing makes so many.
    gc.set_threshold(10_000)
    jax.config.update("jax_num_cpu_devices", config.getoption("--devices"))
    # Many tests compile the same small programs. Each test process has its own cache: in a shared one it could find a
    # file that another process is still writing.
    folder = tempfile.TemporaryDirectory(prefix="jaxbn-tests-")
    config.add_cleanup(folder.cleanup)
    jax.config.update("jax_compilation_cache_dir", folder.name)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    if config.getoption("--plain"):
        from jaxbn._reduce import primitives

        primitives.devices_of = lambda _: None


def pytest_xdist_auto_num_workers():
    """One more than there are cores, for some tests wait for other processes to end."""
    return len(os.sched_getaffinity(0)) + 1 if hasattr(os, "sched_getaffinity") else None


@pytest.hookimpl(tryfirst=True)  # before `-m` is looked at
def pytest_collection_modifyitems(config, items):
    mark_the_others(items, "slow")
    if "faults" not in config.option.markexpr:
        left_out = [item for item in items if item.get_closest_marker("faults")]
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="module", autouse=True)
def _compiled(request):
    """Where speed and the last digits are not the subject, most of the time would go into compilation."""
    if not request.node.get_closest_marker("optimized"):
        yield
        return
    jax.clear_caches()
    compile_quickly(False)
    yield
    compile_quickly(True)
