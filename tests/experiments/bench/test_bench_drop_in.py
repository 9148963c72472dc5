"""The bench of Flax's examples: who is compared with whom, with loss curves that are given."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import flax.linen
import flax.nnx
import jax.numpy as jnp
import numpy as np
import pytest

import jaxbn.linen
import jaxbn.nnx
from experiments.bench import drop_in
from experiments.harness.data import Mnist
from tests.data import noise

FLAX = flax.linen.BatchNorm, flax.nnx.BatchNorm


@pytest.mark.slow
def test_curves_are_compared_printed_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def make(_: Path, norm: Any, dtype: Any) -> Callable[[Any], list[float]]:
        ours = norm in (jaxbn.linen.BatchNorm, jaxbn.nnx.BatchNorm)
        stable = getattr(norm, "keywords", {}) == {"use_fast_variance": False}

        def losses(batches: Any) -> list[float]:
            assert {images.dtype for images, _ in batches} == {np.dtype(dtype)}
            return [2.0, 1.0 if ours else 1.25 if stable else 1.75]

        return losses

    examples = np.zeros((drop_in.STEPS * drop_in.BATCH, 28, 28), np.uint8)
    monkeypatch.setattr(drop_in, "load_mnist", lambda _: Mnist(examples, examples[:, 0, 0], examples, examples))
    monkeypatch.setattr(drop_in, "resnet", make)
    monkeypatch.setattr(drop_in, "cnn", make)
    (tmp_path / "flax" / "examples").mkdir(parents=True)
    assert drop_in.main(["--sources", str(tmp_path / "flax"), "--out", str(tmp_path / "out")]) == 0
    text = (tmp_path / "out" / "summary.md").read_text()
    assert text in capsys.readouterr().out
    title, _, head, _, *rows = text.splitlines()
    assert title == "Loss of 100 steps, and the largest difference of the curves"
    names = ["ResNet-18, linen, float32", "CNN, nnx, float32", "ResNet-18, linen, float64", "CNN, nnx, float64"]
    assert rows == [f"| {name} | 2.0000 | 1.0000 | 2.5e-01 | 7.5e-01 | 5.0e-01 |" for name in names]
    measured = json.loads((tmp_path / "out" / "summary.json").read_text())["measured"]
    assert measured[names[0]]["ours - Flax's default"] == "7.5e-01"
    assert head.count("|") == rows[0].count("|")


def test_without_flaxs_sources_it_says_how_to_get_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert drop_in.main(["--sources", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"error: `--sources` must be a folder with Flax's sources, got {tmp_path}; get them by `pip")
    assert said.count("\n") == 1


EXAMPLES = {
    "imagenet/models.py": """
class ResNetBlock:
    pass

class ResNet(nn.Module):
    stage_sizes: Sequence[int]
    block_cls: ModuleDef
    num_classes: int
    num_filters: int
    dtype: Any

    @nn.compact
    def __call__(self, x, train: bool = True):
        x = nn.BatchNorm(use_running_average=not train, axis_name="batch", dtype=self.dtype)(x.mean((1, 2)))
        return nn.Dense(self.num_classes, dtype=self.dtype)(x)
""",
    "mnist/train.py": """
class CNN(nnx.Module):
    def __init__(self, rngs):
        self.norm, self.dense = nnx.BatchNorm(1, rngs=rngs), nnx.Linear(1, 10, rngs=rngs)

    def __call__(self, x, rngs):
        return self.dense(self.norm(x.mean((1, 2))))
""",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "ours", "theirs"),
    [
        (drop_in.resnet, jaxbn.linen.BatchNorm, flax.linen.BatchNorm),
        (drop_in.cnn, jaxbn.nnx.BatchNorm, flax.nnx.BatchNorm),
    ],
)
def test_the_examples_train_with_the_given_norm_and_flax_keeps_its_own(
    make: Any, ours: Any, theirs: Any, tmp_path: Path
) -> None:
    for name, code in EXAMPLES.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(code)
    called = []

    def norm(*args: Any, **options: Any) -> Any:
        called.append(ours)
        return ours(*args, **options)

    images = noise(2, 64, 28, 28, 1, mean=0.5)
    batches = [(jnp.asarray(x), jnp.arange(64) % 10) for x in images]
    losses = make(tmp_path, norm, np.float32)(iter(batches))
    assert called
    assert (flax.linen.BatchNorm, flax.nnx.BatchNorm) == FLAX
    np.testing.assert_allclose(losses, make(tmp_path, theirs, np.float32)(iter(batches)), rtol=1e-4)


def test_the_classes_of_a_file_are_found_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "models.py").write_text("import no_such_package\n\n\nclass Net(nn.Module):\n    width: int = 3\n")
    assert drop_in.classes(tmp_path / "models.py", {"nn": flax.linen})["Net"]().width == 3
