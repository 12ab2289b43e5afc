"""Writes docs/passes.md: graph passes and program passes in the order of the pipeline, and the rules of `simplify`.

    page()      # '# Passes\\n\\n...'
"""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import sys
import textwrap
from pathlib import Path

from edgec import compiler, passes
from edgec.passes import rules_affine, rules_algebra, rules_joins, rules_pad, rules_products, rules_scales, rules_tables, rules_views
from edgec.pipeline import Pass, parse_pipeline, registered

RULES = (rules_algebra, rules_views, rules_pad, rules_affine, rules_joins)
INTEGER_RULES = (rules_scales, rules_products, rules_tables)

PAGE = """\
# Passes

<!-- written by docs/make_passes.py; `make docs` writes it anew -->

A pass is a pure function from one program to another, in a file of its name in [passes/](../passes) (imported as `edgec.passes`). Nothing
is changed in place, so no pass can leave another's notes stale, and any two versions of a program can be compared.

```text
load -> {graph_passes}
{program_passes}
```

## Graph passes

From graph to graph; the order is `GRAPH_PASSES` in [edgec/compiler.py](../edgec/compiler.py), and `edgec passes` prints it with the passes'
options. Your own run beside them: [write a pass](write-a-pass.md).

{graph}

## Program passes

From graph to kernels, then from program to program; the order is `PROGRAM_PASSES` in [edgec/compiler.py](../edgec/compiler.py).

{program}

## From kernel to loops

`tile` makes loops of one kernel at a time. What it is made of, and who uses what:

{parts}

## The rules of simplify

A rule looks at one operator and says what stands in its place; the driver (`edgec.rewrite`) applies all of them until none matches.

{rules}

## The rules of integers

{integer_rules}
"""


def page() -> str:
    """The whole page."""
    graph = list(dict.fromkeys(step.chosen.name for step in parse_pipeline(compiler.GRAPH_PASSES, registered())))
    program = program_passes()
    others = [m for m in module_names() if m not in program and m.replace("_", "-") not in registered() and not m.startswith("rules_")]
    return PAGE.format(
        graph_passes=chain_text(compiler.GRAPH_PASSES.split(",")).strip().removeprefix("-> "), program_passes=chain_text([*program, "tile"]),
        graph="\n\n".join(graph_section(registered()[name]) for name in graph), program="\n\n".join(map(module_section, program)),
        parts="\n".join(part(name) for name in sorted(others, key=lambda name: (name != "tile", name))),
        rules="\n\n".join(map(rules_of, RULES)), integer_rules="\n\n".join(map(rules_of, INTEGER_RULES)))


def chain_text(names: list[str], width: int = 120) -> str:
    """The names as lines of a chain."""
    return textwrap.fill(" ".join(f"->\N{NO-BREAK SPACE}{name}" for name in names), width, initial_indent="     ",
                         subsequent_indent="     ").replace("\N{NO-BREAK SPACE}", " ")


def program_passes() -> list[str]:
    """The program passes in the order in which they run."""
    return [step.__name__ for step, _ in compiler.PROGRAM_PASSES]


def module_names() -> list[str]:
    return [entry.name for entry in pkgutil.iter_modules(passes.__path__)]


def module_of(name: str):
    return importlib.import_module(f"edgec.passes.{name}")


def graph_section(found: Pass) -> str:
    """One graph pass: meaning, module docstring, options, constraints."""
    module = sys.modules[found.function.__module__]
    lines = [f"### {found.name}", "", filled(f"**{found.meaning}**"), "", *block(module)]
    options = ", ".join(f"`{name}={value!r}`" for name, value in found.options.items())
    lines += [f"* options: {options}"] if options else []
    lines += [f"* before `{other}`: {reason}" for other, reason in found.before.items()]
    lines += [f"* after `{other}`: {reason}" for other, reason in found.after.items()]
    return "\n".join(lines)


def module_section(name: str) -> str:
    """One program pass: its docstring's first line, what its file says it does."""
    module = module_of(name)
    meaning = (inspect.getdoc(getattr(module, name)) or "").split("\n\n")[0].replace("\n", " ")
    reason = next(reason for step, reason in compiler.PROGRAM_PASSES if step.__name__ == name)
    optional = [f"* `--without {name}` leaves it out"] if name in compiler.OPTIONAL else []
    return "\n".join([f"### {name}", "", filled(f"**{meaning}**"), "", *block(module), filled(f"* its place: {reason}", "  "), *optional])


def block(module) -> list[str]:
    """The module's docstring as prose, its indented example as text."""
    lines: list[str] = []
    for paragraph in (module.__doc__ or "").strip("\n").split("\n\n"):
        is_example = all(line.startswith("    ") for line in paragraph.split("\n"))
        shown = ["```text", textwrap.dedent(paragraph), "```"] if is_example else [filled(paragraph.replace("\n", " "))]
        lines += [*shown, ""]
    return lines


def part(name: str) -> str:
    """One line about a file that is no pass by itself."""
    meaning = (inspect.getdoc(module_of(name)) or "").split("\n\n")[0].replace("\n", " ").removesuffix(".")
    users = [m for m in module_names() if f"edgec.passes.{name}" in imports(m)]
    by = f" Used by {', '.join(f'`{u}`' for u in users)}." if users else ""
    return filled(f"* `{name}`: {meaning}.{by}", "  ")


def imports(name: str) -> set[str]:
    """The modules that a file of passes/ imports."""
    tree = ast.parse(Path(module_of(name).__file__).read_text(encoding="utf-8"))
    return {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}


def rules_of(module) -> str:
    """The rules of one file, as their docstrings say them."""
    title = (inspect.getdoc(module) or "").split("\n")[0].partition(": ")[2].removesuffix(".")
    found = [r for r in vars(module).values() if type(r).__name__ == "Rule" and r.function.__module__ == module.__name__]
    lines = [line for each in found for line in each.meaning.split("\n")]
    return "\n".join([filled(f"{title[0].upper()}{title[1:]}:"), "", "```text", *map(filled, lines), "```"])


def filled(text: str, indent: str = "") -> str:
    """Lines that fit the page."""
    return "\n".join(textwrap.wrap(text, 138, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
