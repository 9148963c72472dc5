"""What may import what."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import jaxbn

CORE = Path(jaxbn.__file__).parent
ROOT = CORE.parent
FLAX_LAYERS = {CORE / "linen.py", CORE / "nnx.py"}


def imported(path):
    """The full names of all that a file imports, also inside functions; `from a import b` counts as `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (node.module, *(f"{node.module}.{alias.name}" for alias in node.names))


def packages(path):
    return {name.split(".")[0] for name in imported(path)}


def files(*parts):
    found = sorted(ROOT.joinpath(*parts).rglob("*.py"))
    assert found
    return found


def modules_after(statement):
    code = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(run.stdout.split())


def test_the_library_imports_no_flax():
    loaded = modules_after("import jaxbn")
    assert "jaxbn.normalization" in loaded
    assert not {name for name in loaded if name.split(".")[0] in ("flax", "optax", "experiments")}


@pytest.mark.parametrize("path", files("jaxbn"), ids=lambda path: str(path.relative_to(ROOT)))
def test_the_core_needs_jax_and_numpy_alone(path):
    allowed = {"jax", "numpy", "jaxbn", *sys.stdlib_module_names}
    assert packages(path) <= allowed | ({"flax"} if path in FLAX_LAYERS else set())


def test_the_core_does_not_import_its_layers():
    for path in files("jaxbn"):
        assert not {"jaxbn.linen", "jaxbn.nnx"} & set(imported(path)), path


@pytest.mark.parametrize("name", ["presets", "linen", "nnx", "interop"])
def test_a_module_imports_on_its_own(name):
    assert f"jaxbn.{name}" in modules_after(f"import jaxbn.{name}")


def test_the_index_fits_on_one_screen():
    assert len((CORE / "__init__.py").read_text().splitlines()) <= 40


def test_training_knows_neither_data_nor_files_nor_batch_norm():
    names = imported(ROOT / "experiments/harness/training.py")
    allowed = ("experiments.harness.placement", "experiments.harness.seeds")
    assert not {name for name in names if name.startswith(("jaxbn", "experiments")) and not name.startswith(allowed)}
    assert not {name.split(".")[0] for name in names} & {"os", "io", "pathlib", "json", "pickle", "shutil", "tempfile"}


@pytest.mark.parametrize("path", ["experiments/harness/plotting.py", "experiments/plot_results.py"])
def test_plots_never_train(path):
    module = path.removesuffix(".py").replace("/", ".")
    loaded = modules_after(f"import {module}") | set(imported(ROOT / path))
    assert not {f"experiments.harness.{name}" for name in ("training", "models", "classifier", "data")} & loaded
    assert not packages(ROOT / path) & {"jax", "jaxbn", "flax", "optax"}


def test_data_knows_neither_models_nor_training():
    for path in files("experiments", "harness", "data"):
        names = {name for name in imported(path) if name.startswith(("experiments", "jaxbn"))}
        own = ("experiments.harness.data", "experiments.harness.errors", "experiments.harness.cache")
        assert not {name for name in names - {"experiments", "experiments.harness"} if not name.startswith(own)}
