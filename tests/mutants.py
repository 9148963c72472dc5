"""Break the core in one place after the other, and see which tests notice.

    python -m tests.mutants
    python -m tests.mutants --tests tests/test_normalization.py --only epsilon momentum

Of each mistake a copy of the sources is made in a temporary folder, and each file of tests runs on it in a process of
its own, up to its first failure. The table has a row for each file and a column for each mistake; `--list` says what
they are. Without `--tests` it is the identities and the small versions of the studies: what a wrong derivative or
statistic does to a theorem. The exit status is 1 where a mistake stays unnoticed, or a file fails on the sources as
they are.
"""

import argparse
import concurrent.futures
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from experiments.harness.tables import Table
from tests.sources import ROOT

SOUND = "as it is"
# Of these tests none is about a theorem.
NO_THEOREM = ("test_all_studies.py", "test_record.py")
ON, OFF, LATE = "red", "", "late"


class Edit(NamedTuple):
    """A part of a source file, which has it once, and what takes its place."""

    file: str
    old: str
    new: str


class Mutant(NamedTuple):
    """A mistake: what it is, and how it is made."""

    mistake: str
    edits: tuple[Edit, ...]


MUTANTS = {
    "mean's gradient": Mutant(
        "no gradient flows through the mean of the batch",
        (Edit("_affine.py", "    for part in center_dot:\n", "    for part in ():\n"),),
    ),
    "variance's gradient": Mutant(
        "no gradient flows through the variance of the batch",
        (Edit("_pivoted.py", "offset_dot, 2 * along.real)", "offset_dot, 0 * along.real)"),),
    ),
    "epsilon": Mutant(
        "epsilon is added to the standard deviation, not to the variance",
        (
            Edit(
                "_affine.py",
                "_inverse_root(var + jnp.asarray(epsilon, var.dtype))",
                "(1 / (1 / _inverse_root(var) + jnp.asarray(epsilon, var.dtype)))",
            ),
        ),
    ),
    "batch variance": Mutant(
        "a batch is normalised with the unbiased variance",
        (Edit("_pivoted.py", "return self.m2 / divisor(self.count)", "return self.m2 / divisor(self.count - 1)"),),
    ),
    "ddof": Mutant(
        "the running variance is unbiased where it should be biased, and the other way round",
        (Edit("running.py", "degrees = count - ddof", "degrees = count - (1 - ddof)"),),
    ),
    "momentum": Mutant(
        "momentum is the weight of the new value",
        (Edit("running.py", "jnp.asarray(1 - momentum, ", "jnp.asarray(momentum, "),),
    ),
    "evaluation": Mutant(
        "evaluation normalises with the statistics of its own batch",
        (
            Edit(
                "normalization.py",
                "        return _phases.evaluate(params, state, x, weights, axes, epsilon), state\n",
                "        return batch_norm(params, state, x, True, axis=axis, epsilon=epsilon, mask=mask)[0], state\n",
            ),
        ),
    ),
    "running mean": Mutant(
        "the running mean stays at its start",
        (Edit("running.py", "blend(state.mean, mean, count > 0)", "state.mean"),),
    ),
    "scale": Mutant(
        "scale comes before the normalisation, which takes it away again",
        (Edit("_affine.py", "return inverse if scale is None else inverse * scale,", "return inverse,"),),
    ),
    "bias": Mutant(
        "bias comes before the normalisation, which takes it away again",
        (Edit("_affine.py", "jnp.zeros_like(mean) if bias is None else bias\n", "jnp.zeros_like(mean)\n"),),
    ),
    "mask": Mutant(
        "the mask is ignored",
        (
            Edit("normalization.py", "_checks.mask(mask, x)\n", "None\n"),
            Edit("moments.py", "_checks.mask(mask, x)\n", "None\n"),
        ),
    ),
    "merge": Mutant(
        "two sets are merged without the distance between their means",
        (Edit("_pivoted.py", "parts.m2 + parts.count * abs_square(shift - offset)", "parts.m2"),),
    ),
    "count": Mutant(
        "one value of a batch is not counted",
        (
            Edit(
                "_pivoted.py",
                "jnp.full_like(pivot.real, math.prod(x.shape[d] for d in reduced))",
                "jnp.full_like(pivot.real, math.prod(x.shape[d] for d in reduced) - 1)",
            ),
        ),
    ),
}


