"""Write docs/reference.md, all of jaxbn on one page, from the docstrings.

Takes a moment. For example, in the folder with README.md and docs/:
    python -m experiments.reference
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import pprint
import re
import textwrap
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from rich.console import Console

from experiments.harness import files, program
from experiments.harness.errors import UserError

# What users import from.
_PARTS = ("linen", "nnx", "variants", "inference", "preprocess", "presets", "interop", "interop.conventions")
MODULES = ("jaxbn", *(f"jaxbn.{part}" for part in _PARTS))
HEAD = """# All of jaxbn on one page

<!-- Written by `python -m experiments.reference` from the docstrings: what is changed here is lost. -->

Every public name, with its arguments, their shapes, its errors and an example. `[features]` is the shape of an array
with one number for each feature. Before an example come `import jax`, `import jax.numpy as jnp`, `import numpy as np`,
`from jaxbn import *`, and `from jaxbn.inference import *` or whatever the name's own module is.
"""
TITLES = ("Args", "Attributes", "Returns", "Raises", "Example", "Reference")
SECTION = re.compile(rf"^({'|'.join(TITLES)}):\n", re.MULTILINE)
ITEM = re.compile(r"^(\w+): ", re.MULTILINE)
CODE = re.compile(r"`([\w.]+)`")


@dataclasses.dataclass(frozen=True)
class Config:
    """The command line."""

    root: Path = Path()
    """The folder with README.md and docs/."""


class Public(NamedTuple):
    """A public name, `jaxbn.linen.BatchNorm`, what it stands for, and its docstring."""

    name: str
    value: Any
    doc: str


def public(module: str) -> list[Public]:
    """What a module defines, and what it imports `as` itself, in its order; each class is followed by its methods."""
    found = []
    for name, text in _named(module).items():
        value = getattr(importlib.import_module(module), name)
        if name.startswith("_") or isinstance(value, types.ModuleType):
            continue
        documents_itself = inspect.isclass(value) or inspect.isfunction(value)
        found.append(Public(f"{module}.{name}", value, _doc(value) if documents_itself else inspect.cleandoc(text)))
        if inspect.isclass(value):
            fields = vars(value).get("__annotations__", {})
            methods = {n: v for n, v in vars(value).items() if inspect.isfunction(v) and n not in fields}
            shown = [n for n in methods if n == "__call__" or not n.startswith("_")]
            found += [Public(f"{module}.{name}.{n}", methods[n], _doc(methods[n])) for n in shown]
    return found


def _doc(value: Any) -> str:
    """Its own docstring, and not one that it inherits."""
    return inspect.cleandoc(value.__doc__ or "")


def _named(module: str) -> dict[str, str]:
    """The names, and with each the string below it, which is the docstring of a constant."""
    found: dict[str, str] = {}
    nodes = ast.parse(inspect.getsource(importlib.import_module(module))).body
    for node, after in itertools.pairwise([*nodes, ast.Pass()]):
        match node, after:
            case ast.ImportFrom(module=str(source)), _:
                again = [alias.name for alias in node.names if alias.name == alias.asname]
                found |= {name: "" if source == module else _named(source)[name] for name in again}
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name), _:
                found[name] = ""
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                found[name] = text
            case ((ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)])), _):
                found[name] = ""
    return found


def sections(doc: str) -> dict[str, str]:
    """The parts of a docstring by their titles; what comes before the first has none."""
    text, *parts = SECTION.split(doc)
    return {"": text.strip()} | {a: textwrap.dedent(b).strip() for a, b in zip(parts[::2], parts[1::2], strict=True)}


def items(section: str) -> dict[str, str]:
    """What is said of each argument, or of each error."""
    before, *parts = ITEM.split(section)
    if before.strip():
        raise UserError(f"A section must begin with `name: `, got {before.strip()!r}; write it so.")
    return dict(zip(parts[::2], parts[1::2], strict=True))


def parameters(value: Any) -> list[inspect.Parameter]:
    """What a function or a class is called with."""
    called = vars(value).get("__init__", value.__new__) if inspect.isclass(value) else value
    found = list(inspect.signature(called).parameters.values())
    return found[1:] if found and found[0].name in ("self", "_cls") else found


class _Default:
    """What a parameter is by default, as in the code where that is possible."""

    def __init__(self, value: Any) -> None:
        self.value = value

    def __repr__(self) -> str:
        if isinstance(self.value, str):
            return f'"{self.value}"'
        if isinstance(self.value, types.MappingProxyType):
            return repr({**self.value})
        text = getattr(self.value, "__name__", repr(self.value))
        return "..." if " at 0x" in text else text


def signature(name: str, value: Any) -> str:
    """A call in Python, without types, of which the docstring says more."""
    bare = [
        p.replace(annotation=p.empty, default=p.default if p.default is p.empty else _Default(p.default))
        for p in parameters(value)
    ]
    return textwrap.fill(f"{name}{inspect.Signature(bare)}", 100, subsequent_indent=" " * (len(name) + 1))


def anchor(name: str) -> str:
    """Where the heading is, on GitHub as on the site."""
    return re.sub(r"[^\w-]", "", name.lower())


def page() -> str:
    """All of it, in Markdown."""
    found = {module: public(module) for module in MODULES}
    about = {module: _doc(importlib.import_module(module)) for module in MODULES}
    names = [one.name for ones in found.values() for one in ones]
    # A name by itself is a link too where there is one such name alone.
    last = [name.rpartition(".")[2] for name in names]
    links = {name: name for name in (*MODULES, *names)}
    links |= {short: name for short, name in zip(last, names, strict=True) if last.count(short) == 1}

    def linked(text: str) -> str:
        return CODE.sub(lambda code: f"[{code[0]}](#{anchor(links[code[1]])})" if code[1] in links else code[0], text)

    lines = [HEAD]
    for module, ones in found.items():
        lines.append(f"- [`{module}`](#{anchor(module)}): {_title(about[module])}")
        # Methods are found below their class.
        top = [one for one in ones if one.name.count(".") == module.count(".") + 1]
        lines += [f"    - [`{one.name.rpartition('.')[2]}`](#{anchor(one.name)}): {_title(one.doc)}" for one in top]
    for module, ones in found.items():
        lines += ["", f"## `{module}`", "", linked(about[module])]
        for one in ones:
            level = "#" * (2 + one.name.count(".") - module.count("."))
            lines += ["", f"{level} `{one.name}`", "", *_entry(one, linked)]
    return "\n".join(lines) + "\n"


def _title(doc: str) -> str:
    return doc.partition("\n")[0]


def _entry(one: Public, linked: Callable[[str], str]) -> Iterator[str]:
    name, parts = one.name.rpartition(".")[2], sections(one.doc)
    if not callable(one.value):
        yield from (linked(parts[""]), "", "```text", pprint.pformat(one.value, width=100, sort_dicts=False), "```")
        return
    yield from ("```text", signature(name.replace("__call__", "layer"), one.value), "```", "", linked(parts.pop("")))
    for title, text in parts.items():
        if title == "Example":
            yield from ("", f"**{title}**", "", "```pycon", text, "```")
        elif title in ("Args", "Attributes", "Raises"):
            yield from ("", f"**{title}**", "")
            for item, said in items(text).items():
                yield f"- `{item}`: " + linked(_flat(said)).replace("\n", "\n  ")
        else:
            yield from ("", f"**{title}**", "", linked(_flat(text)))


def _flat(text: str) -> str:
    """Without the indentation of further lines, which says nothing."""
    return re.sub(r"\n +", "\n", text.strip())


def main(args: list[str] | None = None) -> int:
    """Write the page, and return the exit status."""
    return program.run(Config, args, work)


def work(cfg: Config, console: Console) -> None:
    """Write the page."""
    if not (cfg.root / "README.md").is_file():
        raise UserError(f"`--root` must be the folder of README.md, got {cfg.root}.")
    files.write_text(cfg.root / "docs/reference.md", page())
    console.print(f"Written: {cfg.root / 'docs/reference.md'}", soft_wrap=True)


if __name__ == "__main__":
    program.leave(main())
