"""Embeddings whose tables are integers: QEmbedLayerNormalization and GatherBlockQuantized of the domain com.microsoft.

A table is read first and made real afterwards, so that only the rows which are read are ever decoded. Definitions: onnxruntime's
contributed operators; onnxruntime's dynamic quantization of BERT writes the first, its 4-bit quantization of embeddings the second.

    GatherBlockQuantized(table, tokens, scales, block_size=32).output      # f32[*tokens.shape, width]
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.ops.contributed import Contributed
from edgec.ops.gather import Gather
from edgec.ops.normalization import LayerNormalization
from edgec.ops.quantization import DequantizeLinear
from edgec.ops.quantized_contrib import STORED, unpacked
from edgec.ops.transformer_parts import EPSILON, added_rows, ones_of
from edgec.types import i4, u4, u8


class QEmbedLayerNormalization(Contributed):
    """com.microsoft QEmbedLayerNormalization: rows of words, positions and segments, added and normalised; the tables are 8-bit integers.

    The second result counts the ones of each row of the mask, and is 0 without one.
    """
    input_ids: Value
    segment_ids: Value | None = None
    word_embedding: Value
    position_embedding: Value
    segment_embedding: Value | None = None
    gamma: Value
    beta: Value
    mask: Value | None = None
    word_embedding_scale: Value
    position_embedding_scale: Value
    segment_embedding_scale: Value | None = None
    gamma_scale: Value
    beta_scale: Value
    word_embedding_zero_point: Value
    position_embedding_zero_point: Value
    segment_embedding_zero_point: Value | None = None
    gamma_zero_point: Value
    beta_zero_point: Value
    epsilon: float = EPSILON
    outputs: int = 2

    def decompose(self) -> tuple[Value, ...]:
        total = added_rows(self, real=self._real)
        gamma, beta = (self._real(name, getattr(self, name)) for name in ("gamma", "beta"))
        return (LayerNormalization(total, gamma, beta, epsilon=self.epsilon).results[0], ones_of(self.mask, self.input_ids))[:self.outputs]

    def _real(self, name: str, integers: Value) -> Value:
        """The numbers that integers of the operand `name` stand for."""
        return DequantizeLinear(integers, getattr(self, f"{name}_scale"), getattr(self, f"{name}_zero_point")).output


class GatherBlockQuantized(Contributed):
    """com.microsoft GatherBlockQuantized: Gather from a table of integers with a scale a block of elements along one of its axes.

    Bytes hold one element of 8 bits, or several of `bits` along the last axis, the first in the lowest bits, and have the middle of their
    range as zero point unless another is given.
    """
    data: Value
    indices: Value
    scales: Value
    zero_points: Value | None = None
    bits: int = 4
    block_size: int = 128
    gather_axis: int = 0
    quantize_axis: int = 1

    def decompose(self) -> Value:
        rank = self.data.type.rank
        gathered, quantized = self.gather_axis % rank, self.quantize_axis % rank
        self.require(gathered != quantized, f"gather_axis and quantize_axis are both {gathered}")
        self.require(self.data.dtype in (u8, u4, i4), f"the table is {self.data.type}; u8, u4 or i4 is needed")
        data, zeros = self._whole(self.data), self.zero_points and self._whole(self.zero_points)
        if zeros is None and self.data.dtype is u8:
            zeros = constant(np.full(self.scales.shape, 1 << self.bits - 1).astype(data.dtype.numpy))
        axis = quantized + (self.indices.type.rank - 1 if quantized > gathered else 0)
        parts = [v and Gather(v, self.indices, axis=gathered).output for v in (data, self.scales, zeros)]
        return DequantizeLinear(*parts, axis=axis, block_size=self.block_size).output

    def _whole(self, stored: Value) -> Value:
        """One element at each place: bytes of several elements are taken apart."""
        if stored.dtype is not u8 or self.bits == 8:
            return stored
        if self.bits not in STORED or not stored.is_constant:
            raise Unsupported("GatherBlockQuantized needs a constant table of 2, 4 or 8 bits", loc=self._pending_loc)
        rows = unpacked(stored.array.reshape(-1, stored.shape[-1]), self.bits)
        return constant(rows.reshape(*stored.shape[:-1], -1).astype(STORED[self.bits].numpy), stored.name)
