"""The parser of the graph text of edgec.graph_text: one pass over tokens, every problem collected with its line.

    parse_graph("graph g(%x: f32[2]) -> (%y) { %y = Relu(%x) : f32[2] }", {})
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from edgec.dim_text import parse_type
from edgec.errors import CompileError, Loc, ModelError, raise_all
from edgec.expr import Expr
from edgec.graph import Graph, Op, Value, constant, fields_of, graph_input
from edgec.graph_text import size_names
from edgec.ops import OPERATORS
from edgec.text_slots import plain_text
from edgec.types import DTYPES, TensorType, string
from edgec.verifier import is_born, verify

Arrays = Mapping[str, np.ndarray] | Callable[[str, TensorType], np.ndarray]

_NAME = r'(?:"(?:[^"\\]|\\.)*"|[\w./-]+)'
_TOKEN = re.compile(rf"""
    (?P<space>[ \t\r]+|\#[^\n]*) | (?P<newline>\n)
  | (?P<value>%{_NAME}(?:\#\d+)?) | (?P<array>@{_NAME})
  | (?P<type>(?:{'|'.join(sorted(DTYPES, key=len, reverse=True))})\[[^\]\n]*\])
  | (?P<arrow>->) | (?P<string>"(?:[^"\\]|\\.)*")
  | (?P<number>-?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|inf\b|nan\b))
  | (?P<word>[A-Za-z_][\w./-]*) | (?P<mark>[()\[\]{{}},=:])
