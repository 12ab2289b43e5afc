"""Writes docs/operators.md: every operator class, by family, with how it is compiled.

    page()      # '# Operators\\n\\n...'
"""

from __future__ import annotations

import importlib
import inspect
import re
import textwrap
from collections import Counter

from edgec.graph import Op
from edgec.ops import OPERATORS

WAYS = {
    "lower": ("formula", "an expression for one element of the result; it fuses with its neighbours"),
    "update": ("update", "stores into a tensor that is there already"),
    "decompose": ("parts", "replaced by simpler operators before anything is compiled"),
    "recurrence": ("repeated", "the kernels of its body, in a loop around them"),
    "alternatives": ("conditional", "the kernels of each of its graphs, under a condition"),
    "loops": ("loops", "loops of its own"),
    "": ("interpreter", "the interpreter runs it (`edgec run --interpret`, `edgec.interpret`), compiled code cannot"),
}

PAGE = """\
# Operators

<!-- written by docs/make_operators.py; `make docs` writes it anew -->

`edgec ops` prints this list for the version at hand; `edgec check MODEL` names everything that keeps a model from being compiled, all at
once. An operator is one class: its types (`infer`), its meaning in numpy (`reference`) and the way it is compiled.

{ways}

What is not in the list may still be read: an operator whose ONNX schema has a function body becomes the operators of that body, functions
that a model brings along become theirs, and operators of older opsets become today's. Whatever is left is refused with the name
of the node. Element types are `f16 bf16 f32 f64`, `i8` to `i64`, `u8` to `u64` and `bool`; where an operator takes fewer, its types are
checked when the model is read. Arithmetic on 16-bit floats is done in f32 and rounded once an operator.

An `If` whose condition is known when the model is read becomes the branch it takes; of another only the branch taken is run, or, where
both are a matter of a few elements, both. A `Loop` whose count is known is repeated, or written out where it is short; one that only its
condition or a computed count ends runs as long as they say, but has no scan results then, whose size nobody would know.

{families}
"""


def page() -> str:
    """The whole page."""
    count = Counter(WAYS[way_of(cls)][0] for cls in OPERATORS.values())
    rows = [f"| {name} | {count[name]} | {meaning} |" for name, meaning in WAYS.values() if count[name]]
    ways = "\n".join(["| compiled by | operators | what that is |", "|---|---|---|", *rows])
    return PAGE.format(ways=ways, families="\n\n".join(family(name) for name in sorted({c.__module__ for c in OPERATORS.values()})))


def family(module: str) -> str:
    """One file's section."""
    name = module.rpartition(".")[2]
    doc = inspect.getdoc(importlib.import_module(module)).split("\n\n")[0].replace("\n", " ")
    members = sorted((cls.__name__, domain, cls) for (domain, _), cls in OPERATORS.items() if cls.__module__ == module)
    items = [item(domain, cls) for _, domain, cls in members]
    return "\n".join([f"## {name}", "", filled(f"{doc} ([edgec/ops/{name}.py](../edgec/ops/{name}.py))"), "", *items])


def item(domain: str, cls: type[Op]) -> str:
    """One operator: its name, how it is compiled (where that is no formula), the first line of its docstring."""
    way = WAYS[way_of(cls)][0]
    mark = "" if way == "formula" else f" ({way})"
    meaning = (inspect.getdoc(cls) or "").split("\n")[0].removeprefix(f"ONNX {cls.__name__}: ")
    title = f"{domain}.{cls.__name__}" if domain else cls.__name__
    plain = re.sub(r"(?<=\w)\*(?=\w)", r"\*", meaning)  # or Markdown sets what is between two products in italics
    return filled(f"* **{title}**{mark}: {plain}", "  ")


def way_of(cls: type[Op]) -> str:
    """The method by which a class is compiled, "" when it is not."""
    return next((way for way in WAYS if way and hasattr(cls, way)), "")


def filled(text: str, indent: str = "") -> str:
    """Lines that fit the page."""
    return "\n".join(textwrap.wrap(text, 138, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False))
