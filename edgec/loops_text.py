"""The text of Loops: printed in one canonical way, so that equal code has equal text; `edgec.loops_parser` reads it back.

    loops     ::= loops NAME   symbols n in 1..8   param*   statement*          -- the body of a statement is indented by two spaces
    param     ::= param NAME: dtype[size] [writable] [constant] [dealt N]
    statement ::= for NAME in start..stop [step N]:   | if expr:  else:   | block:
                | NAME: dtype[lanes] = expr           -- the first assignment of a register; later ones are NAME = expr
                | PARAM[index : lanes : active] = expr    | prefetch PARAM[index]
                | %number = expr                      -- a part that the next statement's expressions share

Loop variables are named i0, i1, ... by their depth, registers by the last word of their name and a number in order of appearance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from edgec.expr import Expr, as_expr
from edgec.expr_text import Printer, bound_variable, declaration, identifier, lanes_suffix
from edgec.loops import Block, For, If, Let, Loops, Param, Prefetch, Register, Stmt, Store, children, expressions, statements
from edgec.program_text import numbered, unique_names
from edgec.sweeps import walk
from edgec.types import index


def print_loops(loops: Loops) -> str:
    """The whole text."""
    return _Writer(loops, unique_names(loops.params), {s: s.data for s in loops.symbols}).text(f"loops {identifier(loops.name)}")


def loops_key(loops: Loops) -> str:
    """Everything that determines the machine code, and no name of a model: equal for equal loops of different kernels."""
    return _Writer(loops, numbered("p", loops.params, ()), numbered("n", loops.symbols, ())).text("loops")


class _Writer:
    """The names of everything in one Loops, and the lines written so far."""

    def __init__(self, loops: Loops, params: dict[Param, str], symbols: dict[Expr, str]):
        self.loops, self.params, self.lines = loops, params, []
        taken = {*symbols.values(), *params.values()}
        self.registers = _register_names(_registers(loops), taken)
        self.depths = list(numbered("i", range(_depth(loops.body)), taken | set(self.registers.values())).values())
        self.variables = {symbol: identifier(name) for symbol, name in symbols.items()}
        self.seen: set[Register] = set()
        self.depth = 0

    def text(self, title: str) -> str:
        symbols = [declaration(symbol, name) for symbol, name in self.variables.items()]
        self.lines = [title] + (["symbols " + ", ".join(symbols)] if symbols else [])
        self.lines += [self._param(p) for p in self.loops.params]
        self._body(self.loops.body, "")
        return "\n".join(self.lines) + "\n"

    def source(self, each: Any) -> str:
        return identifier(self.params[each] if isinstance(each, Param) else self.registers[each])

    def _param(self, p: Param) -> str:
        flags = " writable" * p.writable + " constant" * p.constant + f" dealt {p.dealt}" * bool(p.dealt)
        return f"param {self.source(p)}: {p.dtype}[{self._printer().inline(as_expr(p.size, index))}]{flags}"

    def _printer(self, roots: Sequence[Expr] = ()) -> Printer:
        return Printer(roots, self.variables, self.source)

    def _body(self, body: Sequence[Stmt], indent: str) -> None:
        for statement in body:
            roots = expressions(statement)
            printer = self._printer(roots)
            self.lines += [indent + line for line in printer.prepare(*roots)]
            self._statement(statement, [printer.text(root) for root in roots], indent)

    def _statement(self, statement: Stmt, texts: list[str], indent: str) -> None:
        match statement:
            case For(var=var, start=start, stop=stop, step=step):
                outer, self.variables = self.variables, self.variables | {var: self.depths[self.depth]}
                self.depth += 1
                name = bound_variable(var, self.variables[var], stop, start.lo)
                self.lines.append(f"{indent}for {name} in {texts[0]}..{texts[1]}{f' step {step}' if step != 1 else ''}:")
                self._body(statement.body, indent + "  ")
                self.variables, self.depth = outer, self.depth - 1
            case If():
                self.lines.append(f"{indent}if {texts[0]}:")
                self._body(statement.body, indent + "  ")
                if statement.orelse:
                    self.lines.append(f"{indent}else:")
                    self._body(statement.orelse, indent + "  ")
            case Block():
                self.lines.append(f"{indent}block:")
                self._body(statement.body, indent + "  ")
            case Let(register=register):
                self.lines.append(f"{indent}{self.source(register)}{self._type(register)} = {texts[0]}")
            case Store(param=param, value=value, active=active):
                self.lines.append(f"{indent}{self.source(param)}[{texts[0]}{lanes_suffix(value.lanes, active)}] = {texts[1]}")
            case Prefetch(param=param):
                self.lines.append(f"{indent}prefetch {self.source(param)}[{texts[0]}]")

    def _type(self, register: Register) -> str:
        if register in self.seen:
            return ""
        self.seen.add(register)
        return f": {register.dtype}" + (f"[{register.lanes}]" if register.lanes > 1 else "")


def _registers(loops: Loops) -> list[Register]:
    """Every register in order of appearance, assigned or not."""
    found: dict[Register, None] = {}
    for statement in statements(loops.body):
        found.update((node.data, None) for node in walk(*expressions(statement)) if node.op == "get")
        if isinstance(statement, Let):
            found.setdefault(statement.register)
    return list(found)


def _depth(body: Sequence[Stmt]) -> int:
    """How many loops are nested in each other at most."""
    return max((isinstance(s, For) + _depth(children(s)) for s in body), default=0)


def _register_names(registers: Sequence[Register], taken: set[str]) -> dict[Register, str]:
    """The last word of each register's name and a number."""
    by_stem: dict[str, list[Register]] = {}
    for register in registers:
        words = re.findall(r"[A-Za-z_]+", register.name) or ["v"]
        by_stem.setdefault(words[-1], []).append(register)
    return {r: name for stem, group in by_stem.items() for r, name in numbered(stem, group, taken).items()}
