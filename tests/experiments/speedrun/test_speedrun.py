"""The speed run on a few random images: its nets, what they learn, its rules, its lines and files."""

import json
import re
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.hardest import compilation, training
from experiments.hardest.net import Net, contract
from experiments.hardest.training import Recipe
from experiments.speedrun import __main__ as speedrun
from experiments.speedrun import nets, report
from tests.experiments.stand_in import load_stand_in

IMPORTED = time.monotonic()
NETS = {"fast": lambda: nets.strided((4, 6), crop=20), "tutorial": nets.tutorial}
SIZES = {"TRAINING": 140, "TEST": 120, "VALIDATION": 20}
SMALL = Recipe(passes=3, hardest=0.25, batch_size=20, recalibrate=40)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speedrun, "load_kept", load_stand_in)
    monkeypatch.setattr(speedrun, "RECIPES", dict.fromkeys(NETS, SMALL))
    for name, value in SIZES.items():
        monkeypatch.setattr(speedrun, name, value)


def compiled(net: Net, recipe: Recipe, images: np.ndarray) -> training.Programs:
    pictures = jax.ShapeDtypeStruct(images.shape, jnp.uint8)
    return compilation.compile_all(net, recipe, pictures, pictures)


@pytest.mark.slow
def test_the_layers_are_convolutions_4x4_of_stride_2() -> None:
    x = np.random.default_rng(0).standard_normal((2, 8, 8, 3)).astype(np.float32)
    matrix = np.random.default_rng(1).standard_normal((32, 5)).astype(np.float32)
    y = contract(matrix, nets.half_size_patches(jnp.asarray(x)))
    # Which pixel each row of the matrix belongs to, read from the window of rows and columns 1 to 4.
    numbered = nets.half_size_patches(jnp.arange(128.0).reshape(2, 8, 8, 1))[:, 1, 1, 0]
    channel, row, column = np.unravel_index(np.asarray(numbered, int), (2, 8, 8))
    kernel = np.zeros((2, 4, 4, 5), np.float32)
    kernel[channel, row - 1, column - 1] = matrix
    convolve = jax.lax.conv_general_dilated
    expected = convolve(x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=("CHWN", "IHWO", "CHWN"))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)


def test_the_tutorials_net_has_its_parameters() -> None:
    params, _ = jax.eval_shape(nets.tutorial().init, jax.random.key(0))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == 10_326


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_recalibrated_statistics_are_those_of_the_images(name: str) -> None:
    net, images = NETS[name](), jnp.asarray(load_stand_in().train_images[:40])
    x = training.scaled(images)

    @jax.jit
    def both(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        params, state = net.init(key)
        # In one chunk: the logits of evaluation are then those of training.
        calibrated = training.recalibrate(net, params, state, images)
        return net.apply(params, calibrated, x, train=False)[0], net.apply(params, state, x, train=True)[0]

    np.testing.assert_allclose(*both(jax.random.key(0)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_a_seed_gives_the_same_net_whatever_ran_before(name: str) -> None:
    mnist = load_stand_in()
    images, labels = mnist.train_images, mnist.train_labels
    programs = compiled(NETS[name](), SMALL, images)
    first, other, again = (training.train_once(programs, SMALL, s, images, labels) for s in (3, 4, 3))
    for a, b in zip(*map(jax.tree.leaves, (first, again)), strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(*map(jax.tree.leaves, (first.params, other.params)), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", NETS)
def test_what_can_be_learned_is_learned(name: str) -> None:
    labels = (np.arange(200) % 10).astype(np.uint8)
    images = np.zeros((200, 28, 28), np.uint8)
    # A bright row for every class.
    images[np.arange(200), 5 + 2 * labels] = 255
    recipe = Recipe(passes=8, hardest=0.5, batch_size=20, shift=0, recalibrate=200)
    programs = compiled(NETS[name](), recipe, images)
    carry = training.train_once(programs, recipe, 0, images, labels)
    assert int(programs.count_hits(carry.params, carry.state, images, labels)) == 200
    assert (carry.losses > 0).all()


@pytest.mark.usefixtures("_small")
def test_validation_never_sees_the_test_images() -> None:
    mnist = load_stand_in()
    unseen = mnist._replace(test_images=None, test_labels=None)
    images, labels, scored, targets = speedrun.split(unseen, validate=True)
    assert len(scored) == len(targets) == 20
    np.testing.assert_array_equal(np.concatenate([scored, images]), mnist.train_images)
    np.testing.assert_array_equal(np.concatenate([targets, labels]), mnist.train_labels)
    whole = speedrun.split(mnist, validate=False)
    assert [len(part) for part in whole] == [140, 140, 120, 120]


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
@pytest.mark.parametrize(("name", "flags"), [("fast", ["--validate"]), ("tutorial", [])])
def test_every_run_is_printed_and_written(
    name: str, flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert speedrun.main(["--net", name, "--seeds", "2", "--seed", "5", "--out", str(tmp_path), *flags]) == 0
    said = capsys.readouterr().out
    number = r"(\d+\.\d+)"
    line = rf"seed (\d): accuracy {number}, training {number} s, evaluation {number} s; from a cold start {number} s"
    printed = re.findall(line, said)
    assert [seed for seed, *_ in printed] == ["5", "6"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [f"{run['accuracy']:.4f}" for run in summary["runs"]] == [accuracy for _, accuracy, *_ in printed]
    scored = 20 if flags else 120
    assert all(run["accuracy"] * scored == pytest.approx(round(run["accuracy"] * scored)) for run in summary["runs"])
    assert {"import", "data", "compile", "before training"} == set(summary["seconds"])
    assert summary["net"] == name
    assert summary["validate"] == bool(flags)
    table = (tmp_path / "summary.md").read_text()
    assert ("validation acc" if flags else "test acc") in table
    assert f"{np.mean([run['accuracy'] for run in summary['runs']]):.4f}" in table


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--seeds", "0"], "`--seeds` must be at least 1, got 0."),
        (["--net", "other"], "invalid choice 'other' for argument '--net'"),
    ],
)
def test_bad_flags_are_one_line(flags: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert speedrun.main(flags) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)


def test_the_clock_counts_from_the_beginning_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    # Before this file, the process has imported JAX, which takes longer.
    assert report.seconds_of_process() > time.monotonic() - IMPORTED + 0.2
    monkeypatch.setattr(Path, "read_text", lambda _: "no numbers")
    assert report.seconds_of_process() > 0
