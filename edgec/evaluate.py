"""Expressions on numpy: the value of an `edgec.expr` DAG over whole index grids at once. The bottom of every interpreter and op test.

Variables are bound to broadcastable integer arrays; a reduction adds trailing axes for its own variables and folds them away again.
A read whose index leaves its source gives poison, which `inside` may discard (its value is not evaluated outside); poison that reaches
the result raises IndexError, so a lowering that forgets a guard is found here and not in native code.

    i = var("i", 0, 3)
    evaluate(i * 2 + 1, {i: np.arange(4)}, read=None)          # array([1, 3, 5, 7])
    evaluate_op(Relu(x), [np.array([-1, 2], np.float32)])      # (array([0., 2.], dtype=float32),)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from edgec.expr import BINARY, COMPARE, UNARY, Combine, Expr, ReduceParts, fresh, inside_pairs, read as read_expr
from edgec.graph import Op, Value
from edgec.lowering import lower_op
from edgec.types import DType, bool_, element_of

Read = Callable[[Any, tuple[np.ndarray, ...]], np.ndarray]
Lanes = tuple[np.ndarray, np.ndarray | None]  # the values, and where they are valid (None: everywhere)


def evaluate(expr: Expr, env: Mapping[Expr, Any], read: Read | None) -> np.ndarray:
    """The value of `expr` with variables bound by `env` (ints or broadcastable int arrays); an array of the broadcast shape.

    `read(source, indices)` gives the elements of a source (Value, Buffer, Stage) at in-range, mutually broadcastable index arrays.
    Float sums and products accumulate in float64 and are rounded once. IndexError: a read left its source and nothing discarded it.
    """
    scope = _Scope({v: np.asarray(x, np.int64) if v.op == "var" else np.asarray(x) for v, x in env.items()}, read)
    with np.errstate(all="ignore"):
        result, valid = scope.value(expr)
    grid = np.broadcast_shapes(*(np.shape(x) for x in env.values()))
    if valid is not None and not valid.all() and 0 not in grid:
        raise IndexError(f"a read in {expr} leaves its source")
    return np.asarray(result)


class _Scope:
    """The variables of one nesting level; `bound` are those a reduction added as `extra` trailing axes."""

    def __init__(self, env: Mapping[Expr, np.ndarray], read: Read | None, parent: _Scope | None = None, extra: int = 0):
        self.env, self.read, self.parent, self.extra = env, read, parent, extra
        self.bound = frozenset(env)
        self.memo: dict[int, Any] = {}

    def value(self, root: Expr) -> Any:
        """Evaluate the DAG under `root`, each node once; what does not depend on this scope belongs to the parent."""
        stack = [root]
        while stack:
            node = stack[-1]
            if id(node) in self.memo:
                stack.pop()
                continue
            if self.parent is not None and node.free.isdisjoint(self.bound):
                self.memo[id(node)] = _widen(self.parent.value(node), self.extra)
                continue
            missing = [a for a in _inputs(node) if id(a) not in self.memo]
            stack.extend(missing)
            if not missing:
                self.memo[id(node)] = self.apply(node)
        return self.memo[id(root)]

    def apply(self, node: Expr) -> Any:
        """One node whose inputs are in the memo."""
        if node.op in ("var", "arg"):
            if node not in self.env:
                raise KeyError(f"no value for {node.op} {node.data}")
            return self.env[node], None
        if node.op == "read":
            return self.load(node)
        if node.op == "reduce":
            return self.fold(ReduceParts(node))
        if node.op == "inside":
            return self.guard(node)
        args = [self.memo[id(a)] for a in node.args]
        if node.op == "item":
            return args[0][node.data]
        return compute(node, [a for a, _ in args]), _both(valid for _, valid in args)

    def load(self, node: Expr) -> Lanes:
        """A read: indices out of range are clamped and their lanes marked invalid."""
        indices, valid, empty = [], _both(self.memo[id(a)][1] for a in node.args), False
        for arg, size in zip(node.args, node.data.shape):
            at = self.memo[id(arg)][0]
            size = int(self.root.value(size)[0]) if isinstance(size, Expr) else size
            good = (at >= 0) & (at < size)
            if not good.all():
                at, valid, empty = np.clip(at, 0, max(size - 1, 0)), _both((valid, good)), empty or size == 0
            indices.append(at)
        if empty:
            return np.zeros(np.broadcast_shapes(*(i.shape for i in indices)), node.dtype.numpy), valid
        return np.asarray(self.read(node.data, tuple(indices))), valid

    @property
    def root(self) -> _Scope:
        scope = self
        while scope.parent is not None:
            scope = scope.parent
        return scope

    def guard(self, node: Expr) -> Lanes:
        (value, good), (fill, fill_good) = self.memo[id(node.args[0])], self.memo[id(node.args[1])]
        within, valid = np.asarray(True), None
        for i, extent in inside_pairs(node):
            (at, a), (end, b) = self.memo[id(i)], self.memo[id(extent)]
            within, valid = within & (at >= 0) & (at < end), _both((valid, a, b))
        if good is not None or fill_good is not None:
            chosen = np.where(within, True if good is None else good, True if fill_good is None else fill_good)
            valid = _both((valid, chosen))
        return np.where(within, value, fill), valid

    def fold(self, parts: ReduceParts) -> Any:
        """A reduction: the body over trailing axes, then those axes folded into init."""
        sizes, ends = [], []
        for extent in parts.extents:
            end = self.memo[id(extent)][0]
            ends.append(end)
            sizes.append(int(np.max(end, initial=0)))
        count = len(sizes)
        grid = {v: np.arange(n, dtype=np.int64).reshape((n,) + (1,) * (count - 1 - k)) for k, (v, n) in enumerate(zip(parts.axes, sizes))}
        inner = _Scope(grid, self.read, self, count)
        mask = _both(g < e.reshape(e.shape + (1,) * count) for g, e in zip(grid.values(), ends) if e.size > 1)
        init = [self.memo[id(x)] for x in parts.init]
        body = [inner.value(b) for b in parts.body]
        if isinstance(parts.combine, str):
            return _fold_named(parts.combine, parts.body[0].dtype, init[0], body[0], tuple(sizes), mask)
        if mask is not None:
            raise TypeError("a tuple reduction needs extents that are the same at every outer point")
        return _fold_tuple(parts, init, body, tuple(sizes))


def _inputs(node: Expr) -> Sequence[Expr]:
    """What must be known before `apply`: everything but the body and variables of a reduction."""
    if node.op != "reduce":
        return node.args
    parts = ReduceParts(node)
    return (*parts.extents, *parts.init)


def _widen(value: Any, extra: int) -> Any:
    """The same lanes with `extra` trailing axes of extent 1; a tuple reduction widens every member."""
    if isinstance(value, list):
        return [_widen(v, extra) for v in value]
    array, valid = value
    return (array.reshape(array.shape + (1,) * extra) if array.ndim else array,
            valid.reshape(valid.shape + (1,) * extra) if valid is not None and valid.ndim else valid)


def _both(masks: Any) -> np.ndarray | None:
    result = None
    for mask in masks:
        if mask is not None:
            result = mask if result is None else result & mask
    return result


NAMED = {"add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and, "or": np.bitwise_or}


def _fold_named(combine: str, dtype: DType, init: Lanes, body: Lanes, sizes: tuple[int, ...], mask: np.ndarray | None) -> Lanes:
    array, valid = _spread(body, sizes, mask)
    trailing = tuple(range(-len(sizes), 0))
    wide = np.dtype(np.float64) if dtype.is_float else dtype.numpy
    keep = np.True_ if mask is None else mask
    if mask is not None:
        valid = None if valid is None else valid | ~mask
    start = np.asarray(init[0]).astype(wide)
    ufunc = NAMED[combine]
    identity = {"add": 0, "mul": 1, "or": 0, "and": True if dtype is bool_ else -1}.get(combine)
    if identity is None:
        identity = (-np.inf if combine == "max" else np.inf) if dtype.is_float else (dtype.low if combine == "max" else dtype.high)
    total = ufunc.reduce(array.astype(wide), axis=trailing, dtype=wide, initial=np.asarray(identity).astype(wide)[()], where=keep)
    good = _both((init[1], None if valid is None else np.all(valid, axis=trailing)))
    return ufunc(start, total).astype(dtype.numpy), good


def _fold_tuple(parts: ReduceParts, init: list[Lanes], body: list[Lanes], sizes: tuple[int, ...]) -> list[Lanes]:
    """Merge neighbours pairwise until one is left: keeps the order of the points, in log2(points) steps."""
    spread = [_spread(b, sizes, None) for b in body]
    count = math.prod(sizes)
    shape = np.broadcast_shapes(*(a.shape for a, _ in spread))[:-len(sizes)]
    rows = [np.broadcast_to(a, shape + sizes).reshape(shape + (count,)) for a, _ in spread]
    good = _both(None if v is None else np.broadcast_to(v, shape + sizes).reshape(shape + (count,)).all(axis=-1) for _, v in spread)
    start = [np.broadcast_to(a, np.broadcast_shapes(a.shape, shape)) for a, _ in init]
    while rows[0].shape[-1] > 1:
        even = rows[0].shape[-1] // 2 * 2
        merged = merge(parts.combine, [r[..., 0:even:2] for r in rows], [r[..., 1:even:2] for r in rows])
        rows = [np.concatenate([m, r[..., even:]], axis=-1) for m, r in zip(merged, rows)]
    if count:
        start = merge(parts.combine, start, [r[..., 0] for r in rows])
    valid = _both((*(v for _, v in init), good))
    return [(np.asarray(s), valid) for s in start]


def merge(combine: Combine, left: Sequence[np.ndarray], right: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The tuple combine on arrays: one partial result on each side."""
    env = {**dict(zip(combine.left, left)), **dict(zip(combine.right, right))}
    shape = np.broadcast_shapes(*(np.shape(a) for a in (*left, *right)))
    return [np.broadcast_to(evaluate(m, env, None), shape) for m in combine.merged]


