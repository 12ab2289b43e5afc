"""Reads the text of `edgec.loops_text` back into Loops whose text is the same.

    parse_loops("loops copy\\nparam x: f32[4]\\nparam y: f32[4] writable\\nfor i0 in 0..4:\\n  y[i0] = x[i0]\\n")
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgec.errors import ModelError
from edgec.expr import dim, fresh
from edgec.expr_parser import ExprParser, Tokens, parse_declarations
from edgec.loops import Block, For, If, Let, Loops, Param, Prefetch, Register, Stmt, Store


@dataclass
class _Open:
    """A statement whose body is being read: `close` makes it from the finished body."""

    indent: int
    close: Callable[[tuple[Stmt, ...]], None]
    body: list[Stmt] = field(default_factory=list)


class _Reader:
    """What has been read so far; the innermost open body is last."""

    def __init__(self) -> None:
        self.name, self.params, self.symbols = "", [], ()
        self.parser = ExprParser(Tokens(""), {}, {})
        self.open = [_Open(-1, lambda body: None)]

    def line(self, tokens: Tokens, indent: int) -> None:
        """One line; bodies that are indented deeper end before it."""
        self.parser.on(tokens)
        while self.open[-1].indent >= indent:
            self._close()
        head = tokens.peek() if tokens.kind != "string" else ""
        readers = {"loops": self._loops, "symbols": self._symbols, "param": self._param, "for": self._for, "if": self._if,
                   "else": self._else, "block": self._block, "prefetch": self._prefetch}
        if tokens.kind == "shared":
            number = tokens.take()
            tokens.expect("=")
            self.parser.shared[number] = self.parser.expr()
        elif head in readers:
            tokens.take()
            readers[head](tokens, indent)
        else:
            self._assignment(tokens)
        tokens.end()

    def _close(self) -> None:
        done = self.open.pop()
        done.close(tuple(done.body))

    def _add(self, statement: Stmt) -> None:
        self.open[-1].body.append(statement)

    def _loops(self, tokens: Tokens, indent: int) -> None:
        self.name = tokens.name() if tokens.kind else ""

    def _symbols(self, tokens: Tokens, indent: int) -> None:
        found = parse_declarations(tokens)
        self.symbols = tuple(found.values())
        self.parser.names.update(found)

    def _param(self, tokens: Tokens, indent: int) -> None:
        name = tokens.name()
        tokens.expect(":")
        dtype = tokens.dtype()
        tokens.expect("[")
        size = dim(self.parser.expr())
        tokens.expect("]")
        writable, constant = tokens.accept("writable"), tokens.accept("constant")
        self.params.append(Param(name, dtype, size, writable, constant, tokens.integer() if tokens.accept("dealt") else 0))
        self.parser.sources[name] = self.params[-1]

    def _for(self, tokens: Tokens, indent: int) -> None:
        name, bounds = tokens.name(), self.parser.bounds()
        tokens.expect("in")
        start = self.parser.expr()
        tokens.expect("..")
        stop = self.parser.expr()
        step = tokens.integer() if tokens.accept("step") else 1
        tokens.expect(":")
        var = fresh(name, *(bounds or (start.lo, max(start.lo, stop.hi - 1))))
        outer = self.parser.names.get(name)
        self.parser.names[name] = var

        def close(body: tuple[Stmt, ...]) -> None:
            self.parser.names.pop(name)
            if outer is not None:
                self.parser.names[name] = outer
            self._add(For(var, start, stop, step, body))

        self.open.append(_Open(indent, close))

    def _if(self, tokens: Tokens, indent: int) -> None:
        condition = self.parser.expr()
        tokens.expect(":")
        self.open.append(_Open(indent, lambda body: self._add(If(condition, body))))

    def _else(self, tokens: Tokens, indent: int) -> None:
        tokens.expect(":")
        last = self.open[-1].body[-1] if self.open[-1].body else None
        if not isinstance(last, If) or last.orelse:
            raise tokens.error("else without if")
        self.open[-1].body.pop()
        self.open.append(_Open(indent, lambda body: self._add(If(last.condition, last.body, body))))

    def _block(self, tokens: Tokens, indent: int) -> None:
        tokens.expect(":")
        self.open.append(_Open(indent, lambda body: self._add(Block(body))))

    def _prefetch(self, tokens: Tokens, indent: int) -> None:
        param = self._known(tokens.name(), Param, tokens)
        tokens.expect("[")
        self._add(Prefetch(param, self.parser.expr()))
        tokens.expect("]")

    def _assignment(self, tokens: Tokens) -> None:
        name = tokens.name()
        if tokens.accept(":"):
            dtype, lanes = tokens.dtype(), 1
            if tokens.accept("["):
                lanes = tokens.integer()
                tokens.expect("]")
            register = Register(name, dtype, lanes)
            tokens.expect("=")
            value = self.parser.expr()
            self.parser.sources[name] = register
            self._add(Let(register, value))
        elif tokens.peek() == "[":
            self._store(name, tokens)
        else:
            register = self._known(name, Register, tokens)
            tokens.expect("=")
            self._add(Let(register, self.parser.expr()))

    def _store(self, name: str, tokens: Tokens) -> None:
        param = self._known(name, Param, tokens)
        tokens.expect("[")
        at = self.parser.expr()
        lanes, active = self.parser.lanes()
        tokens.expect("]")
        tokens.expect("=")
        value = self.parser.expr()
        if value.lanes != lanes:
            raise tokens.error(f"a store of {lanes} lanes is given {value.lanes}")
        self._add(Store(param, at, value, active))

    def _known(self, name: str, kind: type, tokens: Tokens) -> Any:
        found = self.parser.sources.get(name)
        if not isinstance(found, kind):
            raise tokens.error(f"unknown {kind.__name__.lower()} {name}")
        return found

    def finished(self) -> Loops:
        while len(self.open) > 1:
            self._close()
        return Loops(self.name, tuple(self.params), self.symbols, tuple(self.open[0].body))


def parse_loops(text: str) -> Loops:
    """The loops of a text. ModelError names the line and points at the mistake."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        tokens = Tokens(line, number)
        if tokens.kind:
            indent = len(line) - len(line.lstrip(" "))
            if indent > reader.open[-1].indent + 2:
                raise ModelError(f"line {number}: unexpected indent", notes=[line])
            reader.line(tokens, indent)
    return reader.finished()
