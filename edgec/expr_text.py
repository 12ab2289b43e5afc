"""Printing of expressions: infix for arithmetic, calls for the rest, the same text on every machine. `edgec.expr_parser` reads it back.

    print_expr((i * 4 + j) < 9)      # '4*i + j < 9'

    expr    ::= number[:dtype] | true | name | -expr | expr operator expr | source[expr, ...] | param[expr : lanes : active as word]
              | function<detail>:dtype(expr, ...) | cast<dtype>(expr) | inside(expr < expr, ...; value; fill)
              | add_over(variable < extent, ...; init; body) | combine_over(...; inits; bodies; (a: dtype), (b: dtype) -> merged) | %number

Bare numbers are index, or f32 with a decimal point. `%number` is a shared subexpression, said once on a line before (see Printer).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from edgec.expr import BINARY, COMPARE, UNARY, UNBOUNDED, Combine, Expr, ReduceParts, inside_pairs
from edgec.expr_order import CanonicalOrder
from edgec.sweeps import walk
from edgec.types import bool_, word_of

INFIX = {"add": "+", "sub": "-", "mul": "*", "div": "/", "lt": "<", "le": "<=", "eq": "==", "ne": "!=", "and": "&", "or": "|",
         "xor": "^", "shl": "<<", "shr": ">>", "floordiv": "//", "mod": "%"}
BOOLEAN = (*COMPARE, "isnan", "isinf")
WORDS = {"true", "false", "inf", "nan", "inside", "in", "cast", "bitcast", "saturate", "within", "select", "mul_add", "item", "as", "dot",
         "word", "for", "if", "else", "prefetch", "block", "store", "merge", "where", "kernel", "repeat", "vars",
         "dot_block", "schedule", *UNARY, *BINARY}
SHARED_LENGTH = 24  # characters above which a subexpression used twice gets a name of its own
DEPTH = 12          # nesting above which any subexpression does, so that reading text back needs no deep recursion


def print_expr(root: Expr, names: Mapping[Expr, str] | None = None, source: Callable[[Any], str] | None = None) -> str:
    """One line of text without shared names; `names` renames variables, `source` names what reads read from."""
    printer = Printer((), names, source)
    return printer.inline(root)


def identifier(name: str) -> str:
    """A name as the parsers take it: bare where it looks like one, else in quotes."""
    plain = re.fullmatch(r"[A-Za-z_]\w*(\.\w+)*", name, re.ASCII) and name.partition(".")[0] not in WORDS
    return name if plain else json.dumps(name)


def natural_source(source: Any) -> str:
    """What a read reads from, by its own name."""
    return identifier(str(getattr(source, "name", source)))


def bound_variable(variable: Expr, text: str, extent: Expr | int, lowest: int = 0) -> str:
    """The name of a loop or reduction variable where it is bound, with its interval unless the extent says it."""
    high = extent if isinstance(extent, int) else extent.hi
    usual = (variable.lo, variable.hi) == (lowest, max(lowest, high - 1))
    return text if usual else f"{text}{{{variable.lo}..{variable.hi}}}"


def declaration(variable: Expr, text: str) -> str:
    """A variable with its interval: `i<8`, `n in 1..16`, or the bare name when nothing is known."""
    if (variable.lo, variable.hi) == (0, UNBOUNDED):
        return text
    return f"{text}<{variable.hi + 1}" if variable.lo == 0 else f"{text} in {variable.lo}..{variable.hi}"


class Printer:
    """Prints expressions that share parts: what is used more than once, and is not short, becomes `%0`, `%1`, ... in order of need.

    printer = Printer(roots);  lines = printer.prepare(root);  text = printer.text(root)     # lines: ['%0 = exp(x[i])']
    """

    def __init__(self, roots: Iterable[Expr], names: Mapping[Expr, str] | None = None, source: Callable[[Any], str] | None = None):
        self.names, self.source = names or {}, source or natural_source
        self.order = CanonicalOrder(self.names, self.source)
        self.uses: dict[int, int] = {}
        for node in walk(*(roots := tuple(roots))):
            for a in node.args:
                self.uses[id(a)] = self.uses.get(id(a), 0) + 1
        for root in roots:
            self.uses[id(root)] = self.uses.get(id(root), 0) + 1
        self.done: dict[int, tuple[str, int]] = {}  # text and its nesting
        self.shared: list[Expr] = []

    def prepare(self, *roots: Expr) -> list[str]:
        """The lines `%k = ...` that the roots need and that no earlier call gave."""
        lines = []
        for node in self.order.walk(roots, self.done):
            text, depth = self._one(node), 1 + max((self.done[id(a)][1] for a in node.args), default=0)
            if (self.uses.get(id(node), 0) > 1 and len(text) > SHARED_LENGTH) or depth > DEPTH:
                lines.append(f"%{len(self.shared)} = {text}")
                text, depth = f"%{len(self.shared)}", 0
                self.shared.append(node)
            self.done[id(node)] = (text, depth)
        return lines

    def text(self, node: Expr) -> str:
        """The text of a prepared expression."""
        return self.done[id(node)][0]

    def inline(self, root: Expr) -> str:
        """The whole text of an expression; long where much is shared."""
        for node in self.order.walk((root,), self.done):
            self.done[id(node)] = (self._one(node), 0)
        return self.text(root)

    def _one(self, node: Expr) -> str:
        op, sub = node.op, self.text
        if op in ("var", "arg"):
            return self.names.get(node) or identifier(node.data)
        if op == "const":
            return literal(node)
        if op == "linear":
            return self._linear(node)
        if op in INFIX:
            wrapped = self._wrapped if op not in COMPARE else lambda a: sub(a) if a.op == "linear" else self._wrapped(a)
            return f" {INFIX[op]} ".join(map(wrapped, self.order.operands(node)))
        if op == "read":
            return f"{self.source(node.data)}[{', '.join(map(sub, node.args))}]"
        if op == "load":
            words = f" as {node.dtype}" if node.dtype is not node.data[0].dtype else ""
            lanes = 1 if node.args[0].lanes > 1 else node.lanes  # a vector of indices says how many
            return f"{self.source(node.data[0])}[{sub(node.args[0])}{lanes_suffix(lanes, node.data[1])}{words}]"
        if op == "get":
            return self.source(node.data)
        if op == "inside":
            pairs = ", ".join(f"{sub(i)} < {sub(e)}" for i, e in inside_pairs(node))
            return f"inside({pairs}; {sub(node.args[0])}; {sub(node.args[1])})"
        if op == "reduce":
            return self._reduce(node)
        if op == "cast":
            return f"{node.data or 'cast'}<{node.dtype}>({sub(node.args[0])})"
        detail = "" if node.data is None else f"<{node.data}>"
        return f"{op}{detail}{'' if node.dtype is implied_dtype(node) else f':{node.dtype}'}({', '.join(map(sub, node.args))})"

    def _wrapped(self, node: Expr) -> str:
        text = self.text(node)
        return f"({text})" if (node.op in INFIX or node.op == "linear") and not re.fullmatch(r"%\d+", text) else text

    def _linear(self, node: Expr) -> str:
        constant, text = node.data[0], ""
        for atom, c in self.order.terms(node):
            term = self._wrapped(atom) if abs(c) == 1 else f"{abs(c)}*{self._wrapped(atom)}"
            text += term if not text and c > 0 else f"-{term}" if not text else f" {'+' if c > 0 else '-'} {term}"
        return text if constant == 0 else f"{text} {'+' if constant > 0 else '-'} {abs(constant)}"

    def _reduce(self, node: Expr) -> str:
        parts = ReduceParts(node)
        axes = ", ".join(f"{bound_variable(a, self.text(a), e)} < {self.text(e)}" for a, e in zip(parts.axes, parts.extents))
        rest = f"{axes}; {', '.join(map(self.text, parts.init))}; {', '.join(map(self.text, parts.body))}"
        if isinstance(parts.combine, str):
            return f"{parts.combine}_over({rest})"
        return f"combine_over({rest}; {combine_text(parts.combine)})"


def combine_text(combine: Combine) -> str:
    """`(a0: f32), (b0: f32) -> merged, ...`, the placeholders named by side and position."""
    names = {x: f"{side}{n}" for side, xs in (("a", combine.left), ("b", combine.right)) for n, x in enumerate(xs)}
    sides = ", ".join("(" + ", ".join(f"{names[x]}: {x.dtype}" for x in xs) + ")" for xs in (combine.left, combine.right))
    return f"{sides} -> {', '.join(print_expr(m, names) for m in combine.merged)}"


def lanes_suffix(lanes: int, active: int) -> str:
    """What stands behind the index of a load or store of several elements."""
    return f" : {lanes} : {active}" if active else f" : {lanes}" if lanes > 1 else ""


def implied_dtype(node: Expr) -> Any:
    """The type a call has when its text does not say one."""
    if node.op == "iota":
        return node.dtype
    if node.op == "item":
        return ReduceParts(node.args[0]).body[node.data].dtype
    return call_dtype(node.op, node.args)


def call_dtype(op: str, args: Sequence[Expr]) -> Any:
    """The usual type of a function's result: bool for tests, the chosen values' for select, else the first operand's."""
    if op == "word":
        return word_of(args[0].dtype, len(args))
    return bool_ if op in BOOLEAN else args[1].dtype if op == "select" else args[0].dtype


def literal(node: Expr) -> str:
    """A constant with its type, bare for index, bool and f32 (a decimal point tells f32 apart)."""
    if node.dtype.name in ("index", "bool"):
        return str(node.data).lower()
    if node.dtype.name == "f32":
        return str(node.dtype.numpy.type(node.data))  # the shortest text that rounds to the same number
    return f"{node.data!r}:{node.dtype}"
