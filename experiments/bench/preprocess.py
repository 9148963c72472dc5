"""What scikit-learn's and our preprocessing can do, how fast and how exact.

Takes a minute on 2 cores; docs/preprocessing.md has the results. For example:
    python -m experiments.bench.preprocess

On random data of MNIST's size that looks like it: 40 random factors and noise, clipped to [0, 1], 60,000 x 784 float32.
Everyone gets arrays of their own kind, NumPy or JAX, and as many threads and what solver they choose. Timed in turn,
median of 5 runs after a first one, which for ours includes the compilation. Without scikit-learn (`pip install
scikit-learn`) ours is alone. Writes `summary.json` and `summary.md`.
"""

from __future__ import annotations

import dataclasses
import inspect
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from rich.console import Console

from experiments.harness import config, program, results
from experiments.harness.progress import progress
from experiments.harness.tables import Table, markdown
from jaxbn.preprocess import fit_min_max, fit_pca, fit_standardize, fit_whiten, inverse_transform, transform

try:
    from sklearn.decomposition import PCA, IncrementalPCA
    from sklearn.preprocessing import MaxAbsScaler, MinMaxScaler, StandardScaler
    from sklearn.utils import get_tags

    PEERS: list[Any] = [StandardScaler, MinMaxScaler, MaxAbsScaler, PCA, IncrementalPCA]
except ImportError:
    PEERS = []

# Few batches for PCA, since IncrementalPCA takes a second for each.
EXAMPLES, FEATURES, FACTORS, BATCH, FEW, REPEATS = 60_000, 784, 40, 1000, 3, 5
SECONDS = f"Seconds for {EXAMPLES} x {FEATURES} float32; streams of {EXAMPLES // BATCH} batches, for PCA {FEW}"
Run = Callable[[], Any]


@dataclasses.dataclass(frozen=True)
class Options:
    """The command line."""

    out: Path = Path("results/preprocess")
    """The folder for the results."""


def images() -> np.ndarray:
    """The data, `[EXAMPLES, FEATURES]`."""
    rng = np.random.default_rng(0)
    shapes = (EXAMPLES, FACTORS), (FACTORS, FEATURES), (EXAMPLES, FEATURES)
    factors, loadings, noise = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return np.clip(0.05 * factors @ loadings + 0.1 * noise - 0.1, 0, 1)


def abilities() -> list[list[str]]:
    """A row per ability: ours, and what scikit-learn says of itself."""
    known: dict[str, Callable[[Any], bool]] = {
        "streaming, batch by batch": lambda peer: hasattr(peer, "partial_fit"),
        "weights of examples": lambda peer: "sample_weight" in inspect.signature(peer.fit).parameters,
        "NaN left out": lambda peer: get_tags(peer()).input_tags.allow_nan,
        "inverse": lambda peer: hasattr(peer, "inverse_transform"),
        "float32 about 1e4, to 5 digits": exact_far_away,
        "sparse input": lambda peer: get_tags(peer()).input_tags.sparse,
    }
    # What it nowhere offers: its estimators take tables and give NumPy arrays, or those of one device.
    only_ours = ("weights of values (not PCA)", "several devices", "jit, vmap, gradient", "any axes, as channels")
    known |= dict.fromkeys(only_ours, lambda _: False)

    def said(able: bool) -> str:
        return "yes" if able else "no"

    return [[name, said(name != "sparse input"), *(said(can(peer)) for peer in PEERS)] for name, can in known.items()]


def exact_far_away(peer: Any) -> bool:
    """Whether data of standard deviations 1 to 4 about 1e4 is transformed as in float64, to 5 digits."""
    x = np.random.default_rng(0).normal(1e4, [1, 2, 3, 4], (1000, 4)).astype(np.float32)
    return np.allclose(peer().fit_transform(x), peer().fit_transform(x.astype(np.float64)), atol=1e-5)


