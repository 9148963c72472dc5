"""The study of the smallest net, on 140 images: its nets, its images, its rules, and how it goes on."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments.hardest import training
from experiments.hardest.training import Recipe
from experiments.studies.record import __main__ as record
from experiments.studies.record import images, measure, nets
from experiments.studies.record.measure import Job, Laboratory, Trained
from tests.experiments.stand_in import load_prototypes

SMALL, LARGER = (2, 3, 10), (3, 4, 10)
RECIPE = Recipe(passes=2, hardest=0.5, batch_size=20, shift=0, recalibrate=100)


def trained(accuracy: float, folded: int = 100) -> Trained:
    return Trained(2 * folded, folded, accuracy, 60.0)


def carry_of(features: nets.Features) -> training.Carry:
    params, state = nets.separable(features).init(jax.random.key(0))
    # Scales of both signs, and statistics that are no round numbers.
    uneven = [
        norm._replace(scale=jnp.cos(jnp.arange(0.5, len(norm.scale))), bias=norm.bias + 0.3) for norm in params["norms"]
    ]
    params = params | {"norms": uneven}
    learned = [old._replace(mean=old.mean + 0.1, var=old.var * 0.7) for old in state]
    return training.Carry(params, learned, params, jnp.zeros(1))


@pytest.mark.slow
def test_the_layers_are_the_convolutions_of_jax() -> None:
    params, state = (part := carry_of(LARGER)).params, part.state
    x = np.random.default_rng(0).random((28, 28, 5), np.float32)
    logits, _ = nets.separable(LARGER).apply(params, state, x, train=False)

    def convolve(kernel: jax.Array, x: jax.Array, padding: str, groups: int = 1) -> jax.Array:
        return jax.lax.conv_general_dilated(
            x, kernel, (1, 1), padding, dimension_numbers=("NHWC", "HWIO", "NHWC"), feature_group_count=groups
        )

    def norm(number: int, x: Any) -> np.ndarray:
        (scale, bias), (mean, var, _) = jax.device_get((params["norms"][number], state[number]))
        return (np.asarray(x) - mean) / np.sqrt(var + 1e-3) * scale + bias

    y = np.moveaxis(x, -1, 0)[..., None]
    y = jax.nn.relu(norm(0, convolve(params["first"].reshape(3, 3, 1, -1), y, "SAME")))
    y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    y = convolve(params["depthwise"][0].reshape(3, 3, 1, -1), y, "VALID", groups=3)
    y = jax.nn.relu(norm(1, y @ params["pointwise"][0]))
    y = convolve(params["depthwise"][1].reshape(3, 3, 1, -1), y, "VALID", groups=4)
    np.testing.assert_allclose(logits, norm(2, y @ params["pointwise"][1]).mean((1, 2)), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_the_folded_net_says_the_same_with_fewer_numbers() -> None:
    carry, pictures = carry_of(SMALL), load_prototypes().train_images[:40]
    predict, weights = measure.folded(SMALL, carry, training.scaled(pictures[:20]))
    logits, _ = nets.separable(SMALL).apply(carry.params, carry.state, training.scaled(pictures), train=False)
    np.testing.assert_array_equal(predict(weights, pictures), logits.argmax(-1))
    kernels = 9 * 2 + (9 * 2 + 2 * 3) + (9 * 3 + 3 * 10)
    assert measure.size(weights) == kernels + sum(SMALL)
    assert measure.size(carry.params) == kernels + 2 * sum(SMALL)


def test_copies_are_the_images_a_little_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = np.zeros((3, 28, 28), np.uint8)
    pictures[:, 8:20, 10:18] = 200
    both = images.with_copies(pictures, 2, seed=1)
    np.testing.assert_array_equal(both[:3], pictures)
    changed = both[3:].astype(float)
    assert len({picture.tobytes() for picture in both}) == 1 + 6
    # Scales of up to 8 % in each direction, and of the light nothing else.
    np.testing.assert_allclose(changed.sum((1, 2)), pictures[0].sum(), rtol=0.18)
    assert np.abs(changed - pictures[0]).mean() < 12
    np.testing.assert_array_equal(images.with_copies(pictures, 2, seed=1), both)
    assert (images.with_copies(pictures, 2, seed=2)[3:] != both[3:]).any()


def test_without_any_change_a_copy_is_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TURN", "STRETCH", "SLANT", "MOVE"):
        monkeypatch.setattr(images, name, 0.0)
    picture = load_prototypes().train_images[0]
    np.testing.assert_array_equal(images.change(picture, jax.random.key(0)), picture)


def test_the_choice_is_the_smallest_that_is_good_enough() -> None:
    sizes = {
        (4, 10): [trained(0.985, 50), trained(0.9949, 50)],
        (5, 10): [trained(0.99, 60), trained(0.9901, 60)],
        (6, 10): [trained(0.995, 70), trained(0.995, 70)],
    }
    assert record.choice(sizes) == (5, 10)
    worse = {features: [trained(0.9), trained(0.9 + 0.01 * len(sizes) - 0.01 * features[0])] for features in sizes}
    assert record.choice(worse) == (4, 10)


def test_the_verdicts_are_on_the_mean_and_on_the_size() -> None:
    good = record.judge([trained(0.989, 999), trained(0.991, 999)])
    assert [verdict.holds for verdict in good] == [True, True]
    assert [verdict.holds for verdict in record.judge([trained(0.9899, 1_000)] * 2)] == [False, False]


def test_what_chooses_has_no_test_images() -> None:
    mnist = load_prototypes()
    data = record.for_choice(mnist._replace(test_images=None, test_labels=None))
    assert data.name == "validation"
    whole = record.for_verdict(mnist)
    np.testing.assert_array_equal(whole.images, mnist.train_images)
    np.testing.assert_array_equal(whole.scored, mnist.test_images)


@pytest.fixture
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "load_kept", load_prototypes)
    for name, value in {"NETS": (SMALL,), "RECIPE": RECIPE, "VALIDATION": 40, "GOAL": 5.0}.items():
        monkeypatch.setattr(record, name, value)
    monkeypatch.setattr(measure, "CHUNK", 20)


@pytest.mark.slow
@pytest.mark.usefixtures("_small")
def test_a_run_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--seeds", "2", "--seeds-per-size", "1", "--copies", "1", "--out", str(tmp_path)]
    real, begun = Laboratory.train, list[Job]()

    def stopped(self: Laboratory, job: Job, programs: Any) -> Trained:
        begun.append(job)
        if self.data.name == "test":
            raise KeyboardInterrupt
        return real(self, job, programs)

    monkeypatch.setattr(Laboratory, "train", stopped)
    assert record.main(flags) == 130
    assert begun[0] == (SMALL, 1000)
    capsys.readouterr()

    def once(self: Laboratory, job: Job, programs: Any) -> Trained:
        assert self.data.name == "test"
        return real(self, job, programs)

    monkeypatch.setattr(Laboratory, "train", once)
    assert record.main(flags) == 0
    said = capsys.readouterr().out
    assert "2-3-10, 114 parameters, seed 1000: validation accuracy " in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert len(summary["measured"]["seeds"]) == 2
    assert [verdict["values"] for verdict in summary["verdicts"]][1] == [summary["measured"]["seeds"][0]["folded"]] * 2
    text = (tmp_path / "summary.md").read_text()
    assert "Validation accuracy by size\n" in text
    assert "\n| 1001 | " in text


def test_what_is_known_with_other_settings_is_not_believed(tmp_path: Path) -> None:
    data = record.for_choice(load_prototypes())
    laboratory, job = Laboratory(data, RECIPE, 0, tmp_path), Job(SMALL, 0)
    kept = {"settings": laboratory.settings(job), "trained": trained(0.5)._asdict()}
    laboratory.file(job).write_text(json.dumps(kept))
    assert laboratory.known(job) == trained(0.5)
    assert laboratory.known(job._replace(seed=1)) is None
    assert dataclasses.replace(laboratory, copies=1).known(job) is None
    assert dataclasses.replace(laboratory, recipe=dataclasses.replace(RECIPE, peak=0.1)).known(job) is None


@pytest.mark.parametrize("flags", [["--seeds-per-size", "0"], ["--copies", "-1"]])
def test_bad_flags_are_one_line(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main([*flags, "--out", str(tmp_path)]) == 2
    assert f"error: `{flags[0]}` must be at least" in capsys.readouterr().err
