"""One operator of a TFLite model on its way into the graph: what the converters are given.

A quantized tensor can be seen as the integers it is (`raw`) or as the real numbers they stand for; a converter asks for an operand in the
view that it is called in, and its result is of that view.

    def relu(node): return node.emit(Relu, node.operand(0))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgec.errors import Loc, ModelError, Unsupported
from edgec.graph import Op, Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.quantization import DequantizeLinear, QuantizeLinear
from edgec.ops.reshape import Transpose
from edgec.tflite.records import Operator, Quantization, Tensor
from edgec.types import DType, i8, i16, i32, u8

QUANTIZED = (i8, u8, i16)  # what real numbers are stored as, aside from the i32 of biases


def is_quantized(tensor: Tensor | None) -> bool:
    """Whether the integers of a tensor stand for real numbers."""
    return tensor is not None and tensor.quantization is not None and tensor.dtype in QUANTIZED


@dataclass(frozen=True, eq=False)
class Node:
    """An operator, the values of its operands, and the view: `raw` integers, or real numbers."""

    record: Operator
    values: tuple[Value | None, ...]
    raw: bool
    loc: Loc

    def emit(self, op: type[Op], *operands: Any, **attributes: Any) -> Value:
        """The first result of an operator of the graph, at this place."""
        return op(*operands, _loc=self.loc, **attributes).output

    def option(self, name: str, default: Any) -> Any:
        return self.record.options.get(name, default)

    def has(self, n: int) -> bool:
        return n < len(self.values) and self.values[n] is not None

    def given(self, n: int) -> Value:
        """Operand `n` as the file has it; ModelError where it is left out."""
        if not self.has(n):
            raise ModelError(f"operand {n} is left out", loc=self.loc)
        return self.values[n]

    def source(self, n: int) -> Tensor:
        """What the file says about operand `n`."""
        self.given(n)
        return self.record.inputs[n]

    @property
    def result(self) -> Tensor:
        """What the file says about the first result."""
        if not self.record.outputs:
            raise ModelError("the operator has no result", loc=self.loc)
        return self.record.outputs[0]

    def operand(self, n: int, perm: Sequence[int] | None = None) -> Value:
        """Operand `n` in this view, its axes in the order of `perm`."""
        tensor, value = self.source(n), self.given(n)
        if perm is not None:
            value = transposed(self, value, perm)
        if self.raw or tensor.quantization is None or tensor.dtype not in (*QUANTIZED, i32):
            return value
        return self.dequantized(value, tensor.quantization, perm)

    def channels_first(self, n: int) -> Value:
        """Operand `n`, [n, ..., c], as [n, c, ...]; integers change their order before they become real numbers."""
        rank = self.given(n).type.rank
        return self.operand(n, (0, rank - 1, *range(1, rank - 1)))

    def optional(self, n: int) -> Value | None:
        return self.operand(n) if self.has(n) else None

    def numbers(self, n: int) -> tuple[int, ...]:
        """The elements of operand `n`, which must be known when compiling."""
        known = self.given(n).elements
        if known is None:
            raise Unsupported(f"operand {n}, '{self.source(n).name}', is not known when compiling", loc=self.loc,
                              hint="make it a constant of the model")
        return known

    def dequantized(self, value: Value, quantization: Quantization, perm: Sequence[int] | None = None) -> Value:
        """The real numbers that integers stand for."""
        axis = quantization.axis if perm is None else list(perm).index(quantization.axis)
        return self.emit(DequantizeLinear, value, *_parameters(quantization, value.dtype), axis=axis)

    def quantized(self, value: Value, tensor: Tensor) -> Value:
        """Real numbers as the integers of a tensor; what has been transposed last is transposed as integers instead."""
        if isinstance(value.op, Transpose) and tensor.quantization.scale.size == 1:
            return transposed(self, self.quantized(value.op.data, tensor), value.op.perm)
        scale, zero = _parameters(tensor.quantization, tensor.dtype)
        code = CODE_OF_DTYPE[tensor.dtype]
        return self.emit(QuantizeLinear, value, scale, zero, axis=tensor.quantization.axis, output_dtype=code if zero is None else 0)


def _parameters(quantization: Quantization, dtype: DType) -> tuple[Value, Value | None]:
    """Scale and zero point as constants, single numbers as scalars; i32 has no zero point."""
    shape = () if quantization.scale.size == 1 else quantization.scale.shape
    zero = None if dtype is i32 else constant(quantization.zero.astype(dtype.numpy).reshape(shape))
    return constant(quantization.scale.reshape(shape)), zero


def transposed(node: Node, value: Value, perm: Sequence[int]) -> Value:
    """A value with its axes in another order; constants at once."""
    if value.type.rank != len(perm):
        raise ModelError(f"an operand of rank {len(perm)} is needed, it is {value.type}", loc=node.loc)
    if value.is_constant:
        return constant(value.array.transpose(perm), value.name, node.loc)
    return node.emit(Transpose, value, perm=tuple(perm))


def channels_last(node: Node, value: Value) -> Value:
    """[n, c, ...] as [n, ..., c]."""
    return transposed(node, value, (0, *range(2, value.type.rank), 1))


def whole(*numbers: int) -> Value:
    """A vector of i64, as shapes, axes and sizes are given."""
    return constant(np.array(numbers, np.int64))


def literal(number: float, dtype: DType) -> Value:
    """A scalar constant."""
    return constant(np.array(number, dtype.numpy))
