"""SVMClassifier of ai.onnx.ml: a vote of one machine for each pair of classes, with probabilities where the model has them.

Kernels as in edgec.ops.linear_models; probabilities by C. Wu, C. Lin, R. Weng, "Probability estimates for multi-class classification by
pairwise coupling", JMLR 5, 2004 (their second method, iterated as LIBSVM does). Where ai.onnx.ml is silent, as onnxruntime does.

    SVMClassifier(x, coefficients=(...), rho=(0.5,), support_vectors=(...), vectors_per_class=(2, 1), classlabels_ints=(0, 1)).results
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np

from edgec.graph import Graph, Value, constant, graph_input
from edgec.ops.activation import Sigmoid
from edgec.ops.arithmetic import Abs, Add, Clip, Div, Mul, Neg, Sub
from edgec.ops.cast import Cast
from edgec.ops.class_scores import label_array, labels_of, transformed
from edgec.ops.comparison import Greater, Less, Or, Where
from edgec.ops.control_flow import Scan
from edgec.ops.joining import Concat, Expand
from edgec.ops.linear_models import Kernelled
from edgec.ops.matmul import MatMul
from edgec.ops.reduction import ReduceMax, ReduceSum
from edgec.ops.reshape import Reshape, Shape
from edgec.ops.slicing import Slice
from edgec.types import TensorType, f32, i64, string

LEAST = 1e-7    # of a probability
ROUNDS = 100    # at the most, to couple probabilities
CLOSE = 0.005   # over the number of classes: when they are coupled


class SVMClassifier(Kernelled):
    """ONNX SVMClassifier: the label of the class with the most votes, and scores of pairs (or probabilities of classes)."""

    classlabels_ints: tuple = ()
    classlabels_strings: tuple = ()
    prob_a: tuple = ()
    prob_b: tuple = ()
    vectors_per_class: tuple = ()

    def infer(self) -> tuple[TensorType, TensorType]:
        self.require_kernel()
        count, vectors = len(self._labels), sum(self.vectors_per_class)
        self.require(count >= 1 and (not vectors or len(self.vectors_per_class) == count >= 2),
                     f"{len(self.vectors_per_class)} numbers of vectors for {count} labels")
        pairs = count * (count - 1) // 2
        if vectors:
            given = len(self.support_vectors)
            self.require(given == vectors * self.x.shape[1], f"{given} numbers for {vectors} vectors of {self.x.shape[1]}")
            self.require(len(self.coefficients) == vectors * (count - 1), f"{len(self.coefficients)} coefficients of {vectors} vectors")
            self.require(len(self.rho) == pairs, f"{len(self.rho)} of rho for {pairs} pairs")
            fits = len(self.prob_a) == len(self.prob_b) and len(self.prob_a) in (0, pairs)
            self.require(fits, f"{len(self.prob_a)} and {len(self.prob_b)} of prob_a and prob_b for {pairs} pairs")
        else:
            self.matrix(self.coefficients, count)
            self.require(len(self.rho) >= 1, "rho is missing")
        width = count if not vectors or self.prob_a else max(pairs, 2)
        labels = TensorType(string if self.classlabels_strings else i64, (self.x.shape[0],))
        return labels, TensorType(f32, (self.x.shape[0], width))

    @property
    def _labels(self) -> tuple:
        return self.classlabels_strings or self.classlabels_ints

    @property
    def _pairs(self) -> list[tuple[int, int]]:
        return list(combinations(range(len(self._labels)), 2))

    @property
    def _weights(self) -> np.ndarray:
        """f32[pairs, vectors]: what each support vector counts for each pair."""
        starts = np.concatenate([[0], np.cumsum(self.vectors_per_class)])
        given = np.array(self.coefficients, np.float32).reshape(len(self._labels) - 1, -1)
        found = np.zeros((len(self._pairs), given.shape[1]), np.float32)
        for row, (i, j) in zip(found, self._pairs):
            row[starts[i]:starts[i + 1]] = given[j - 1, starts[i]:starts[i + 1]]
            row[starts[j]:starts[j + 1]] = given[i, starts[j]:starts[j + 1]]
        return found

    def _columns(self, first: bool) -> np.ndarray:
        """f32[pairs, classes]: 1 at the first (or second) class of each pair."""
        found = np.zeros((len(self._pairs), len(self._labels)), np.float32)
        found[np.arange(len(found)), [pair[0 if first else 1] for pair in self._pairs]] = 1
        return found

    def reference(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not self.vectors_per_class:
            scores = x.astype(np.float64) @ self.matrix(self.coefficients, len(self._labels)).T.astype(np.float64) + self.rho[0]
            return self._decided(None, scores.astype(np.float32))
        scores = self.kernel(x, self._vectors) @ self._weights.T.astype(np.float64) + np.array(self.rho, np.float32)
        votes = (scores > 0) @ self._columns(True) + (scores <= 0) @ self._columns(False)
        if self.prob_a:
            pairs = 1 / (1 + np.exp(scores * np.float32(self.prob_a) + np.float32(self.prob_b)))
            scores = np.stack([coupled(row, len(self._labels)) for row in np.clip(pairs, LEAST, 1 - LEAST)]) if len(x) else votes
        return self._decided(votes.astype(np.float32), scores.astype(np.float32))

    def decompose(self) -> tuple[Value, Value]:
        if not self.vectors_per_class:
            weights = self.matrix(self.coefficients, len(self._labels))
            product = MatMul(Cast(self.x, to=1).output, constant(np.ascontiguousarray(weights.T))).output
            return self._decided(None, Add(product, constant(np.float32(self.rho[0]))).output)
        sums = MatMul(self.kernel_value(self._vectors), constant(np.ascontiguousarray(self._weights.T))).output
        scores = Add(sums, constant(np.array(self.rho, np.float32))).output
        first = Cast(Greater(scores, constant(np.float32(0))).output, to=1).output
        moves = MatMul(first, constant(self._columns(True) - self._columns(False))).output
        votes = Add(moves, constant(self._columns(False).sum(0))).output
        if self.prob_a:
            inner = Add(Mul(scores, constant(np.array(self.prob_a, np.float32))).output, constant(np.array(self.prob_b, np.float32))).output
            pairs = Clip(Sigmoid(Neg(inner).output).output, constant(np.float32(LEAST)), constant(np.float32(1 - LEAST))).output
            scores = self._coupled(pairs)
        return self._decided(votes, scores)

    def _decided(self, votes: Any, scores: Any) -> tuple[Any, Any]:
        """(labels, scores) from votes, or without any from the scores: arrays of arrays, values of values."""
        one = len(self._labels) == 1
        if votes is None and len(self._labels) == 2:
            labels = self._second_first(scores)
        else:
            labels = labels_of(scores if votes is None else votes, self._labels)
        if scores.shape[-1] == 1 and not one:
            return labels, self._both(scores)
        return labels, scores if one else transformed(scores, self.post_transform)

    def _second_first(self, scores: Any) -> Any:
        """The second label where the highest score is positive (at least 1/2 if no coefficient is negative), else that of the highest."""
        second, threshold = label_array(self._labels[1:]).reshape(()), 0.5 if min(self.coefficients) >= 0 else 0.0
        if isinstance(scores, np.ndarray):
            top = scores.max(-1)
            return np.where(top >= threshold if threshold else top > 0, second, labels_of(scores, self._labels))
        top = ReduceMax(scores, constant(np.array([-1])), keepdims=0).output
        limit = constant(np.float32(np.nextafter(np.float32(threshold), np.float32(-1)) if threshold else 0))
        return Where(Greater(top, limit).output, constant(second), labels_of(scores, self._labels)).output

    def _both(self, scores: Any) -> Any:
        """The scores of two classes from that of their pair: opposites, with LOGISTIC of both; with another transform 1 - s and s."""
        opposite = self.post_transform in ("NONE", "LOGISTIC")
        if isinstance(scores, np.ndarray):
            both = np.concatenate([-scores if opposite else 1 - scores, scores], -1)
        else:
            other = Neg(scores).output if opposite else Sub(constant(np.float32(1)), scores).output
            both = Concat((other, scores), axis=-1).output
        return transformed(both, self.post_transform) if opposite else both

    def _coupled(self, pairs: Value) -> Value:
        """The probabilities f32[rows, classes] of those of pairs: `coupled` for all rows at once, rows that are done stay as they are."""
        count = len(self._labels)
        upper, lower = np.zeros((2, len(self._pairs), count * count), np.float32)
        for number, (i, j) in enumerate(self._pairs):
            upper[number, i * count + j], lower[number, j * count + i] = 1, 1
        rest = Sub(constant(np.float32(1)), pairs).output
        # of pair (i, j), `upper` has r[i, j] and `lower` r[j, i]
        flat = Add(MatMul(pairs, constant(upper)).output, MatMul(rest, constant(lower)).output).output
        transposed = Add(MatMul(pairs, constant(lower)).output, MatMul(rest, constant(upper)).output).output
        square = Reshape(Mul(transposed, transposed).output, constant(np.array([-1, count, count]))).output  # r[j, i]^2 at i, j
        diagonal = ReduceSum(square, constant(np.array([2])), keepdims=1).output
        across = Reshape(Neg(Mul(flat, transposed).output).output, constant(np.array([-1, count, count]))).output
        matrix = Add(Mul(diagonal, constant(np.eye(count, dtype=np.float32))).output, across).output  # r is 0 on its diagonal
        return self._iterated(matrix, count)

    def _iterated(self, matrix: Value, count: int) -> Value:
        rows = matrix.shape[0]
        number = Shape(matrix, start=0, end=1).output

        def filled(value: float, width: int) -> Value:
            shape = Concat((number, constant(np.array([width]))), axis=0).output
            return Expand(constant(np.full((1, width), value, np.float32)), shape).output
        start, waiting = filled(1 / count, count), filled(0, 1)
        given, done, step, inner = (graph_input(n, t) for n, t in (
            ("p", TensorType(f32, (rows, count))), ("done", TensorType(f32, (rows, 1))), ("step", TensorType(f32, ())), ("q", matrix.type)))
        p, ended = _round(given, done, inner, count)
        # the step is read, so that the loop has something to walk along; adding nothing
        kept = Add(p, Mul(step, constant(np.float32(0))).output).output
        body = Graph((given, done, step, inner), (kept, ended), ("p_next", "done_next"), "couple")
        steps = constant(np.zeros(ROUNDS, np.float32))
        return Scan((start, waiting, steps), (matrix,), body=body, num_scan_inputs=1).results[0]


def coupled(pairs: np.ndarray, count: int) -> np.ndarray:
    """f64[count] probabilities of classes, from those of the first of each pair."""
    r = np.zeros((count, count))
    for probability, (i, j) in zip(pairs, combinations(range(count), 2)):
        r[i, j], r[j, i] = probability, 1 - probability
    q = -r * r.T
    np.fill_diagonal(q, (r ** 2).sum(0))
    p = np.full(count, 1 / count)
    for _ in range(ROUNDS):
        qp = q @ p
        pqp = p @ qp
        if np.abs(qp - pqp).max() < CLOSE / count:
            break
        for t in range(count):
            change = (pqp - qp[t]) / q[t, t]
            p[t] += change
            pqp = (pqp + change * (change * q[t, t] + 2 * qp[t])) / (1 + change) ** 2
            qp = (qp + change * q[t]) / (1 + change)
            p /= 1 + change
    return p


def _round(p: Value, done: Value, matrix: Value, count: int) -> tuple[Value, Value]:
    """(probabilities, done) after one round of `coupled`."""
    last, one = constant(np.array([-1])), constant(np.float32(1))
    column = Reshape(p, constant(np.array([-1, count, 1]))).output
    qp = Reshape(MatMul(matrix, column).output, constant(np.array([-1, count]))).output
    pqp = ReduceSum(Mul(p, qp).output, last, keepdims=1).output
    error = ReduceMax(Abs(Sub(qp, pqp).output).output, last, keepdims=1).output
    ends = Or(Less(error, constant(np.float32(CLOSE / count))).output, Greater(done, constant(np.float32(0))).output).output
    new = p
    for t in range(count):
        unit = constant(np.eye(count, dtype=np.float32)[t])
        row = Reshape(Slice(matrix, *(constant(np.array([n])) for n in (t, t + 1, 1))).output, constant(np.array([-1, count]))).output
        own, here = (ReduceSum(Mul(v, unit).output, last, keepdims=1).output for v in (row, qp))
        change = Div(Sub(pqp, here).output, own).output
        scale = Add(change, one).output
        grown = Add(Mul(change, own).output, Mul(here, constant(np.float32(2))).output).output
        pqp = Div(Add(pqp, Mul(change, grown).output).output, Mul(scale, scale).output).output
        qp = Div(Add(qp, Mul(change, row).output).output, scale).output
        new = Div(Add(new, Mul(change, unit).output).output, scale).output
    return Where(ends, p, new).output, Cast(ends, to=1).output
