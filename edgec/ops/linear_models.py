"""Linear models and support vector machines of ai.onnx.ml: LinearClassifier LinearRegressor SVMRegressor.

Decomposed into products with constant matrices and elementwise work. Formulas: ai.onnx.ml's operator documentation; where that is silent,
as onnxruntime does.

    LinearRegressor(x, coefficients=(1.0, 2.0), intercepts=(0.5,)).output
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.ops.arithmetic import Add, Mul, Pow, Sub
from edgec.ops.cast import Cast
from edgec.ops.class_scores import binary_scores, labels_of, transformed
from edgec.ops.comparison import Greater, Where
from edgec.ops.matmul import MatMul
from edgec.ops.reduction import ReduceSum
from edgec.ops.transcendental import Exp, Tanh
from edgec.types import TensorType, f32, f64, i32, i64, string


class RowOp(Op):
    """Base: rows of features."""

    abstract = True
    domain = "ai.onnx.ml"
    x: Value

    def require_rows(self) -> None:
        fits = self.x.type.rank == 2 and self.x.dtype in (f32, f64, i32, i64)
        self.require(fits, f"needs [rows, features] of numbers, it is {self.x.type}")
        self.require(isinstance(self.x.shape[1], int), "the number of features must be known")

    def matrix(self, numbers: tuple, rows: int) -> np.ndarray:
        """f32 [rows, features] of a flat attribute."""
        self.require(len(numbers) == rows * self.x.shape[1], f"{len(numbers)} coefficients for {rows} times {self.x.shape[1]} features")
        return np.array(numbers, np.float32).reshape(rows, -1)


class LinearRegressor(RowOp):
    """ONNX LinearRegressor: x times the coefficients of each target, plus its intercept."""

    coefficients: tuple = ()
    intercepts: tuple = ()
    post_transform: str = "NONE"
    targets: int = 1

    def infer(self) -> TensorType:
        self.require_rows()
        self.matrix(self.coefficients, self.targets)
        self.require(len(self.intercepts) in (0, self.targets), f"{len(self.intercepts)} intercepts for {self.targets} targets")
        return TensorType(f32, (self.x.shape[0], self.targets))

    def reference(self, x: np.ndarray) -> np.ndarray:
        scores = _linear(x, self.matrix(self.coefficients, self.targets), self.intercepts)
        return transformed(scores, self.post_transform).astype(np.float32)

    def decompose(self) -> Value:
        return transformed(_linear_value(self.x, self.matrix(self.coefficients, self.targets), self.intercepts), self.post_transform)


class LinearClassifier(RowOp):
    """ONNX LinearClassifier: the label of the class with the highest score, and the scores."""

    classlabels_ints: tuple = ()
    classlabels_strings: tuple = ()
    coefficients: tuple
    intercepts: tuple = ()
    multi_class: int = 0
    post_transform: str = "NONE"

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require_rows()
        labels = string if self.classlabels_strings else i64
        self.require(len(self._labels) in (self._rows, 2 if self._rows == 1 else -1),
                     f"{len(self._labels)} labels for {self._rows} rows of coefficients")
        self.matrix(self.coefficients, self._rows)
        return TensorType(labels, (self.x.shape[0],)), TensorType(f32, (self.x.shape[0], len(self._labels)))

    @property
    def _labels(self) -> tuple:
        return self.classlabels_strings or self.classlabels_ints

    @property
    def _rows(self) -> int:
        return len(self.intercepts) or len(self.coefficients) // max(self.x.shape[1], 1)

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._found(_linear(x, self.matrix(self.coefficients, self._rows), self.intercepts).astype(np.float32))

    def decompose(self) -> tuple[Value, Value]:
        return self._found(_linear_value(self.x, self.matrix(self.coefficients, self._rows), self.intercepts))

    def _found(self, scores: Any) -> tuple[Any, Any]:
        if self._rows == 1 and len(self._labels) == 2:
            return binary_scores(scores, self._labels, self.post_transform, threshold=0.0, rest=True)
        return labels_of(scores, self._labels), transformed(scores, self.post_transform)


class Kernelled(RowOp):
    """Base of support vector machines: the kernel function of rows and support vectors, or the plain product with coefficients.

    LINEAR x.v; POLY (gamma x.v + c)^d; RBF exp(-gamma |x - v|^2); SIGMOID tanh(gamma x.v + c); `kernel_params` is (gamma, c, d).
    """

    abstract = True
    coefficients: tuple = ()
    kernel_params: tuple = ()
    kernel_type: str = "LINEAR"
    post_transform: str = "NONE"
    rho: tuple = ()
    support_vectors: tuple = ()

    def require_kernel(self) -> None:
        self.require_rows()
        self.require(self.kernel_type in ("LINEAR", "POLY", "RBF", "SIGMOID"), f"kernel_type is {self.kernel_type!r}")
        number, size = len(self.support_vectors), self.x.shape[1]
        self.require(number % size == 0, f"{number} numbers of vectors of {size}")

    @property
    def _vectors(self) -> np.ndarray:
        return np.array(self.support_vectors, np.float32).reshape(-1, self.x.shape[1])

    @property
    def _parameters(self) -> tuple[float, float, float]:
        return (*self.kernel_params, *(0.0, 0.0, 0.0)[len(self.kernel_params):])[:3]

    def kernel(self, x: np.ndarray, vectors: np.ndarray) -> np.ndarray:
        """float64 [rows, vectors]."""
        gamma, c, degree = self._parameters
        if self.kernel_type == "RBF":
            return np.exp(-gamma * ((x[:, None].astype(np.float64) - vectors) ** 2).sum(-1))
        product = x.astype(np.float64) @ vectors.T.astype(np.float64)
        return {"LINEAR": lambda: product, "POLY": lambda: (gamma * product + c) ** degree,
                "SIGMOID": lambda: np.tanh(gamma * product + c)}[self.kernel_type]()

    def kernel_value(self, vectors: np.ndarray) -> Value:
        """The same as a value. Distances are |x|^2 - 2 x.v + |v|^2."""
        x, (gamma, c, degree) = Cast(self.x, to=1).output, map(np.float32, self._parameters)
        product = MatMul(x, constant(np.ascontiguousarray(vectors.T))).output
        if self.kernel_type == "LINEAR":
            return product
        if self.kernel_type == "RBF":
            squares = ReduceSum(Mul(x, x).output, constant(np.array([1]))).output
            lengths = constant((vectors.astype(np.float64) ** 2).sum(1).astype(np.float32))
            distance = Add(Sub(squares, Mul(product, constant(np.float32(2))).output).output, lengths).output
            return Exp(Mul(distance, constant(-gamma)).output).output
        inner = Add(Mul(product, constant(gamma)).output, constant(c)).output
        return Tanh(inner).output if self.kernel_type == "SIGMOID" else Pow(inner, constant(degree)).output


class SVMRegressor(Kernelled):
    """ONNX SVMRegressor: the weighted sum of kernel values plus rho; its sign with one_class."""

    n_supports: int = 0
    one_class: int = 0

    def infer(self) -> TensorType:
        self.require_kernel()
        expected = self.n_supports or self.x.shape[1]
        self.require(len(self.coefficients) == expected and len(self.rho) == 1,
                     f"{len(self.coefficients)} coefficients, {expected} expected, and {len(self.rho)} of rho")
        return TensorType(f32, (self.x.shape[0], 1))

    @property
    def _weights(self) -> tuple[np.ndarray, np.ndarray]:
        """(vectors, a weight for each): without support vectors the coefficients are the one vector."""
        weights = np.array(self.coefficients, np.float32)
        return (self._vectors, weights[:, None]) if self.n_supports else (weights[None], np.ones((1, 1), np.float32))

    def reference(self, x: np.ndarray) -> np.ndarray:
        vectors, weights = self._weights
        total = self.kernel(x, vectors) @ weights.astype(np.float64) + self.rho[0]
        return transformed(np.where(total > 0, 1.0, -1.0) if self.one_class else total, self.post_transform).astype(np.float32)

    def decompose(self) -> Value:
        vectors, weights = self._weights
        total = Add(MatMul(self.kernel_value(vectors), constant(weights)).output, constant(np.float32(self.rho[0]))).output
        if self.one_class:
            total = Where(Greater(total, constant(np.float32(0))).output, constant(np.float32(1)), constant(np.float32(-1))).output
        return transformed(total, self.post_transform)


def _linear(x: np.ndarray, matrix: np.ndarray, intercepts: tuple) -> np.ndarray:
    return x.astype(np.float64) @ matrix.T.astype(np.float64) + (np.array(intercepts, np.float32) if intercepts else 0)


def _linear_value(x: Value, matrix: np.ndarray, intercepts: tuple) -> Value:
    product = MatMul(Cast(x, to=1).output, constant(np.ascontiguousarray(matrix.T))).output
    return Add(product, constant(np.array(intercepts, np.float32))).output if intercepts else product
