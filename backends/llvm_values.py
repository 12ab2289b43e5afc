"""Expressions of the loop language -> LLVM IR text: the half of the code generator that computes values.

A value is emitted once and remembered as long as nothing it depends on (a register, memory the kernel writes) has changed and the block
it stands in dominates. Addresses are a shared base plus a constant. What the machine has comes from the rows of its description.

    Values(target).value(x * 2.0 + y)      # '%v7', after three instructions have been appended to .lines
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from edgec.backends.instruction import dots, meaning
from edgec.backends.llvm_dots import DotProducts, dot_row
from edgec.backends.llvm_narrowing import Narrowing
from edgec.backends.llvm_order import Order, dealt_of
from edgec.backends.llvm_spelling import mask, number, one_by_one, suffix, vec
from edgec.expr import Expr, const, inside_pairs
from edgec.linear import join, split
from edgec.loops import Let, Param, Register, Stmt, Store, children
from edgec.portable.expansion import expand
from edgec.sweeps import transform
from edgec.types import DType, bf16, bool_, f16, f32, index

SCALARS = {"f32": "float", "f64": "double", "f16": "half", "bf16": "bfloat", "bool": "i1"}
FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "mod": "frem"}
INT_OPS = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
COMPARES = {"lt": ("olt", "slt", "ult"), "le": ("ole", "sle", "ule"), "eq": ("oeq", "eq", "eq"), "ne": ("une", "ne", "ne")}
NATIVE = {"round_half_even": "round", **{n: n for n in ("floor", "ceil", "trunc", "sqrt", "fma", "cast", "nearest")}}
INTRINSICS = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven", "sqrt": "sqrt", "abs": "fabs"}


def native_operations(target: Any) -> frozenset[str]:
    """Portable operations that the target's rows provide, with their type: `sqrt.f32`, `cast.f16`; `i64` where registers have 64 bits."""
    rows = [meaning(r) for r in target.instructions]
    words = {"i64"} if target.pointer_bits == 64 else set()
    return frozenset({f"{NATIVE[m.operation]}.{m.result.dtype}" for m in rows if m.operation in NATIVE} | words)


