"""Matrix products whose weights are numbers of a table of 16: MatMulBnb4 of the domain com.microsoft, as bitsandbytes stores them.

The tables are a float of 4 bits (sign, exponent, mantissa) over 12 and 16 quantiles of a normal distribution, both within -1 and 1
(T. Dettmers et al., "QLoRA", arXiv:2305.14314, appendix E); each block of weights has its largest magnitude beside it.

    MatMulBnb4(a, codes, largest, K=64, N=32, block_size=16, quant_type=NF4).output      # f32[..., 32]
"""

from __future__ import annotations

import numpy as np

from edgec.errors import Unsupported
from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops.arithmetic import Mul
from edgec.ops.cast import Cast
from edgec.ops.gather import Gather
from edgec.ops.matmul import MatMul
from edgec.ops.quantized_contrib import Contributed
from edgec.ops.reshape import Reshape, Transpose
from edgec.ops.slicing import Slice
from edgec.types import f32, i32, u8

FP4, NF4 = 0, 1
_SIZES = (0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0)  # by the bits below the sign, in twelfths
_QUANTILES = (-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
              -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
              0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0)
TABLES = {FP4: np.array([sign * size / 12 for sign in (1, -1) for size in _SIZES], np.float32), NF4: np.array(_QUANTILES, np.float32)}


class MatMulBnb4(Contributed):
    """com.microsoft MatMulBnb4: a @ w.T, w [N, K] from a table of 16 numbers times the largest magnitude of `block_size` elements."""
    a: Value
    b: Value
    absmax: Value
    K: int
    N: int
    block_size: int
    quant_type: int
    training_mode: int = 0
    transB: int = 1

    def decompose(self) -> Value:
        count = self.N * self.K
        if not self.b.is_constant or not self.absmax.is_constant or self.quant_type not in TABLES:
            raise Unsupported("MatMulBnb4 needs constant weights of quant_type 0 (FP4) or 1 (NF4)", loc=self._pending_loc)
        self.require(self.a.dtype is f32 and self.absmax.dtype is f32, f"needs f32, not {self.a.type} and largest {self.absmax.type}")
        self.require(self.b.dtype is u8 and self.b.type.max_size == -(-count // 2), f"{self.b.type} does not hold {count} codes")
        blocks = -(-count // self.block_size)
        self.require(self.absmax.type.max_size == blocks, f"{self.absmax.type} does not hold {blocks} numbers, one a block")
        book = constant(TABLES[self.quant_type], f"{self.b.name}.codebook")
        index = Cast(constant(self._codes(blocks), f"{self.b.name}.indices"), to=CODE_OF_DTYPE[i32]).output
        w = Mul(Gather(book, index).output, Reshape(self.absmax, _numbers(blocks, 1)).output).output
        if blocks * self.block_size > count:
            w = Slice(Reshape(w, _numbers(-1)).output, _numbers(0), _numbers(count)).output
        return MatMul(self.a, Transpose(Reshape(w, _numbers(self.N, self.K)).output, (1, 0)).output).output

    def _codes(self, blocks: int) -> np.ndarray:
        """u8[blocks, block_size], the first of a byte in its upper half; blocks go on from row to row, and the last is filled up."""
        packed = self.b.array.reshape(-1)
        codes = np.stack([packed >> 4, packed & 15], 1).reshape(-1)[:self.N * self.K]
        return np.pad(codes, (0, blocks * self.block_size - codes.size)).reshape(blocks, self.block_size)


def _numbers(*values: int) -> Value:
    return constant(np.array(values, np.int64))
