"""All finished studies on one page: `REPORT.md` beside their folders, and `report.html`, which needs no other file."""

from __future__ import annotations

import base64
import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from experiments.harness import files, study
from experiments.harness.tables import Table

TITLE = "What theory says of batch normalization, measured"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --line: #d0d7de; --good: #1a7f37; --bad: #b42318; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6edf3; --paper: #0d1117; --line: #3d444d; --good: #3fb950; --bad: #ff7b72; }
}
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: 1rem 0; }
th, td { border: 1px solid var(--line); padding: .3rem .6rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; }
td.holds { color: var(--good); } td.fails { color: var(--bad); font-weight: bold; }
img { max-width: 100%; background: #fff; border-radius: .5rem; padding: .5rem; box-sizing: border-box; }
a { color: inherit; }
"""


def write(out: Path, names: list[str]) -> int:
    """Write both files for the studies that are finished, in this order; how many predictions failed."""
    found = {name: summary for name in names if (summary := study.read(out / name))}
    failed = sum(not verdict["holds"] for summary in found.values() for verdict in summary["verdicts"])
    files.write_text(out / "REPORT.md", as_markdown(found, lambda name: f"{name}/{name}.png"))
    files.write_text(out / "report.html", as_html(found, out))
    return failed


def as_markdown(found: Mapping[str, Any], figure: Any) -> str:
    """The table of all claims, then each study with its figure, whose path `figure(name)` gives."""
    parts = [f"# {TITLE}", overview(found).markdown().partition("\n\n")[2]]
    for name, summary in found.items():
        parts += [f"## {name}", f"{summary['claim']} Source: {summary['source']}. `{command(summary)}`"]
        parts += [table_of(summary).markdown().partition("\n\n")[2], *summary["notes"][:-1]]
        parts += [f"![{summary['claim']}]({figure(name)})", made_with(summary)]
    return "\n\n".join(parts) + "\n"


def as_html(found: Mapping[str, Any], out: Path) -> str:
    """The same in one file, the figures inside."""
    parts = [f"<h1>{TITLE}</h1>", table_as_html(overview(found), {name: f"#{name}" for name in found})]
    for name, summary in found.items():
        claim = html.escape(summary["claim"])
        picture = base64.b64encode((out / name / f"{name}.png").read_bytes()).decode()
        parts += [
            f'<h2 id="{name}">{name}</h2>',
            f"<p>{claim} Source: {html.escape(summary['source'])}. <code>{command(summary)}</code></p>",
            table_as_html(table_of(summary), {}),
            *(f"<p>{html.escape(note)}</p>" for note in summary["notes"][:-1]),
            f'<img src="data:image/png;base64,{picture}" alt="{claim}">',
            f"<p>{html.escape(made_with(summary))}</p>",
        ]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{TITLE}</title>'
        f"<style>{STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(parts) + "\n</body></html>\n"


def overview(found: Mapping[str, Any]) -> Table:
    """One row for each prediction."""
    rows = [
        [name, verdict["what"], *(verdict[cell] for cell in ("predicted", "measured", "interval")), word(verdict)]
        for name, summary in found.items()
        for verdict in summary["verdicts"]
    ]
    return Table(TITLE, ["study", "what", "predicted", "measured", "lowest to highest", "verdict"], rows)


def table_of(summary: Mapping[str, Any]) -> Table:
    """The verdicts of one study."""
    return study.verdict_table(summary["claim"], summary["verdicts"])


def word(verdict: Mapping[str, Any]) -> str:
    """Whether a prediction holds."""
    return "holds" if verdict["holds"] else "FAILS"


def command(summary: Mapping[str, Any]) -> str:
    """What to type for one study."""
    return f"python -m experiments.studies.{summary['name']}"


def made_with(summary: Mapping[str, Any]) -> str:
    """The seeds, the device and the versions."""
    settings, versions = summary["settings"], summary["versions"]
    last = settings["seed"] + settings["seeds"] - 1
    seeds = f"seed {last}" if settings["seeds"] == 1 else f"seeds {settings['seed']} to {last}"
    return f"{seeds.capitalize()}; {summary['device']}; {', '.join(f'{k} {v}' for k, v in versions.items())}."


def table_as_html(table: Table, links: Mapping[str, str]) -> str:
    """A table whose first cells may be links."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in table.header)]
    for first, *cells in table.rows:
        shown = f'<a href="{links[first]}">{html.escape(first)}</a>' if first in links else html.escape(first)
        others = (f'<td class="{cell.lower()}">{html.escape(cell)}</td>' for cell in cells)
        lines.append(f"<td>{shown}</td>{''.join(others)}")
    return f'<div class="wide"><table>{"".join(f"<tr>{line}</tr>" for line in lines)}</table></div>'
