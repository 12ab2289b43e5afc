"""Drawings of what quantizers make of products with weights in few bits, embeddings, attention and recurrent layers, bit for bit.

Where such an operator goes on in f32, operands are drawn so that no order of sums and no last bit of an exponential shows: whole numbers
and powers of two, one position that attention sees, gates of Relu and Affine. They join those of edgec.testing.integers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import quantized_contrib, quantized_embedding, small_types
from edgec.ops.cast import Cast
from edgec.ops.quantization import Product, Ratio
from edgec.ops.quantized_attention import QAttention
from edgec.ops.quantized_codebook import MatMulBnb4
from edgec.ops.quantized_recurrent import DynamicQuantizeLSTM
from edgec.types import f32, i4, i8, i16, i32, u4, u8

BYTES = (u8, i8)


def whole_reals(d: Any, *shape: int) -> Value:
    """Whole numbers from -128 to 127 in f32."""
    return Cast(d.input(i8, *shape), to=CODE_OF_DTYPE[f32]).output


def powers(d: Any, *shape: int) -> Value:
    """Scales of 1/8 to 1, which no sum of their multiples is rounded by."""
    return constant(2.0 ** d.numbers.integers(-3, 1, shape).astype(np.float32))


def few_bits(d: Any) -> Value:
    """Blocks that the rows are whole of and that they are not; packed zero points or none; a bias or none."""
    bits, block, k, n = d.pick((2, 4, 8)), d.pick((16, 32)), d.pick((16, 40, 64)), d.pick((1, 3, 8, 17))
    blocks = -(-k // block)
    zeros = d.whole(u8, n, -(-blocks * bits // 8)) if d.sometimes() else None
    bias = constant(d.numbers.integers(-99, 99, n).astype(np.float32)) if d.sometimes() else None
    return quantized_contrib.MatMulNBits(whole_reals(d, d.pick((1, 2, 5)), k), d.whole(u8, n, blocks, block * bits // 8),
                                         powers(d, n * blocks), zeros, None, bias, K=k, N=n, bits=bits, block_size=block).output


def table_of_sixteen(d: Any) -> Value:
    """One product a sum: the weight itself, read from the table, times a power of two."""
    k, n, block = d.pick((8, 16, 20)), d.pick((1, 3, 8)), d.pick((8, 16))
    a = constant(np.eye(k, dtype=np.float32)[d.numbers.permutation(k)[:5]] * 2)
    codes, largest = d.whole(u8, k * n // 2), powers(d, -(-k * n // block))
    return MatMulBnb4(a, codes, largest, K=k, N=n, block_size=block, quant_type=d.pick((0, 1))).output


def attention(d: Any) -> Value:
    """Each sample sees one position, so that its share is 1 and all others' 0."""
    batch, positions, width, heads, size = d.pick((1, 2)), d.pick((1, 3, 5)), d.pick((3, 8, 17)), d.pick((1, 2, 3)), d.pick((1, 4, 8))
    columns, x_type, w_type = 3 * heads * size, d.pick(BYTES), d.pick(BYTES)
    scales = d.channelwise(columns)
    seen = constant(np.eye(positions, dtype=np.int32)[d.numbers.integers(0, positions, batch)])
    x, w = d.input(x_type, batch, positions, width), d.weights(w_type, width, columns)
    return QAttention(x, w, d.scale(1, columns), d.scale(0.02), d.scale(0.01, *scales), seen, d.zero(x_type), d.whole(w_type, *scales),
                      mask_filter_value=-1e6, num_heads=heads).output


def recurrent(d: Any) -> tuple[Value, ...]:
    """Gates that are clamped and weighted, no exponentials; one or two directions."""
    directions, steps, batch, inputs, hidden = d.pick((1, 2)), d.pick((1, 2, 5)), d.pick((1, 2)), d.pick((1, 4, 9)), d.pick((1, 4, 8, 17))
    dtype = d.pick(BYTES)
    places = (directions, *d.pick(((), (4 * hidden,))))
    weights = {"w": d.whole(dtype, directions, inputs, 4 * hidden), "r": d.whole(dtype, directions, hidden, 4 * hidden)}
    grids = {f"{name}_{part}": value for name, size in (("w", inputs), ("r", hidden)) for part, value in (
        ("scale", d.scale(1 / (128 * size ** 0.5), *places)),
        ("zero_point", constant(np.full(places, 128 if dtype is u8 else 0, dtype.numpy))))}
    functions = d.pick((("Relu", "Affine", "Affine"), ("Affine", "Affine", "Relu"))) * directions
    count = functions.count("Affine")
    return DynamicQuantizeLSTM(d.input(f32, steps, batch, inputs), **weights, b=d.scale(0.1, directions, 8 * hidden), **grids,
                               direction="bidirectional" if directions == 2 else "forward", hidden_size=hidden, activations=functions,
                               activation_alpha=(0.5,) * count, activation_beta=(0.25,) * count, outputs=3).results


