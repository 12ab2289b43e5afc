"""Conversions that round or saturate as LLVM IR, by their rows: the part of the code generator for what leaves integer sums.

Rows halve the width of elements, so that 32 bits become 8 in two steps; the first is signed, and what it cuts off the second would, too.
Vectors longer than a row's are narrowed in parts, which lie side by side afterwards.

    saturate<u8>(x: i32[16])    # four times llvm.aarch64.neon.sqxtn.v4i16, twice llvm.aarch64.neon.sqxtun.v8i8
"""

from __future__ import annotations

from functools import cache

from edgec.backends.instruction import call, meaning
from edgec.backends.llvm_spelling import one_by_one, suffix, to_integer
from edgec.backends.target import Instruction
from edgec.expr import Expr, const, make
from edgec.portable.scaling import integer_scaling, is_scaling
from edgec.types import DTYPES, DType, bool_, f32, i16, i32

SCALE = "edgec_scale"   # the routine float.scale


@cache
def narrowing(rows: tuple[Instruction, ...], source: str, result: str, lanes: int) -> Instruction | None:
    """The row that saturates `lanes` or more elements of one type into another."""
    for row in rows:
        what = meaning(row)
        if what.operation == "saturate" and (what.operands[0].dtype, what.result.dtype) == (source, result) and lanes > 1:
            return row
    return None


class Narrowing:
    """The methods for casts that start from floats or saturate, of the class that emits values."""

    def _rounding_conversion(self, node: Expr) -> Expr | None:
        """A rounded float as an integer: one operation, `nearest`, where a row says so; on cores without floats a product of integers."""
        if self.target.soft_floats:
            return integer_scaling(node) if is_scaling(node) else None
        fits = node.op == "cast" and node.data == "within" and node.args[0].op == "round" and f"nearest.{node.dtype}" in self.native
        return make("nearest", node.args[0].args, node.dtype) if fits else None

    def _scaled(self, e: Expr, local: dict[Expr, str]) -> str:
        """The call of a routine: what an integer times a float is, rounded."""
        self.declare(SCALE, "i32", ["i32", "float"])
        return self.emit(f"call i32 @{SCALE}(i32 {local[e.args[0]]}, float {local[e.args[1]]})")

    def _nearest(self, e: Expr, local: dict[Expr, str]) -> str:
        """By the row of so many lanes, else of any number, else of the most."""
        rows = [row for row in self.target.instructions if meaning(row).operation == "nearest"]
        fit = lambda row: (meaning(row).operands[0].lanes != e.lanes, meaning(row).operands[0].lanes != 0, -meaning(row).operands[0].lanes)
        return self._in_parts(min(rows, key=fit), local[e.args[0]], e.lanes)

    def _narrowed(self, e: Expr, text: str) -> str | None:
        """A saturating cast by one or two rows; None where the target has none."""
        source: DType = e.args[0].dtype
        find = lambda a, b: narrowing(self.target.instructions, a.name, b.name, e.lanes)
        if row := find(source, e.dtype):
            return self._in_parts(row, text, e.lanes)
        first, second = find(source, i16), find(i16, e.dtype)
        if source is not i32 or first is None or second is None:
            return None
        return self._in_parts(second, self._in_parts(first, text, e.lanes), e.lanes)

    def _saturated(self, e: Expr, x: str) -> str:
        a = e.args[0]
        low, high = max(e.dtype.low, a.dtype.low), min(e.dtype.high, a.dtype.high)
        x = self._choose("max", a.dtype, a.lanes, x, self._literal(const(low, a.dtype), a.lanes))
        return self._choose("min", a.dtype, a.lanes, x, self._literal(const(high, a.dtype), a.lanes))

    def _from_float(self, e: Expr, x: str, source: str, result: str) -> str:
        a = e.args[0]
        if self._as_bits(a.dtype):
            return self._from_upper_half(x, source, e)
        if e.dtype.is_float:
            return self.emit(f"{'fpext' if e.dtype.bits > a.dtype.bits else 'fptrunc'} {source} {x} to {result}")
        if e.dtype is bool_:
            return self.emit(f"fcmp une {source} {x}, {self._literal(const(0.0, a.dtype), a.lanes)}")
        kind = self.type(e.dtype, e.lanes)
        if e.data == "within":
            return to_integer(self.emit, "u" if e.dtype.kind == "u" else "s", source, x, kind)
        return self._to_saturated_integer(e.dtype, a.dtype, e.lanes, x)

    def _from_upper_half(self, x: str, source: str, e: Expr) -> str:
        """bf16 as f32, whose upper half it is; no other conversion of 16-bit floats is left where they travel as their bits."""
        word = self.type(i32, e.lanes)
        wide = self.emit(f"zext {source} {x} to {word}")
        upper = self.emit(f"shl {word} {wide}, {self._literal(const(16, i32), e.lanes)}")
        return self.emit(f"bitcast {word} {upper} to {self.of(e)}")

    def _to_saturated_integer(self, dtype: DType, real: DType, lanes: int, x: str) -> str:
        source, kind = self.type(real, lanes), self.type(dtype, lanes)
        if lanes == 2 and real is f32 and dtype.bits == 32:
            return one_by_one(self.emit, [source], [x], kind, lambda one: self._to_saturated_integer(dtype, real, 1, one))
        name = f"llvm.fpto{'u' if dtype.kind == 'u' else 's'}i.sat.{suffix(kind, lanes)}.{suffix(source, lanes)}"
        self.declare(name, kind, [source])
        return self.emit(f"call {kind} @{name}({source} {x})")

    def _in_parts(self, row: Instruction, text: str, lanes: int) -> str:
        """A row applied to all of a vector."""
        what = meaning(row, lanes)
        source, = what.operands
        wide, before, after = source.lanes, DTYPES[source.dtype], DTYPES[what.result.dtype]
        if lanes < wide:
            return self._part(after, wide, self._by_row(row, self._in_low_lanes(text, before, lanes, wide), wide), 0, lanes)
        parts = [text] if lanes == wide else [self._part(before, lanes, text, start, wide) for start in range(0, lanes, wide)]
        return self._side_by_side(after, wide, [self._by_row(row, part, wide) for part in parts])

    def _by_row(self, row: Instruction, text: str, lanes: int) -> str:
        result = self._name()
        declarations, lines = call(row, {meaning(row).operands[0].name: text}, lanes, result)
        self._declare_all(declarations)
        self.lines += ["  " + line for line in lines]
        return result

    def _declare_all(self, declarations: str) -> None:
        for line in declarations.splitlines():
            self.declared.setdefault(line.partition("@")[2].partition("(")[0], line)
