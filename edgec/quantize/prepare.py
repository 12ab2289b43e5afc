"""The graph as quantization wants it: constants folded, normalisations in the weights, biases in the products, a Gelu one operator.

After the passes fold-constants and simplify one form is left to settle: a matrix product with constant weights and a constant added to its
columns becomes one Gemm with alpha = beta = 1, so that the bias can be an i32 of the integer product. Operands of more than two axes are
reshaped around it, which costs nothing.

    add(matmul(x, @w), @b)  ->  gemm(x, @w, @b)

A normalisation that stands behind a concatenation or a pool, not behind a product, is two operators by then, between which a tensor would
be rounded. As a convolution of each channel by itself it is one: its weights are exact in 8 bits, a scale a channel, its shift an i32.
"""

from __future__ import annotations

import numpy as np

from edgec.graph import Graph, Value, constant
from edgec.ops.arithmetic import Add, Mul
from edgec.ops.convolution import Conv
from edgec.ops.joining import Concat
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.pooling import AveragePool, MaxPool
from edgec.ops.reshape import Reshape
from edgec.passes.known_functions import known_function
from edgec.pipeline import parse_pipeline, registered, run_pipeline
from edgec.rewrite import Context, rewrite, rule
from edgec.types import f32

PASSES = "fold-constants,simplify"
COLLECTING = (AveragePool, Concat, MaxPool)  # what they give has been rounded, and no product before them takes a scale


def prepared(graph: Graph) -> Graph:
    """The graph that is quantized: it computes what the given one does."""
    return rewrite(run_pipeline(graph, parse_pipeline(PASSES, registered())), plain_gemm, bias_of_matmul, scaled_channels, known_function)


@rule
def plain_gemm(op: Gemm):
    """gemm(x, @w, @c, alpha, beta)  ->  gemm(x, @(w * alpha), @(c * beta as a vector))"""
    if not op.b.is_constant or op.a.dtype is not f32 or not (op.c is None or op.c.is_constant):
        return None
    columns = op.output.shape[1]
    bias = None if op.c is None else op.c.array.astype(np.float64) * op.beta
    if bias is not None and (bias.ndim > 2 or bias.ndim == 2 and bias.shape[0] != 1):
        return None
    if op.alpha == op.beta == 1 and (op.c is None or op.c.shape == (columns,)):
        return None
    w = constant((op.b.array.astype(np.float64) * op.alpha).astype(np.float32), op.b.name, op.b.loc)
    c = None if bias is None else constant(np.broadcast_to(bias.reshape(-1), columns).astype(np.float32), op.c.name, op.c.loc)
    return Gemm(op.a, w, c, transA=op.transA, transB=op.transB).output


@rule
def bias_of_matmul(op: Add, context: Context):
    """matmul(x, @w) + @b  ->  reshape(gemm(reshape(x), @w, @b))"""
    for x, bias in ((op.a, op.b), (op.b, op.a)):
        if not (isinstance(x.op, MatMul) and context.uses(x) == 1 and x.op.b.is_constant and x.op.b.type.rank == 2):
            continue
        columns = x.shape[-1]
        fits = bias.is_constant and x.dtype is f32 and bias.type.max_size == columns and bias.shape[-1:] == (columns,)
        if fits and bias.type.rank <= x.type.rank:
            return _gemm(x.op, bias, op.output)
    return None


@rule
def scaled_channels(op: Add, context: Context):
    """concat(x, y) * @s + @t, numbers a channel  ->  conv(concat(x, y), @s, @t) group=channels"""
    for product, shift in ((op.a, op.b), (op.b, op.a)):
        if not isinstance(product.op, Mul) or context.uses(product) > 1:
            continue
        for x, scale in ((product.op.a, product.op.b), (product.op.b, product.op.a)):
            if isinstance(x.op, COLLECTING) and _of_channels(scale, x) and _of_channels(shift, x):
                w = constant(scale.array.reshape(-1, *[1] * (x.type.rank - 1)), scale.name, scale.loc)
                return Conv(x, w, constant(shift.array.reshape(-1), shift.name, shift.loc), group=x.shape[1]).output
    return None


def _of_channels(value: Value, x: Value) -> bool:
    """Whether a constant has one number for each channel of an image."""
    return value.is_constant and x.dtype is f32 and x.type.rank > 2 and value.shape == (x.shape[1], *[1] * (x.type.rank - 2))


def _gemm(product: MatMul, bias: Value, result: Value) -> Value | None:
    """The Gemm in place of a product and its bias; None where more than one size is open, which no Reshape can say."""
    vector = constant(bias.array.reshape(-1), bias.name, bias.loc)
    if product.a.type.rank == 2:
        return Gemm(product.a, product.b, vector).output
    sizes = [d if isinstance(d, int) else -1 for d in result.shape]
    if product.a.type.rank < 2 or sizes.count(-1) > 1 or 0 in sizes:
        return None
    flat = Reshape(product.a, constant(np.array([-1, product.b.shape[0]], np.int64))).output
    return Reshape(Gemm(flat, product.b, vector).output, constant(np.array(sizes, np.int64))).output
