"""Operators of ai.onnx.ml on single features, and n-grams: ArrayFeatureExtractor Binarizer TfIdfVectorizer.

    Binarizer(x, threshold=1.0).output
"""

from __future__ import annotations

import numpy as np

from edgec.expr import Expr, compare, const, select
from edgec.graph import Op, Value, constant
from edgec.lowering import Reader
from edgec.ops.accumulation import fold
from edgec.ops.shape_arithmetic import product
from edgec.ops.text_bytes import place_among
from edgec.types import TensorType, f32, i32, i64, string


class ArrayFeatureExtractor(Op):
    """ONNX ArrayFeatureExtractor: the elements of the last axis that the indices name."""

    domain = "ai.onnx.ml"
    x: Value
    y: Value

    def infer(self) -> TensorType:
        self.require(self.x.type.rank >= 1 and self.y.dtype is i64, f"needs a tensor and i64 indices: {self.x.type}, {self.y.type}")
        shape = self.x.shape[:-1] if self.x.type.rank > 1 else (1,)
        return self.x.type.with_shape((*shape, product(self.y.shape)))

    def reference(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        taken = np.take(x, y.ravel(), -1)
        return taken.reshape(1, -1) if taken.ndim == 1 else taken

    def decompose(self) -> Value:
        from edgec.ops.gather import Gather
        from edgec.ops.reshape import Reshape, Unsqueeze
        taken = Gather(self.x, Reshape(self.y, constant(np.array([-1]))).output, axis=-1).output
        return taken if self.x.type.rank > 1 else Unsqueeze(taken, constant(np.array([0]))).output


class Binarizer(Op):
    """ONNX Binarizer: 1 above the threshold, else 0."""

    domain = "ai.onnx.ml"
    x: Value
    threshold: float = 0.0

    def infer(self) -> TensorType:
        return self.x.type

    def reference(self, x: np.ndarray) -> np.ndarray:
        return (x > self.threshold).astype(x.dtype)

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        return select(compare("lt", const(self.threshold, x.dtype), x(*at)), const(1, x.dtype), const(0, x.dtype))


class TfIdfVectorizer(Op):
    """ONNX TfIdfVectorizer: how often each n-gram of a pool occurs in a row, elements of one standing up to `max_skip_count` + 1 apart."""

    x: Value
    max_gram_length: int
    max_skip_count: int
    min_gram_length: int
    mode: str
    ngram_counts: tuple
    ngram_indexes: tuple
    pool_int64s: tuple = ()
    pool_strings: tuple = ()
    weights: tuple = ()

    def infer(self) -> TensorType:
        wanted = (string,) if self.pool_strings else (i32, i64)
        self.require(self.x.dtype in wanted and self.x.type.rank in (1, 2), f"needs one or two axes of {wanted[0]}, it is {self.x.type}")
        self.require(self.mode in ("TF", "IDF", "TFIDF"), f"mode is {self.mode!r}")
        return TensorType(f32, (*self.x.shape[:-1], max(self.ngram_indexes) + 1))

    @property
    def _pool(self) -> tuple:
        return self.pool_strings or self.pool_int64s

    def in_bytes(self, x: Value) -> Value:
        """The same of numbers: each different text of the pool has one, -1 stands for any other."""
        words = list(dict.fromkeys(self.pool_strings))
        numbers = tuple(words.index(w) for w in self.pool_strings)
        return TfIdfVectorizer(place_among(x, words), **{**self.attributes, "pool_strings": (), "pool_int64s": numbers}).output

    def _grams(self) -> list[tuple[int, tuple[int, ...]]]:
        """(place in the result, elements) of every n-gram of an allowed length."""
        ends, found, number = [*self.ngram_counts[1:], len(self._pool)], [], 0
        for length, (start, end) in enumerate(zip(self.ngram_counts, ends), 1):
            for first in range(start, end, length):
                if self.min_gram_length <= length <= self.max_gram_length:
                    found.append((number, tuple(self._pool[first:first + length])))
                number += 1
        return found

    def reference(self, x: np.ndarray) -> np.ndarray:
        rows = np.atleast_2d(x)
        result = np.zeros((len(rows), self.output.shape[-1]), np.float32)
        for row, values in enumerate(rows.tolist()):
            for number, gram in self._grams():
                steps = range(1, self.max_skip_count + 2) if len(gram) > 1 else (1,)
                count = sum(tuple(values[p:p + (len(gram) - 1) * s + 1:s]) == gram for s in steps for p in range(len(values)))
                result[row, self.ngram_indexes[number]] += self._weighted(count, number)
        return result.reshape(self.output.shape)

    def _weighted(self, count: int, number: int) -> float:
        weight = self.weights[number] if self.weights else 1.0
        return {"TF": count, "IDF": weight * (count > 0), "TFIDF": weight * count}[self.mode]

    def lower(self, at: tuple[Expr, ...], x: Reader) -> Expr:
        grams, size = self._grams(), x.shape[-1]
        total = const(0.0, f32)
        for number, gram in grams:
            steps = range(1, self.max_skip_count + 2) if len(gram) > 1 else (1,)
            count = None
            for step in steps:
                places = size - (len(gram) - 1) * step
                if places > 0:
                    one = fold((places,), "add", lambda p, s=step, g=gram: self._occurs(x, at[:-1], p, s, g))
                    count = one if count is None else count + one
            if count is not None:
                value = self._weight_expr(count, number)
                total = total + select(compare("eq", at[-1], self.ngram_indexes[number]), value, const(0.0, f32))
        return total

    def _occurs(self, x: Reader, row: tuple[Expr, ...], place: Expr, step: int, gram: tuple[int, ...]) -> Expr:
        holds = None
        for k, wanted in enumerate(gram):
            same = compare("eq", x(*row, place + k * step), const(wanted, x.dtype))
            holds = same if holds is None else holds & same
        return select(holds, const(1.0, f32), const(0.0, f32))

    def _weight_expr(self, count: Expr, number: int) -> Expr:
        weight = float(self.weights[number]) if self.weights else 1.0
        if self.mode == "IDF":
            return select(compare("lt", const(0.0, f32), count), const(weight, f32), const(0.0, f32))
        return count if self.mode == "TF" else count * weight
