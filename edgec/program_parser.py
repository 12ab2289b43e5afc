"""Reads the text of `edgec.program_text` back into a Program whose text is the same.

    parse_program(print_program(program), constants(program))
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgec.expr import Expr, dim, fresh
from edgec.expr_parser import ExprParser, Tokens, parse_declarations
from edgec.kernel import Axis, Buffer, Kernel, Program, Size, Stage

KINDS = ("input", "output", "constant", "temporary", "scratch", "sizes")


class Verbatim(str):
    """Text that is its own repr: a schedule as it was printed."""

    __repr__ = str.__str__


@dataclass
class _Reader:
    """What has been read so far."""

    data: Mapping[str, np.ndarray]
    name: str = ""
    ports: tuple[list[str], list[str]] = ((), ())
    symbols: dict[str, Expr] = field(default_factory=dict)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    states: list[tuple[str, str]] = field(default_factory=list)
    arena: dict[Buffer, int] = field(default_factory=dict)
    sizes: tuple[int, int] = (0, 0)
    kernels: list[_KernelReader] = field(default_factory=list)
    computed: list[Size] = field(default_factory=list)
    repeats: dict[str, Axis] = field(default_factory=dict)

    def line(self, tokens: Tokens, text: str) -> None:
        word = tokens.take()
        if word == "program":
            self.name = tokens.name()
            self.ports = (_names(tokens), tokens.expect("->") or _names(tokens))
        elif word == "symbols":
            self.symbols = parse_declarations(tokens)
        elif word == "keeps":
            self.states = _pairs(tokens)
        elif word == "size":
            self.size(tokens)
        elif word == "arena":
            self.sizes = (tokens.integer(), tokens.expect("live") or tokens.integer())
        elif word == "kernel":
            self.kernels.append(_KernelReader(self, tokens))
        elif word in KINDS:
            self.buffer(word, tokens)
        elif self.kernels:
            self.kernels[-1].line(word, tokens, text)
        else:
            tokens.at -= 1
            raise tokens.error("expected program, symbols, keeps, a kind of buffer, arena or kernel")
        tokens.end()

    def buffer(self, kind: str, tokens: Tokens) -> None:
        name = tokens.name()
        tokens.expect(":")
        dtype = tokens.dtype()
        parser = ExprParser(tokens, self.symbols, {})
        tokens.expect("[")
        shape = tuple(dim(e) for e in parser.list_until("]"))
        order = _integers(tokens) if tokens.accept("order") else ()
        pad = tokens.integer() if tokens.accept("pad") else 0
        parent, offset, strides = self.view(tokens, parser) if tokens.accept("view") else (None, 0, ())
        data = None
        if tokens.accept("="):
            tokens.expect("@")
            key = tokens.name()
            if key not in self.data:
                raise tokens.error(f"no data given for @{key}")
            data = self.data[key]
        self.buffers[name] = Buffer(name, dtype, shape, kind, data, order, parent, offset, strides, pad)
        if tokens.accept("at"):
            self.arena[self.buffers[name]] = tokens.integer()

    def size(self, tokens: Tokens) -> None:
        symbol = tokens.integer() if tokens.kind == "number" else self.symbols[tokens.name()]
        tokens.expect("=")
        buffer = self.find(tokens)
        tokens.expect("[")
        element = tokens.integer()
        tokens.expect("]")
        tokens.expect("in")
        low = tokens.integer()
        tokens.expect("..")
        self.computed.append(Size(symbol, buffer, element, low, tokens.integer()))

    def view(self, tokens: Tokens, parser: ExprParser) -> tuple[Buffer, int, tuple[Any, ...]]:
        tokens.expect("of")
        parent = self.find(tokens)
        tokens.expect("offset")
        offset = tokens.integer()
        tokens.expect("strides")
        tokens.expect("[")
        return parent, offset, tuple(dim(e) for e in parser.list_until("]"))

    def find(self, tokens: Tokens) -> Buffer:
        name = tokens.name()
        if name not in self.buffers:
            raise tokens.error(f"unknown buffer {name}")
        return self.buffers[name]

    def program(self) -> Program:
        inputs, outputs = (tuple(self.buffers[name] for name in names) for names in self.ports)
        steps = tuple(kernel.kernel() for kernel in self.kernels)
        states = tuple((self.buffers[a], self.buffers[b]) for a, b in self.states)
        symbols = tuple(self.symbols.values())
        return Program(self.name, inputs, outputs, steps, symbols, self.arena, *self.sizes, states, tuple(self.computed))


class _KernelReader:
    """One kernel being read; its axes and reduction variables are new ones."""

    def __init__(self, reader: _Reader, tokens: Tokens):
        self.name, self.schedule, self.stages = tokens.name(), None, []
        self.reader, self.known = reader, {}
        self.parser = ExprParser(tokens, dict(reader.symbols), reader.buffers, make_variable=_new_variable)
        self.axes = self.read_axes()
        self.block = tokens.integer() if tokens.accept("block") else 0
        self.repeat = self.read_repeat(tokens) if tokens.accept("repeat") else ()

    def line(self, word: str, tokens: Tokens, text: str) -> None:
        self.parser.on(tokens)
        if word == "schedule":
            self.schedule = Verbatim(text.strip().removeprefix("schedule").strip())
            tokens.at = len(tokens.items)
        elif word == "vars":
            self.parser.names.update(parse_declarations(tokens, _new_variable))
        elif word.startswith("%"):
            tokens.expect("=")
            self.parser.shared[word] = self.parser.expr()
        elif word in ("store", "merge"):
            self.stage(word, tokens)
        else:
            tokens.at -= 1
            raise tokens.error("expected schedule, vars, store, merge or a shared expression")

    def stage(self, word: str, tokens: Tokens) -> None:
        name, axes, target = tokens.name(), self.read_axes(), self.reader.find(tokens)
        tokens.expect("[")
        indices = tuple(self.parser.list_until("]"))
        combine = tokens.name() if word == "merge" else ""
        tokens.expect("=")
        value = self.parser.expr()
        guards = tuple(self.parser.pairs()) if tokens.accept("where") else ()
        self.stages.append(Stage(name, axes, value, target, indices, combine, guards))

    def read_axes(self) -> tuple[Axis, ...]:
        """Axes; the same variable with the same extent is the same axis, since stages over the very same axes are one walk."""
        self.parser.tokens.expect("(")
        found = zip(*self.parser.axes(")"))
        return tuple(self.known.setdefault((v, e), Axis(v, dim(e))) for v, e in found)

    def read_repeat(self, tokens: Tokens) -> tuple[Axis, ...]:
        """The loops around the kernel, known by their names in the whole program."""
        self.parser.names.update((name, axis.var) for name, axis in self.reader.repeats.items())
        read: list[Axis] = []
        tokens.expect("(")
        while not tokens.accept(")"):
            if read:
                tokens.expect(",")
            variable, extent = self.parser.axis()
            read.append(Axis(variable, dim(extent), self.reader.find(tokens) if tokens.accept("while") else None))
        names = {variable: name for name, variable in self.parser.names.items()}
        return tuple(self.reader.repeats.setdefault(names[axis.var], axis) for axis in read)

    def kernel(self) -> Kernel:
        return Kernel(self.name, self.axes, tuple(self.stages), self.schedule, self.repeat, block=self.block)


def parse_program(text: str, constants: Mapping[str, np.ndarray] | None = None) -> Program:
    """The program of a text; `constants` holds the data of its @names. ModelError names the line and points at the mistake."""
    reader = _Reader({} if constants is None else constants)
    for number, line in enumerate(text.splitlines(), 1):
        tokens = Tokens("schedule" if line.strip().startswith("schedule ") else line, number)
        if tokens.kind:
            reader.line(tokens, line)
    return reader.program()


def _names(tokens: Tokens) -> list[str]:
    tokens.expect("(")
    found: list[str] = []
    while not tokens.accept(")"):
        if found:
            tokens.expect(",")
        found.append(tokens.name())
    return found


def _pairs(tokens: Tokens) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    while not found or tokens.accept(","):
        first = tokens.name()
        tokens.expect("=")
        found.append((first, tokens.name()))
    return found


def _integers(tokens: Tokens) -> tuple[int, ...]:
    found = [tokens.integer()]
    while tokens.accept(","):
        found.append(tokens.integer())
    return tuple(found)


def _new_variable(name: str, low: int, high: int) -> Expr:
    return fresh(name, low, high)
