"""The tables and the figure of the smallest net."""

from __future__ import annotations

from typing import Any

import numpy as np

from experiments.harness import plotting
from experiments.harness.tables import Table, mean_and_spread
from experiments.studies.record.measure import Trained
from experiments.studies.record.nets import Features

# By the nets' features, one for each seed.
Results = dict[Features, list[Trained]]


def accuracies(nets: list[Trained]) -> np.ndarray:
    """In percent."""
    return 100 * np.array([net.accuracy for net in nets])


def of_one_look(nets: list[Trained]) -> np.ndarray:
    """In percent."""
    return 100 * np.array([net.one_look for net in nets])


def named(features: Features) -> str:
    """A net by its features."""
    return "-".join(map(str, features))


def size_table(sizes: Results) -> Table:
    """The nets of the choice."""
    header = ["features", "parameters learned", "folded", "validation accuracy, %", "lowest to highest", "one look"]
    rows = []
    for features, of in sizes.items():
        low, high = accuracies(of).min(), accuracies(of).max()
        means = [mean_and_spread(values.tolist(), 2) for values in (accuracies(of), of_one_look(of))]
        counts = f"{of[0].parameters:,}", f"{of[0].folded:,}"
        rows.append([named(features), *counts, means[0], f"{low:.2f} to {high:.2f}", means[1]])
    return Table("Validation accuracy by size", header, rows)


def seed_table(seeds: list[int], found: list[Trained]) -> Table:
    """Every seed of the net that was chosen."""
    of_all = accuracies(found), of_one_look(found)
    rows = [[str(seed), *(f"{value:.2f}" for value in values)] for seed, *values in zip(seeds, *of_all, strict=True)]
    means = ["mean ± standard deviation", *(mean_and_spread(values.tolist(), 2) for values in of_all)]
    return Table("Test accuracy of every seed", ["seed", "test accuracy, %", "one look"], [*rows, means])


def draw(sizes: Results, found: list[Trained], goal: float) -> Any:
    """Accuracy against the number of parameters, folded."""
    figure, (ax,) = plotting.new_figure(1)
    places = [of[0].folded for of in sizes.values()]
    values = [accuracies(of) for of in sizes.values()]
    blue, orange, *_ = plotting.COLOURS
    plotting.band(ax, places, values, label="validation images, mean and range of seeds", colour=blue)
    of_test = accuracies(found)
    ax.plot(
        [found[0].folded] * len(of_test), of_test, ".", color=orange, label=f"test images, each of {len(found)} seeds"
    )
    ax.plot(found[0].folded, of_test.mean(), "D", color=orange, label="test images, mean")
    ax.axhline(goal, color="black", linestyle=":", label=f"{goal:g} %")
    ax.set(
        title=f"{found[0].folded:,} parameters read {of_test.mean():.2f} % of MNIST's test images",
        xlabel="parameters, norms folded away",
        ylabel="accuracy, %",
    )
    ax.legend(loc="lower right")
    return figure
