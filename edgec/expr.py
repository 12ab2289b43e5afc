"""Scalar and index expressions: the one expression language of dimensions, kernels and loops.

    expr ::= const | var | op(expr, ...) | read(source, index...) | inside((index, extent)..., expr, fill) | reduce(...)

Expressions are interned: structurally equal means identical, so they compare by `is` and a fused kernel is a DAG. Integers of type
`index` are kept in one canonical linear form (see `edgec.linear`) and carry an interval; x // d and x % d are both said with one
floordiv node, so `d * (x // d) + x % d` is `x` by construction.

    i = var("i", 0, 7);  str((i * 4 + 3) // 4)      # 'i'
"""

from __future__ import annotations

import itertools
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from edgec.types import DType, bool_, f32, index, word_of

UNBOUNDED = 1 << 40

UNARY = ("neg", "abs", "not", "exp", "log", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh",
         "tanh", "erf", "sqrt", "rsqrt", "floor", "ceil", "round", "trunc", "isnan", "isinf")
BINARY = ("add", "sub", "mul", "div", "mod", "min", "max", "pow", "and", "or", "xor", "shl", "shr")
COMPARE = ("lt", "le", "eq", "ne")

_serial = itertools.count()
_interned: weakref.WeakValueDictionary[Any, Expr] = weakref.WeakValueDictionary()


class Expr:
    """One interned node: `op`, operands `args`, element type, payload `data`, interval [lo, hi], free variables, vector lanes."""

    __slots__ = ("__weakref__", "args", "data", "dtype", "free", "hi", "lanes", "lo", "op", "serial")

    def __repr__(self) -> str:
        from edgec.expr_text import print_expr
        return print_expr(self)

    __str__ = __repr__

    def __add__(self, other: Any) -> Expr: return add(self, other)
    def __radd__(self, other: Any) -> Expr: return add(other, self)
    def __sub__(self, other: Any) -> Expr: return sub(self, other)
    def __rsub__(self, other: Any) -> Expr: return sub(other, self)
    def __mul__(self, other: Any) -> Expr: return mul(self, other)
    def __rmul__(self, other: Any) -> Expr: return mul(other, self)
    def __truediv__(self, other: Any) -> Expr: return binary("div", self, other)
    def __rtruediv__(self, other: Any) -> Expr: return binary("div", other, self)
    def __floordiv__(self, other: Any) -> Expr: return floordiv(self, other)
    def __mod__(self, other: Any) -> Expr: return mod(self, other)
    def __neg__(self) -> Expr: return mul(self, -1) if self.dtype is index else unary("neg", self)
    def __lt__(self, other: Any) -> Expr: return compare("lt", self, other)
    def __le__(self, other: Any) -> Expr: return compare("le", self, other)
    def __gt__(self, other: Any) -> Expr: return compare("lt", other, self)
    def __ge__(self, other: Any) -> Expr: return compare("le", other, self)
    def __and__(self, other: Any) -> Expr: return binary("and", self, other)
    def __or__(self, other: Any) -> Expr: return binary("or", self, other)
    def __xor__(self, other: Any) -> Expr: return binary("xor", self, other)
    def __invert__(self) -> Expr: return unary("not", self)

    def __bool__(self) -> bool:
        if self.op == "const":
            return bool(self.data)
        raise TypeError(f"the truth of {self} is not known at compile time")

    def __deepcopy__(self, memo: Any) -> Expr:
        return self


Scalar = Any  # Expr | int | float | bool


