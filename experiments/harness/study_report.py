"""All finished studies on one page: `REPORT.md` beside their folders, and `report.html`, which needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from experiments.harness import environment, files, study
from experiments.harness.tables import Table, escaped

TITLE = "What theory says of batch normalization, measured"
# On narrow screens, as of a phone, a row is a card whose cells name their columns, and wide figures are moved along.
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --good: #1a7f37; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --good: #3fb950; --bad: #ff7b72; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 70rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: left; vertical-align: top; }
div { overflow-x: auto; }
th, td.name, td.number { white-space: nowrap; }
td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.holds { color: var(--good); }
td.fails { color: var(--bad); font-weight: bold; }
img { max-width: 100%; background: #fff; border-radius: .5rem; padding: .5rem; box-sizing: border-box; }
a { color: inherit; }
@media (max-width: 45rem) {
  thead { display: none; }
  tr { display: block; border: 1px solid var(--line); border-radius: .5rem; margin: .7rem 0; padding: .3rem .6rem; }
  td, td.name, td.number { display: block; border: 0; padding: .1rem 0; text-align: left; white-space: normal; }
  td::before { content: attr(data-label) ": "; opacity: .7; }
  img { max-width: none; height: 15rem; }
}
"""

# The columns that line up to the right.
NUMBERS = ("measured", "lowest to highest")

Summaries = Mapping[str, Mapping[str, Any]]


def write(out: Path, names: Collection[str], apart: Collection[str] = ()) -> Summaries:
    """Write both files for those of the studies that are finished, in this order; their summaries by name.

    Args:
        out: the folder with theirs.
        names: of all studies.
        apart: those of them that no one misses where they are not finished.
    """
    found = {name: summary for name in names if (summary := study.read(out / name, name))}
    missing = [name for name in names if name not in found and name not in apart]
    figures = {name: (out / name / study.figure_of(name)).read_bytes() for name in found}
    files.write_text(out / "REPORT.md", as_markdown(found, missing))
    files.write_text(out / "report.html", as_html(found, missing, figures))
    return found


def headline(found: Summaries) -> str:
    """How many predictions hold, and which studies have others."""
    holds = {name: [verdict["holds"] for verdict in summary["verdicts"]] for name, summary in found.items()}
    count, failed = sum(map(len, holds.values())), sum(of.count(False) for of in holds.values())
    if not failed:
        return f"All {count} predictions hold."
    of = ", ".join(name for name in holds if not all(holds[name]))
    return f"{count - failed} of {count} predictions hold, {failed} FAIL{'S' if failed == 1 else ''}: {of}."


def as_markdown(found: Summaries, missing: list[str]) -> str:
    """The table of all predictions, then each study with its figure, which lies in its folder."""
    parts = [f"# {TITLE}", headline(found), *not_run(missing), overview(found).title, cells_of(overview(found))]
    for name, summary in found.items():
        parts += [f"## {name}", f"{escaped(cited(summary))} `{command(name)}`"]
        parts += [cells_of(study.verdict_table(summary["verdicts"])), *map(escaped, summary["notes"][:-1])]
        parts += [f"![{escaped(summary['claim'])}]({name}/{study.figure_of(name)})", escaped(made_with(summary))]
    return "\n\n".join(parts) + "\n"


def as_html(found: Summaries, missing: list[str], figures: Mapping[str, bytes]) -> str:
    """The same in one file, the figures inside."""
    parts = [f"<h1>{TITLE}</h1>", *paragraphs([headline(found), *not_run(missing)]), table_as_html(overview(found))]
    for name, summary in found.items():
        picture = base64.b64encode(figures[name]).decode()
        parts += [
            f'<h2 id="{name}">{name}</h2>',
            f"<p>{html.escape(cited(summary))}<br><code>{command(name)}</code></p>",
            table_as_html(study.verdict_table(summary["verdicts"])),
            *paragraphs(summary["notes"][:-1]),
            f'<div><img src="data:image/png;base64,{picture}" alt="{html.escape(summary["claim"])}"></div>',
            *paragraphs([made_with(summary)]),
        ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{TITLE}</title><style>{STYLE}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{body}\n</body>\n</html>\n'


def overview(found: Summaries) -> Table:
    """One row for each prediction."""
    tables = {name: study.verdict_table(summary["verdicts"]) for name, summary in found.items()}
    rows = [[name, *row] for name, table in tables.items() for row in table.rows]
    return Table("All predictions", ["study", "what", *study.verdict_table([]).header[1:]], rows)


def not_run(missing: list[str]) -> list[str]:
    """A sentence, if there is something to say."""
    return [f"Not run yet: {', '.join(missing)}."] if missing else []


def cited(summary: Mapping[str, Any]) -> str:
    """The claim and where it comes from."""
    return f"{summary['claim']}. Source: {summary['source']}."


def command(name: str) -> str:
    """What to type for one study."""
    return f"python -m experiments.studies.{name}"


def made_with(summary: Mapping[str, Any]) -> str:
    """The seeds, the device, and the versions of what the studies import."""
    settings = summary["settings"]
    last = settings["seed"] + settings["seeds"] - 1
    seeds = f"Seed {last}" if settings["seeds"] == 1 else f"Seeds {settings['seed']} to {last}"
    versions = [f"{of} {is_}" for of, is_ in summary["versions"].items() if of not in environment.PEERS]
    return f"{seeds}; {summary['device']}; {', '.join(versions)}."


def cells_of(table: Table) -> str:
    """A table for Markdown, without its title, its numbers alone to the right."""
    head, _, *rows = table.escaped().markdown().partition("\n\n")[2].split("\n")
    ends = ["---:" if name in NUMBERS else "---" for name in table.header]
    return "\n".join([head, f"| {' | '.join(ends)} |", *rows])


def paragraphs(texts: Iterable[str]) -> list[str]:
    """Each text as a paragraph."""
    return [f"<p>{html.escape(text)}</p>" for text in texts]


def table_as_html(table: Table) -> str:
    """A table of verdicts; the name of a study leads to it."""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in table.header)
    rows = "".join(f"<tr>{''.join(map(cell_as_html, table.header, row))}</tr>\n" for row in table.rows)
    return f"<div><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>"


def cell_as_html(column: str, text: str) -> str:
    """A cell, which knows its column for narrow screens."""
    shown = html.escape(text)
    kinds = {"study": "name", "verdict": text.lower(), **dict.fromkeys(NUMBERS, "number")}
    if column == "study":
        shown = f'<a href="#{shown}">{shown}</a>'
    return f'<td class="{kinds.get(column, "text")}" data-label="{html.escape(column)}">{shown}</td>'
