"""Graphs as text: everything that prints parses back to the very same (interned) values.

    graph     ::= "graph" name "(" input,* ")" "->" "(" output,* ")" ["keeps" "(" name "=" name,* ")"] "{" declaration* statement* "}"
    input     ::= %name ":" type                          -- %name#3 is the input `name` with tag 3, of a subgraph
    output    ::= %name | name "=" %name                  -- the second where the output is not called as its value
    declaration ::= @name ":" type                        -- a large constant; its elements lie beside the text, in a dict or .npz file
    statement ::= %name,+ "=" Op "(" operand,* ")" (attribute "=" literal)* ":" type,+
    operand   ::= %name | @name | constant | "_" (absent) | "[" operand,* "]" (a variadic field that is not the last)
    literal   ::= 3 | 0.5 | "text" | true | none | [literal,*] | constant | @name | graph
    constant  ::= type "{" number,* "}"                   -- i64[2]{1,-1}, string[2]{"a","b"}
    type      ::= f32[n<=8,1,8,8]                         -- a symbol's bounds stand where it first occurs; n<=8 is short for 1<=n<=8

    print_graph(graph)      # (text, {"w1": array})
    parse_graph(text, {"w1": array})
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.expr import Expr
from edgec.expr_text import print_expr
from edgec.graph import Constant, Field, Graph, Input, Op, Value, digest, fields_of
from edgec.types import TensorType, dtype_of, string

SMALL = 16  # elements of a constant that are written in the text
PLAIN_NAME = re.compile(r"[\w./-]+", re.ASCII)
PLAIN_WORD = re.compile(r"(?!(?:inf|nan)\b)[A-Za-z_][\w./-]*", re.ASCII)


def print_graph(graph: Graph) -> tuple[str, dict[str, np.ndarray]]:
    """(text, large constants by name). The text is the same on every machine."""
    printer = _Printer(_Names())
    return "\n".join(printer.graph(graph)) + "\n", printer.names.arrays


def save_graph(graph: Graph, path: str | Path) -> None:
    """Write the text to `path` and large constants to an .npz file beside it (bf16 as its bits, since numpy has no name for it)."""
    text, arrays = print_graph(graph)
    Path(path).write_text(text, encoding="utf-8")
    if arrays:
        plain = {n: a.view(np.uint16) if dtype_of(a.dtype).name == "bf16" else a.astype(str) if a.dtype.kind == "O" else a
                 for n, a in arrays.items()}
        np.savez(Path(path).with_suffix(".npz"), **plain)


def load_graph(path: str | Path) -> Graph:
    """Read what `save_graph` wrote."""
    from edgec.graph_parser import parse_graph
    side = Path(path).with_suffix(".npz")
    try:
        text = Path(path).read_text(encoding="utf-8")
        arrays = dict(np.load(side)) if side.exists() else {}
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot read '{path}': {error}") from None
    return parse_graph(text, arrays, str(path))


def type_text(type_: TensorType, declared: dict[Expr, str]) -> str:
    """A type, with the bounds of symbols not yet in `declared`, which gets their names.

    A symbol that a node made for a size of its own (`size.17`) is numbered in the order of appearance.
    """
    return f"{type_.dtype}[{','.join(_dim_text(d, declared) for d in type_.shape)}]"


def size_names(op: Op) -> dict[Expr, str]:
    """How the sizes that an operation computes (edgec.ops.sizes) are written: `count.0` as `count__0`."""
    return {symbol: symbol.data.replace(".", "__") for symbol, *_ in getattr(op, "computed_sizes", ()) if isinstance(symbol, Expr)}


def _dim_text(dim: Any, declared: dict[Expr, str]) -> str:
    if not isinstance(dim, Expr):
        return str(dim)
    if dim.op != "var" or dim in declared:
        return print_expr(dim, declared)
    name = declared[dim] = f"{dim.data.partition('.')[0]}_{len(declared)}" if "." in dim.data else dim.data
    return f"{name}<={dim.hi}" if dim.lo == 1 else f"{dim.lo}<={name}<={dim.hi}"


def quoted(name: str) -> str:
    """A name as it stands after % or @: bare where it is plain, else as a JSON string."""
    return name if PLAIN_NAME.fullmatch(name) else json.dumps(name)


def word(name: str) -> str:
    """A name as it stands alone: bare where it is a word, else as a JSON string."""
    return name if PLAIN_WORD.fullmatch(name) else json.dumps(name)


def constant_text(array: np.ndarray) -> str | None:
    """The inline form of a small constant; None when it is large, or holds a NaN that text would not give back."""
    if array.size > SMALL:
        return None
    dtype = dtype_of(array.dtype)
    if dtype is string:
        return f"{TensorType(dtype, array.shape)}{{{','.join(json.dumps(x) for x in array.ravel().tolist())}}}"
    words = [_number_text(x, dtype.is_float) for x in array.ravel()]
    back = np.array([float(w) if dtype.is_float else {"true": 1, "false": 0}.get(w) if w.isalpha() else int(w) for w in words], object)
    if digest(back.astype(array.dtype).reshape(array.shape)) != digest(array):
        return None
    return f"{TensorType(dtype, array.shape)}{{{','.join(words)}}}"


def _number_text(x: Any, is_float: bool) -> str:
    if is_float:
        return repr(float(x)) if x.dtype != np.float32 else str(x)
    return str(bool(x)).lower() if isinstance(x, np.bool_) else str(int(x))


class _Names:
    """Unique names of values and large constants over a whole text, nested graphs included."""

    def __init__(self) -> None:
        self.values: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.arrays: dict[str, np.ndarray] = {}
        self.constants: dict[Any, str] = {}
        self.symbols: dict[Expr, str] = {}

    def of(self, value: Value) -> str:
        if value not in self.values:
            tag = f"#{value.op.tag}" if isinstance(value.op, Input) and value.op.tag else ""
            self.values[value] = f"%{quoted(self._free(value.name + tag).removesuffix(tag))}{tag}"
        return self.values[value]

    def of_array(self, array: np.ndarray, name: str) -> str:
        """The @name of a large constant; the same content has one name."""
        key = digest(array)
        if key not in self.constants:
            self.constants[key] = free = self._free(name)
            self.arrays[free] = array
        return "@" + quoted(self.constants[key])

    def _free(self, name: str) -> str:
        found, count = name or "v", 0
        while found in self.taken:
            count += 1
            found = f"{name}.{count}"
        self.taken.add(found)
        return found


class _Printer:
    """Prints one graph; `names` is shared with the graphs inside it."""

    def __init__(self, names: _Names):
        self.names = names

    def graph(self, graph: Graph) -> list[str]:
        """The lines of a graph, the first and last without indentation."""
        inputs = ", ".join(f"{self.names.of(v)}: {type_text(v.type, self.names.symbols)}" for v in graph.inputs)
        before = set(self.names.arrays)
        body = [line for op in graph.ops if not isinstance(op, (Input, Constant)) for line in self._statement(op)]
        outputs = ", ".join(self._output(n, v) for n, v in zip(graph.output_names, graph.outputs))
        declared = [f"@{quoted(n)}: {TensorType(dtype_of(a.dtype), a.shape)}" for n, a in self.names.arrays.items() if n not in before]
        keeps = f" keeps ({', '.join(f'{word(a)}={word(b)}' for a, b in graph.states)})" if graph.states else ""
        head = f"graph {word(graph.name)}({inputs}) -> ({outputs}){keeps} {{"
        return [head, *("  " + line for line in [*declared, *body]), "}"]

    def _output(self, name: str, value: Value) -> str:
        text = self.operand(value)
        return text if text == f"%{quoted(name)}" else f"{word(name)}={text}"

    def operand(self, value: Value | None) -> str:
        if value is None:
            return "_"
        return self.array(value.array, value.name) if value.is_constant else self.names.of(value)

    def array(self, array: np.ndarray, name: str) -> str:
        return constant_text(array) or self.names.of_array(array, name)

    def _statement(self, op: Op) -> list[str]:
        operands = ", ".join(self._operands(op))
        attributes, more = self._attributes(op)
        self.names.symbols.update(size_names(op))
        types = ", ".join(type_text(v.type, self.names.symbols) for v in op.results)
        results = ", ".join(self.names.of(v) for v in op.results)
        head = f"{results} = {op_name(type(op))}({operands}){attributes}"
        if not more:
            return [f"{head} : {types}"]
        return [head + more[0], *more[1:-1], f"{more[-1]} : {types}"]

    def _operands(self, op: Op) -> list[str]:
        fields = [f for f in fields_of(type(op)) if f.kind != "attribute"]
        words: list[str] = []
        for f in fields:
            words.extend(self._operand_words(getattr(op, f.name), f, last=f is fields[-1]))
        while words and words[-1] == "_" and fields[-1].kind != "variadic":
            words.pop()
        return words

    def _operand_words(self, value: Any, f: Field, last: bool) -> list[str]:
        if f.kind != "variadic":
            return [self.operand(value)]
        words = [self.operand(v) for v in value]
        return words if last else [f"[{', '.join(words)}]"]

    def _attributes(self, op: Op) -> tuple[str, list[str]]:
        """(attributes on the line of the op, lines of its graphs: the first goes on the same line)."""
        flat, nested = "", [""]
        for name, value in op.attributes.items():
            if isinstance(value, Graph):
                first, *rest = self.graph(value)
                nested = [*nested[:-1], f"{nested[-1]} {name}={first}", *rest]
            else:
                flat += f" {name}={self.literal(value, f'{op.results[0].name}.{name}')}"
        return flat, nested if len(nested) > 1 else []

    def literal(self, value: Any, name: str) -> str:
        """An attribute value; TypeError for one that has no text."""
        if value is None or isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, (int, float)):
            return repr(value)
        if isinstance(value, str):
            return json.dumps(value)
        if isinstance(value, np.ndarray):
            return self.array(value, name)
        if isinstance(value, Sequence):
            return f"[{','.join(self.literal(v, name) for v in value)}]"
        raise TypeError(f"attribute {name} of type {type(value).__name__} has no text")


def op_name(cls: type[Op]) -> str:
    """`Conv`, or `ai.onnx.ml.Scaler` outside the default domain."""
    return f"{cls.domain}.{cls.__name__}" if cls.domain else cls.__name__


def parse_graph(text: str, constants: Mapping[str, np.ndarray] | None = None, file: str = "") -> Graph:
    """The graph of a text (see edgec.graph_parser)."""
    from edgec.graph_parser import parse_graph as parse
    return parse(text, constants or {}, file)
