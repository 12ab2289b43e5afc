"""What classifiers and regressors of ai.onnx.ml do with their scores: transforms, labels, the two classes of one score.

Each for arrays (the reference) and for values (the decomposition), told apart by their type. Formulas: ai.onnx.ml's operator documentation;
where that is silent, as onnxruntime does.

    transformed(scores, "SOFTMAX"); labels_of(scores, (3, 5, 7))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.errors import ModelError
from edgec.graph import Value, constant
from edgec.ops.activation import Sigmoid
from edgec.ops.argmax import ArgMax
from edgec.ops.arithmetic import Add, Div, Mul, Neg, Sqrt, Sub
from edgec.ops.comparison import Greater, Where
from edgec.ops.gather import Gather
from edgec.ops.joining import Concat
from edgec.ops.reduction import ReduceMax, ReduceSum
from edgec.ops.softmax import Softmax
from edgec.ops.transcendental import Exp, Log
from edgec.text_slots import as_text

NEAR_ZERO = 1e-7  # scores below it count as zero for SOFTMAX_ZERO
WINITZKI = 0.147  # the constant of S. Winitzki's approximation of the inverse error function, 2008


def transformed(scores: Any, kind: str) -> Any:
    """Scores [rows, targets] after NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO (zeros take no share) or PROBIT."""
    known: dict[str, tuple[Callable, Callable]] = {
        "SOFTMAX": (_softmax, lambda s: Softmax(s, axis=-1).output),
        "LOGISTIC": (lambda s: 1 / (1 + np.exp(-s)), lambda s: Sigmoid(s).output),
        "SOFTMAX_ZERO": (_softmax_zero, _softmax_zero_value),
        "PROBIT": (_probit, _probit_value),
    }
    if kind == "NONE":
        return scores
    if kind not in known:
        raise ModelError(f"post_transform is {kind!r}", hint="one of NONE, " + ", ".join(known))
    return known[kind][isinstance(scores, Value)](scores)


def labels_of(scores: Any, labels: tuple[int, ...] | tuple[str, ...]) -> Any:
    """The label i64[rows] (or string[rows]) of the highest score, the first among equal ones."""
    table = label_array(labels)
    if isinstance(scores, np.ndarray):
        return table[scores.argmax(-1)]
    return Gather(constant(table), ArgMax(scores, axis=-1, keepdims=0).output).output


def label_array(labels: tuple[int, ...] | tuple[str, ...]) -> np.ndarray:
    """Labels, i64 or string."""
    return as_text(labels, (len(labels),)) if labels and isinstance(labels[0], str) else np.array(labels, np.int64)


def binary_scores(scores: Any, labels: tuple[int, ...], kind: str, threshold: float, rest: bool) -> tuple[Any, Any]:
    """(labels [rows], scores [rows, 2]) from the score [rows, 1] of the second class, which a score above `threshold` chooses.

    The first class has what is left to 1 (`rest`) or the opposite; LOGISTIC makes probabilities of the opposites, nothing else is applied.
    """
    opposite = kind == "LOGISTIC" or not rest
    if isinstance(scores, np.ndarray):
        both = np.concatenate([-scores if opposite else 1 - scores, scores], -1).astype(scores.dtype)
    else:
        other = Neg(scores).output if opposite else Sub(constant(scores.dtype.numpy.type(1)), scores).output
        both = Concat((other, scores), axis=-1).output
    return label_of_second(scores, labels, threshold), transformed(both, "LOGISTIC") if kind == "LOGISTIC" else both


def label_of_second(scores: Any, labels: tuple[int, ...], threshold: float) -> Any:
    """The second label (i64 or string)[rows] where the last of the scores is above a threshold, else the first."""
    first, second = (label_array(labels[n:n + 1]).reshape(()) for n in (0, 1))
    if isinstance(scores, np.ndarray):
        return np.where(scores[:, -1] > threshold, second, first)
    last = Gather(scores, constant(np.int64(-1)), axis=1).output
    return Where(Greater(last, constant(scores.dtype.numpy.type(threshold))).output, constant(second), constant(first)).output


def _softmax(s: np.ndarray) -> np.ndarray:
    e = np.exp(s - s.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _softmax_zero(s: np.ndarray) -> np.ndarray:
    top, counts = s.max(-1, keepdims=True), np.abs(s) > NEAR_ZERO
    e = np.where(counts, np.exp(s - top), 0)
    total = e.sum(-1, keepdims=True)
    return np.where(counts, e, s * np.exp(-top)) / np.where(total > 0, total, 1)


def _softmax_zero_value(s: Value) -> Value:
    last, zero, one = constant(np.array([-1])), constant(s.dtype.numpy.type(0)), constant(s.dtype.numpy.type(1))
    top = ReduceMax(s, last).output
    counts = Greater(Mul(s, s).output, constant(s.dtype.numpy.type(NEAR_ZERO ** 2))).output
    e = Where(counts, Exp(Sub(s, top).output).output, zero).output
    total = ReduceSum(e, last).output
    rest = Mul(s, Exp(Neg(top).output).output).output
    divisor = Where(Greater(total, zero).output, total, one).output
    return Div(Where(counts, e, rest).output, divisor).output


def _probit(p: np.ndarray) -> np.ndarray:
    x = 2 * p - 1
    log = np.log((1 - x) * (1 + x))
    v = 2 / (np.pi * WINITZKI) + 0.5 * log
    return np.sqrt(2) * np.sign(x) * np.sqrt(-v + np.sqrt(v * v - log / WINITZKI))


def _probit_value(p: Value) -> Value:
    def number(value: float) -> Value:
        return constant(p.dtype.numpy.type(value))

    x = Sub(Mul(p, number(2)).output, number(1)).output
    log = Log(Mul(Sub(number(1), x).output, Add(number(1), x).output).output).output
    v = Add(Mul(log, number(0.5)).output, number(2 / (np.pi * WINITZKI))).output
    root = Sqrt(Sub(Mul(v, v).output, Mul(log, number(1 / WINITZKI)).output).output).output
    size = Mul(Sqrt(Sub(root, v).output).output, number(np.sqrt(2))).output
    return Where(Greater(x, number(0)).output, size, Neg(size).output).output