def make(op: str, args: Sequence[Expr], dtype: DType, data: Any = None,
         bounds: tuple[int, int] | Callable[[], tuple[int, int]] | None = None,
         free: frozenset | None = None, lanes: int | None = None, key: Any = None) -> Expr:
    """Intern one node; `key` stands for `data` in the table where that is not hashable by value. Only a new node asks for its bounds."""
    args = tuple(args)
    ident = (op, dtype.name, tuple(map(id, args)), data if key is None else key, lanes)
    found = _interned.get(ident)
    if found is not None:
        return found
    if callable(bounds):
        bounds = bounds()
    node = Expr.__new__(Expr)
    node.op, node.args, node.dtype, node.data, node.serial = op, args, dtype, data, next(_serial)
    node.lo, node.hi = bounds or (-UNBOUNDED, UNBOUNDED)
    node.free = _free(args) if free is None else free
    node.lanes = max([a.lanes for a in args], default=1) if lanes is None else lanes
    _interned[ident] = node
    return node


def _free(args: tuple[Expr, ...]) -> frozenset:
    """The free variables of all operands; one set for all whose variables are those of the first, as most are."""
    found = args[0].free if args else frozenset()
    for a in args:
        if a.free is not found and not a.free <= found:
            found = found | a.free
    return found


def const(value: Any, dtype: DType) -> Expr:
    """A literal; floats are rounded to the type, integers wrap into it."""
    if dtype.is_float:
        value = float(np.asarray(value, dtype=np.float64).astype(dtype.numpy))
        return make("const", (), dtype, value, key=value.hex())
    value = bool(value) if dtype is bool_ else int(value)
    if dtype.kind in "iu" and not dtype.low <= value <= dtype.high:
        value = (value - dtype.low) % (1 << dtype.bits) + dtype.low
    bounds = (value, value) if dtype is index else None
    return make("const", (), dtype, value, bounds=bounds, key=(type(value).__name__, value))


def var(name: str, lo: int = 0, hi: int = UNBOUNDED) -> Expr:
    """An index variable or symbolic dimension with lo <= value <= hi; equal name and bounds are the same variable."""
    node = make("var", (), index, name, bounds=(lo, hi), free=frozenset(), key=(name, lo, hi))
    if not node.free:
        node.free = frozenset((node,))
    return node


_fresh = itertools.count()


def fresh(stem: str, lo: int, hi: int) -> Expr:
    """A variable that no other expression holds (printers rename them in order of appearance)."""
    return var(f"{stem}.{next(_fresh)}", lo, hi)


def argument(name: str, dtype: DType) -> Expr:
    """A placeholder of any type, bound by the combine of a reduction."""
    node = make("arg", (), dtype, name, free=frozenset())
    if not node.free:
        node.free = frozenset((node,))
    return node


def is_const(x: Any, value: Any = None) -> bool:
    """Whether x is a literal (equal to `value`, when given)."""
    if not isinstance(x, Expr):
        return value is None or x == value
    return x.op == "const" and (value is None or x.data == value)


def as_expr(x: Scalar, dtype: DType) -> Expr:
    return x if isinstance(x, Expr) else const(x, dtype)


def _pair(a: Scalar, b: Scalar) -> tuple[Expr, Expr]:
    dtype = a.dtype if isinstance(a, Expr) else b.dtype if isinstance(b, Expr) else index
    a, b = as_expr(a, dtype), as_expr(b, dtype)
    if a.dtype is not b.dtype:
        raise TypeError(f"operands differ in type: {a.dtype} and {b.dtype}")
    return a, b


def add(a: Scalar, b: Scalar) -> Expr:
    """a + b; sums of indices in their canonical form."""
    a, b = _pair(a, b)
    if a.dtype is index:
        from edgec import linear
        return linear.add(a, b)
    if is_const(b, 0) and not (a.dtype.is_float and str(b.data) == "0.0"):
        return a
    return _fold("add", a, b)


def sub(a: Scalar, b: Scalar) -> Expr:
    a, b = _pair(a, b)
    if a.dtype is index:
        from edgec import linear
        return linear.add(a, linear.scale(b, -1))
    return a if is_const(b, 0) and str(b.data) != "-0.0" else _fold("sub", a, b)