""", re.VERBOSE | re.ASCII)


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    line: int


def parse_graph(text: str, constants: Arrays, file: str = "") -> Graph:
    """The graph of a text. `constants` gives the large constants, by name or as a function (name, type) -> array.

    ModelError for malformed text, and the operators' own errors; all of them at once, each with its line.
    """
    graph, problems = _parsed(text, constants, file)
    raise_all(problems)
    return graph


def graph_problems(text: str, constants: Arrays, file: str = "") -> list[CompileError]:
    """Every problem of a text, each with its line: what the parser and the operators find, and of a text without any, the verifier."""
    graph, problems = _parsed(text, constants, file)
    return problems or verify(graph)


def _parsed(text: str, constants: Arrays, file: str) -> tuple[Graph | None, list[CompileError]]:
    problems: list[CompileError] = []
    try:
        parser = _Parser(_tokens(text, file), constants, file, problems)
        graph = parser.graph()
        if parser.token.kind != "end":
            parser.fail(f"'{parser.token.text}' after the graph")
    except CompileError as error:
        return None, [*problems, error] if error not in problems else problems
    return graph, problems


def _tokens(text: str, file: str) -> list[Token]:
    found, position, line = [], 0, 1
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise ModelError(f"cannot read '{text[position:position + 20].splitlines()[0]}'", loc=Loc(f"{file}:{line}"))
        if match.lastgroup == "newline":
            line += 1
        elif match.lastgroup != "space":
            found.append(Token(match.lastgroup, match[0], line))
        position = match.end()
    return [*found, Token("end", "the end", line)]


class _Parser:
    """Recursive descent, recursive in nested graphs and lists only; `values` are the names in force, `symbols` the dimensions."""

    def __init__(self, tokens: list[Token], constants: Arrays, file: str, problems: list[CompileError]):
        self.tokens, self.position, self.constants, self.file, self.problems = tokens, 0, constants, file, problems
        self.values: dict[str, Value | None] = {}  # None: its statement had a problem
        self.arrays: dict[str, np.ndarray] = {}
        self.symbols: dict[str, Expr] = {}

    @property
    def token(self) -> Token:
        return self.tokens[self.position]

    def place(self, node: str = "", op: str = "") -> Loc:
        return Loc(f"{self.file}:{self.token.line}", node, op)

    def fail(self, message: str) -> NoReturn:
        raise ModelError(message, loc=self.place())

    def take(self, kind: str) -> str:
        """The text of the next token, which must be of a kind or be this very mark or word."""
        token = self.token
        if kind not in (token.kind, token.text):
            self.fail(f"'{token.text}' where {kind if len(kind) > 2 else repr(kind)} should be")
        self.position += 1
        return token.text

    def skip(self, text: str) -> bool:
        """Whether the next token is this one; then it is taken."""
        found = self.token.text == text and self.token.kind != "string"
        self.position += found
        return found

    def listed(self, item: Callable[[], Any], end: str) -> list[Any]:
        """Items separated by commas, up to and with `end`."""
        found: list[Any] = []
        while not self.skip(end):
            if found:
                self.take(",")
            found.append(item())
        return found

    def name(self) -> str:
        return _unquoted(self.take("string" if self.token.kind == "string" else "word"))

    def type(self) -> TensorType:
        place, text = self.place(), self.take("type")
        try:
            return parse_type(text, self.symbols)
        except CompileError as error:
            raise error.at(place) from None

    def graph(self) -> Graph:
        """A graph; what is outside is not seen inside, since graphs are closed."""
        outer, self.values = self.values, {}
        try:
            return self.closed_graph()
        finally:
            self.values = outer

    def closed_graph(self) -> Graph:
        self.take("graph")
        name = self.name()
        self.take("(")
        inputs = self.listed(self.input, ")")
        self.take("arrow")
        self.take("(")
        outputs = self.listed(self.output, ")")
        states = self.states() if self.skip("keeps") else ()
        self.take("{")
        while not self.skip("}"):
            self.declaration() if self.token.kind == "array" else self.statement()
        values = [self.result(token) for _, token in outputs]
        if any(v is None for v in values):
            raise self.problems[0]  # an output is not known because of a problem that is noted already
        return Graph(tuple(inputs), tuple(values), tuple(n for n, _ in outputs), name, states)

    def states(self) -> tuple[tuple[str, str], ...]:
        """The pairs of an input and an output that are kept between calls."""
        self.take("(")
        return tuple(self.listed(lambda: (self.name(), self.take("=") and self.name()), ")"))

    def input(self) -> Value:
        place, text = self.place(), self.take("value")
        self.take(":")
        name, tag = _name_and_tag(text)
        value = graph_input(name, self.type(), place, tag)
        self.define(text, value, place)
        return value

    def output(self) -> tuple[str, Token]:
        if self.token.kind in ("word", "string"):
            name = self.name()
            self.take("=")
        else:
            name = _name_and_tag(self.token.text)[0] if self.token.kind == "value" else self.fail("an output needs a name")
        token = self.token
        self.position += 1
        if token.kind == "type":  # an inline constant: read again when its graph is complete
            self.position -= 1
            value = self.inline_constant()
            token = Token("constant", f"%{len(self.values)} constant", token.line)
            self.values[token.text] = value
        return name, token

    def result(self, token: Token) -> Value | None:
        if token.kind == "array":
            return self.named_constant(token.text)
        if token.text not in self.values:
            raise ModelError(f"the output {token.text} is not defined", loc=Loc(f"{self.file}:{token.line}"))
        return self.values[token.text]

    def define(self, text: str, value: Value | None, place: Loc) -> None:
        if text in self.values:
            raise ModelError(f"{text} is defined twice", loc=place)
        self.values[text] = value

    def declaration(self) -> None:
        place, text = self.place(), self.take("array")
        self.take(":")
        name, type_ = _unquoted(text[1:]), self.type()
        if callable(self.constants):
            array = self.constants(name, type_)
        elif name in self.constants:
            array = np.asarray(self.constants[name])
        else:
            raise ModelError(f"the constant {text} is not given", loc=place)
        if array.dtype == np.uint16 and type_.dtype.name == "bf16":
            array = array.view(type_.dtype.numpy)
        array = plain_text(array)
        if array.dtype != type_.dtype.numpy or array.shape != type_.shape:
            raise ModelError(f"the constant {text} is declared {type_}, given is {array.dtype}{list(array.shape)}", loc=place)
        self.arrays[text] = array

    def named_constant(self, text: str) -> Value:
        if text not in self.arrays:
            self.fail(f"the constant {text} is not declared")
        return constant(self.arrays[text], _unquoted(text[1:]), self.place())

    def inline_constant(self) -> Value:
        return constant(self.inline_array(), "const", self.place())

    def inline_array(self) -> np.ndarray:
        type_ = self.type()
        self.take("{")
        numbers = self.listed(self.text if type_.dtype is string else self.number, "}")
        if not type_.is_static or len(numbers) != type_.max_size:
            self.fail(f"{len(numbers)} elements for a constant of type {type_}")
        if type_.dtype.is_integer and not all(isinstance(n, int) and type_.dtype.low <= n <= type_.dtype.high for n in numbers):
            self.fail(f"an element is not of type {type_.dtype}")
        return np.array(numbers, object).astype(type_.dtype.numpy).reshape(type_.shape)

    def text(self) -> str:
        return _unquoted(self.take("string"))

    def number(self) -> int | float | bool:
        if self.token.text in ("true", "false"):
            return self.take("word") == "true"
        text = self.take("number")
        return int(text) if re.fullmatch(r"-?\d+", text) else float(text)

    def statement(self) -> None:
        """One operation; a problem in it is noted and its results are unknown, so that the rest is still checked."""
        place, line = self.place(), self.token.line
        texts = [self.take("value")]
        while self.skip(","):
            texts.append(self.take("value"))
        self.take("=")
        place = Loc(place.file, _name_and_tag(texts[0])[0], self.token.text)
        results: list[Value | None] = [None] * len(texts)
        try:
            results = self.operation(texts, place)
        except CompileError as error:
            self.problems.append(error.at(place))
            self.to_statement_after(line)
        for text, value in zip(texts, results):
            self.define(text, value, place)

    def to_statement_after(self, line: int) -> None:
        """Skip to what starts a statement, or ends the graph, below a line."""
        def starts(token: Token) -> bool:
            return token.kind == "end" or (token.line > line and (token.kind in ("value", "array") or token.text == "}"))
        while not starts(self.token):
            self.position += 1

    def operation(self, texts: list[str], place: Loc) -> list[Value | None]:
        cls = self.operator()
        fields, complete = self.operand_fields(cls)
        known = {f.name for f in fields_of(cls) if f.kind == "attribute"}
        while not self.skip(":"):
            name = self.take("word")
            if name not in known:
                self.fail(f"{cls.__name__} has no attribute '{name}'")
            self.take("=")
            fields[name] = self.literal()
        declared = [self.type()]
        while self.skip(","):
            declared.append(self.type())
        if not complete:
            return [None] * len(texts)
        results = _built(cls, fields, texts, declared, place)
        self.symbols.update({name: symbol for symbol, name in size_names(results[0].op).items()})
        self.name_born_symbols(declared, results)
        return results

    def name_born_symbols(self, declared: list[TensorType], results: list[Value]) -> None:
        """From here on, the name written for a size that the node decides means the node's own symbol."""
        for type_, value in zip(declared, results):
            for written, dim in zip(type_.shape, value.shape):
                if isinstance(dim, Expr) and is_born(dim):
                    self.symbols[written.data] = dim

    def operator(self) -> type[Op]:
        text = self.take("word")
        domain, _, name = text.rpartition(".")
        if (domain, name) not in OPERATORS:
            self.position -= 1
            self.fail(f"there is no operator {text}")
        return OPERATORS[domain, name]

    def operand_fields(self, cls: type[Op]) -> tuple[dict[str, Any], bool]:
        """(operands by field, whether all of them are known)."""
        self.take("(")
        given = self.listed(self.operand, ")")
        formal = [f for f in fields_of(cls) if f.kind != "attribute"]
        fields: dict[str, Any] = {}
        for f in formal:
            if f.kind == "variadic" and f is formal[-1]:
                fields[f.name], given = tuple(given), []
            elif given:
                fields[f.name] = given.pop(0)
        if given:
            self.fail(f"too many operands for {cls.__name__}")
        flat = [v for value in fields.values() for v in (value if isinstance(value, tuple) else (value,))]
        return fields, not any(v is _UNKNOWN for v in flat)

    def operand(self) -> Any:
        if self.token.kind == "type":
            return self.inline_constant()
        if self.token.kind == "array":
            return self.named_constant(self.take("array"))
        if self.skip("_"):
            return None
        if self.skip("["):
            return tuple(self.listed(self.operand, "]"))
        text = self.token.text
        if self.token.kind == "value" and text not in self.values:
            self.fail(f"{text} is not defined")
        value = self.values[self.take("value")]
        return _UNKNOWN if value is None else value

    def literal(self) -> Any:
        kind, text = self.token.kind, self.token.text
        if kind == "string":
            return _unquoted(self.take("string"))
        if kind == "type":
            return self.inline_array()
        if kind == "array":
            return self.named_constant(self.take("array")).array
        if text == "graph":
            return self.graph()
        if text in ("true", "false", "none"):
            return {"true": True, "false": False, "none": None}[self.take("word")]
        return tuple(self.listed(self.literal, "]")) if self.skip("[") else self.number()


