"""Attention whose projections are of integers: com.microsoft QAttention, as onnxruntime's dynamic quantization of transformers writes it.

Queries, keys and values come from one integer product of the input, times both scales, plus a bias in f32; what follows is f32.

    QAttention(x, w, b, x_scale, w_scale, mask, x_zero, w_zero, num_heads=12).output      # [batch, positions, hidden]
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.comparison import Greater, Less, Where
from edgec.ops.matmul import MatMul
from edgec.ops.quantized_contrib import Contributed, MatMulIntegerToFloat
from edgec.ops.reshape import Reshape, Transpose, Unsqueeze
from edgec.ops.slicing import Slice
from edgec.ops.softmax import Softmax
from edgec.types import i32

LEAST = float(np.finfo(np.float32).min)  # what a later position is given before the softmax


class QAttention(Contributed):
    """com.microsoft QAttention: softmax(q k^T * scale + mask) v in f32, with q, k and v from one product of integers."""
    x: Value
    w: Value
    b: Value
    x_scale: Value
    w_scale: Value
    mask_index: Value | None = None
    x_zero_point: Value | None = None
    w_zero_point: Value | None = None
    past: Value | None = None
    do_rotary: int = 0
    mask_filter_value: float = -10000.0
    num_heads: int
    outputs: int = 1
    past_sequence_length: int = 0
    scale: float = 0.0
    unidirectional: int = 0

    def decompose(self) -> Value:
        if self.past is not None or self.do_rotary or self.outputs > 1:
            raise Unsupported("QAttention with a past or rotary positions", loc=self._pending_loc, hint="export the model without a cache")
        x, columns = self.x.type, self.w.shape[-1]
        self.require(x.rank == 3 and x.is_static, f"needs x of three known sizes, it is {x}")
        self.require(columns % (3 * self.num_heads) == 0, f"{columns} columns are not queries, keys and values of {self.num_heads} heads")
        (batch, positions, _), width = x.shape, columns // (3 * self.num_heads)
        real = MatMulIntegerToFloat(self.x, self.w, self.x_scale, self.w_scale, self.x_zero_point, self.w_zero_point, self.b).decompose()
        heads = Reshape(real, numbers(batch, positions, 3 * self.num_heads, width)).output
        q, k, v = (self._part(heads, n) for n in range(3))
        scale = constant(np.float32(self.scale or 1 / np.sqrt(width)))
        scores = Mul(MatMul(Transpose(q, (0, 2, 1, 3)).output, Transpose(k, (0, 2, 3, 1)).output).output, scale).output
        for mask in self._masks(batch, positions):
            scores = Add(scores, mask).output
        mixed = MatMul(Softmax(scores, axis=-1).output, Transpose(v, (0, 2, 1, 3)).output).output
        return Reshape(Transpose(mixed, (0, 2, 1, 3)).output, numbers(batch, positions, columns // 3)).output

    def _part(self, heads: Value, n: int) -> Value:
        """Queries, keys or values [batch, positions, heads, width]."""
        return Slice(heads, numbers(n * self.num_heads), numbers((n + 1) * self.num_heads), numbers(2)).output

    def _masks(self, batch: int, positions: int) -> list[Value]:
        """What is added to the scores [batch, heads, positions, positions]."""
        found = []
        if self.mask_index is not None:
            lengths = self.mask_index.shape == (batch,)
            self.require(self.mask_index.dtype is i32 and (lengths or self.mask_index.shape == (batch, positions)),
                         f"the mask is {self.mask_index.type}; i32[{batch}] or i32[{batch},{positions}] is needed")
            if lengths:
                at = constant(np.arange(positions, dtype=np.int32))
                seen = Less(at, Unsqueeze(self.mask_index, numbers(1)).output).output
            else:
                seen = Greater(self.mask_index, constant(np.int32(0))).output
            mask = Where(seen, constant(np.float32(0)), constant(np.float32(self.mask_filter_value))).output
            found.append(Unsqueeze(mask, numbers(1, 2)).output)
        if self.unidirectional:
            found.append(constant(np.triu(np.full((positions, positions), LEAST, np.float32), 1), "later"))
        return found


def numbers(*values: int) -> Value:
    return constant(np.array(values, np.int64))