def gathered_blocks(d: Any) -> Value:
    """Tables of 4-bit elements and of bytes of one or two of them."""
    kind, rows, width, block = d.pick((u4, i4, u8)), d.pick((3, 8)), d.pick((32, 64)), d.pick((16, 32))
    bits = d.pick((4, 8)) if kind is u8 else 4
    stored = width * bits // 8 if kind is u8 else width
    blocks = width // block
    zeros = d.whole(kind, rows, -(-blocks * bits // 8) if kind is u8 else blocks) if d.sometimes() else None
    at = constant(d.numbers.integers(0, rows, (2, 3)))
    return quantized_embedding.GatherBlockQuantized(d.whole(kind, rows, stored), at, d.scale(0.1, rows, blocks), zeros, bits=bits,
                                                    block_size=block).output


def embedding(d: Any) -> tuple[Value, ...]:
    """Rows that are their own negatives in their second half, of mean 0 and one square: their root is of a power of four."""
    dtype, width, words = i8, d.pick((4, 8, 32)), d.pick((2, 5))
    rows = constant(np.where(np.arange(width) % 2, -4, 4).astype(np.int8) * np.ones((words, 1), np.int8))
    ids = constant(d.numbers.integers(0, words, (2, 3)).astype(np.int32))
    zero, one = constant(np.int8(0)), constant(np.float32(1))
    nothing = constant(np.zeros((3, width), np.int8))
    mask = Cast(d.input(dtype, 2, 3), to=CODE_OF_DTYPE[i32]).output
    return quantized_embedding.QEmbedLayerNormalization(
        ids, None, rows, nothing, None, d.whole(dtype, width), d.whole(dtype, width), mask, one, one, None, powers(d), powers(d),
        zero, zero, None, d.zero(dtype), d.zero(dtype), epsilon=0.0).results


def pool_last(d: Any) -> Value:
    height, width = d.pick((3, 5)), d.pick((2, 7))
    attributes = d.window(height, width, (1, 2, 3))
    return quantized_contrib.NhwcMaxPool(d.input(d.pick(BYTES), 1, height, width, d.pick((1, 3, 16, 17))), **attributes).output


def words(d: Any) -> Value:
    k = d.pick((1, 2, 7, 16, 33))
    return quantized_contrib.MatMulInteger16(d.input(i16, d.pick((1, 5)), k), d.pick((d.input, d.whole))(i16, k, d.pick((1, 8, 17)))).output


def patterns(d: Any) -> tuple[Value, ...]:
    """Elements of less than a byte, and what they become."""
    x, bits = d.input(u8, 3, d.pick((1, 8, 17))), d.pick((2, 4))
    return (small_types.DecodeInteger(x, bits=bits, signed=d.pick((0, 1))).output,
            small_types.EncodeInteger(Cast(x, to=CODE_OF_DTYPE[i32]).output, bits=bits).output,
            small_types.EncodeFloat(d.input(f32, 3, 17), format=d.pick(("f8e4m3fn", "f8e5m2", "f4e2m1"))).output)


def scaled(d: Any) -> tuple[Value, ...]:
    """What QuantizeLinear and DequantizeLinear of small floats are made of."""
    x, scales = d.input(f32, 3, d.pick((1, 8, 17))), d.scale(0.1, 3)
    return Ratio(x, scales, axis=0).output, Product(x, scales, axis=0, output_dtype=CODE_OF_DTYPE[f32]).output


CONTRIBUTED: dict[str, Callable[[Any], Any]] = {
    "few_bits": few_bits, "table_of_sixteen": table_of_sixteen, "attention": attention, "recurrent": recurrent,
    "gathered_blocks": gathered_blocks, "embedding": embedding, "pool_last": pool_last, "words": words, "patterns": patterns,
    "scaled": scaled,
}