def main(args: list[str] | None = None) -> int:
    about, example, _ = __doc__.split("\n\n", 2)
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.mutants", description=about, epilog=example, formatter_class=form)
    parser.add_argument(
        "--tests", type=Path, nargs="+", default=theorems(), help="files of tests (default: of the theory)"
    )
    parser.add_argument("--only", nargs="+", default=[*MUTANTS], choices=MUTANTS, metavar="NAME", help="these mistakes")
    parser.add_argument(
        "--jobs", type=int, default=os.cpu_count(), help="processes at once (default: one for each core)"
    )
    parser.add_argument("--limit", type=float, default=1800, help="seconds for a file on a mistake (default: 1800)")
    parser.add_argument("--out", type=Path, help="a folder for summary.md, where the table goes too")
    parser.add_argument("--list", action="store_true", help="say what the mistakes are, and end")
    options = parser.parse_args(args)
    if options.list:
        print(*(f"{name}: {mutant.mistake}" for name, mutant in MUTANTS.items()), sep="\n")
        return 0
    with tempfile.TemporaryDirectory(prefix="jaxbn-mutants-") as folder:
        trees = {name: broken(Path(folder), name) for name in (SOUND, *options.only)}
        pairs = [(file, name) for file in options.tests for name in trees]

        def tried(pair: tuple[Path, str]) -> str:
            file, name = pair
            said = outcome(trees[name], file, options.limit)
            print(f"{name}: {file.stem} {said or 'green'}", file=sys.stderr, flush=True)
            return said

        with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
            found = dict(zip(pairs, pool.map(tried, pairs), strict=True))
    print(made := table(options.tests, [*trees], found).markdown())
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "summary.md").write_text(made + "\n", encoding="utf-8")
    unnoticed = [name for name in options.only if not any(found[file, name] for file in options.tests)]
    unsound = [file for file in options.tests if found[file, SOUND]]
    print(f"\n{len(options.only) - len(unnoticed)} of {len(options.only)} mistakes are noticed.")
    for name in unnoticed:
        print(f"Unnoticed: {name}, {MUTANTS[name].mistake}.")
    for file in unsound:
        print(f"Red without a mistake: {file}.")
    return int(bool(unnoticed or unsound))


def theorems() -> list[Path]:
    """The files with the identities, and with the small versions of the studies."""
    found = sorted((ROOT / "tests" / "experiments" / "studies").glob("test_*.py"))
    studies = [path.relative_to(ROOT) for path in found if path.name not in NO_THEOREM]
    return [Path("tests/test_identities.py"), *studies]


def broken(folder: Path, name: str) -> Path:
    """A copy of the sources with a mistake."""
    tree = folder / name.replace("'", "").replace(" ", "_")
    tree.mkdir()
    for part in ("jaxbn", "experiments", "tests"):
        shutil.copytree(ROOT / part, tree / part, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tree)
    for edit in MUTANTS[name].edits if name in MUTANTS else ():
        make(edit, tree / "jaxbn")
    return tree


def make(edit: Edit, library: Path) -> None:
    """Change a source file."""
    source = (library / edit.file).read_text(encoding="utf-8")
    count = source.count(edit.old)
    assert count == 1, f"{edit.file} has {edit.old!r} {count} times"
    (library / edit.file).write_text(source.replace(edit.old, edit.new), encoding="utf-8")


def outcome(tree: Path, file: Path, limit: float) -> str:
    """What the tests of a file say of the sources in a tree."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", str(file)]
    environment = {**os.environ, "PYTHONPATH": str(tree)}
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return LATE
    assert done.returncode in (0, 1), done.stdout + done.stderr
    return ON if done.returncode else OFF


def table(tests: list[Path], names: list[str], found: dict[tuple[Path, str], str]) -> Table:
    """A row for each file of tests, and the number of those that notice."""
    rows = [[file.stem.removeprefix("test_"), *(found[file, name] for name in names)] for file in tests]
    noticing = [str(sum(bool(found[file, name]) for file in tests)) for name in names]
    return Table("Which tests notice which mistake", ["tests", *names], [*rows, ["how many notice", *noticing]])


if __name__ == "__main__":
    sys.exit(main())
