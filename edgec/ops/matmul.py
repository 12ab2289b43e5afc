"""MatMul and Gemm: one sum of products over the inner dimension.

    MatMul(a, b)                         # a [..., m, k], b [..., k, n], leading axes broadcast
    Gemm(a, b, c, transB=1, alpha=0.5)   # 0.5 * a @ b.T + c
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, const
from edgec.graph import Op, Value
from edgec.ops.accumulation import fold, narrow, rounded, widen
from edgec.ops.shape_arithmetic import broadcast_shapes, same_dim
from edgec.types import DType, TensorType


def matmul_shape(op: Op, a: Value, b: Value) -> tuple:
    """The shape of numpy.matmul(a, b): 1-D operands count as a row or a column that is dropped again, leading axes broadcast."""
    op.require(a.type.rank > 0 and b.type.rank > 0, "an operand is a scalar", hint="Mul multiplies by a scalar")
    inner, other = a.shape[-1], b.shape[-2] if b.type.rank > 1 else b.shape[0]
    op.require(same_dim(inner, other), f"inner dimensions differ: {inner} and {other}", hint="a Transpose may be missing")
    lead = broadcast_shapes(op, a.shape[:-2], b.shape[:-2])
    return (*lead, *a.shape[-2:-1], *(b.shape[-1:] if b.type.rank > 1 else ()))


def matmul_indices(at, a_shape, b_shape, k) -> tuple[tuple, tuple]:
    """The indices of the k-th product of result element `at`, in a and in b."""
    split = len(at) - (len(a_shape) > 1) - (len(b_shape) > 1)
    lead, row, column = at[:split], at[split:split + (len(a_shape) > 1)], at[len(at) - (len(b_shape) > 1):]
    batch = lambda shape: tuple(0 if same_dim(n, 1) else i for i, n in zip(lead[split - max(len(shape) - 2, 0):], shape[:-2]))
    return (*batch(a_shape), *row, k), (*batch(b_shape), k, *column)


class MatMul(Op):
    """ONNX MatMul: numpy.matmul, y[..., i, j] = sum over k of a[..., i, k] * b[..., k, j], with broadcasting of the leading axes."""

    a: Value
    b: Value

    def infer(self) -> TensorType:
        self.require(self.a.dtype is self.b.dtype, f"element types differ: {self.a.dtype} and {self.b.dtype}")
        self.require(self.a.dtype.kind in "fiu", f"operands are {self.a.dtype}; a number type is needed")
        return TensorType(self.a.dtype, matmul_shape(self, self.a, self.b))

    def reference(self, a, b):
        if self.a.dtype.is_float:
            return rounded(np.matmul(a.astype(np.float64), b.astype(np.float64)), self.a.dtype)
        return np.matmul(a, b)

    def lower(self, at, a, b):
        def product(k):
            left, right = matmul_indices(at, a.shape, b.shape, k)
            return widen(a(*left)) * widen(b(*right))
        return narrow(fold((a.shape[-1],), "add", product), a.dtype)


class Gemm(Op):
    """ONNX Gemm: alpha * op(a) @ op(b) + beta * c, op transposing when transA / transB; c broadcasts to the result."""

    a: Value
    b: Value
    c: Value | None = None
    alpha: float = 1.0
    beta: float = 1.0
    transA: int = 0
    transB: int = 0

    def infer(self) -> TensorType:
        dtype = self.a.dtype
        self.require(dtype.kind in "fiu" and all(v.dtype is dtype for v in self.operands), "operands must have one number type")
        self.require(self.a.type.rank == 2 and self.b.type.rank == 2,
                     f"a and b have ranks {self.a.type.rank} and {self.b.type.rank}; both must be matrices")
        whole = float(self.alpha).is_integer() and float(self.beta).is_integer()
        self.require(dtype.is_float or whole, f"alpha {self.alpha} and beta {self.beta} must be whole numbers for {dtype}")
        m, k = self.a.shape[::-1] if self.transA else self.a.shape
        other, n = self.b.shape[::-1] if self.transB else self.b.shape
        self.require(same_dim(k, other), f"inner dimensions differ: {k} and {other}",
                     hint=f"transA is {self.transA} and transB is {self.transB}")
        if self.c is not None:
            shape = broadcast_shapes(self, (m, n), self.c.shape)
            fits = len(shape) == 2 and same_dim(shape[0], m) and same_dim(shape[1], n)
            self.require(fits, f"c of shape {list(self.c.shape)} does not broadcast to [{m}, {n}]")
        return TensorType(dtype, (m, n))

    def reference(self, a, b, c):
        wide = np.float64 if self.a.dtype.is_float else self.a.dtype.numpy
        a, b = a.astype(wide), b.astype(wide)
        y = wide_scalar(self.alpha, wide) * np.matmul(a.T if self.transA else a, b.T if self.transB else b)
        if c is not None:
            y = y + wide_scalar(self.beta, wide) * c.astype(wide)
        return rounded(y, self.a.dtype)

    def lower(self, at, a, b, c):
        i, j = at
        y = fold((a.shape[0 if self.transA else 1],), "add",
                 lambda k: widen(a(k, i) if self.transA else a(i, k)) * widen(b(j, k) if self.transB else b(k, j)))
        y = y * factor(self.alpha, y.dtype)
        if c is not None and self.beta != 0:
            y = y + widen(c.broadcast(at)) * factor(self.beta, y.dtype)
        return narrow(y, a.dtype)


def wide_scalar(value: float, wide) -> np.generic:
    """An attribute in the type of the reference's arithmetic (a negative factor of an unsigned type wraps)."""
    return np.float64(value) if wide is np.float64 else np.int64(value).astype(wide)


def factor(value: float, dtype: DType) -> Expr:
    return const(value if dtype.is_float else int(value), dtype)
