"""The preprocessing program on a few random images: what it fits to, its files, and a way back after Ctrl-C."""

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest
from PIL import Image

from experiments.harness import plotting, program
from experiments.preprocessing import __main__ as preprocessing
from experiments.preprocessing import plot, report
from experiments.tutorial import lessons
from jaxbn.preprocess import fit_pca
from tests.experiments import stand_in

ARGS = ["--steps", "3", "--seeds", "2"]
PICTURES = ["clouds.png", "curves.png", "digits.png", "spectrum.png"]
NAMES = [preprocessing.name_of(model, shown) for shown in preprocessing.INPUTS for model in preprocessing.MODELS]

FITTED: dict[Any, Any] = {}


def fitted_once(shown: str) -> Any:
    """Several tests fit the same to the same images, of 784 pixels each, which takes a second."""
    fit = preprocessing.FITS[shown]

    def fitted(x: jax.Array) -> Any:
        key = shown, np.asarray(x).tobytes()
        if key not in FITTED:
            FITTED[key] = fit(x)
        return FITTED[key]

    return fitted


def shrink(patch: pytest.MonkeyPatch) -> None:
    stand_in.shrink(patch)
    patch.setattr(preprocessing, "load_kept", stand_in.load_stand_in)
    # Two of the transforms are enough to go through everything.
    patch.setattr(preprocessing, "FITS", {n: fitted_once(n) for n in ("decorrelated", "ZCA-whitened")})
    patch.setattr(preprocessing, "INPUTS", ("original", "ZCA-whitened"))


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Returns the folder and the output of an unbroken run."""
    out, said = tmp_path_factory.mktemp("whole"), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        shrink(patch)
        assert preprocessing.main(["--out", str(out), *ARGS]) == 0
    return out, said.getvalue()


@pytest.mark.slow
def test_all_files_are_there(whole: tuple[Path, str]) -> None:
    out, said = whole
    runs = {f"{model}-{shown}": (model, shown) for shown in ("original", "ZCA-whitened") for model in ("mlp", "mlp-bn")}
    assert sorted(path.name for path in out.iterdir()) == sorted([*runs, *PICTURES, "summary.json", "summary.md"])
    summary = json.loads((out / "summary.json").read_text())
    for run, (model, shown) in runs.items():
        records = [json.loads(line) for line in (out / run / "metrics.jsonl").read_text().splitlines()]
        assert [(r["step"], r["seed"]) for r in records] == [(s, n) for s in (2, 3) for n in (0, 1)]
        assert summary["runs"][model][shown]["test_acc"] == [r["test_acc"] for r in records[-2:]]
    for name in PICTURES:
        with Image.open(out / name) as image:
            assert min(image.size) > 400
    table = (out / "summary.md").read_text()
    assert re.search(r"\| ZCA-whitened \|( 0\.\d{4} ± 0\.\d{4} \|){2} [+-]\d+\.\d\d ± ", table)
    assert "mean ± standard deviation of 2 seeds" in said


@pytest.mark.slow
def test_transforms_know_the_training_images_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seen = []

    def fit(x: jax.Array) -> Any:
        seen.append(np.asarray(x))
        return fit_pca(x)

    monkeypatch.setattr(preprocessing, "FITS", {"decorrelated": fit})
    monkeypatch.setattr(preprocessing, "MODELS", ())
    assert preprocessing.main(["--out", str(tmp_path), *ARGS]) == 0
    images = stand_in.load_stand_in().train_images[10:140].reshape(130, -1)
    np.testing.assert_allclose(seen[0], images / 255, rtol=1e-6)


@pytest.mark.slow
def test_pictures_begin_with_the_original_and_keep_the_order(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    drawn = []
    for name in ("draw_clouds", "draw_digits"):
        monkeypatch.setattr(preprocessing, name, lambda _, shown: drawn.append(list(shown)))
    pixels = jnp.asarray(np.random.default_rng(0).uniform(size=(20, 784)).astype(np.float32))
    transforms = {shown: fit(pixels) for shown, fit in preprocessing.FITS.items()}
    preprocessing.draw_all(tmp_path, transforms, pixels, np.arange(20) % 10, program.make_console())
    clouds, digits = drawn
    assert digits == ["original", "decorrelated", "ZCA-whitened"]
    # All kinds of whitening, whatever is trained.
    assert clouds == [*digits, "PCA-whitened"]


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_finished_and_resume_completes_it(
    whole: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, trained = lessons.train, []

    def stop(folder: Path, *args: Any, **options: Any) -> float:
        if len(trained) == 3:
            raise KeyboardInterrupt
        trained.append(folder.name)
        return train(folder, *args, **options)

    monkeypatch.setattr(lessons, "train", stop)
    monkeypatch.setattr(preprocessing, "draw_all", lambda *_: None)
    assert preprocessing.main(["--out", str(tmp_path), *ARGS]) == 130
    summary = json.loads((tmp_path / "summary.json").read_text())["runs"]
    assert {model: list(own) for model, own in summary.items()} == {
        "mlp": ["original", "ZCA-whitened"],
        "mlp-bn": ["original"],
    }
    monkeypatch.undo()
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch)
        patch.setattr(preprocessing, "draw_all", lambda *_: None)
        assert preprocessing.main(["--out", str(tmp_path), *ARGS, "--resume"]) == 0
    for name in ("mlp-original", "mlp-ZCA-whitened", "mlp-bn-original", "mlp-bn-ZCA-whitened"):
        assert (tmp_path / name / "metrics.jsonl").read_bytes() == (whole[0] / name / "metrics.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--steps", "0"], "`--steps` must be at least 1, got 0."),
        (["--seeds", "0"], "`--seeds` must be at least 1, got 0."),
        (["--seed", "-1"], "`--seed` must be at least 0, got -1."),
        (["--models", "mlp"], "Unrecognized options: --models, mlp"),
        (["--resume", "--steps", "7"], "`--resume` needs the settings of the earlier run in "),
        ([], "has mlp-original (stopped at step 0 of 5,000); add --resume"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    args: list[str], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preprocessing, "load_kept", lambda *_, **__: pytest.fail("work was started"))
    (tmp_path / "mlp-original").mkdir()
    (tmp_path / "mlp-original" / "config.json").write_text('{"steps": 5000}')
    assert preprocessing.main(["--out", str(tmp_path), *args]) == 2
    assert re.fullmatch(rf"error: [^\n]*{re.escape(words)}[^\n]*\n", capsys.readouterr().err)


def test_names_are_plain_folder_names() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert all(re.fullmatch(r"[A-Za-z0-9-]+", name) for name in NAMES)


def test_a_difference_is_taken_seed_by_seed() -> None:
    def run(*accuracies: tuple[float, float]) -> list[dict[str, Any]]:
        return [
            {"step": step, "seed": seed, "test_acc": value}
            for step, values in zip((10, 20), accuracies, strict=True)
            for seed, value in enumerate(values)
        ]

    records = {"original": run((0.5, 0.6), (0.70, 0.90)), "centred": run((0.4, 0.6), (0.72, 0.91))}
    early, end, difference = report.cells(records, "centred")
    assert (early, end) == ("0.5000 ± 0.1414", "0.8150 ± 0.1344")
    assert difference == "+1.50 ± 0.50"
    assert report.cells(records, "original")[2] == ""
    assert report.cells(records, "whitened") == ["", "", ""]


def test_the_ellipse_is_two_standard_deviations_wide() -> None:
    cloud = np.random.default_rng(0).normal(size=(50, 2)) @ np.array([[2.0, 1.0], [0.0, 0.5]]) + 3
    for axis, values in enumerate(plot._ellipse(cloud)):
        assert values.max() == pytest.approx(cloud[:, axis].mean() + 2 * cloud[:, axis].std(), rel=1e-3)


def test_the_spectrum_marks_how_many_components_hold_a_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(plotting, "save_figure", lambda figure, _: figures.append(figure))
    # 29 components of equal variance.
    plot.draw_spectrum(tmp_path / "s.png", fit_pca(jnp.eye(30, 784)))
    (inset,) = figures[0].axes[0].child_axes
    plt.close("all")
    assert [text.get_text() for text in inset.texts] == ["50 %: 15", "90 %: 27", "99 %: 29"]
