"""What may import what."""

import ast
import sys

import pytest

from tests.sources import ROOT, files, imported, module, modules_after, packages, programs, within

CORE = ROOT / "jaxbn"
FLAX_LAYERS = {CORE / "linen.py", CORE / "nnx.py", CORE / "_outside.py"}
# The page that draws the curves of `experiments.mnist` anew.
ALIASES = {"experiments.plot_results": "experiments.mnist"}


def test_the_library_imports_no_flax():
    loaded = modules_after("import jaxbn.variants")
    assert "jaxbn.normalization" in loaded
    assert not {name for name in loaded if name.split(".")[0] in ("flax", "optax", "experiments")}


@pytest.mark.parametrize("path", files("jaxbn"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_needs_jax_and_numpy_alone(path):
    allowed = {"jax", "numpy", "jaxbn", *sys.stdlib_module_names}
    assert packages(path) <= allowed | ({"flax"} if path in FLAX_LAYERS else set())


def test_the_core_does_not_import_its_layers():
    for path in files("jaxbn"):
        assert not {"jaxbn.linen", "jaxbn.nnx"} & set(imported(path)), path
    assert [path.name for path in files("jaxbn") if "jaxbn._outside" in imported(path)] == ["nnx.py"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["linen", "nnx", "interop", "inference", "preprocess"])
def test_a_module_imports_on_its_own(name):
    assert f"jaxbn.{name}" in modules_after(f"import jaxbn.{name}")


def test_the_index_fits_on_one_screen():
    assert len((CORE / "__init__.py").read_text().splitlines()) <= 40


def test_training_knows_neither_data_nor_files_nor_batch_norm():
    names = set(imported(ROOT / "experiments/harness/training.py"))
    allowed = ("experiments.harness.placement", "experiments.harness.seeds")
    assert not {name for name in names if name.startswith(("jaxbn", "experiments")) and not name.startswith(allowed)}
    assert not {name.split(".")[0] for name in names} & {"os", "io", "pathlib", "json", "pickle", "shutil", "tempfile"}


@pytest.mark.parametrize("path", ["experiments/harness/plotting.py", "experiments/mnist/plot.py"])
def test_plots_never_train(path):
    loaded = modules_after(f"import {module(ROOT / path)}") | set(imported(ROOT / path))
    assert not {"experiments.harness.training", "experiments.harness.data", "experiments.tutorial"} & loaded
    assert not packages(ROOT / path) & {"jax", "jaxbn", "flax", "optax"}


def test_data_knows_neither_models_nor_training():
    for path in files("experiments", "harness", "data"):
        names = {name for name in imported(path) if name.startswith(("experiments", "jaxbn"))}
        own = ("experiments.harness.data", *(f"experiments.harness.{name}" for name in ("errors", "cache", "files")))
        assert not {name for name in names - {"experiments", "experiments.harness"} if not name.startswith(own)}


def test_the_programs_are_found():
    some = {"mnist", "plot_results", "preprocessing", "speedrun", "bench.accuracy", "bench.ops", "bench.devices"}
    assert {f"experiments.{name}" for name in some} <= programs()
    assert not {name for name in programs() if within(name, "experiments.harness")}


@pytest.mark.parametrize("path", files("experiments"), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_program_is_imported_by_its_own_files_alone(path):
    for name in imported(path):
        for program in programs():
            if within(name, program):
                assert within(module(path), program) or ALIASES.get(module(path)) == program, name


@pytest.mark.parametrize(("room", "allowed"), [("harness", ["harness"]), ("tutorial", ["harness", "tutorial"])])
def test_what_programs_share_knows_none_of_them(room, allowed):
    for path in files("experiments", room):
        names = {name for name in imported(path) if within(name, "experiments")} - {"experiments"}
        assert not {n for n in names if not any(within(n, f"experiments.{a}") for a in allowed)}, path


def test_what_runs_compute_becomes_files_at_one_place():
    writes = {f"experiments.harness.{name}" for name in ("files", "results", "checkpoint", "plotting")}
    paths = [*files("experiments", "harness"), *files("experiments", "tutorial")]
    found = {module(path) for path in paths if writes & set(imported(path))} - writes
    # What is read or kept of the data is not computed.
    found = {name for name in found if not within(name, "experiments.harness.data")}
    of_runs, of_studies = {"run_files", "earlier", "occupied"}, {"study", "study_report"}
    assert found == {f"experiments.harness.{name}" for name in of_runs | of_studies}


def test_arrays_go_to_the_devices_and_leave_them_at_one_place():
    doors = {"jnp.asarray", "jnp.array", "jax.device_put", "jax.device_get"}
    for path in files("experiments"):
        if not within(module(path), "experiments.bench") and module(path) != "experiments.harness.placement":
            nodes = ast.walk(ast.parse(path.read_text()))
            assert not doors & {ast.unparse(node) for node in nodes if isinstance(node, ast.Attribute)}, path