class Values(DotProducts, Narrowing, Order):
    """Emits values into `lines`; `label` is the current block, `registers` the current value of every register."""

    def __init__(self, target: Any):
        self.target = target
        self.native = native_operations(target)
        self.pointer = f"i{target.pointer_bits}"
        self.lines: list[str] = []
        self.label = "entry"
        self.numbers = 0
        self.scopes: list[dict[Any, tuple[str, tuple[int, ...]]]] = [{}]
        self.sources: dict[int, tuple[Any, ...]] = {}
        self.alive: list[Expr] = []
        self.epochs: dict[Any, int] = {}
        self.registers: dict[Register, str] = {}
        self.declared: dict[str, str] = {}
        self.expanded: dict[Expr, Expr] = {}
        self.rounded: dict[Expr, Expr] = {}
        self.changes: dict[Stmt, frozenset[Any]] = {}
        self.innermost: Expr | None = None      # the variable of the loop whose body is being emitted

    def _name(self) -> str:
        self.numbers += 1
        return f"%v{self.numbers}"

    def emit(self, text: str) -> str:
        """One instruction; its result's name."""
        name = self._name()
        self.lines.append(f"  {name} = {text}")
        return name

    def block(self, label: str) -> None:
        self.lines.append(f"{label}:")
        self.label = label

    def fresh_label(self, stem: str) -> str:
        self.numbers += 1
        return f"{stem}{self.numbers}"

    def type(self, dtype: DType, lanes: int = 1) -> str:
        named = None if self._as_bits(dtype) else SCALARS.get(dtype.name)
        return vec(self.pointer if dtype is index else named or f"i{dtype.bits}", lanes)

    def _as_bits(self, dtype: DType) -> bool:
        return dtype in (f16, bf16) and not self.target.half_types

    def of(self, e: Expr) -> str:
        return self.type(e.dtype, e.lanes)

    def portable(self, e: Expr) -> Expr:
        if e not in self.expanded:
            whole, = transform((e,), self._rounding_conversion, self.rounded)
            expand(whole, self.native, "fma.f32" in self.native, lambda node: dot_row(self.target, node) is not None, self.expanded)
            self.expanded[e] = self.expanded[whole]
        return self.expanded[e]

    def declare(self, name: str, result: str, arguments: Sequence[str], immarg: int = -1) -> None:
        listed = ", ".join(a + (" immarg" if n == immarg else "") for n, a in enumerate(arguments))
        self.declared.setdefault(name, f"declare {result} @{name}({listed})")

    def address(self, param: Param, at: Expr) -> str:
        """A pointer: the varying part once per block, then a constant."""
        constant, terms = split(at)
        base = join(0, terms)
        kind = "i8" if param.dtype is bool_ else self.type(param.dtype)
        pointer = f"%{param.name}"
        if terms:
            key = ("address", param, base)
            found = self._lookup(key, base)
            if found is None:
                found = self.emit(f"getelementptr inbounds {kind}, ptr {pointer}, {self.pointer} {self.value(base)}")
                self._remember(key, base, found)
            pointer = found
        return self.emit(f"getelementptr inbounds {kind}, ptr {pointer}, {self.pointer} {constant}") if constant else pointer

    def _lookup(self, key: Any, root: Expr) -> str | None:
        """The text already emitted for a key about `root`, where it is still what `root` is worth."""
        for scope in reversed(self.scopes):
            if key in scope:
                text, age = scope[key]
                return text if age == self._age(root) else None
        return None

    def _remember(self, key: Any, root: Expr, text: str) -> None:
        self.scopes[-1][key] = (text, self._age(root))

    def _age(self, root: Expr) -> tuple[int, ...]:
        """How often each thing that a value depends on has been assigned so far; () for what never changes."""
        return tuple(self.epochs.get(s, 0) for s in self._sources(root))

    def _sources(self, root: Expr) -> tuple[Any, ...]:
        """The registers and written parameters an expression reads, each once, in a stable order."""
        pending = [root] if id(root) not in self.sources else []
        while pending:
            node = pending[-1]
            missing = [a for a in node.args if id(a) not in self.sources]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            if id(node) not in self.sources:
                own = [node.data] if node.op == "get" else [node.data[0]] if node.op == "load" and node.data[0].writable else []
                self.sources[id(node)] = tuple(dict.fromkeys([*own, *(s for a in node.args for s in self.sources[id(a)])]))
                self.alive.append(node)  # an id is only good while its node lives
        return self.sources[id(root)]

    def _touch(self, body: Sequence[Stmt]) -> None:
        """Everything a body assigns counts as changed."""
        for source in set().union(*map(self._changes, body)):
            self._changed(source)

    def _changes(self, statement: Stmt) -> frozenset[Any]:
        """The registers and parameters that a statement and those within it assign."""
        if isinstance(statement, (Let, Store)):
            return frozenset((statement.register if isinstance(statement, Let) else statement.param,))
        if statement not in self.changes:
            self.changes[statement] = frozenset().union(*map(self._changes, children(statement)))
        return self.changes[statement]

    def _changed(self, source: Any) -> None:
        self.epochs[source] = self.epochs.get(source, 0) + 1

    def value(self, root: Expr, lanes: int = 0) -> str:
        """The text of an expression's value, emitting what is not there yet; splat to `lanes` when asked."""
        local: dict[Expr, str] = {}
        text = self._value(root, local)
        return self._widen(text, root, lanes) if lanes > 1 and root.lanes == 1 else text

    def _value(self, root: Expr, local: dict[Expr, str]) -> str:
        stack = [root]
        while stack:
            node = stack[-1]
            if node in local:
                stack.pop()
                continue
            found = self._lookup(node, node)
            if found is not None:
                local[node] = found
                stack.pop()
                continue
            wanted = node.args[2:] if node.op == "inside" else node.args
            missing = [a for a in wanted if a not in local]
            if missing:
                stack.extend(reversed(missing))
                continue
            text = self._node(node, local)
            local[node] = text
            self._remember(node, node, text)
            stack.pop()
        return local[root]

    def _node(self, e: Expr, local: dict[Expr, str]) -> str:
        method = getattr(self, f"_{e.op}", None)
        if method is not None:
            return method(e, local)
        if e.op in COMPARES:
            return self._compare(e, local)
        if e.op in INTRINSICS:
            return self._intrinsic(e, local)
        return self._arithmetic(e, local)

    def _widen(self, text: str, e: Expr, lanes: int) -> str:
        if e.op == "const":
            return self._literal(e, lanes)
        kind = self.type(e.dtype, lanes)
        key = ("splat", e, lanes)
        found = self._lookup(key, e)
        if found is None:
            one = self.emit(f"insertelement {kind} poison, {self.type(e.dtype)} {text}, i32 0")
            found = self.emit(f"shufflevector {kind} {one}, {kind} poison, <{lanes} x i32> zeroinitializer")
            self._remember(key, e, found)
        return found

    def operand(self, a: Expr, lanes: int, local: dict[Expr, str]) -> str:
        text = local[a]
        return self._widen(text, a, lanes) if lanes > 1 and a.lanes == 1 else text

    def _const(self, e: Expr, local: dict[Expr, str]) -> str:
        return self._literal(e, 1)

    def _literal(self, e: Expr, lanes: int) -> str:
        text = str(int(e.dtype.numpy(e.data).view(np.uint16))) if self._as_bits(e.dtype) else number(e)
        return text if lanes == 1 else "<" + ", ".join([f"{self.type(e.dtype)} {text}"] * lanes) + ">"

    def _get(self, e: Expr, local: dict[Expr, str]) -> str:
        return self.registers[e.data]

    def _iota(self, e: Expr, local: dict[Expr, str]) -> str:
        return "<" + ", ".join(f"{self.pointer} {k}" for k in range(e.lanes)) + ">"

    def _load(self, e: Expr, local: dict[Expr, str]) -> str:
        param, active = e.data
        if e.args[0].lanes > 1 or e in self.fours:
            return self._joined(e) if e in self.fours else self._dealt(e) if dealt_of(e, self.target) else self._picked(e)
        address = self.address(param, e.args[0])
        kind = vec("i8", e.lanes) if param.dtype is bool_ else self.of(e)
        if active:
            name = f"llvm.masked.load.v{e.lanes}{suffix(kind)}.p0"
            self.declare(name, kind, ["ptr", "i32", f"<{e.lanes} x i1>", kind], immarg=1)
            arguments = f"ptr {address}, i32 {param.dtype.bytes}, {mask(e.lanes, active)}, {kind} zeroinitializer"
            text = self.emit(f"call {kind} @{name}({arguments})")
        else:
            text = self.emit(f"load {kind}, ptr {address}, align {param.dtype.bytes}")
        return self.emit(f"icmp ne {kind} {text}, {'zeroinitializer' if e.lanes > 1 else 0}") if param.dtype is bool_ else text

    def _linear(self, e: Expr, local: dict[Expr, str]) -> str:
        constant, coefficients = e.data
        kind, total = self.of(e), None
        for atom, c in zip(e.args, coefficients):
            term = self.operand(atom, e.lanes, local)
            if c != 1:
                term = self.emit(f"mul nsw {kind} {term}, {self._literal(const(c, index), e.lanes)}")
            total = term if total is None else self.emit(f"add nsw {kind} {total}, {term}")
        return total if not constant else self.emit(f"add nsw {kind} {total}, {self._literal(const(constant, index), e.lanes)}")

    def _floordiv(self, e: Expr, local: dict[Expr, str]) -> str:
        a, b = e.args
        kind, x, y = self.of(e), self.operand(a, e.lanes, local), self.operand(b, e.lanes, local)
        if a.lo >= 0:
            return self.emit(f"udiv {kind} {x}, {y}")
        quotient = self.emit(f"sdiv {kind} {x}, {y}")
        product = self.emit(f"mul {kind} {quotient}, {y}")
        over = self.emit(f"icmp sgt {kind} {product}, {x}")
        return self.emit(f"add {kind} {quotient}, {self.emit(f'sext {self.type(bool_, e.lanes)} {over} to {kind}')}")

    def _splat(self, e: Expr, local: dict[Expr, str]) -> str:
        return self._widen(local[e.args[0]], e.args[0], e.lanes)

    def _lane(self, e: Expr, local: dict[Expr, str]) -> str:
        a = e.args[0]
        return local[a] if a.lanes == 1 else self.emit(f"extractelement {self.of(a)} {local[a]}, i32 {e.data}")

    def _vector(self, e: Expr, local: dict[Expr, str]) -> str:
        text = "poison"
        for k, a in enumerate(e.args):
            text = self.emit(f"insertelement {self.of(e)} {text}, {self.of(a)} {local[a]}, i32 {k}")
        return text

    def _horizontal(self, e: Expr, local: dict[Expr, str]) -> str:
        """Halves of ever narrower vectors are merged until one lane is left (LLVM 22 gets shuffles within the full width wrong on x86).

        Where it can make dot products of bytes of what is summed here, it forgets to add their lanes up, unless a half is turned.
        """
        a, text, half = e.args[0], local[e.args[0]], e.args[0].lanes // 2
        turned = int(e.data == "add" and a.dtype.is_integer and any((d.a, d.b) == ("u8", "i8") for d in dots(self.target.instructions)))
        while half:
            low, high = self._part(a.dtype, 2 * half, text, 0, half), self._part(a.dtype, 2 * half, text, half, half, turned)
            text, half, turned = self._combine(e.data, a.dtype, half, low, high), half // 2, 0
        return text

    def _part(self, dtype: DType, lanes: int, text: str, start: int, count: int, turned: int = 0) -> str:
        """`count` neighbouring lanes of a vector, the first `turned` of them behind the others; a single one is a scalar."""
        kind = self.type(dtype, lanes)
        if count == 1:
            return self.emit(f"extractelement {kind} {text}, i32 {start}")
        order = ", ".join(f"i32 {start + (k + turned) % count}" for k in range(count))
        return self.emit(f"shufflevector {kind} {text}, {kind} poison, <{count} x i32> <{order}>")

    def _combine(self, op: str, dtype: DType, lanes: int, x: str, y: str) -> str:
        kind = self.type(dtype, lanes)
        if op in ("min", "max"):
            return self._choose(op, dtype, lanes, x, y)
        return self.emit(f"{FLOAT_OPS[op] if dtype.is_float else INT_OPS[op]} {kind} {x}, {y}")

    def _choose(self, op: str, dtype: DType, lanes: int, x: str, y: str) -> str:
        kind = self.type(dtype, lanes)
        signs = COMPARES["lt"][0 if dtype.is_float else 2 if dtype.kind == "u" else 1]
        first, second = (x, y) if op == "min" else (y, x)
        test = self.emit(f"{'fcmp' if dtype.is_float else 'icmp'} {signs} {kind} {first}, {second}")
        return self.emit(f"select {self.type(bool_, lanes)} {test}, {kind} {x}, {kind} {y}")

    def _min(self, e: Expr, local: dict[Expr, str]) -> str:
        return self._choose(e.op, e.dtype, e.lanes, *(self.operand(a, e.lanes, local) for a in e.args))

    _max = _min

    def _compare(self, e: Expr, local: dict[Expr, str]) -> str:
        a, b = e.args
        lanes = max(a.lanes, b.lanes)
        x, y = (self.operand(v, lanes, local) for v in (a, b))
        choice = COMPARES[e.op][0 if a.dtype.is_float else 2 if a.dtype.kind in "ub" else 1]
        return self.emit(f"{'fcmp' if a.dtype.is_float else 'icmp'} {choice} {self.type(a.dtype, lanes)} {x}, {y}")

    def _select(self, e: Expr, local: dict[Expr, str]) -> str:
        c, a, b = e.args
        test = self.operand(c, e.lanes, local) if c.lanes == e.lanes or e.lanes > 1 else local[c]
        x, y = (self.operand(v, e.lanes, local) for v in (a, b))
        return self.emit(f"select {self.type(bool_, e.lanes)} {test}, {self.of(e)} {x}, {self.of(e)} {y}")

    def _inside(self, e: Expr, local: dict[Expr, str]) -> str:
        """A branch around the value, which must not be evaluated outside."""
        tests = []
        for i, extent in inside_pairs(e):
            tests.append(self.emit(f"icmp ult {self.pointer} {local[i]}, {local[extent]}"))
        test = tests[0]
        for other in tests[1:]:
            test = self.emit(f"and i1 {test}, {other}")
        then, after = self.fresh_label("inside"), self.fresh_label("joined")
        fill = self._value(e.args[1], dict(local))
        fill = self._widen(fill, e.args[1], e.lanes) if e.lanes > 1 and e.args[1].lanes == 1 else fill
        before = self.label
        self.lines.append(f"  br i1 {test}, label %{then}, label %{after}")
        self.block(then)
        self.scopes.append({})
        value = self._value(e.args[0], dict(local))
        value = self._widen(value, e.args[0], e.lanes) if e.lanes > 1 and e.args[0].lanes == 1 else value
        self.scopes.pop()
        end = self.label
        self.lines.append(f"  br label %{after}")
        self.block(after)
        return self.emit(f"phi {self.of(e)} [ {value}, %{end} ], [ {fill}, %{before} ]")

    def _mul_add(self, e: Expr, local: dict[Expr, str]) -> str:
        if (widened := self.widening_mul_add(e, local)) is not None:
            return widened
        if (products := self.short_products(e, local)) is not None:
            return self.emit(f"add {self.of(e)} {products}, {self.operand(e.args[2], e.lanes, local)}")
        kind, (x, y, z) = self.of(e), (self.operand(a, e.lanes, local) for a in e.args)
        if not e.dtype.is_float:
            return self.emit(f"add {kind} {self.emit(f'mul {kind} {x}, {y}')}, {z}")
        if f"fma.{e.dtype}" not in self.native:
            return self.emit(f"fadd {kind} {self.emit(f'fmul {kind} {x}, {y}')}, {z}")
        return self.emit(self._call("llvm.fma", e, [x, y, z]))

    def _call(self, stem: str, e: Expr, operands: Sequence[str]) -> str:
        kind = self.of(e)
        name = f"{stem}.{'' if e.lanes == 1 else f'v{e.lanes}'}{'f32' if e.dtype is f32 else e.dtype.name}"
        self.declare(name, kind, [kind] * len(operands))
        return f"call {kind} @{name}({', '.join(f'{kind} {o}' for o in operands)})"

    def _intrinsic(self, e: Expr, local: dict[Expr, str]) -> str:
        x = self.operand(e.args[0], e.lanes, local)
        if e.op == "abs" and e.dtype.kind == "u":
            return x
        if e.op == "abs" and not e.dtype.is_float:
            negative = self.emit(f"sub {self.of(e)} {self._literal(const(0, e.dtype), e.lanes)}, {x}")
            return self._choose("max", e.dtype, e.lanes, x, negative)
        return self.emit(self._call(f"llvm.{INTRINSICS[e.op]}", e, [x]))

    def _neg(self, e: Expr, local: dict[Expr, str]) -> str:
        x = self.operand(e.args[0], e.lanes, local)
        if e.dtype.is_float:
            return self.emit(f"fneg {self.of(e)} {x}")
        return self.emit(f"sub {self.of(e)} {self._literal(const(0, e.dtype), e.lanes)}, {x}")

    def _not(self, e: Expr, local: dict[Expr, str]) -> str:
        ones = self._literal(const(True, bool_) if e.dtype is bool_ else const(-1, e.dtype), e.lanes)
        return self.emit(f"xor {self.of(e)} {self.operand(e.args[0], e.lanes, local)}, {ones}")

    def _isnan(self, e: Expr, local: dict[Expr, str]) -> str:
        return self.emit(f"fcmp uno {self.of(e.args[0])} {local[e.args[0]]}, {local[e.args[0]]}")

    def _bitcast(self, e: Expr, local: dict[Expr, str]) -> str:
        return self.emit(f"bitcast {self.of(e.args[0])} {local[e.args[0]]} to {self.of(e)}")

    def _shr(self, e: Expr, local: dict[Expr, str]) -> str:
        x, y = (self.operand(a, e.lanes, local) for a in e.args)
        return self.emit(f"{'lshr' if e.dtype.kind == 'u' else 'ashr'} {self.of(e)} {x}, {y}")

    def _arithmetic(self, e: Expr, local: dict[Expr, str]) -> str:
        x, *others, y = (self.operand(a, e.lanes, local) for a in e.args)
        for factor in others:  # index products keep more than two factors
            x = self.emit(f"{INT_OPS[e.op]} {self.of(e)} {x}, {factor}")
        if e.dtype.is_float:
            return self.emit(f"{FLOAT_OPS[e.op]} {self.of(e)} {x}, {y}")
        if e.op in ("div", "mod"):
            return self._divide(e.op, e.dtype, e.lanes, x, y)
        return self.emit(f"{INT_OPS[e.op]} {self.of(e)} {x}, {y}")

    def _divide(self, op: str, dtype: DType, lanes: int, x: str, y: str) -> str:
        """Integer division that cannot trap: a zero divisor counts as 1, the least value by -1 wraps."""
        kind = self.type(dtype, lanes)
        if lanes == 2 and dtype.bits == 32:
            return one_by_one(self.emit, [kind] * 2, [x, y], kind, lambda *each: self._divide(op, dtype, 1, *each))
        literal = lambda n: self._literal(const(n, dtype), lanes)
        zero, unsigned = self.emit(f"icmp eq {kind} {y}, {literal(0)}"), dtype.kind == "u"
        if not unsigned:
            minus = self.emit(f"icmp eq {kind} {y}, {literal(-1)}")
            zero_or_minus = self.emit(f"or {self.type(bool_, lanes)} {zero}, {minus}")
        safe = self.emit(f"select {self.type(bool_, lanes)} {zero if unsigned else zero_or_minus}, {kind} {literal(1)}, {kind} {y}")
        result = self.emit(f"{'u' if unsigned else 's'}{'div' if op == 'div' else 'rem'} {kind} {x}, {safe}")
        if unsigned or op == "mod":
            return result
        negated = self.emit(f"sub {kind} {literal(0)}, {x}")
        return self.emit(f"select {self.type(bool_, lanes)} {minus}, {kind} {negated}, {kind} {result}")

    def _cast(self, e: Expr, local: dict[Expr, str]) -> str:
        a = e.args[0]
        x, source, result = local[a], self.of(a), self.of(e)
        if a.dtype.is_float:
            return self._from_float(e, x, source, result)
        if e.dtype.is_float:
            return self.emit(f"{'u' if a.dtype.kind in 'ub' else 's'}itofp {source} {x} to {result}")
        if e.dtype is bool_:
            return self.emit(f"icmp ne {source} {x}, {self._literal(const(0, a.dtype), a.lanes)}")
        if e.data == "saturate":
            if (narrowed := self._narrowed(e, x)) is not None:
                return narrowed
            x = self._saturated(e, x)
        return self._resize(x, source, result, self._bits(a.dtype), self._bits(e.dtype), a.dtype.kind in "ub")

    def _bits(self, dtype: DType) -> int:
        return self.target.pointer_bits if dtype is index else 1 if dtype is bool_ else dtype.bits

    def _resize(self, x: str, source: str, result: str, before: int, after: int, unsigned: bool) -> str:
        if before == after:
            return x
        return self.emit(f"{'trunc' if after < before else 'zext' if unsigned else 'sext'} {source} {x} to {result}")