def _spread(lanes: Lanes, sizes: tuple[int, ...], mask: np.ndarray | None) -> Lanes:
    """The lanes at every point of the reduced box."""
    array, valid = lanes
    shapes = [array.shape, sizes] + ([] if mask is None else [mask.shape]) + ([] if valid is None else [valid.shape])
    shape = np.broadcast_shapes(*shapes)
    return np.broadcast_to(array, shape), None if valid is None else np.broadcast_to(valid, shape)


def compute(node: Expr, args: Sequence[np.ndarray]) -> np.ndarray:
    """One arithmetic node on arrays of its operands; everything but var, read, inside, reduce and item."""
    op, dtype = node.op, node.dtype
    if op == "const":
        return np.asarray(node.data, dtype=dtype.numpy)
    if op == "linear":
        return _linear(node, args)
    if op == "floordiv":
        return np.floor_divide(args[0], args[1])
    if op == "cast":
        return convert(args[0], node.args[0].dtype, dtype, node.data == "saturate")
    if op == "bitcast":
        return np.asarray(args[0]).view(dtype.numpy)
    if op == "select":
        return np.where(args[0], args[1], args[2])
    if op == "word":
        return packed_words(args, dtype)
    if op == "dot":
        return dot_product(args[0], *(unpacked(a, x.dtype) for a, x in zip(args[1:], node.args[1:])), dtype)
    if op == "dot_block":
        acc, a, b = args[0], *(unpacked(a, x.dtype) for a, x in zip(args[1:], node.args[1:]))
        return dot_product(acc.reshape(len(a), len(b)), a[:, None], b[None], dtype).reshape(acc.shape)
    if op == "mul_add":
        return (args[0].astype(np.float64) * args[1] + args[2]).astype(dtype.numpy) if dtype.is_float else args[0] * args[1] + args[2]
    if op in COMPARE:
        return {"lt": np.less, "le": np.less_equal, "eq": np.equal, "ne": np.not_equal}[op](args[0], args[1])
    if op in BINARY:
        return np.asarray(_binary(op, dtype, args)).astype(dtype.numpy, copy=False)
    if op in UNARY:
        return np.asarray(_unary(op, node.args[0].dtype, args[0])).astype(dtype.numpy, copy=False)
    raise TypeError(f"no numpy meaning for {op}")