_UNKNOWN = object()


def _built(cls: type[Op], fields: dict[str, Any], texts: list[str], declared: list[TensorType], place: Loc) -> list[Value]:
    """The results of an operation, its inferred types compared with the declared ones."""
    name = _name_and_tag(texts[0])[0]
    try:
        op = cls(**fields, _name=name, _loc=place)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ModelError(f"{cls.__name__} cannot be built from these operands and attributes: {error}", loc=place) from error
    inferred = [v.type for v in op.results]
    if len(texts) != len(inferred) or len(declared) != len(inferred) or not all(map(_as_declared, inferred, declared)):
        raise ModelError(f"{cls.__name__} gives {', '.join(map(str, inferred))}, declared is {', '.join(map(str, declared))}", loc=place)
    for number, (value, text) in enumerate(zip(op.results, texts)):
        if len(texts) > 1 and value.name == f"{name}.{number}":
            value.name = _name_and_tag(text)[0]
    return list(op.results)


def _as_declared(inferred: TensorType, declared: TensorType) -> bool:
    """Whether the types agree; a size that the node decides may be written under any name."""
    def same(dim: Any, written: Any) -> bool:
        if isinstance(dim, Expr) and is_born(dim):
            return isinstance(written, Expr) and written.op == "var" and (dim.lo, dim.hi) == (written.lo, written.hi)
        return dim == written
    return inferred.dtype is declared.dtype and inferred.rank == declared.rank and all(map(same, inferred.shape, declared.shape))


def _name_and_tag(text: str) -> tuple[str, int]:
    """('x', 3) of `%x#3`."""
    match = re.fullmatch(r'%((?:".*")|[^#]*)(?:#(\d+))?', text)
    return _unquoted(match[1]), int(match[2] or 0)


def _unquoted(text: str) -> str:
    return json.loads(text) if text.startswith('"') else text