def operations(x: np.ndarray) -> dict[str, tuple[Run, Run]]:
    """What is timed, ours and theirs."""
    ours, batches = jax.device_put(x), [x[i : i + BATCH] for i in range(0, len(x), BATCH)]
    scaling, pca = fit_standardize(ours), fit_pca(ours)
    fitted = [StandardScaler().fit(x), PCA().fit(x)] if PEERS else []

    def stream(estimator: Any, parts: list[np.ndarray]) -> None:
        for part in parts:
            estimator.partial_fit(part)

    return {
        "fit standardise": (lambda: fit_standardize(ours), lambda: StandardScaler().fit(x)),
        "fit standardise, from NumPy": (lambda: fit_standardize(x), lambda: StandardScaler().fit(x)),
        "fit min-max": (lambda: fit_min_max(ours), lambda: MinMaxScaler().fit(x)),
        "fit PCA": (lambda: fit_pca(ours), lambda: PCA().fit(x)),
        "fit whiten": (lambda: fit_whiten(ours), lambda: PCA(whiten=True).fit(x)),
        "stream standardise": (lambda: fit_standardize(iter(batches)), lambda: stream(StandardScaler(), batches)),
        "stream PCA": (lambda: fit_pca(iter(batches[:FEW])), lambda: stream(IncrementalPCA(), batches[:FEW])),
        "transform, standardise": (lambda: transform(scaling, ours), lambda: fitted[0].transform(x)),
        "transform, PCA": (lambda: transform(pca, ours), lambda: fitted[1].transform(x)),
        "inverse, standardise": (lambda: inverse_transform(scaling, ours), lambda: fitted[0].inverse_transform(x)),
        "inverse, PCA": (lambda: inverse_transform(pca, ours), lambda: fitted[1].inverse_transform(x)),
    }


def seconds(run: Run) -> float:
    start = time.perf_counter()
    jax.block_until_ready(run())
    return time.perf_counter() - start


def timings(x: np.ndarray, console: Console) -> list[list[str]]:
    """A row per operation: ours, its first call, theirs, and how often ours fits into theirs."""
    rows, timed = [], operations(x)
    with progress(console, "operations", len(timed), still=True) as on_progress:
        for name, pair in timed.items():
            jax.clear_caches()
            runs = pair if PEERS else pair[:1]
            first, *times = ([seconds(run) for run in runs] for _ in range(1 + REPEATS))
            ours, *theirs = map(statistics.median, zip(*times, strict=True))
            rows.append([name, *(f"{t:.2f}" for t in (ours, first[0], *theirs, *(their / ours for their in theirs)))])
            on_progress(len(rows))
    return rows


def errors(x: np.ndarray) -> list[list[str]]:
    """A row per number that was fitted: the largest error of ours and of theirs, against float64."""
    wide = x.astype(np.float64)
    mean, var = wide.mean(0), wide.var(0)
    wide -= mean
    spectrum = np.linalg.eigvalsh(wide.T @ wide / (len(x) - 1))[::-1]
    t, variances = fit_standardize(x), fit_pca(x, ddof=1).explained_variance
    found = [(np.add(t.center, t.rest, dtype=float), np.square(t.spread, dtype=float), transform(t, x), variances)]
    if PEERS:
        theirs = StandardScaler().fit(x)
        found.append((theirs.mean_, theirs.var_, theirs.transform(x), PCA().fit(x).explained_variance_))
    exact = {
        "mean, in standard deviations": (mean, np.sqrt(var)),
        "variance, relative": (var, var),
        "standardised data, absolute": (wide / np.sqrt(var), 1),
        "variances of PCA, of the largest": (spectrum, spectrum[0]),
    }
    return [
        [name, *(f"{np.max(np.abs(np.asarray(values[i], np.float64) - truth) / scale):.1e}" for values in found)]
        for i, (name, (truth, scale)) in enumerate(exact.items())
    ]


def measure(console: Console) -> list[Table]:
    """What each can do, how fast, and how exactly."""
    peers = ["scikit-learn"] if PEERS else []
    ratio = ["theirs / ours"] if PEERS else []
    x = images()
    far = [[f"{name}, at an offset of 1e4", *row] for name, *row in errors(x + np.float32(1e4))]
    return [
        Table("What each can do", ["", "jaxbn", *(peer.__name__ for peer in PEERS)], abilities()),
        Table(SECONDS, ["", "jaxbn", "first call", *peers, *ratio], timings(x, console)),
        Table("Largest error against float64", ["", "jaxbn", *peers], errors(x) + far),
    ]


def main(args: list[str] | None = None) -> int:
    """Run the bench, and return the exit status."""
    return program.run(Options, args, work)


def work(options: Options, console: Console) -> None:
    """Measure, print and write the three tables."""
    config.require_writable("--out", options.out)
    tables = measure(console)
    text = markdown(tables)
    results.write_summary(options.out, {"measured": {table.title: table.cells() for table in tables}}, text)
    console.print(text, soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