def packed_words(elements: Sequence[np.ndarray], dtype: DType) -> np.ndarray:
    """Arrays of elements as one array of words, the first element in the lowest bits."""
    bits, whole = dtype.bits // len(elements), dtype.numpy.type
    parts = [np.ascontiguousarray(e).view(f"u{bits // 8}").astype(whole) << whole(bits * n) for n, e in enumerate(elements)]
    shape = np.broadcast_shapes(*(np.shape(e) for e in elements))
    return np.bitwise_or.reduce(np.broadcast_arrays(*parts)).astype(dtype.numpy).reshape(shape)


def unpacked(words: np.ndarray, dtype: DType) -> np.ndarray:
    """The elements of words, along a new last axis."""
    element = element_of(dtype)
    return np.ascontiguousarray(words).view(element.numpy).reshape(*np.shape(words), dtype.bits // element.bits)


def dot_product(acc: np.ndarray, a: np.ndarray, b: np.ndarray, dtype: DType) -> np.ndarray:
    """acc + sum over the last axis of a * b: floats in float64, rounded once, integers exactly, then wrapped into the type."""
    wide = np.float64 if dtype.is_float else np.int64
    return (np.asarray(acc).astype(wide) + (a.astype(wide) * b.astype(wide)).sum(axis=-1)).astype(dtype.numpy)


def _linear(node: Expr, args: Sequence[np.ndarray]) -> np.ndarray:
    constant, coefficients = node.data
    total = np.asarray(constant, np.int64)
    for atom, c in zip(args, coefficients):
        total = total + atom * np.int64(c)
    return np.asarray(total)


def _binary(op: str, dtype: DType, args: Sequence[np.ndarray]) -> np.ndarray:
    if op == "mul":  # index products keep more than two factors
        result = args[0]
        for factor in args[1:]:
            result = result & factor if dtype is bool_ else result * factor
        return result
    a, b = args
    if op == "div":
        return a / b if dtype.is_float else divide(a, b)
    if op == "pow":
        return np.power(a.astype(np.float64), b.astype(np.float64)) if dtype.is_float else _integer_power(a, b)
    return {"add": np.add, "sub": np.subtract, "mod": np.fmod, "min": np.minimum, "max": np.maximum, "and": np.bitwise_and,
            "or": np.bitwise_or, "xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift}[op](a, b)


def divide(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Integer division that truncates as in C; a divisor of 0 counts as 1."""
    b = np.where(b == 0, np.ones_like(b), b)
    quotient = np.floor_divide(a, b)
    rounded_down = (quotient * b != a) & ((a < 0) != (b < 0))
    return quotient + rounded_down.astype(quotient.dtype)


def _integer_power(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a ** b with wrapping; a negative exponent gives the truncated reciprocal."""
    positive = np.power(a, np.where(b < 0, b.dtype.type(0), b))
    reciprocal = np.where(a == 1, 1, np.where(a == -1, np.where(b % 2 == 0, 1, -1), 0))
    return np.where(b < 0, reciprocal, positive)


_LIBM = {"exp": np.exp, "log": np.log, "sin": np.sin, "cos": np.cos, "tan": np.tan, "asin": np.arcsin, "acos": np.arccos,
         "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh,
         "tanh": np.tanh, "sqrt": np.sqrt, "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc}


def erf(x: np.ndarray) -> np.ndarray:
    """The error function in float64, element by element."""
    return np.asarray(np.frompyfunc(math.erf, 1, 1)(np.asarray(x, np.float64)), np.float64)


def _unary(op: str, dtype: DType, a: np.ndarray) -> np.ndarray:
    """Transcendentals in float64, rounded once by the caller."""
    if op in ("isnan", "isinf"):
        return (np.isnan if op == "isnan" else np.isinf)(a)
    if op == "neg":
        return np.negative(a)
    if op == "abs":
        return np.abs(a)
    if op == "not":
        return np.logical_not(a) if dtype is bool_ else np.bitwise_not(a)
    if not dtype.is_float:
        return a
    wide = a.astype(np.float64)
    return erf(wide) if op == "erf" else 1.0 / np.sqrt(wide) if op == "rsqrt" else _LIBM[op](wide)


def convert(a: np.ndarray, source: DType, dtype: DType, saturate: bool = False) -> np.ndarray:
    """The cast of edgec.expr: float to int truncates toward zero and saturates (NaN is 0); int to int wraps, or saturates when asked."""
    if dtype is bool_:
        return a != 0
    if source.is_float and dtype.is_integer:
        whole = np.trunc(a.astype(np.float64))
        whole = np.where(np.isnan(whole), 0.0, whole)
        low, high = whole <= dtype.low, whole >= float(dtype.high)
        exact = np.where(low | high, 0.0, whole).astype(dtype.numpy)
        return np.where(low, dtype.numpy.type(dtype.low), np.where(high, dtype.numpy.type(dtype.high), exact))
    if saturate and source.is_integer and dtype.is_integer:
        a = np.clip(a, max(dtype.low, source.low), min(dtype.high, source.high))
    return a.astype(dtype.numpy)


def evaluate_op(op: Op, arrays: Sequence[np.ndarray], results: Sequence[int] | None = None,
                symbols: Mapping[Expr, int] | None = None) -> tuple[np.ndarray, ...]:
    """Run `op.lower` over the whole grid of every result (or those numbered in `results`), operands read from `arrays` in operand order.

    `symbols` are the sizes of symbolic dimensions that no operand has as a whole axis.
    """
    data = {id(v): np.asarray(a) for v, a in zip(op.operands, arrays)}
    symbols = {**bind_symbols(op.operands, arrays), **(symbols or {})}
    found = []
    for number in range(len(op.results)) if results is None else results:
        found.append(_run_result(op, number, data, symbols))
    return tuple(found)


def _run_result(op: Op, number: int, data: dict[int, np.ndarray], symbols: dict[Expr, int]) -> np.ndarray:
    type_ = op.results[number].type
    shape = tuple(int(evaluate(d, symbols, None)) if isinstance(d, Expr) else d for d in type_.shape)
    at = tuple(fresh("i", 0, max(n - 1, 0)) for n in type_.max_shape)
    value = lower_op(op, at, lambda v, i: read_expr(v, i))[number]
    if value.dtype is not type_.dtype:
        raise TypeError(f"{type(op).__name__}.lower gives {value.dtype}, infer says {type_.dtype}")
    grid = {v: np.arange(n).reshape((n,) + (1,) * (len(shape) - 1 - k)) for k, (v, n) in enumerate(zip(at, shape))}
    result = evaluate(value, {**symbols, **grid}, lambda source, i: (data[id(source)] if id(source) in data else source.data)[i])
    return np.broadcast_to(result, shape).astype(type_.dtype.numpy)


def bind_symbols(operands: Sequence[Value], arrays: Sequence[np.ndarray]) -> dict[Expr, int]:
    """The sizes of the symbolic dimensions of `operands`, taken from the shapes of the arrays given for them."""
    return {dim: size for value, array in zip(operands, arrays) for dim, size in zip(value.type.shape, np.shape(array))
            if isinstance(dim, Expr) and dim.op == "var"}
