"""Words and dot products as LLVM IR: the part of the code generator that calls dot-product instructions by their rows.

A dot node has a word of 32 bits in every lane of its operands. Instructions want vectors of elements, so operands are bitcast; fewer
lanes than any row has are the low ones of its registers.

    dot(acc, a, b)      # %a.1 = bitcast <16 x i32> %a to <32 x bfloat>, ..., call @llvm.x86.avx512bf16.dpbf16ps.512(%acc, %a.1, %b.1)
"""

from __future__ import annotations

from typing import Any

from edgec.backends.instruction import LLVM_TYPES, Dot, call, dots, matrices, meaning, wide_row, widening_multiply, widening_multiply_add
from edgec.backends.llvm_order import FENCE, FENCE_DECLARED
from edgec.backends.llvm_spelling import vec
from edgec.backends.llvm_tables import ByteTables
from edgec.backends.target import Instruction
from edgec.expr import Expr, cast, const
from edgec.loops import lane, splat
from edgec.types import DTYPES, DType, element_of, f32, i16, i32, u32, u64


def dot_row(target: Any, e: Expr) -> Dot | None:
    """The row that computes a dot node: of those with its types and enough lanes the narrowest, else the widest, used several times.

    One that is right for all operands goes before.
    """
    if e.args[1].dtype.bits > 32:
        return None
    types = (e.dtype.name, *(element_of(a.dtype).name for a in e.args[1:]))
    fitting = [d for d in dots(target.instructions) if (d.acc, d.a, d.b) == types]
    fitting = [d for d in fitting if d.above is None] or fitting
    enough = [d for d in fitting if d.lanes >= e.lanes]
    return min(enough, key=lambda d: d.lanes) if enough else max(fitting, key=lambda d: d.lanes, default=None)


def matrix_row(target: Any, e: Expr) -> Dot | None:
    """The row that multiplies matrices whose rows are the words of a dot or dot_block node."""
    types = (e.dtype.name, *(element_of(a.dtype).name for a in e.args[1:]))
    return next((m for m in matrices(target.instructions) if (m.acc, m.a, m.b) == types and e.args[1].dtype.bits == 64), None)


def narrow_factor(e: Expr) -> Expr | None:
    """What an f32 factor was before it was widened."""
    if e.op in ("lane", "splat"):
        inner = narrow_factor(e.args[0])
        return None if inner is None else lane(inner, e.data) if e.op == "lane" else splat(inner, e.lanes)
    return e.args[0] if e.op == "cast" and e.args[0].dtype.is_float and e.args[0].dtype.bits == 16 else None


def short_factor(e: Expr) -> Expr | None:
    """An i32 factor as i16, where it was widened from that or from bytes."""
    if e.op in ("lane", "splat"):
        inner = short_factor(e.args[0])
        return None if inner is None else lane(inner, e.data) if e.op == "lane" else splat(inner, e.lanes)
    source = e.args[0].dtype if e.op == "cast" else i32
    return cast(e.args[0], i16) if source is i16 or source.is_integer and source.bits < 16 else None