def mul(a: Scalar, b: Scalar) -> Expr:
    """a * b; products of indices are distributed over sums."""
    a, b = _pair(a, b)
    if a.dtype is index:
        from edgec import linear
        return linear.multiply(a, b)
    if is_const(b, 1):
        return a
    return b if is_const(a, 1) else _fold("mul", a, b)


def floordiv(a: Scalar, b: Scalar) -> Expr:
    """Floor division of index expressions by a positive number (or symbol)."""
    a, b = _pair(a, b)
    if a.dtype is not index:
        raise TypeError("// is for index expressions; use / on tensor elements")
    from edgec import linear
    return linear.floordiv(a, b)


def mod(a: Scalar, b: Scalar) -> Expr:
    """Floor modulo of index expressions by a positive number; on tensor elements the C remainder (sign of a)."""
    a, b = _pair(a, b)
    return a - b * floordiv(a, b) if a.dtype is index else _fold("mod", a, b)


def binary(op: str, a: Scalar, b: Scalar) -> Expr:
    """Any of BINARY on equal types; index arithmetic takes its canonical form. ValueError for another name."""
    if op not in BINARY:
        raise ValueError(f"there is no operation '{op}'; there are {', '.join(BINARY)}")
    special = {"add": add, "sub": sub, "mul": mul, "mod": mod}.get(op)
    if special:
        return special(a, b)
    a, b = _pair(a, b)
    if op in ("min", "max"):
        return _min_max(op, a, b)
    if a.dtype is bool_ and op in ("and", "or"):
        return _logic(op, a, b)
    return _fold(op, a, b)


def minimum(a: Scalar, b: Scalar) -> Expr:
    return binary("min", a, b)


def maximum(a: Scalar, b: Scalar) -> Expr:
    return binary("max", a, b)


def _min_max(op: str, a: Expr, b: Expr) -> Expr:
    if a is b:
        return a
    if a.dtype is not index:
        return _fold(op, a, b)
    low, high = (a, b) if op == "min" else (b, a)
    if (b - a).lo >= 0:
        return low
    if (a - b).lo >= 0:
        return high
    pick = min if op == "min" else max
    return make(op, (a, b), index, bounds=(pick(a.lo, b.lo), pick(a.hi, b.hi)))


def _logic(op: str, a: Expr, b: Expr) -> Expr:
    neutral = op == "and"
    if a is b or is_const(b, neutral):
        return a
    if is_const(a, neutral):
        return b
    return const(not neutral, bool_) if is_const(a) or is_const(b) else make(op, (a, b), bool_)


def compare(op: str, a: Scalar, b: Scalar) -> Expr:
    """lt, le, eq or ne; decided at once where intervals tell."""
    a, b = _pair(a, b)
    if a.dtype is index:
        gap = b - a
        known = {"lt": (gap.lo > 0, gap.hi <= 0), "le": (gap.lo >= 0, gap.hi < 0), "eq": (gap.lo == gap.hi == 0, gap.lo > 0 or gap.hi < 0),
                 "ne": (gap.lo > 0 or gap.hi < 0, gap.lo == gap.hi == 0)}[op]
        if any(known):
            return const(known[0], bool_)
    elif is_const(a) and is_const(b):
        return const({"lt": a.data < b.data, "le": a.data <= b.data, "eq": a.data == b.data, "ne": a.data != b.data}[op], bool_)
    return make(op, (a, b), bool_)


def unary(op: str, a: Expr) -> Expr:
    """Any of UNARY; isnan and isinf give bool. ValueError for another name."""
    if op not in UNARY:
        raise ValueError(f"there is no function '{op}'; there are {', '.join(UNARY)}")
    if op == "not" and a.op == "not":
        return a.args[0]
    return _fold(op, a, dtype=bool_ if op in ("isnan", "isinf") else a.dtype)


def select(condition: Expr, a: Scalar, b: Scalar) -> Expr:
    a, b = _pair(a, b)
    if is_const(condition) or a is b:
        return a if a is b or condition.data else b
    bounds = (min(a.lo, b.lo), max(a.hi, b.hi)) if a.dtype is index else None
    return make("select", (condition, a, b), a.dtype, bounds=bounds)


