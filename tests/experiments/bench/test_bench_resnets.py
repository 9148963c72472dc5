"""The bench of a training step of Flax's ResNets, with a stand-in of a few layers for Flax's sources."""

import gc
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.bench import resnets
from experiments.bench.training import __main__ as training
from experiments.bench.training import resnet_steps
from tests.tolerances import assert_close

STAND_IN = """
from no_such_package import nothing

class ResNetBlock(nn.Module):
    norm: ModuleDef

    @nn.compact
    def __call__(self, x):
        return x + nn.relu(self.norm(scale_init=nn.initializers.ones_init())(x))

class BottleneckResNetBlock(ResNetBlock):
    pass

class ResNet(nn.Module):
    stage_sizes: Sequence[int]
    block_cls: ModuleDef
    num_classes: int
    dtype: Any = jnp.float32

    @nn.compact
    def __call__(self, x, train: bool = True):
        norm = partial(nn.BatchNorm, use_running_average=not train, dtype=self.dtype, axis_name="batch")
        x = self.block_cls(norm=norm)(norm(name="bn_init")(x))
        return nn.Dense(self.num_classes, dtype=self.dtype)(jnp.mean(x, axis=(1, 2)))
"""


@pytest.fixture
def frozen():
    """The bench collects garbage; it need not look through all that other tests hold."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture
def sources(tmp_path):
    file = tmp_path / "flax" / resnets.FILE
    file.parent.mkdir(parents=True)
    file.write_text(STAND_IN)
    return tmp_path / "flax"


@pytest.mark.slow
def test_norms_over_the_bridge_make_the_same_step(sources):
    images = jax.random.normal(jax.random.key(1), (4, 8, 8, 3))
    found = {}
    for name, norm in {"jaxbn": resnets.LINEN["jaxbn"], **resnets.NNX}.items():
        step, start = resnets.resnet(sources, 18, norm, jax.ShapeDtypeStruct(images.shape, images.dtype))
        variables, _, loss = jax.jit(step)(*jax.jit(start)(jax.random.key(0)), images, jnp.asarray([5, 0, 999, 5]))
        params, stats = variables["params"], variables["batch_stats"]["bn_init"]
        found[name] = [stats["mean"], stats["var"], params["bn_init"]["scale"], params["Dense_0"]["kernel"], loss]
    assert np.all(found["jaxbn"][0])
    for values in found.values():
        for value, expected in zip(values, found["jaxbn"], strict=True):
            assert_close(value, expected, 1e-5)


@pytest.mark.parametrize("depth", resnets.SIZES)
def test_the_net_has_the_dtype_of_the_images(depth, sources):
    images = jax.ShapeDtypeStruct((4, 8, 8, 3), jnp.bfloat16)
    step, start = resnets.resnet(sources, depth, resnets.LINEN["jaxbn"], images)
    arguments = *jax.eval_shape(start, jax.random.key(0)), images, jax.ShapeDtypeStruct((4,), jnp.int32)
    # The logits, as the net makes them.
    assert f"bf16[4,{resnets.CLASSES}]" in str(jax.make_jaxpr(step)(*arguments))
    variables, state, loss = jax.eval_shape(step, *arguments)
    assert jax.tree.map(jnp.shape, (variables, state)) == jax.tree.map(jnp.shape, arguments[:2])
    assert loss.dtype == "float32"


@pytest.mark.slow
def test_it_measures_and_writes_its_table(frozen, sources, tmp_path, capsys):
    out = tmp_path / "out"
    flags = ["--models", "--resnets", "18", "--sources", str(sources), "--rounds", "2", "--out", str(out)]
    flags += ["--norms", "jaxbn", "nnx", "--batch", "4", "--pixels", "32", "--compilations", "1"]
    assert training.main(flags) == 0
    summary = json.loads((out / "summary.json").read_text())
    assert summary["measured"] == []
    (measured,) = summary["resnets"]
    assert (measured["images"], measured["dtype"]) == ([4, 32, 32, 3], "float32")
    assert list(measured["norms"]) == ["jaxbn", "nnx"]
    for numbers in measured["norms"].values():
        assert len(numbers["milliseconds"]) == 2
        assert len(numbers["seconds"]) == 3
        assert min(*numbers["milliseconds"], *numbers["seconds"], numbers["temporary"], numbers["lines"]) > 0
    assert (out / "summary.md").read_text() in capsys.readouterr().out


def test_table():
    ours = {"milliseconds": [3.0, 2.0, 9.0], "temporary": 1_500_000, "seconds": [0.5, 0.25, 1.0], "lines": 90}
    theirs = {"milliseconds": [6.0, 1.0, 6.0], "temporary": 2_000_000, "seconds": [0.25, 0.125, 2.0], "lines": 70}
    measured = {"depth": 50, "images": [8, 64, 32, 3], "dtype": "bfloat16", "norms": {"jaxbn": ours, "linen": theirs}}
    title, _, head, _, *rows = resnet_steps.table(measured).markdown().splitlines()
    assert title.startswith("A training step of Flax's ResNet-50, 64x32, batch 8, bfloat16")
    assert head.count("|") == rows[0].count("|")
    assert rows == [
        "| jaxbn | 3.0 | 1.000 | 1.5 | 0.50 | 0.25 | 1.00 | 1.75 | 90 |",
        "| linen | 6.0 | 2.000 | 2.0 | 0.25 | 0.12 | 2.00 | 2.38 | 70 |",
    ]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--sources none", "`--sources` must be a folder with Flax's sources, got none; get them by `pip download"),
        ("--rounds 0", "`--rounds` must be at least 1, got 0."),
        ("--pixels 0", "`--pixels` must be at least 1, got 0."),
        ("--norms linen", "`--norms` must name ours, jaxbn, to compare with."),
        ("--norms jaxbn Keras", "`--norms` must be among jaxbn; linen; linen, stable; jaxbn, nnx; nnx, got Keras."),
    ],
)
def test_a_mistake_is_one_line(flags, words, capsys):
    assert training.main(["--resnets", "18", *flags.split()]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: " + words)
    assert said.count("\n") == 1
