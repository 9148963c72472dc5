"""What each transform did to training: a table, curves and a summary, from the result files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from experiments.harness import paired, results
from experiments.harness.results import Record
from experiments.harness.run_files import read_measured
from experiments.harness.tables import Table, markdown, mean_and_spread
from experiments.preprocessing.plot import draw_curves

TITLE = "What each transform does to the accuracy"


def report(
    out: Path,
    models: Sequence[str],
    inputs: Sequence[str],
    name_of: Callable[[str, str], str],
    seconds: dict[str, float],
    console: Console,
) -> None:
    """Write `summary.json`, `summary.md` and `curves.png` in `out`, and print the table.

    Args:
        out: the folder with one folder per run.
        models: the networks.
        inputs: the transforms, the first of which the others are compared with.
        name_of: `(model, input) -> name` of a run.
        seconds: what each run took that was made now.
        console: to print on.
    """
    records = {
        model: {shown: records_of(out / name_of(model, shown)) for shown in inputs if name_of(model, shown) in seconds}
        for model in models
    }
    # A run that was stopped before its end has no result yet.
    records = {model: {s: own for s, own in of.items() if finished(own)} for model, of in records.items()}
    records = {model: of for model, of in records.items() if of}
    if not records:
        return
    header = ["input", *(f"{model}, {when}" for model in records for when in ("early", "end", "end - original"))]
    shown_inputs = [shown for shown in inputs if any(shown in of for of in records.values())]
    rows = [[shown, *(cell for of in records.values() for cell in cells(of, shown))] for shown in shown_inputs]
    named = {name_of(model, shown): own for model, of in records.items() for shown, own in of.items()}
    table, notes = Table(TITLE, header, rows), [note(records), *results.note_left_out(named)]
    measured = {
        "runs": {model: {s: summarize(own) for s, own in of.items()} for model, of in records.items()},
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
    }
    results.write_summary(out, measured, markdown([table], notes))
    draw_curves(out / "curves.png", records)
    table.show(notes, console)
    results.name_files(out, ("summary.md", "summary.json", "curves.png"), console)


def records_of(folder: Path) -> list[Record]:
    """What a run that was made now has measured."""
    measured = read_measured(folder)
    return measured.records if measured else []


def finished(records: Sequence[Record]) -> bool:
    """Whether a run came to its end, where alone the whole training set is scored."""
    return bool(records) and "train_acc" in records[-1]


def at(records: Sequence[Record], step: int, metric: str = "test_acc") -> np.ndarray:
    """A metric at a step, one value per seed."""
    return np.array([record[metric] for record in records if record["step"] == step])


def steps_of(records: Sequence[Record]) -> tuple[int, int]:
    """The first and the last step that was evaluated."""
    return min(record["step"] for record in records), max(record["step"] for record in records)


def cells(records: dict[str, list[Record]], shown: str) -> list[str]:
    """Test accuracy at the first evaluation and at the end, and the paired difference to the first input."""
    if shown not in records:
        return ["", "", ""]
    first, last = steps_of(records[shown])
    texts = [mean_and_spread(list(at(records[shown], step))) for step in (first, last)]
    original = next(iter(records))
    if shown == original:
        return [*texts, ""]
    after, before = ({r["seed"]: r["test_acc"] for r in records[i] if r["step"] == last} for i in (shown, original))
    # A seed may have been left out of one of them.
    common = [seed for seed in after if seed in before]
    return [*texts, paired.points([after[seed] for seed in common], [before[seed] for seed in common])]


def note(records: dict[str, dict[str, list[Record]]]) -> str:
    """What the columns are."""
    some = next(iter(next(iter(records.values())).values()))
    first, last = steps_of(some)
    seeds = len({record["seed"] for record in some})
    return (
        f"Accuracy on all test images, early at step {first:,} and at the end at step {last:,}, "
        f"{f'mean ± standard deviation of {seeds} seeds' if seeds > 1 else 'one seed'}; the difference in points"
        f"{', seed by seed, ± its standard error' if seeds > 1 else ''}."
    )


def summarize(records: Sequence[Record]) -> dict[str, Any]:
    """All test accuracies, one list of seeds per step, and the last scores."""
    _, last = steps_of(records)
    metrics = ("train_loss", "train_acc", "test_loss", "test_acc")
    return {
        "steps": last,
        **{metric: at(records, last, metric).tolist() for metric in metrics},
        "test_acc_by_step": {str(step): at(records, step).tolist() for step in sorted({r["step"] for r in records})},
    }
