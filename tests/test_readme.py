"""The code in the README and the docs runs, in the order in which a reader would paste it; what they name is there."""

import importlib.util
import re

import jax
import numpy as np
import pytest

from tests.sources import ROOT
from tests.tolerances import assert_close

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
# What the blocks of a page leave behind.
SHAPES = {
    "inference.md": {"images": (256, 8, 8, 1), "logits": (256, 10)},
    "README.md": {"y": (64, 100)},
    "migrate.md": {"logits": (64, 10), "y": (64, 784)},
    "cluster.md": {"x": (64, 784), "y": (64, 10)},
    "small-batches.md": {"logits": (64, 10), "sharded": (64, 784)},
    "preprocessing.md": {"standardized": (64, 784), "whitened": (64, 784), "original": (64, 784)},
}


def weights_of_torch():
    """Those of the classifier on the page about migration, as PyTorch would name and order them."""
    rng = np.random.default_rng(0)
    shapes = {"0.weight": (8, 3, 3, 3), "0.bias": (8,), "1.weight": (8,), "1.bias": (8,), "1.running_mean": (8,)}
    shapes |= {"1.running_var": (8,), "4.weight": (10, 8 * 5 * 7), "4.bias": (10,)}
    # Of the size that PyTorch draws, and positive for the variance.
    return {name: rng.uniform(0.01, 0.1, size=shape).astype("float32") for name, shape in shapes.items()}


def convolved(weights, images):
    """Conv2d in NumPy, channels first."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (3, 3), (2, 3))
    return np.einsum("bchwij,ocij->bohw", windows, weights["0.weight"]) + weights["0.bias"][:, None, None]


def classifier_of_torch(weights, images):
    """Conv2d, BatchNorm2d, ReLU, Flatten and Linear in NumPy, channels first."""
    y = convolved(weights, images)
    scale, bias, mean, var = (
        weights[f"1.{name}"][:, None, None] for name in ("weight", "bias", "running_mean", "running_var")
    )
    y = np.maximum((y - mean) / np.sqrt(var + 1e-5) * scale + bias, 0)
    return y.reshape(len(y), -1) @ weights["4.weight"].T + weights["4.bias"]


def blocks(page):
    return re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def the_classifier_moved(names):
    """It gives PyTorch's outputs in linen and in nnx, and its statistics train on as PyTorch's would."""
    weights, rng = names["weights"], np.random.default_rng(1)
    images = rng.normal(size=(2, 3, 7, 9)).astype("float32")
    found = names["ours"].apply(names["variables"], images.transpose(0, 2, 3, 1), train=False)
    assert_close(found, classifier_of_torch(weights, images.astype("float64")), 2e-6)
    assert_close(names["model"](images.transpose(0, 2, 3, 1)), found, 2e-6)
    if "theirs" in names:
        assert abs(names["difference"]).max() < 2e-6
        expected = names["theirs"](names["torch"].from_numpy(images)).detach().numpy()
        assert_close(found, expected, 2e-6)
    y = convolved(weights, np.asarray(names["images"], "float64").transpose(0, 3, 1, 2))
    trained, batch = names["stats"]["BatchNorm_0"], {"mean": y.mean((0, 2, 3)), "var": y.var((0, 2, 3), ddof=1)}
    for name in ("mean", "var"):
        assert_close(trained[name], 0.9 * weights[f"1.running_{name}"] + 0.1 * batch[name], 2e-6)


def the_norms_are_held(names):
    """Scale and bias of the norms, and no others."""
    assert names["norms"]["BatchNorm_0"] == {"scale": True, "bias": True}
    assert not any(jax.tree.leaves([names["norms"]["Dense_0"], names["norms"]["Dense_1"]]))
    dense, norm, _ = names["model"].layers
    assert (norm.scale[...] == 1).all()
    assert (norm.bias[...] == 0).all()
    assert (norm.mean[...] == 0).all()
    assert (dense.bias[...] != 0).any()


@pytest.mark.slow
# Those of the FAQ stand alone: tests/test_faq.py.
@pytest.mark.parametrize(
    "page", [page for page in PAGES if blocks(page) and page.name != "faq.md"], ids=lambda page: page.name
)
def test_the_python_blocks_run(page):
    names = {}
    for block in blocks(page):
        if "pip install torch" in block and not importlib.util.find_spec("torch"):
            # What the next block reads.
            names.setdefault("weights", weights_of_torch())
            continue
        # The promotion that users have: optax needs it.
        with jax.numpy_dtype_promotion("standard"):
            exec(compile(block, str(page), "exec"), names)
    assert {name: names[name].shape for name in SHAPES[page.name]} == SHAPES[page.name]
    if page.name == "migrate.md":
        the_classifier_moved(names)
    if page.name == "small-batches.md":
        the_norms_are_held(names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page):
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"`((?:jaxbn|experiments|tests|docs)/[\w/.-]*)`", text)
    named = {ROOT / name for name in found if "NAME" not in name}
    named |= {page.parent / link for link in re.findall(r"\]\(([\w/.-]+)\)", text)}
    assert not {str(path) for path in named if not path.exists()}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_programs_that_are_named_exist(page):
    for name in re.findall(r"python -m (experiments[a-z0-9_.]*[a-z0-9])\b", page.read_text(encoding="utf-8")):
        spec = importlib.util.find_spec(name)
        assert spec, name
        if spec.submodule_search_locations:
            assert importlib.util.find_spec(f"{name}.__main__"), name


def test_the_readme_fits_on_a_few_screens():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 150
