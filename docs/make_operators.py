"""Writes docs/operators.md: every operator class, by family, with how it is compiled.

    page()      # '# Operators\\n\\n...'
"""

from __future__ import annotations

import importlib
import inspect
import json
import re
import textwrap
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import onnx

from edgec.graph import Op
from edgec.onnx.sequences import HANDLERS
from edgec.onnx.tensor import DTYPE_OF_CODE
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

Strings are slots of UTF-8 bytes with zeros behind the end; `--string-bytes N` says how many bytes a string of an input has (64 without
it), the header says how many one of an output has.

## ONNX's own test suite

{suite}

{families}
"""

SUITE = """\
`onnx.backend.test` has {cases} cases. Each is imported, compiled at -O1, run and compared with the tolerance of ONNX's own runner.
`python docs/measure_suite.py --page` runs them.

| | passed | refused | wrong | crashed or hung |
|---|---|---|---|---|
{totals}

A case that is refused names the node and the reason. The four counted as wrong expect the rounding errors of numpy: their exact results are
0 where its transform in f32 leaves 2e-7, and attention in f16 was expected from sums rounded to f16 at every step, which ours are not.
These are all that do not pass compiled (the reason stands once for cases alike):

{reasons}

By operator: its opsets, the element types of its first operand, how it is compiled (above; *body* is the function body of its schema,
*reader* what is resolved while the model is read), and the cases passed, refused and wrong, compiled. Models that are no test of one
operator stand under their kind.

| operator | opsets | types | compiled by | passed | refused | wrong |
|---|---|---|---|---|---|---|
{rows}
"""

RESULTS = Path(__file__).with_name("operators.json")
GROUPS = {"floats": ("f16", "bf16", "f32", "f64"), "integers": ("i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64"),
          "fp8, fp4": ("f8e4m3fn", "f8e4m3fnuz", "f8e5m2", "f8e5m2fnuz", "f4e2m1"), "4 and 2 bits": ("i4", "u4", "i2", "u2")}


def page() -> str:
    """The whole page."""
    count = Counter(WAYS[way_of(cls)][0] for cls in OPERATORS.values())
    rows = [f"| {name} | {count[name]} | {meaning} |" for name, meaning in WAYS.values() if count[name]]
    ways = "\n".join(["| compiled by | operators | what that is |", "|---|---|---|", *rows])
    families = "\n\n".join(family(name) for name in sorted({c.__module__ for c in OPERATORS.values()}))
    return PAGE.format(ways=ways, suite=suite(), families=families)


def suite() -> str:
    """What the suite's cases came to."""
    found = json.loads(RESULTS.read_text())
    native = found["native"]
    return SUITE.format(cases=native["cases"], totals="\n".join(total(how, each) for how, each in sorted(found.items(), reverse=True)),
                        reasons=reasons(native["not_passed"]),
                        rows="\n".join(row(name, native["operators"][name]) for name in sorted(native["operators"], key=str.lower)))


def total(how: str, results: dict[str, Any]) -> str:
    """The counts of all cases."""
    count: Counter = Counter()
    for each in results["operators"].values():
        count.update(each)
    return f"| {how} | {count['passed']} | {count['refused']} | {count['wrong']} | {count['crashed'] + count['hung']} |"


def reasons(left: list[dict[str, str]]) -> str:
    """Each reason once, with the cases it stands for."""
    by_reason: dict[tuple[str, str], list[str]] = {}
    for each in left:
        by_reason.setdefault((each["verdict"], each["reason"]), []).append(f"`{each['case']}`")
    return "\n".join(filled(f"* {verdict}: {plain(reason)} ({', '.join(names)})", "  ") for (verdict, reason), names in by_reason.items())


def plain(text: str) -> str:
    """Without what Markdown would read as its own."""
    return re.sub(r"([*_<>\[\]])", r"\\\1", text)


def row(name: str, native: dict[str, int]) -> str:
    """One operator's line."""
    counts = [native.get("passed", 0), native.get("refused", 0), sum(native.get(v, 0) for v in ("wrong", "crashed", "hung"))]
    domain, _, op = name.rpartition(".")
    return f"| {name} | {opsets(domain, op)} | {types(domain, op)} | {compiled_by(domain, op)} | {' | '.join(map(str, counts))} |"


@cache
def schemas() -> dict[tuple[str, str], list[Any]]:
    """Every version of every operator."""
    found: dict[tuple[str, str], list[Any]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        found.setdefault((schema.domain, schema.name), []).append(schema)
    return {key: sorted(each, key=lambda s: s.since_version) for key, each in found.items()}


def opsets(domain: str, op: str) -> str:
    """The versions that changed the operator."""
    return " ".join(str(s.since_version) for s in schemas().get((domain, op), []))


def types(domain: str, op: str) -> str:
    """The element types of the first operand (or result, without one) that both ONNX's schema and edgec have, in groups."""
    versions = schemas().get((domain, op), [])
    if not versions:
        return ""
    newest = versions[-1]
    port = (*newest.inputs, *newest.outputs)[0]
    spelt = next((c.allowed_type_strs for c in newest.type_constraints if c.type_param_str == port.type_str), [port.type_str])
    codes = {onnx.TensorProto.DataType.Value(t[len("tensor("):-1].upper()) for t in spelt if t.startswith("tensor(")}
    have = [str(DTYPE_OF_CODE[c]) for c in sorted(codes) if c in DTYPE_OF_CODE]
    words = [group for group, members in GROUPS.items() if set(members) <= set(have)]
    covered = {m for group in words for m in GROUPS[group]}
    words += [t for t in have if t not in covered]
    words += ["sequences"] if any(t.startswith("seq(") for t in spelt) else []
    return ", ".join(words)


def compiled_by(domain: str, op: str) -> str:
    """How an operator is compiled, in a word."""
    if (domain, op) in OPERATORS:
        return WAYS[way_of(OPERATORS[domain, op])][0]
    if not domain and (op in HANDLERS or op == "Constant"):
        return "reader"
    versions = schemas().get((domain, op), [])
    if not versions:
        return ""
    return "body" if versions[-1].has_function or versions[-1].has_context_dependent_function else "refused"


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
