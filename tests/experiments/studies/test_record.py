"""The study of the smallest net, on 140 images: its layers, its images, its rules, and how it goes on."""

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
from experiments.studies.record.measure import Data, Job, Laboratory, Trained
from tests.experiments.stand_in import load_prototypes

SMALL, LARGER = (2, 3, 10), (3, 4, 10)
RECIPE = Recipe(passes=2, hardest=0.5, batch_size=20, shift=0, recalibrate=100)


def trained(accuracy: float, folded: int = 100) -> Trained:
    return Trained(2 * folded, folded, accuracy, accuracy - 0.001, 60.0)


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
    params, state, *_ = carry_of(LARGER)
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
    carry, pictures = carry_of(SMALL), load_prototypes().train_images[:20]
    predict, weights = measure.folded(SMALL, carry, training.scaled(pictures))
    # Moved by hand: the image as it is, then a pixel down, up, to the right, to the left.
    padded = np.pad(pictures, ((0, 0), (1, 1), (1, 1)))
    looks = [padded[:, i : i + 28, j : j + 28] for i, j in ((1, 1), (0, 1), (2, 1), (1, 0), (1, 2))]
    everything = training.scaled(np.concatenate(looks))
    logits, _ = nets.separable(SMALL).apply(carry.params, carry.state, everything, train=False)
    logits = logits.reshape(5, 20, 10)
    np.testing.assert_array_equal(predict(weights, pictures), [logits.mean(0).argmax(-1), logits[0].argmax(-1)])
    kernels = 9 * 2 + (9 * 2 + 2 * 3) + (9 * 3 + 3 * 10)
    assert measure.size(weights) == kernels + sum(SMALL)
    assert measure.size(carry.params) == kernels + 2 * sum(SMALL)


def test_copies_are_the_images_a_little_changed() -> None:
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
    # What is too large is shown, and not chosen.
    sizes[6, 10] = [trained(0.999, 1_000)]
    sizes[5, 10] = [trained(0.98, 60)]
    assert record.choice(sizes) == (4, 10)
    worse = {(4, 10): [trained(0.9, 50)], (5, 10): [trained(0.94, 60), trained(0.96, 60)], (6, 10): [trained(0.93, 70)]}
    assert record.choice(worse) == (5, 10)


def test_the_verdicts_are_on_the_mean_and_on_every_size_and_time() -> None:
    good = record.judge([trained(0.989, 999), trained(0.991, 999)])
    assert [verdict.holds for verdict in good] == [True] * 3
    bad = [trained(0.9899, 1_000)._replace(seconds=1_801), trained(0.9901, 999)._replace(seconds=1)]
    assert [verdict.holds for verdict in record.judge(bad[:1])] == [False] * 3
    assert [verdict.holds for verdict in record.judge(bad)] == [True, False, False]


def test_what_chooses_has_no_test_images_and_none_that_it_learns_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "VALIDATION", 40)
    mnist = load_prototypes()
    data = record.for_choice(mnist._replace(test_images=None, test_labels=None))
    assert data.name == "validation"
    pictures, labels = mnist.train_images, mnist.train_labels
    for got, expected in zip(data[1:], (pictures[40:], labels[40:], pictures[:40], labels[:40]), strict=True):
        np.testing.assert_array_equal(got, expected)
    for got, expected in zip(record.for_verdict(mnist)[1:], mnist, strict=True):
        np.testing.assert_array_equal(got, expected)


