"""Picking bytes of a table as LLVM IR: by the row that does it within registers, else one lane after the other.

    p1[cast<index>(x)]      # x: u8[16]; twice llvm.x86.avx512.vpermi2var.qi.512 over halves of the table, chosen by the top bit of x
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import call, meaning
from edgec.backends.llvm_spelling import vec
from edgec.expr import Expr

BYTES = 256


def picking_row(target: Any) -> Any:
    """The row that picks bytes of half a table, or None."""
    return next((row for row in target.instructions if meaning(row).operation == "pick"), None)


class ByteTables:
    """The methods for picked bytes of the class that emits values."""

    def _picked(self, e: Expr) -> str:
        """A byte of a table of 256 in every lane."""
        x, (param, _), row = self.value(e.args[0].args[0]), e.data, picking_row(self.target)
        if row is None:
            return self._picked_by_lane(x, param, e.lanes)
        wide = meaning(row).result.lanes
        spread = ", ".join(f"i32 {k if k < e.lanes else 'poison'}" for k in range(wide))
        kind = vec("i8", e.lanes)
        at = x if e.lanes == wide else self.emit(f"shufflevector {kind} {x}, {kind} poison, <{wide} x i32> <{spread}>")
        parts = []
        for k in range(0, BYTES, wide):
            address = self.emit(f"getelementptr inbounds i8, ptr %{param.name}, {self.pointer} {k}")
            parts.append(self.emit(f"load {vec('i8', wide)}, ptr {address}, align 1"))
        low, high = (self._half(row, at, *parts[n:n + 2]) for n in (0, 2))
        upper = self.emit(f"icmp slt {vec('i8', wide)} {at}, zeroinitializer")
        found = self.emit(f"select {vec('i1', wide)} {upper}, {vec('i8', wide)} {high}, {vec('i8', wide)} {low}")
        return found if e.lanes == wide else self._part(e.dtype, wide, found, 0, e.lanes)

    def _half(self, row: Any, at: str, first: str, second: str) -> str:
        result = self._name()
        declaration, lines = call(row, {"a": first, "i": at, "b": second}, result=result)
        self.declared.setdefault(declaration.partition("@")[2].partition("(")[0], declaration)
        self.lines += ["  " + line for line in lines]
        return result

    def _picked_by_lane(self, x: str, param: Any, lanes: int) -> str:
        text = "poison"
        for k in range(lanes):
            lane = self.emit(f"extractelement {vec('i8', lanes)} {x}, i32 {k}")
            at = self.emit(f"zext i8 {lane} to {self.pointer}")
            address = self.emit(f"getelementptr inbounds i8, ptr %{param.name}, {self.pointer} {at}")
            found = self.emit(f"load i8, ptr {address}, align 1")
            text = self.emit(f"insertelement {vec('i8', lanes)} {text}, i8 {found}, i32 {k}")
        return text
