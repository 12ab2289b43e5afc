"""Parts of transformers that onnxruntime's optimizer fuses, in the domain com.microsoft: they stand beside QAttention in the models that it
quantizes, and become ONNX's own operators.

Definitions: onnxruntime's contributed operators.

    SkipLayerNormalization(x, skip, gamma, beta)    ->    layernormalization(add(x, skip), gamma, beta)
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import activation
from edgec.ops.activation import Sigmoid
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.cast import Cast
from edgec.ops.comparison import Equal
from edgec.ops.contributed import Contributed
from edgec.ops.gather import Gather
from edgec.ops.normalization import LayerNormalization
from edgec.ops.reduction import ReduceSum
from edgec.ops.slicing import Slice
from edgec.types import i32

EPSILON = 9.999999960041972e-13


class Gelu(Contributed):
    """com.microsoft Gelu: x * P(X <= x) for a standard normal X."""
    x: Value

    def decompose(self) -> Value:
        return activation.Gelu(self.x).output


class BiasGelu(Contributed):
    """com.microsoft BiasGelu: Gelu of a sum."""
    a: Value
    b: Value

    def decompose(self) -> Value:
        return activation.Gelu(Add(self.a, self.b).output).output


class FastGelu(Contributed):
    """com.microsoft FastGelu: the tanh approximation of Gelu, of a sum where there is a bias."""
    x: Value
    bias: Value | None = None

    def decompose(self) -> Value:
        x = self.x if self.bias is None else Add(self.x, self.bias).output
        return activation.Gelu(x, approximate="tanh").output


class QuickGelu(Contributed):
    """com.microsoft QuickGelu: x / (1 + exp(-alpha * x))."""
    x: Value
    alpha: float = 1.7020000219345093

    def decompose(self) -> Value:
        scaled = Mul(self.x, constant(np.array(self.alpha, self.x.dtype.numpy))).output
        return Mul(self.x, Sigmoid(scaled).output).output


class SkipLayerNormalization(Contributed):
    """com.microsoft SkipLayerNormalization: LayerNormalization of x + skip + bias; further results are mean, 1 / deviation, and the sum."""
    x: Value
    skip: Value
    gamma: Value
    beta: Value | None = None
    bias: Value | None = None
    epsilon: float = EPSILON
    outputs: int = 1

    def decompose(self) -> tuple[Value, ...]:
        total = Add(self.x, self.skip).output
        total = total if self.bias is None else Add(total, self.bias).output
        normal = LayerNormalization(total, self.gamma, self.beta, epsilon=self.epsilon, outputs=min(self.outputs, 3))
        return (*normal.results, total)[:self.outputs] if self.outputs > 3 else normal.results


class EmbedLayerNormalization(Contributed):
    """com.microsoft EmbedLayerNormalization: rows of words, positions and segments, added and normalised.

    Further results: how many ones each row of the mask has (0 without one), and the sum.
    """
    input_ids: Value
    segment_ids: Value | None = None
    word_embedding: Value
    position_embedding: Value
    segment_embedding: Value | None = None
    gamma: Value
    beta: Value
    mask: Value | None = None
    position_ids: Value | None = None
    epsilon: float = EPSILON
    mask_index_type: int = 1
    outputs: int = 1

    def decompose(self) -> tuple[Value, ...]:
        total = added_rows(self, self.position_ids)
        y = LayerNormalization(total, self.gamma, self.beta, epsilon=self.epsilon).results[0]
        return (y, ones_of(self.mask, self.input_ids), total)[:self.outputs]


def added_rows(op: Op, position_ids: Value | None = None, real: Callable[[str, Value], Value] = lambda name, rows: rows) -> Value:
    """Rows of words, of positions and, where they are given, of segments, added; `real(operand, rows)` decodes what was read of a table."""
    ids = op.input_ids
    op.require(ids.type.rank == 2 and ids.type.is_static, f"input_ids is {ids.type}; two known sizes are needed")
    op.require((op.segment_ids is None) == (op.segment_embedding is None), "segment_ids and segment_embedding belong together")
    if position_ids is None:
        positions = Slice(op.position_embedding, _numbers(0), _numbers(ids.shape[1]), _numbers(0)).output
    else:
        positions = Gather(op.position_embedding, position_ids).output
    total = Add(real("word_embedding", Gather(op.word_embedding, ids).output), real("position_embedding", positions)).output
    if op.segment_embedding is None:
        return total
    return Add(total, real("segment_embedding", Gather(op.segment_embedding, op.segment_ids).output)).output


def ones_of(mask: Value | None, ids: Value) -> Value:
    """How many ones each row of a mask has, i32[rows]; 0 without a mask."""
    if mask is None:
        return constant(np.zeros(ids.shape[0], np.int32))
    ones = Cast(Equal(mask, constant(np.array(1, mask.dtype.numpy))).output, to=CODE_OF_DTYPE[i32]).output
    return ReduceSum(ones, _numbers(1), keepdims=0).output


def _numbers(*values: int) -> Value:
    return constant(np.array(values, np.int64))
