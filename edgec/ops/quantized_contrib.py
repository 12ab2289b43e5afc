"""Operators of the domain com.microsoft that quantizers emit and that others express: they are replaced by these when a model is compiled.

What stands between DequantizeLinear and QuantizeLinear afterwards is fused, or becomes integer arithmetic, as in any QDQ model.
Definitions: onnxruntime's contributed operators.

    QLinearSigmoid(x, sx, zx, sy, zy)    ->    quantizelinear(sigmoid(dequantizelinear(x, sx, zx)), sy, zy)
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import quantization, quantized
from edgec.ops.activation import LeakyRelu, Sigmoid
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.cast import Cast
from edgec.ops.comparison import Where
from edgec.ops.contributed import Contributed
from edgec.ops.joining import Concat
from edgec.ops.matmul import MatMul
from edgec.ops.pooling import MaxPool
from edgec.ops.reshape import Reshape, Transpose
from edgec.ops.softmax import Softmax
from edgec.ops.window import Convolution, Pooling
from edgec.types import TensorType, f32, i16, i32, u2, u4, u8, u16

FLAT_SOFTMAX = 13  # the first opset whose Softmax works along one axis


class QuantizeLinear(Contributed):
    """com.microsoft QuantizeLinear: that of ONNX."""
    x: Value
    scale: Value
    zero_point: Value | None = None
    axis: int = 1

    def decompose(self) -> Value:
        return quantization.QuantizeLinear(self.x, self.scale, self.zero_point, axis=self.axis).output


class DequantizeLinear(Contributed):
    """com.microsoft DequantizeLinear: that of ONNX."""
    x: Value
    scale: Value
    zero_point: Value | None = None
    axis: int = 1

    def decompose(self) -> Value:
        return quantization.DequantizeLinear(self.x, self.scale, self.zero_point, axis=self.axis).output


class OneQuantized(Contributed):
    """Base of functions of one quantized tensor."""
    abstract = True
    x: Value
    x_scale: Value
    x_zero_point: Value | None = None
    y_scale: Value
    y_zero_point: Value | None = None

    def decompose(self) -> Value:
        real = self.function(quantization.DequantizeLinear(self.x, self.x_scale, self.x_zero_point).output)
        zero = self.y_zero_point or constant(np.zeros((), self.x.dtype.numpy))
        return quantization.QuantizeLinear(real, self.y_scale, zero).output


class QLinearSigmoid(OneQuantized):
    """com.microsoft QLinearSigmoid: 1 / (1 + exp(-x)) of a quantized tensor."""

    def function(self, x: Value) -> Value:
        return Sigmoid(x).output


class QLinearLeakyRelu(OneQuantized):
    """com.microsoft QLinearLeakyRelu: max(x, alpha * x) of a quantized tensor."""
    alpha: float = 0.009999999776482582

    def function(self, x: Value) -> Value:
        return LeakyRelu(x, alpha=self.alpha).output


class QLinearSoftmax(OneQuantized):
    """com.microsoft QLinearSoftmax: softmax of a quantized tensor, as in the given opset."""
    axis: int = -1
    opset: int

    def function(self, x: Value) -> Value:
        if self.opset >= FLAT_SOFTMAX:
            return Softmax(x, axis=self.axis).output
        axis = self.axis % x.type.rank
        rows = Reshape(x, constant(np.array([int(np.prod(x.shape[:axis], dtype=int)), -1], np.int64))).output
        return Reshape(Softmax(rows, axis=1).output, constant(np.array(x.shape, np.int64))).output


class QLinearConcat(Contributed):
    """com.microsoft QLinearConcat: quantized tensors, each followed by its scale and zero point, one after another along an axis."""
    y_scale: Value
    y_zero_point: Value
    inputs: tuple[Value, ...] = ()
    axis: int

    def decompose(self) -> Value:
        self.require(self.inputs and len(self.inputs) % 3 == 0, "each operand needs a scale and a zero point")
        parts = [quantization.DequantizeLinear(*self.inputs[n:n + 3]).output for n in range(0, len(self.inputs), 3)]
        return quantization.QuantizeLinear(Concat(tuple(parts), axis=self.axis).output, self.y_scale, self.y_zero_point).output


class QLinearWhere(Contributed):
    """com.microsoft QLinearWhere: the element of x where the condition holds, else that of y, both quantized."""
    condition: Value
    x: Value
    x_scale: Value
    x_zero_point: Value
    y: Value
    y_scale: Value
    y_zero_point: Value
    z_scale: Value
    z_zero_point: Value

    def decompose(self) -> Value:
        x, y = (quantization.DequantizeLinear(*v).output
                for v in ((self.x, self.x_scale, self.x_zero_point), (self.y, self.y_scale, self.y_zero_point)))
        return quantization.QuantizeLinear(Where(self.condition, x, y).output, self.z_scale, self.z_zero_point).output


class MatMulIntegerToFloat(Contributed):
    """com.microsoft MatMulIntegerToFloat: MatMulInteger times both scales, plus a bias, in f32."""
    a: Value
    b: Value
    a_scale: Value
    b_scale: Value
    a_zero_point: Value | None = None
    b_zero_point: Value | None = None
    bias: Value | None = None

    def decompose(self) -> Value:
        total = quantized.MatMulInteger(self.a, self.b, self.a_zero_point, self.b_zero_point).output
        real = Mul(Cast(total, to=CODE_OF_DTYPE[f32]).output, Mul(self.a_scale, self.b_scale).output).output
        return real if self.bias is None else Add(real, self.bias).output


class DynamicQuantizeMatMul(Contributed):
    """com.microsoft DynamicQuantizeMatMul: a matrix product of f32, quantized when it runs, with 8-bit weights; plus a bias, in f32."""
    a: Value
    b: Value
    b_scale: Value
    b_zero_point: Value | None = None
    bias: Value | None = None

    def decompose(self) -> Value:
        a, scale, zero = quantization.DynamicQuantizeLinear(self.a).results
        return MatMulIntegerToFloat(a, self.b, scale, self.b_scale, zero, self.b_zero_point, self.bias).output


class QLinearConv(Contributed, Convolution):
    """com.microsoft QLinearConv: that of ONNX, with the channels as the last axis of input and output with channels_last=1."""
    x: Value
    x_scale: Value
    x_zero_point: Value
    w: Value
    w_scale: Value
    w_zero_point: Value
    y_scale: Value
    y_zero_point: Value
    b: Value | None = None
    channels_last: int = 0

    def decompose(self) -> Value:
        attributes = {n: v for n, v in self.attributes.items() if n != "channels_last"}
        rank = self.x.type.rank
        x = Transpose(self.x, (0, rank - 1, *range(1, rank - 1))).output if self.channels_last else self.x
        y = quantized.QLinearConv(x, *self.operands[1:8], self.b, **attributes).output
        return Transpose(y, (0, *range(2, rank), 1)).output if self.channels_last else y


class NhwcMaxPool(Contributed, Pooling):
    """com.microsoft NhwcMaxPool: MaxPool of bytes whose channels are the last axis."""
    x: Value

    def decompose(self) -> Value:
        rank = self.x.type.rank
        y = MaxPool(Transpose(self.x, (0, rank - 1, *range(1, rank - 1))).output, **self.attributes).output
        return Transpose(y, (0, *range(2, rank), 1)).output


class MatMulInteger16(Contributed):
    """com.microsoft MatMulInteger16: a matrix product of 16-bit integers; sums are of 32 bits and wrap around."""
    a: Value
    b: Value

    def decompose(self) -> Value:
        for v in (self.a, self.b):
            self.require(v.dtype in (i16, u16), f"%{v.name} is {v.dtype}; i16 or u16 is needed")
        return MatMul(*(Cast(v, to=CODE_OF_DTYPE[i32]).output for v in (self.a, self.b))).output


STORED = {2: u2, 4: u4, 8: u8}


class MatMulNBits(Contributed):
    """com.microsoft MatMulNBits: a @ w.T, w [N, K] in 2, 4 or 8 bits with a scale a block of `block_size` elements of a row."""
    a: Value
    b: Value
    scales: Value
    zero_points: Value | None = None
    g_idx: Value | None = None
    bias: Value | None = None
    K: int
    N: int
    accuracy_level: int = 0
    bits: int = 4
    block_size: int

    def infer(self) -> TensorType:
        self.require(self.a.dtype is f32 and self.scales.dtype is f32, f"needs f32, not {self.a.type} and scales {self.scales.type}")
        known = self.b.is_constant and (self.zero_points is None or self.zero_points.is_constant)
        if self.bits not in STORED or self.g_idx is not None or not known or self.zero_points and self.zero_points.dtype is not u8:
            raise Unsupported("MatMulNBits needs constant weights of 2, 4 or 8 bits with packed zero points and no g_idx",
                              loc=self._pending_loc, hint="quantize the model in blocks along K")
        blocks = -(-self.K // self.block_size)
        self.require(self.b.type.max_size == self.N * blocks * self.block_size * self.bits // 8, f"{self.b.type} does not hold the weights")
        self.require(self.scales.type.max_size == self.N * blocks, f"{self.scales.type} does not hold {self.N} x {blocks} scales")
        return self.decompose().type

    def decompose(self) -> Value:
        blocks, dtype = -(-self.K // self.block_size), STORED[self.bits]
        whole = unpacked(self.b.array.reshape(self.N, -1), self.bits)[:, :self.K]
        if self.zero_points is None:
            zeros = np.full((self.N, blocks), 1 << self.bits - 1)
        else:
            zeros = unpacked(self.zero_points.array.reshape(self.N, -1), self.bits)[:, :blocks]
        scales = Reshape(self.scales, constant(np.array([self.N, blocks], np.int64))).output
        w = quantization.DequantizeLinear(constant(whole.astype(dtype.numpy), self.b.name), scales, constant(zeros.astype(dtype.numpy)),
                                          axis=1, block_size=self.block_size).output
        y = MatMul(self.a, Transpose(w, (1, 0)).output).output
        return y if self.bias is None else Add(y, self.bias).output


def unpacked(rows: np.ndarray, bits: int) -> np.ndarray:
    """The elements of rows of bytes, the first in the lowest bits."""
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    return (rows[:, :, None] >> shifts & ((1 << bits) - 1)).reshape(len(rows), -1)