def stripes(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Upright ones are of class 0, level ones of class 1; each begins somewhere."""
    labels, starts = np.arange(count, dtype=np.uint8) % 2, np.random.default_rng(count).integers(0, 4, count)
    upright = np.broadcast_to((np.arange(28) + starts[:, None]) % 4 < 2, (28, count, 28)).swapaxes(0, 1)
    bright = np.where(labels[:, None, None] == 1, upright.swapaxes(1, 2), upright)
    return 200 * bright.astype(np.uint8), labels


@pytest.mark.slow
def test_a_net_learns_is_folded_scored_and_kept(tmp_path: Path) -> None:
    recipe = Recipe(passes=6, hardest=1.0, batch_size=20, shift=0, recalibrate=80)
    laboratory = Laboratory(Data("test", *stripes(80), *stripes(40)), recipe, 1, tmp_path)
    job, found = Job(SMALL, 0), list[Any]()
    (net,) = laboratory.run([job], lambda *of: found.append(of))
    assert found == [(job, net)]
    assert min(net.accuracy, net.one_look) > 0.9
    assert (net.parameters, net.folded) == (99 + 2 * sum(SMALL), 99 + sum(SMALL))
    assert laboratory.known(job) == net


def test_a_run_goes_on_where_it_was_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--seeds", "2", "--seeds-per-size", "1", "--out", str(tmp_path)]
    monkeypatch.setattr(record, "load_kept", load_prototypes)
    monkeypatch.setattr(record, "NETS", (SMALL, LARGER))
    monkeypatch.setattr(Laboratory, "compile", lambda _, features: features)
    begun = list[tuple[str, Job]]()

    def until(name: str) -> None:
        def train(self: Laboratory, job: Job, programs: Any) -> Trained:
            assert programs == job.features
            begun.append((self.data.name, job))
            if self.data.name == name:
                raise KeyboardInterrupt
            return trained(0.991 + 0.001 * (job.seed % 1000), 10 * sum(job.features))

        monkeypatch.setattr(Laboratory, "train", train)

    until("test")
    assert record.main(flags) == 130
    assert sorted(begun)[-2:] == [("validation", Job(SMALL, 1002)), ("validation", Job(LARGER, 1002))]
    assert f"to go on: python -m experiments.studies.record {' '.join(flags)}" in capsys.readouterr().err
    begun.clear()
    until("nothing")
    assert record.main(flags) == 0
    assert sorted(begun) == [("test", Job(SMALL, 1000)), ("test", Job(SMALL, 1001))]
    said = capsys.readouterr().out.splitlines()
    assert "3-4-10, 170 parameters, seed 1002: validation accuracy 99.30 %, 1.0 minutes" in said
    assert "Chosen: 2-3-10, 150 parameters." in said
    assert sorted(path.name for path in tmp_path.iterdir()) == ["record.png", "summary.json", "summary.md"]
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert [v["values"] for v in summary["verdicts"]] == [pytest.approx([99.1, 99.2]), [150, 150], [1, 1]]
    # What is finished is replaced only if that is asked, and a stop then does not ask again.
    assert record.main(flags) == 2
    until("test")
    assert record.main([*flags, "--overwrite"]) == 130
    assert f"to go on: python -m experiments.studies.record {' '.join(flags)}\n" in capsys.readouterr().err
    (tmp_path / ".nets" / "mine.txt").touch()
    until("nothing")
    assert record.main(flags) == 0
    assert [path.name for path in (tmp_path / ".nets").iterdir()] == ["mine.txt"]
    text = (tmp_path / "summary.md").read_text()
    assert "\n| 3-4-10 | 340 | 170 | 99.30 | 99.30 to 99.30 | 99.20 |\n" in text
    assert "\n| 1001 | 99.20 | 99.10 |\n" in text


def test_what_is_known_with_other_settings_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = record.for_choice(load_prototypes())
    laboratory, job = Laboratory(data, RECIPE, 0, tmp_path), Job(SMALL, 0)
    kept = {"settings": laboratory.settings(job), "trained": trained(0.5)._asdict()}
    laboratory.file(job).write_text(json.dumps(kept))
    assert laboratory.known(job) == trained(0.5)
    assert laboratory.known(job._replace(seed=1)) is None
    assert dataclasses.replace(laboratory, copies=1).known(job) is None
    assert dataclasses.replace(laboratory, recipe=dataclasses.replace(RECIPE, peak=0.1)).known(job) is None
    monkeypatch.setattr(images, "TURN", 0.2)
    assert laboratory.known(job) is None


@pytest.mark.parametrize("flags", [["--seeds-per-size", "0"], ["--copies", "-1"]])
def test_bad_flags_are_one_line(flags: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert record.main([*flags, "--out", str(tmp_path)]) == 2
    assert f"error: `{flags[0]}` must be at least" in capsys.readouterr().err