def cast(a: Expr, dtype: DType, saturate: bool = False) -> Expr:
    """Conversion to `dtype`: float to int truncates toward zero and saturates; int to int wraps, or saturates when asked."""
    if a.dtype is dtype:
        return a
    if is_const(a) and (dtype is index or dtype.is_float):
        return const(a.data, dtype)
    return make("cast", (a,), dtype, "saturate" if saturate else None)


def cast_within(a: Expr, dtype: DType) -> Expr:
    """Conversion of a float whose integral part is known to be a value of `dtype`: nothing saturates, so any conversion will do."""
    return make("cast", (a,), dtype, "within")


def mul_add(a: Expr, b: Expr, c: Expr) -> Expr:
    """a * b + c, fused or not as the target likes."""
    return make("mul_add", (a, b, c), a.dtype)


def word(elements: Sequence[Expr]) -> Expr:
    """Neighbouring 8- or 16-bit elements packed into a word of 32 or 64 bits (`edgec.types.WORDS`), the first in the lowest bits."""
    return make("word", elements, word_of(elements[0].dtype, len(elements)))


def dot(acc: Expr, a: Expr, b: Expr) -> Expr:
    """acc + the sum of the products of the elements of two words, in the accumulator's type; float sums in an order of the target's."""
    return make("dot", (acc, a, b), acc.dtype)


def dot_block(acc: Expr, a: Expr, b: Expr) -> Expr:
    """acc[m, n] + the sum of the products of the elements of words a[m] and b[n]; acc's lanes are those of a times those of b."""
    return make("dot_block", (acc, a, b), acc.dtype, lanes=acc.lanes)


def bitcast(a: Expr, dtype: DType) -> Expr:
    """The same bits read as another type of the same width; TypeError where the widths differ."""
    if a.dtype.bits != dtype.bits or index in (a.dtype, dtype):
        raise TypeError(f"a bitcast keeps the width: {a.dtype} to {dtype}")
    if a.dtype is dtype:
        return a
    if a.op == "bitcast":
        return bitcast(a.args[0], dtype)
    if is_const(a):
        return const(np.asarray(a.data, a.dtype.numpy).view(dtype.numpy).item(), dtype)
    return make("bitcast", (a,), dtype)


def read(source: Any, indices: Iterable[Scalar]) -> Expr:
    """The element of `source` (anything with .dtype and .shape: Value, Buffer, Stage) at an index known to be in range."""
    args = tuple(as_expr(i, index) for i in indices)
    dtype = getattr(source, "dtype", None) or source.type.dtype
    return make("read", args, dtype, source, key=("read", id(source)))


def inside(pairs: Iterable[tuple[Scalar, Scalar]], value: Expr, fill: Scalar) -> Expr:
    """`value` where 0 <= i < extent for every pair (i, extent), else `fill`; `value` is not evaluated outside."""
    open_pairs = [(as_expr(i, index), as_expr(e, index)) for i, e in pairs]
    open_pairs = [(i, e) for i, e in open_pairs if not (i.lo >= 0 and (e - i).lo > 0)]
    fill = as_expr(fill, value.dtype)
    if not open_pairs or value is fill:
        return value
    if any(i.hi < 0 or (i - e).lo >= 0 for i, e in open_pairs):
        return fill
    flat = [x for pair in open_pairs for x in pair]
    return make("inside", (value, fill, *flat), value.dtype)


def inside_pairs(node: Expr) -> list[tuple[Expr, Expr]]:
    """The (index, extent) pairs of an `inside` node."""
    return list(zip(node.args[2::2], node.args[3::2]))


NEUTRAL = {"add": 0, "mul": 1, "or": False, "and": True}


