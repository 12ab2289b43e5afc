"""Einstein summation: products of operands summed over the labels that the result does not name.

    Einsum((a, b), equation="bij,bjk->bik").output
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property

import numpy as np

from edgec.expr import Expr
from edgec.graph import Op, Value
from edgec.lowering import Reader
from edgec.ops.accumulation import fold, narrow, rounded, widen
from edgec.ops.elementwise import NUMERIC, require_kind
from edgec.ops.shape_arithmetic import Dim, same_dim
from edgec.types import TensorType

Labels = tuple[str, ...]


class Einsum(Op):
    """ONNX Einsum: numpy.einsum. Letters label axes, repeated ones take the diagonal, `...` stands for broadcast axes."""
    inputs: tuple[Value, ...] = ()
    equation: str

    def infer(self) -> TensorType:
        self.require(self.inputs, "needs at least one operand")
        for value in self.inputs:
            require_kind(self, value, NUMERIC, f"operand %{value.name}")
            self.require(value.dtype is self.inputs[0].dtype, f"element types differ: {self.inputs[0].dtype} and {value.dtype}")
        sizes = self.sizes
        return TensorType(self.inputs[0].dtype, tuple(sizes[label] for label in self.labels[1]))

    @cached_property
    def labels(self) -> tuple[tuple[Labels, ...], Labels]:
        """The labels of every operand's axes and of the result's; the axes of `...` are labelled '0', '1', ... from the widest's left."""
        text = self.equation.replace(" ", "")
        given, arrow, result = text.partition("->")
        terms = given.split(",")
        self.require(len(terms) == len(self.inputs), f"'{self.equation}' has {len(terms)} terms for {len(self.inputs)} operands")
        for term in (*terms, result):
            self.require(re.fullmatch(r"[A-Za-z]*(\.\.\.)?[A-Za-z]*", term), f"cannot read the term '{term}' of '{self.equation}'")
        widest = max((len(v.shape) - len(t) + 3 for t, v in zip(terms, self.inputs) if "..." in t), default=0)
        operands = tuple(self._term(t, len(v.shape), widest) for t, v in zip(terms, self.inputs))
        if arrow:
            named = _expanded(result, widest, widest)
        else:
            counts = Counter(c for t in terms for c in t if c != ".")
            named = _expanded("...", widest, widest) + tuple(sorted(c for c, n in counts.items() if n == 1))
        self.require(len(set(named)) == len(named) and set(named) <= {x for t in operands for x in t},
                     f"the result of '{self.equation}' repeats a label or names one that no operand has")
        return operands, named

    def _term(self, term: str, rank: int, widest: int) -> Labels:
        letters = len(term.replace("...", ""))
        self.require(letters == rank or ("..." in term and letters < rank),
                     f"the term '{term}' does not label the axes of an operand of rank {rank}")
        return _expanded(term, rank - letters, widest)

    @property
    def sizes(self) -> dict[str, Dim]:
        """The size of every label; 1 gives way to any other size."""
        found: dict[str, Dim] = {}
        for labels, value in zip(self.labels[0], self.inputs):
            for label, size in zip(labels, value.shape):
                if same_dim(found.setdefault(label, size), 1):
                    found[label] = size
                self.require(same_dim(size, 1) or same_dim(found[label], size), f"'{label}' labels axes of sizes {found[label]} and {size}")
        return found

    def reference(self, arrays: tuple[np.ndarray, ...]) -> np.ndarray:
        dtype = self.inputs[0].dtype
        wide = [a.astype(np.float64) if dtype.is_float else a for a in arrays]
        return rounded(np.einsum(self.equation.replace(" ", ""), *wide, optimize=False), dtype)

    def lower(self, at: tuple[Expr, ...], readers: tuple[Reader, ...]) -> Expr:
        operands, named = self.labels
        sizes, outer = self.sizes, dict(zip(named, at))
        inner = [label for label in sizes if label not in outer]

        def term(*taps: Expr) -> Expr:
            place = {**outer, **dict(zip(inner, taps))}
            factors = [widen(x(*(0 if same_dim(d, 1) else place[label] for label, d in zip(labels, x.shape))))
                       for x, labels in zip(readers, operands)]
            result = factors[0]
            for factor in factors[1:]:
                result = result * factor
            return result
        return narrow(fold([sizes[label] for label in inner], "add", term), self.inputs[0].dtype)


def _expanded(term: str, count: int, widest: int) -> Labels:
    """A term with its `...` replaced by the last `count` of the broadcast labels '0' .. str(widest - 1)."""
    before, dots, after = term.partition("...")
    return (*before, *(str(n) for n in range(widest - count, widest) if dots), *after)
