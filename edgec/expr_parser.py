"""Reads the text of `edgec.expr_text` back: the same expression, node by node, since nodes are interned.

Index arithmetic goes through its canonical form; every other node is made as it is written, so nothing is simplified on the way.

    parse_expr("max(x[i], 0.0)", names={"i": i}, sources={"x": x})
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgec.errors import ModelError
from edgec.expr import UNBOUNDED, Combine, Expr, argument, binary, const, dot_block, make, read, reduce, select, var
from edgec.expr_text import call_dtype
from edgec.loops import Param, Register, get, iota, load
from edgec.types import DTYPES, WORDS, DType, bool_, index

TOKEN = re.compile(r"""\s+ | (?P<comment>\#.*)
    | (?P<number>(?:\d+(?:\.\d+)?(?:e[+-]?\d+)?|inf\b|nan\b)(?::(?:[iu](?:8x[48]|16x[24]|8|16|32|64)|b?f16|f32|f64)\b)?)
    | (?P<shared>%\d+) | (?P<word>[A-Za-z_]\w*(?:\.\w+)*) | (?P<string>"(?:[^"\\]|\\.)*")
    | (?P<symbol>\.\.|->|//|<<|>>|<=|==|!=|[-+*/%<>&|^()\[\]{},;:=@])""", re.VERBOSE | re.ASCII)

LEVELS = ({"|": "or"}, {"^": "xor"}, {"&": "and"}, {"<": "lt", "<=": "le", "==": "eq", "!=": "ne"}, {"<<": "shl", ">>": "shr"},
          {"+": "add", "-": "sub"}, {"*": "mul", "/": "div", "//": "floordiv", "%": "mod"})
COMPARE_LEVEL, SUM_LEVEL = 3, 5
LANES = {"splat": lambda detail: detail, "vector": lambda detail: detail, "lane": lambda detail: 1, "horizontal": lambda detail: 1}


class Tokens:
    """The tokens of one line, and where one stands in them. `line` is for messages."""

    def __init__(self, text: str, line: int = 0):
        self.text, self.line, self.at = text, line, 0
        self.items: list[tuple[str, str, int]] = []
        position = 0
        while position < len(text):
            match = TOKEN.match(text, position)
            if not match:
                raise ModelError(f"{self._place()}unexpected {text[position]!r}", notes=[text.strip()])
            if match.lastgroup and match.lastgroup != "comment":
                self.items.append((match.lastgroup, match.group(), position))
            position = match.end()

    def _place(self) -> str:
        return f"line {self.line}: " if self.line else ""

    @property
    def kind(self) -> str:
        """The kind of the next token; "" at the end."""
        return self.items[self.at][0] if self.at < len(self.items) else ""

    def peek(self, ahead: int = 0) -> str:
        """The text of a coming token; "" past the end."""
        return self.items[self.at + ahead][1] if self.at + ahead < len(self.items) else ""

    def take(self) -> str:
        text = self.peek()
        self.at += 1
        return text

    def accept(self, *texts: str) -> bool:
        """Take the next token when it is one of these."""
        if self.peek() in texts and self.kind != "string":
            self.at += 1
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.error(f"expected {text!r}")

    def name(self) -> str:
        """A bare or quoted name."""
        if self.kind not in ("word", "string"):
            raise self.error("expected a name")
        return json.loads(self.take()) if self.kind == "string" else self.take()

    def integer(self) -> int:
        sign = -1 if self.accept("-") else 1
        if not self.peek().isdigit():
            raise self.error("expected a whole number")
        return sign * int(self.take())

    def dtype(self) -> DType:
        if self.peek() not in DTYPES and self.peek() not in WORDS:
            raise self.error("expected an element type")
        name = self.take()
        return DTYPES.get(name) or WORDS[name]

    def end(self) -> None:
        if self.at < len(self.items):
            raise self.error("expected the end of the line")

    def error(self, message: str) -> ModelError:
        found = f", found {self.peek()!r}" if self.peek() else ", found the end of the line"
        column = self.items[self.at][2] if self.at < len(self.items) else len(self.text)
        return ModelError(f"{self._place()}{message}{found}", notes=[self.text, " " * column + "^"])


def parse_expr(text: str, names: Mapping[str, Expr] | None = None, sources: Mapping[str, Any] | None = None) -> Expr:
    """The expression a line of text says. `names` are its free variables, `sources` what it reads; ModelError points at a mistake."""
    tokens = Tokens(text)
    found = ExprParser(tokens, dict(names or {}), dict(sources or {})).expr()
    tokens.end()
    return found


def is_word(elements: list[Expr]) -> bool:
    """Whether elements fill a word."""
    return f"{elements[0].dtype}x{len(elements)}" in WORDS


class ExprParser:
    """Reads expressions from a stream of tokens; whoever reads a larger language shares its names, sources and shared parts.

    Unknown reduction variables are made by `make_variable(name, lo, hi)` and stay known.
    """

    def __init__(self, tokens: Tokens, names: dict[str, Expr], sources: dict[str, Any], shared: dict[str, Expr] | None = None,
                 make_variable: Callable[[str, int, int], Expr] = var):
        self.tokens, self.names, self.sources = tokens, names, sources
        self.shared = {} if shared is None else shared
        self.make_variable = make_variable

    def on(self, tokens: Tokens) -> ExprParser:
        """The same parser on another line."""
        self.tokens = tokens
        return self

    def expr(self, level: int = 0) -> Expr:
        """One expression of operators binding at least as tightly as `level`."""
        if level == len(LEVELS):
            return self.prefix()
        left = self.expr(level + 1)
        while self.tokens.peek() in LEVELS[level] and self.tokens.kind == "symbol":
            op = LEVELS[level][self.tokens.take()]
            left = self.infix(op, left, self.expr(level + 1))
        return left

    def infix(self, op: str, a: Expr, b: Expr) -> Expr:
        if a.dtype is not b.dtype:
            raise self.tokens.error(f"{op} of {a.dtype} and {b.dtype}")
        if a.dtype is index and op in ("add", "sub", "mul", "floordiv"):
            return a // b if op == "floordiv" else binary(op, a, b)
        return make(op, (a, b), bool_ if op in ("lt", "le", "eq", "ne") else a.dtype)

    def prefix(self) -> Expr:
        if self.tokens.accept("-"):
            if self.tokens.kind == "number":
                return self.number(-1)
            return -self.prefix()
        return self.primary()

    def primary(self) -> Expr:
        tokens = self.tokens
        if tokens.accept("("):
            found = self.expr()
            tokens.expect(")")
            return found
        if tokens.kind == "number":
            return self.number(1)
        if tokens.kind == "shared":
            if tokens.peek() not in self.shared:
                raise tokens.error("unknown shared expression")
            return self.shared[tokens.take()]
        if tokens.kind == "word" and tokens.peek() in ("true", "false"):
            return const(tokens.take() == "true", bool_)
        if tokens.kind == "word" and self.at_call():
            return self.call()
        return self.reference()

    def at_call(self) -> bool:
        """Whether a function's name comes: name(, name<detail>( or name:dtype(."""
        tokens, ahead = self.tokens, 1
        if tokens.peek(ahead) == "<" and tokens.peek(ahead + 2) == ">":
            ahead += 3
        if tokens.peek(ahead) == ":" and (tokens.peek(ahead + 1) in DTYPES or tokens.peek(ahead + 1) in WORDS):
            ahead += 2
        return tokens.peek(ahead) == "("

    def number(self, sign: int) -> Expr:
        text, _, dtype = self.tokens.take().partition(":")
        if not dtype:
            dtype = "index" if text.isdigit() else "f32"
        value = int(text) if text.isdigit() else float(text)
        return const(sign * value, DTYPES.get(dtype) or WORDS[dtype])

    def reference(self) -> Expr:
        """A variable, a register, or an element of a source."""
        tokens = self.tokens
        name = tokens.name()
        if tokens.peek() == "[":
            if name not in self.sources:
                raise tokens.error(f"nothing called {name} to read from")
            return self.element(self.sources[name])
        if name in self.names:
            return self.names[name]
        if isinstance(self.sources.get(name), Register):
            return get(self.sources[name])
        raise tokens.error(f"unknown name {name}")

    def element(self, source: Any) -> Expr:
        self.tokens.expect("[")
        if isinstance(source, Param):
            at = self.expr()
            lanes, active = self.lanes()
            word = self.tokens.dtype() if self.tokens.accept("as") else None
            self.tokens.expect("]")
            return load(source, at, lanes, active, word)
        indices = self.list_until("]")
        if len(indices) != len(source.shape):
            raise self.tokens.error(f"{len(indices)} indices for {len(source.shape)} axes")
        return read(source, indices)

    def lanes(self) -> tuple[int, int]:
        """`: lanes : active` behind an index; (1, 0) where there is none."""
        lanes = self.tokens.integer() if self.tokens.accept(":") else 1
        return lanes, self.tokens.integer() if self.tokens.accept(":") else 0

    def list_until(self, *ends: str) -> list[Expr]:
        """Expressions between commas up to and with one of the closing tokens."""
        found: list[Expr] = []
        while not self.tokens.accept(*ends):
            if found:
                self.tokens.expect(",")
            found.append(self.expr())
        return found

    def call(self) -> Expr:
        tokens = self.tokens
        name = tokens.take()
        detail = self.detail()
        dtype = tokens.dtype() if tokens.accept(":") else None
        tokens.expect("(")
        if name == "inside":
            return self.inside()
        if name.endswith("_over"):
            return self.reduction(name.removesuffix("_over"))
        return self.apply(name, detail, dtype, self.list_until(")"))

    def detail(self) -> Any:
        if not self.tokens.accept("<"):
            return None
        found = self.tokens.integer() if self.tokens.kind == "number" else self.tokens.take()
        self.tokens.expect(">")
        return found

    def apply(self, name: str, detail: Any, dtype: DType | None, args: list[Expr]) -> Expr:
        """A function of operands: made as written, but for index arithmetic, which has its canonical form."""
        if name in ("cast", "saturate", "within"):
            if detail not in DTYPES or len(args) != 1:
                raise self.tokens.error(f"{name}<dtype>(x) expected")
            return make("cast", args, DTYPES[detail], None if name == "cast" else name)
        if name == "iota":
            return iota(detail)
        if not args:
            raise self.tokens.error(f"{name} without operands")
        if name == "item":
            members = (len(args[0].args) - 2 * args[0].data[1]) // 2
            return make("item", args, args[0].args[detail - members].dtype, detail)
        if args[0].dtype is index and name in ("min", "max"):
            return binary(name, *args)
        if name == "word" and not is_word(args):
            raise self.tokens.error(f"{len(args)} elements of {args[0].dtype} do not fill a word")
        if name == "select" and args[1].dtype is index:
            return select(*args)
        if name == "dot_block":
            return dot_block(*args)
        lanes = LANES[name](detail) if name in LANES else None
        return make(name, args, dtype or call_dtype(name, args), detail, lanes=lanes)

    def inside(self) -> Expr:
        pairs = self.pairs()
        self.tokens.expect(";")
        value = self.expr()
        self.tokens.expect(";")
        fill = self.expr()
        self.tokens.expect(")")
        return make("inside", (value, fill, *(e for pair in pairs for e in pair)), value.dtype)

    def pairs(self) -> list[tuple[Expr, Expr]]:
        """`index < extent, ...`"""
        found = []
        while not found or self.tokens.accept(","):
            i = self.expr(COMPARE_LEVEL + 1)
            self.tokens.expect("<")
            found.append((i, self.expr(COMPARE_LEVEL + 1)))
        return found

    def reduction(self, combine: str) -> Expr:
        axes, extents = self.axes(";")
        init = self.list_until(";")
        body = self.list_until(")") if combine != "combine" else self.list_until(";")
        merge = combine if combine != "combine" else self.combine()
        first = reduce(merge, axes, extents, init, body)[0]
        return first if len(body) == 1 else first.args[0]

    def axes(self, end: str) -> tuple[list[Expr], list[Expr]]:
        """`variable < extent, ...` up to the closing token: the variables, made where unknown, and the extents."""
        axes, extents = [], []
        while not self.tokens.accept(end):
            if axes:
                self.tokens.expect(",")
            variable, extent = self.axis()
            axes.append(variable)
            extents.append(extent)
        return axes, extents

    def axis(self) -> tuple[Expr, Expr]:
        """`variable < extent`: both."""
        name, bounds = self.tokens.name(), self.bounds()
        self.tokens.expect("<")
        extent = self.expr(COMPARE_LEVEL + 1)
        return self.variable(name, bounds or (0, max(0, extent.hi - 1))), extent

    def bounds(self) -> tuple[int, int] | None:
        """`{low..high}` behind a variable that is being bound."""
        if not self.tokens.accept("{"):
            return None
        low = self.tokens.integer()
        self.tokens.expect("..")
        high = self.tokens.integer()
        self.tokens.expect("}")
        return low, high

    def variable(self, name: str, bounds: tuple[int, int]) -> Expr:
        if name not in self.names:
            self.names[name] = self.make_variable(name, *bounds)
        return self.names[name]

    def combine(self) -> Combine:
        """`(a0: f32), (b0: f32) -> merged, ...)` of a tuple reduction."""
        sides = []
        for end in (",", "->"):
            self.tokens.expect("(")
            side = []
            while not self.tokens.accept(")"):
                if side:
                    self.tokens.expect(",")
                name = self.tokens.name()
                self.tokens.expect(":")
                side.append((name, argument(name, self.tokens.dtype())))
            sides.append(side)
            self.tokens.expect(end)
        outer, self.names = self.names, {**self.names, **dict(sides[0]), **dict(sides[1])}
        merged = self.list_until(")")
        self.names = outer
        return Combine(tuple(x for _, x in sides[0]), tuple(x for _, x in sides[1]), tuple(merged))


def parse_declarations(tokens: Tokens, make_variable: Callable[[str, int, int], Expr] = var) -> dict[str, Expr]:
    """`i<8, n in 1..16, m` to the end of the line: the variables by name."""
    found: dict[str, Expr] = {}
    while tokens.kind:
        if found:
            tokens.expect(",")
        name, bounds = tokens.name(), (0, UNBOUNDED)
        if tokens.accept("<"):
            bounds = (0, tokens.integer() - 1)
        elif tokens.accept("in"):
            low = tokens.integer()
            tokens.expect("..")
            bounds = (low, tokens.integer())
        found[name] = make_variable(name, *bounds)
    return found
