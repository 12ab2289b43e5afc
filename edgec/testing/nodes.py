"""Drawn operands and attributes of single operators, for tests that hold each operator against onnxruntime and its own compilation.

    node = drawn_node(Random(3), "", "Col2Im")      # its arrays, attributes, and how exactly results must agree
    op = node.operator()                             # on inputs of these types; constants hold their arrays
    drawn_node(Random(3), "edgec", "Lookup").oracle  # False: onnxruntime has no such operator

DRAWN has a function for each operator here; operators that random graphs or a family's own tests draw need none
(tests/ops/test_every_operator.py says which).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from edgec.graph import Op, constant, fields_of, graph_input
from edgec.ops import OPERATORS
from edgec.testing.draw import Array, Draw
from edgec.testing.onnx_nodes import ONNX
from edgec.testing.other_nodes import CONTRIBUTED, LEARNING, OWN, TRAINING
from edgec.types import TensorType, dtype_of


@dataclass(frozen=True)
class Node:
    """One operator: arrays of its operands (None: absent; those numbered `constants` are known), attributes, and how it is judged.

    Results may differ by `roundings` units of numbers of the size `magnitude` (without it: of the largest result, at least 1).
    `oracle` says whether onnxruntime has the operator in this form; `known`, that the size of a result depends on the numbers.
    """

    domain: str
    name: str
    arrays: tuple[Array | None, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    constants: Sequence[int] = ()
    oracle: bool = True
    known: bool = False
    roundings: int = 8
    magnitude: float = 0.0
    opset: int = 22

    def operator(self) -> Op:
        """The operator on fresh inputs of the arrays' types."""
        cls = OPERATORS[self.domain, self.name]
        fields = [f for f in fields_of(cls) if f.kind != "attribute"]
        values: list[Any] = [None if a is None else self._value(n, a) for n, a in enumerate(self.arrays)]
        for n, operand in enumerate(fields):
            if operand.kind == "variadic":
                values[n:] = [tuple(values[n:])]
        return cls(**dict(zip((f.name for f in fields), values)), **self.attributes)

    def _value(self, number: int, array: Array) -> Any:
        if number in self.constants:
            return constant(array)
        return graph_input(f"x{number}", TensorType(dtype_of(array.dtype), array.shape), known=array if self.known else None)


def drawn_node(random: Random, domain: str, name: str) -> Node:
    """An operator of DRAWN with operands and attributes from the generator."""
    made = DRAWN[domain, name](Draw(random))
    return Node(domain, name, **made)


DOMAINS = {"": ONNX, "ai.onnx.ml": LEARNING, "ai.onnx.preview.training": TRAINING, "com.microsoft": CONTRIBUTED, "edgec": OWN}
DRAWN = {(domain, name): draw for domain, drawings in DOMAINS.items() for name, draw in drawings.items()}