class DotProducts(ByteTables):
    """The methods for `word` and `dot` of the class that emits values."""

    def _word(self, e: Expr, local: dict[Expr, str]) -> str:
        """The bits of every element, widened, shifted to their place and merged."""
        bits, kind, text = e.dtype.bits // len(e.args), self.type(e.dtype, e.lanes), ""
        narrow = vec(f"i{bits}", e.lanes)
        for n, a in enumerate(e.args):
            part = self.operand(a, e.lanes, local)
            if a.dtype.is_float:
                part = self.emit(f"bitcast {self.type(a.dtype, e.lanes)} {part} to {narrow}")
            part = self.emit(f"zext {narrow} {part} to {kind}")
            if n:
                part = self.emit(f"shl {kind} {part}, {self._literal(const(bits * n, u32 if e.dtype.bits == 32 else u64), e.lanes)}")
            text = self.emit(f"or {kind} {text}, {part}") if n else part
        return text

    def _dot(self, e: Expr, local: dict[Expr, str]) -> str:
        """The narrowest row that has the lanes; fewer lanes are the low ones of its registers, more are several of them side by side."""
        found = dot_row(self.target, e)
        if e.lanes <= found.lanes:
            parts = [self._in_low_lanes(self.operand(x, e.lanes, local), x.dtype, e.lanes, found.lanes) for x in e.args]
            result = self._called(e, found, parts)
            self._fence(found)
            return result if found.lanes == e.lanes else self._part(e.dtype, found.lanes, result, 0, e.lanes)
        results = []
        for start in range(0, e.lanes, found.lanes):
            parts = [self._spread(x, found, local) if x.lanes == 1 else self._part(x.dtype, e.lanes, local[x], start, found.lanes)
                     for x in e.args]
            results.append(self._called(e, found, parts))
        self._fence(found)
        return self._side_by_side(e.dtype, found.lanes, results)

    def _dot_block(self, e: Expr, local: dict[Expr, str]) -> str:
        """One product of small matrices."""
        found, result = matrix_row(self.target, e), self._name()
        texts = [local[e.args[0]]]
        for x, name, rows in zip(e.args[1:], (found.a, found.b), (found.rows, found.lanes)):
            texts.append(self.emit(f"bitcast {self.of(x)} {local[x]} to <{rows * found.group} x {LLVM_TYPES[name]}>"))
        declarations, lines = call(found.row, dict(zip(("acc", "a", "b"), texts)), result=result)
        self._declare_all(declarations)
        self.lines += ["  " + line for line in lines]
        return result

    def _spread(self, x: Expr, found: Dot, local: dict[Expr, str]) -> str:
        """A scalar in all lanes; where a row takes the halves of words apart, one that is a lane of a vector is spread by halves."""
        if "odd(" not in found.row.llvm or x.dtype is i32:
            return self.operand(x, found.lanes, local)
        source = x.args[0] if x.op == "lane" and x.args[0].lanes > 1 and x.args[0] in local else None
        lanes, place = (4, 0) if source is None else (source.lanes, x.data)
        text = self._in_low_lanes(local[x], x.dtype, 1, lanes) if source is None else local[source]
        given, wide = vec("i16", 2 * lanes), vec("i16", 2 * found.lanes)
        halves = self.emit(f"bitcast {self.type(x.dtype, lanes)} {text} to {given}")
        order = ", ".join(f"i32 {2 * place}, i32 {2 * place + 1}" for _ in range(found.lanes))
        spread = self.emit(f"shufflevector {given} {halves}, {given} poison, <{2 * found.lanes} x i32> <{order}>")
        return self.emit(f"bitcast {wide} {spread} to {vec('i32', found.lanes)}")

    def _fence(self, found: Dot) -> None:
        """After dot products of several instructions a label: LLVM would move the first of each ahead, as many as fill no registers."""
        if found.lanes > 1 and ";" in found.row.llvm and self.target.scalar_operand == "lane":
            self.declared.setdefault("llvm.codeview.annotation", FENCE_DECLARED)
            self.lines.append(FENCE)

    def _side_by_side(self, dtype: DType, lanes: int, texts: list[str]) -> str:
        """Vectors of equal length, or scalars, as one vector; their number is a power of two."""
        if lanes == 1 and len(texts) > 1:
            kind, whole = self.type(dtype, len(texts)), "poison"
            for k, text in enumerate(texts):
                whole = self.emit(f"insertelement {kind} {whole}, {self.type(dtype)} {text}, i32 {k}")
            return whole
        while len(texts) > 1:
            kind, order = self.type(dtype, lanes), ", ".join(f"i32 {k}" for k in range(2 * lanes))
            texts = [self.emit(f"shufflevector {kind} {low}, {kind} {high}, <{2 * lanes} x i32> <{order}>")
                     for low, high in zip(texts[::2], texts[1::2])]
            lanes *= 2
        return texts[0]

    def _called(self, e: Expr, found: Dot, operands: list[str]) -> str:
        """One use of a row."""
        acc, a, b = operands
        a, b = (self._as_elements(text, name, found) for text, name in ((a, found.a), (b, found.b)))
        result = self._name()
        declarations, lines = call(found.row, {"acc": acc, "a": a, "b": b}, result=result)
        self._declare_all(declarations)
        self.lines += ["  " + line for line in lines]
        if not found.adds:
            result = self.emit(f"add {self.type(e.dtype, found.lanes)} {acc}, {result}")
        return result

    def widening_mul_add(self, e: Expr, local: dict[Expr, str]) -> str | None:
        """A multiply-add of f32 vectors whose factors are widened, by the row that takes them as they were; None where there is none."""
        factors = [narrow_factor(a) for a in e.args[:2]] if e.dtype is f32 else []
        if not factors or None in factors or factors[0].dtype is not factors[1].dtype:
            return None
        row = widening_multiply_add(self.target, factors[0].dtype.name, e.lanes)
        if row is None:
            return None
        scalars_last = sorted(factors, key=lambda x: -x.lanes)  # they may be a lane of a vector there
        a, b = (self.operand(x, e.lanes, {**local, x: self._value(x, dict(local))}) for x in scalars_last)
        result = self._name()
        values = {"acc": self.operand(e.args[2], e.lanes, local), "a": a, "b": b}
        alike = frozenset(name for name, x in zip("ab", scalars_last) if x.lanes == 1)
        declaration, lines = call(row, values, result=result, alike=alike)
        self.declared.setdefault(declaration.partition("@")[2].partition("(")[0], declaration)
        self.lines += ["  " + line for line in lines]
        return result

    def _add(self, e: Expr, local: dict[Expr, str]) -> str:
        """A sum; one of all products of two vectors and a scalar may be one instruction."""
        a, b = e.args[0], e.args[-1]
        found = self._wide_product(b) if len(e.args) == 2 and e.lanes == 1 else None
        if found is None:
            return self._arithmetic(e, local)
        row, kind, factors = found
        bits = DTYPES[kind].bits
        texts = [self._resize(self.value(x), self.of(x), self.type(DTYPES[kind], x.lanes), x.dtype.bits, bits, x.dtype.kind == "u")
                 for x in factors]
        result = self._name()
        declarations, lines = call(row, {"acc": local[a], "a": texts[0], "b": texts[1]}, result=result)
        self._declare_all(declarations)
        self.lines += ["  " + line for line in lines]
        return result

    def _wide_product(self, e: Expr) -> tuple[Instruction, str, list[Expr]] | None:
        """The row, its element type and the factors of the sum over the products of two vectors."""
        if e.op != "horizontal" or e.data != "add" or e.args[0].op != "mul":
            return None
        factors = [x.args[0] for x in e.args[0].args if x.op == "cast" and x.args[0].op == "load"]
        found = wide_row(self.target.instructions, *(x.dtype.name for x in factors)) if len(factors) == 2 else None
        return (found[0], found[2], factors) if found and found[1] == e.args[0].lanes else None

    def short_products(self, e: Expr, local: dict[Expr, str]) -> str | None:
        """The products of an i32 multiply-add of vectors whose factors were narrower, by the row that takes those; None without one."""
        row = widening_multiply(self.target.instructions) if e.dtype is i32 else None
        lanes = meaning(row).result.lanes if row else 0
        factors = [short_factor(a) for a in e.args[:2]] if row and e.lanes >= lanes else []
        if not factors or None in factors:
            return None
        texts = [self.operand(x, e.lanes, {**local, x: self._value(x, dict(local))}) for x in factors]
        products = []
        for start in range(0, e.lanes, lanes):
            a, b = texts if e.lanes == lanes else (self._part(i16, e.lanes, text, start, lanes) for text in texts)
            products.append(self._name())
            declarations, lines = call(row, {"a": a, "b": b}, result=products[-1])
            self._declare_all(declarations)
            self.lines += ["  " + line for line in lines]
        return self._side_by_side(i32, lanes, products)

    def _as_elements(self, text: str, element: str, found: Dot) -> str:
        kind = LLVM_TYPES[element]
        return self.emit(f"bitcast {vec('i32', found.lanes)} {text} to <{found.lanes * found.group} x {kind}>")

    def _in_low_lanes(self, text: str, dtype: DType, lanes: int, wide: int) -> str:
        """A vector in the low lanes of a wider one."""
        if lanes == wide:
            return text
        kind = self.type(dtype, wide)
        if lanes == 1:
            return self.emit(f"insertelement {kind} zeroinitializer, {self.type(dtype)} {text}, i32 0")
        order = ", ".join(f"i32 {min(k, lanes)}" for k in range(wide))
        narrow = self.type(dtype, lanes)
        return self.emit(f"shufflevector {narrow} {text}, {narrow} zeroinitializer, <{wide} x i32> <{order}>")