def neutral(combine: str, dtype: DType) -> Expr:
    """The identity element of a named combine: 0, 1, or the least / greatest value for max / min."""
    if combine in NEUTRAL:
        return const(NEUTRAL[combine], dtype)
    if dtype.is_float:
        return const(-np.inf if combine == "max" else np.inf, dtype)
    return const(dtype.low if combine == "max" else dtype.high, dtype)


class Combine:
    """How a tuple reduction merges two partial results: `merged` are expressions over the placeholders `left` and `right`."""

    __slots__ = ("left", "merged", "right")

    def __init__(self, left: tuple[Expr, ...], right: tuple[Expr, ...], merged: tuple[Expr, ...]):
        self.left, self.right, self.merged = left, right, merged


def reduce(combine: str | Combine, axes: Sequence[Expr], extents: Sequence[Scalar], init: Sequence[Expr],
           body: Sequence[Expr]) -> tuple[Expr, ...]:
    """Fold `body` (a tuple) over the index space of `axes`: init, combined with body at every point in unspecified order.

    `combine` is one of add, mul, min, max, and, or (a single value), or a Combine. Returns one expression per tuple member.
    """
    extents = tuple(as_expr(e, index) for e in extents)
    bound = frozenset(axes)
    free = frozenset().union(*(x.free for x in (*init, *extents)), *(b.free - bound for b in body))
    if isinstance(combine, Combine):
        free -= frozenset(combine.left) | frozenset(combine.right)
    node = make("reduce", (*axes, *extents, *init, *body), body[0].dtype, (combine, len(axes)), free=free,
                key=("reduce", combine if isinstance(combine, str) else id(combine), len(axes)))
    if len(body) == 1:
        return (node,)
    return tuple(make("item", (node,), b.dtype, n) for n, b in enumerate(body))


class ReduceParts:
    """The parts of a reduce node by name."""

    __slots__ = ("axes", "body", "combine", "extents", "init")

    def __init__(self, node: Expr):
        self.combine, count = node.data
        rest = (len(node.args) - 2 * count) // 2
        self.axes, self.extents = node.args[:count], node.args[count:2 * count]
        self.init, self.body = node.args[2 * count:2 * count + rest], node.args[2 * count + rest:]


def reduce_over(extents: Sequence[Scalar], combine: str, value: Callable[..., Expr], init: Expr | None = None) -> Expr:
    """Reduce `value(*indices)` over the box of `extents` with a named combine."""
    axes = [fresh("r", 0, as_expr(e, index).hi - 1) for e in extents]
    body = value(*axes)
    start = neutral(combine, body.dtype) if init is None else init
    return reduce(combine, axes, extents, (start,), (body,))[0]


def sum_over(*arguments: Any) -> Expr:
    """sum_over(extent, ..., lambda i, ...: value): the sum of value over the box."""
    *extents, value = arguments
    return reduce_over(extents, "add", value)


def max_over(*arguments: Any) -> Expr:
    """max_over(extent, ..., lambda i, ...: value): the maximum of value over the box."""
    *extents, value = arguments
    return reduce_over(extents, "max", value)


_FOLDABLE = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "min": np.minimum, "max": np.maximum, "neg": np.negative,
             "abs": np.abs, "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "not": np.logical_not}


def _fold(op: str, *args: Expr, dtype: DType | None = None) -> Expr:
    """A plain node, or its value when all operands are literals and the operation is exact in the type."""
    dtype = dtype or args[0].dtype
    if op in _FOLDABLE and all(a.op == "const" for a in args) and (op != "not" or dtype is bool_):
        with np.errstate(all="ignore"):
            return const(_FOLDABLE[op](*(np.asarray(a.data, dtype=a.dtype.numpy) for a in args)).item(), dtype)
    return make(op, args, dtype)


def dim(value: Any) -> Any:
    """A dimension in its normal form: an int where the expression is a number."""
    if isinstance(value, Expr) and value.op == "const":
        return int(value.data)
    return value if isinstance(value, Expr) else int(value)


ZERO = const(0, f32)
