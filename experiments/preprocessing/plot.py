"""The pictures of `experiments.preprocessing`, from arrays and result files; nothing is fitted or trained here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from experiments.harness import plotting
from experiments.harness.results import Record
from jaxbn.preprocess import Projection

# Of the variance, whose numbers of components are shown.
SHARES = (0.5, 0.9, 0.99)


def draw_clouds(path: Path, clouds: Mapping[str, np.ndarray]) -> None:
    """Points `[n, 2]` before and after every transform, on the same axes, coloured by their place in the last."""
    figure, axes = plotting.new_grid(2, -(-len(clouds) // 2), size=2.9)
    angle = np.arctan2(*list(clouds.values())[-1].T)
    reach = max(np.percentile(np.abs(cloud), 99.5) for cloud in clouds.values())
    for ax, (name, cloud) in zip(axes, clouds.items(), strict=False):
        ax.axhline(0, color="0.6", linewidth=0.8)
        ax.axvline(0, color="0.6", linewidth=0.8)
        ax.scatter(*cloud.T, c=angle, cmap="twilight", s=6, linewidths=0)
        ax.plot(*_ellipse(cloud), color="black", linewidth=1.5)
        ax.set(title=name, xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    for ax in axes[len(clouds) :]:
        ax.remove()
    figure.suptitle("Two standard deviations in every direction (black)", fontsize="medium")
    plotting.save_figure(figure, path)


def draw_digits(path: Path, digits: Mapping[str, np.ndarray]) -> None:
    """Images `[n, 784]` before and after every transform; blue is negative, white 0, red positive."""
    shown = {name: images.reshape(-1, 28, 28) for name, images in digits.items()}
    count = len(next(iter(shown.values())))
    figure, axes = plotting.new_grid(len(shown), count, size=0.95)
    for row, (name, images) in enumerate(shown.items()):
        reach = np.percentile(np.abs(images), 99)
        for column, image in enumerate(images):
            ax = axes[row * count + column]
            ax.imshow(image, cmap="RdBu_r", vmin=-reach, vmax=reach)
            _bare(ax)
        axes[row * count].set_ylabel(name, rotation=0, ha="right", va="center")
    plotting.save_figure(figure, path)


def draw_spectrum(path: Path, pca: Projection) -> None:
    """The variance along the components, its running total, and the first components as images."""
    figure, (left, right) = plotting.new_figure(2)
    number = np.arange(1, len(pca.explained_variance) + 1)
    variance, ratio = np.asarray(pca.explained_variance), np.asarray(pca.explained_variance_ratio)
    left.plot(number, np.maximum(variance, variance[0] * 1e-8), color=plotting.COLOURS[0])
    left.set(
        title="Few components have most of the variance",
        xlabel="component",
        ylabel="variance",
        xscale="log",
        yscale="log",
    )
    total = np.cumsum(ratio)
    inset = left.inset_axes((0.15, 0.13, 0.46, 0.44))
    inset.plot(number, total, color=plotting.COLOURS[1])
    for share in SHARES:
        needed = int(np.searchsorted(total, share)) + 1
        # The last one has no room on the right.
        ha, place = ("right", (-5, 3)) if share == SHARES[-1] else ("left", (6, -11))
        text = f"{100 * share:.0f} %: {needed}"
        inset.annotate(text, (needed, share), place, fontsize="small", textcoords="offset points", ha=ha)
        inset.plot(needed, share, ".", color=plotting.COLOURS[1])
    inset.set(xscale="log", ylim=(0, 1.15))
    inset.set_title("share of the first ones", fontsize="medium")
    images = np.asarray(pca.components[:24]).reshape(-1, 28, 28)
    tiles = [np.pad(image / np.abs(image).max(), 1, constant_values=np.nan) for image in images]
    right.imshow(np.block([tiles[i : i + 6] for i in range(0, len(tiles), 6)]), cmap="RdBu_r", vmin=-1, vmax=1)
    right.set(title="The first 24 of them")
    _bare(right)
    plotting.save_figure(figure, path)


def draw_curves(path: Path, records: Mapping[str, Mapping[str, Sequence[Record]]]) -> None:
    """The test error against the step, one plot per model, one curve per input."""
    figure, axes = plotting.new_figure(len(records))
    for ax, (model, own) in zip(axes, records.items(), strict=True):
        for (name, of_input), colour in zip(own.items(), plotting.COLOURS, strict=False):
            plotting.curve(ax, of_input, "test_acc", label=name, colour=colour, error=True)
        ax.set(title=f"{model}: error on all test images", xlabel="training step", ylabel="test error", yscale="log")
        plotting.percent_axis(ax)
        ax.legend(frameon=False)
    low = min(min(ax.get_ylim()) for ax in axes)
    high = max(max(ax.get_ylim()) for ax in axes)
    for ax in axes:
        ax.set_ylim(low, high)
    plotting.save_figure(figure, path)


def _ellipse(cloud: np.ndarray) -> np.ndarray:
    turn = np.linspace(0, 2 * np.pi, 100)
    circle = np.stack([np.cos(turn), np.sin(turn)])
    return cloud.mean(0)[:, None] + 2 * np.linalg.cholesky(np.cov(cloud.T, ddof=0)) @ circle


def _bare(ax: Any) -> None:
    ax.grid(visible=False)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
