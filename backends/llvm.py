"""Loops -> LLVM IR text, one function per kernel.

Registers become SSA values directly (a loop that assigns one gets a phi), expressions are emitted once per block they are valid in, and
addresses are split into a shared base and a constant, so LLVM has little left to clean up. No target is named here: what the machine has
comes from the rows of its description.

    module_text(loops, target)     # "define void @conv(ptr noalias %p0, ...) ..."
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgec.backends.llvm_order import FENCE, FENCE_NAME
from edgec.backends.llvm_pointers import carried_addresses
from edgec.backends.llvm_spelling import mask, suffix, vec, vector_attributes
from edgec.backends.llvm_values import Values
from edgec.expr import is_const
from edgec.loops import Block, For, If, Let, Loops, Param, Prefetch, Register, Stmt, Store, statements
from edgec.types import bool_

NO_UNROLL = "!0 = distinct !{!0, !1, !2}\n!1 = !{!\"llvm.loop.unroll.disable\"}\n!2 = !{!\"llvm.loop.vectorize.enable\", i1 false}\n"


def module_text(loops: Loops, target: Any, symbol: str, shared: frozenset[Param] = frozenset()) -> str:
    """The LLVM module of one kernel, its function named `symbol`; parameters in `shared` may be given the same address."""
    return _Function(loops, target, symbol, shared).text()


class _Function(Values):
    """Emits one function: statements and control flow; values come from the base."""

    def __init__(self, loops: Loops, target: Any, symbol: str, shared: frozenset[Param]):
        super().__init__(target)
        self.loops, self.symbol, self.shared = loops, symbol, shared

    # ------------------------------------------------------------------------------------------------------------ text

    def text(self) -> str:
        arguments = [f"ptr {'' if p in self.shared else 'noalias '}{'' if p.writable else 'readonly '}captures(none) %{p.name}"
                     for p in self.loops.params]
        for n, s in enumerate(self.loops.symbols):  # numbered, so that equal kernels have equal text whatever the model calls a size
            arguments.append(f"{self.pointer} %n{n}")
            self.scopes[0][s] = (f"%n{n}", ())
        self._body(self.loops.body)
        head = f"define void @{self.symbol}({', '.join(arguments)}) #0 {{\nentry:\n"
        # noredzone: an x86-64 leaf may otherwise use 128 bytes below its frame, which LLVM leaves out of the frame's size
        attributes = 'nounwind noredzone "no-builtins" "no-trapping-math"="true" "denormal-fp-math"="ieee,ieee" "warn-stack-size"="0"'
        if self.target.compact:
            attributes += " optsize"
        attributes += vector_attributes(self.target)
        return (head + "\n".join(self.lines) + "\n  ret void\n}\n\n" + "\n".join(self.declared.values()) +
                f"\nattributes #0 = {{ {attributes} }}\n{NO_UNROLL}{FENCE_NAME if FENCE in self.lines else ''}")

    # ------------------------------------------------------------------------------------------------------- statements

    def _body(self, body: Sequence[Stmt]) -> None:
        for statement in body:
            match statement:
                case Let():
                    self.registers[statement.register] = self.value(self.portable(statement.value), statement.register.lanes)
                    self._changed(statement.register)
                case Store():
                    self._store(statement)
                    self._changed(statement.param)
                case Prefetch():
                    self._prefetch(statement)
                case For():
                    self._for(statement)
                case If():
                    self._if(statement)
                case Block():
                    self._body(statement.body)

    def _assigned(self, body: Sequence[Stmt]) -> list[Register]:
        """Registers that exist before a body and are assigned in it."""
        found = [s.register for s in statements(body) if isinstance(s, Let) and s.register in self.registers]
        return list(dict.fromkeys(found))

    def _for(self, loop: For) -> None:
        start, stop = self.value(loop.start), self.value(loop.stop)
        surely = (loop.stop - loop.start).lo > 0
        pointers = self._pointers(loop) if self.target.in_order else []
        first = self.value(loop.stop - loop.start - 1) if pointers else start
        head, after, before = self.fresh_label("loop"), self.fresh_label("after"), self.label
        if surely:
            self.lines.append(f"  br label %{head}")
        else:
            test = self.emit(f"icmp slt {self.pointer} {start}, {stop}")
            self.lines.append(f"  br i1 {test}, label %{head}, label %{after}")
        carried = self._assigned(loop.body)
        outside = {r: self.registers[r] for r in carried}
        self.block(head)
        variable = self._name()
        phis = {r: self._name() for r in carried}
        slots = len(self.lines)
        self.registers.update(phis)
        self.scopes.append({loop.var: ('poison' if pointers else variable, ())})
        self._touch(loop.body)
        around, self.innermost, self.fours = self.innermost, loop.var, self._side_by_side_in(loop.body)
        self.pointers = pointers
        (self._straight if self.target.in_order else self._body)(loop.body)
        following = self._advance(variable) if pointers else self.emit(f"add nuw nsw {self.pointer} {variable}, {loop.step}")
        self.innermost, self.fours, self.pointers = around, {}, ()
        self._touch(loop.body)
        self.scopes.pop()
        # A loop that meets its end exactly may be counted down by LLVM, which needs no comparison.
        whole = surely and is_const(loop.start) and is_const(loop.stop) and (loop.stop.data - loop.start.data) % loop.step == 0
        whole = whole and not self.target.counts_loops
        test = f"sge {self.pointer} {following}, 0" if pointers else f"{'ne' if whole else 'slt'} {self.pointer} {following}, {stop}"
        again = self.emit(f"icmp {test}")
        latch = self.label
        self.lines.append(f"  br i1 {again}, label %{head}, label %{after}, !llvm.loop !0")
        header = [f"  {variable} = phi {self.pointer} [ {first}, %{before} ], [ {following}, %{latch} ]"]
        ends = {r: f"[ {outside[r]}, %{before} ], [ {self.registers[r]}, %{latch} ]" for r in carried}
        header += [f"  {phis[r]} = phi {self.type(r.dtype, r.lanes)} {ends[r]}" for r in carried]
        self.lines[slots:slots] = header + carried_addresses(pointers, before, latch)
        self.block(after)
        if not surely:
            for r in carried:
                self.registers[r] = self.emit(f"phi {self.type(r.dtype, r.lanes)} {ends[r]}")

    def _if(self, statement: If) -> None:
        test = self.value(self.portable(statement.condition))
        then, other, after = (self.fresh_label(s) for s in ("then", "else", "after"))
        self.lines.append(f"  br i1 {test}, label %{then}, label %{other}")
        before, ends = dict(self.registers), []
        for label, body in ((then, statement.body), (other, statement.orelse)):
            self.registers = dict(before)
            self.block(label)
            self._touch((*statement.body, *statement.orelse))
            self.scopes.append({})
            self._body(body)
            self.scopes.pop()
            ends.append((self.label, self.registers))
            self.lines.append(f"  br label %{after}")
        self.block(after)
        self._touch((*statement.body, *statement.orelse))
        self.registers = dict(before)
        for r in before:
            a, b = ends[0][1][r], ends[1][1][r]
            if a != b:
                self.registers[r] = self.emit(f"phi {self.type(r.dtype, r.lanes)} [ {a}, %{ends[0][0]} ], [ {b}, %{ends[1][0]} ]")

    def _prefetch(self, s: Prefetch) -> None:
        """Into the second-level cache, or to be written into the first; the place may lie outside of the parameter, so nothing is said to
        be in bounds."""
        kind = "i8" if s.param.dtype is bool_ else self.type(s.param.dtype)
        place = self.emit(f"getelementptr {kind}, ptr %{s.param.name}, {self.pointer} {self.value(s.index)}")
        self.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        writes, nearness = (1, 3) if s.param.writable else (0, 2)
        self.lines.append(f"  call void @llvm.prefetch.p0(ptr {place}, i32 {writes}, i32 {nearness}, i32 1)")

    def _store(self, s: Store) -> None:
        value = self.portable(s.value)
        text = self.value(value)
        dtype, lanes = value.dtype, value.lanes
        address = self.address(s.param, s.index)
        if dtype is bool_:
            text, kind = self.emit(f"zext {self.type(bool_, lanes)} {text} to {vec('i8', lanes)}"), vec("i8", lanes)
        else:
            kind = self.type(dtype, lanes)
        if not s.active or s.active >= lanes:
            self.lines.append(f"  store {kind} {text}, ptr {address}, align {dtype.bytes}")
            return
        name = f"llvm.masked.store.v{lanes}{suffix(kind)}.p0"
        self.declare(name, "void", [kind, "ptr", "i32", f"<{lanes} x i1>"], immarg=2)
        self.lines.append(f"  call void @{name}({kind} {text}, ptr {address}, i32 {dtype.bytes}, {mask(lanes, s.active)})")
