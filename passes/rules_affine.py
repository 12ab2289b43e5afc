"""Rules of simplify: arithmetic with one constant per channel behind a convolution or matrix product folds into its weights.

Every rule is the same rewriting, y * scale + shift of a product y; scale and shift are made in f64 and the weights are rounded once.

    batchnorm(conv(x, w, b), s, c, m, v)  ->  conv(x, w * k, (b - m) * k + c)   with k = s / sqrt(v + epsilon)
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgec.graph import Op, Value, constant
from edgec.ops.arithmetic import Add, Div, Mul, Sub
from edgec.ops.convolution import Conv, ConvTranspose
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.normalization import BatchNormalization
from edgec.rewrite import Context, rule

Channels = np.ndarray  # f64, one per channel of the result


def _f64(value: Value) -> np.ndarray:
    return value.array.astype(np.float64)


def _rounded(array: np.ndarray, like: Value, name: str) -> Value | None:
    """An f64 array as a constant of a value's element type; None where rounding makes an infinity of a number."""
    with np.errstate(over="ignore"):
        narrow = array.astype(like.dtype.numpy)
    if not np.array_equal(np.isfinite(narrow.astype(np.float64)), np.isfinite(array)):
        return None
    return constant(narrow, name)


def transformed(product: Op, scale: Channels | None, shift: Channels | None) -> Value | None:
    """The product with its result times `scale` plus `shift`, both per channel; None where its weights are not constants."""
    if isinstance(product, (Conv, ConvTranspose)):
        return _convolution(product, scale, shift)
    if isinstance(product, Gemm):
        return _gemm(product, scale, shift)
    return _matmul(product, scale, shift) if isinstance(product, MatMul) else None


def _convolution(op: Conv | ConvTranspose, scale: Channels | None, shift: Channels | None) -> Value | None:
    if not op.w.is_constant or not (op.b is None or op.b.is_constant):
        return None
    channels = op.output.shape[1]
    bias = np.zeros(channels) if op.b is None else _f64(op.b)
    w: Value | None = op.w
    if scale is not None:
        w, bias = _rounded(_f64(op.w) * _along_weights(op, scale), op.w, f"{op.w.name}.scaled"), bias * scale
    if shift is not None:
        bias = bias + shift
    b = op.b if op.b is None and shift is None else _rounded(bias, op.w, f"{op.output.name}.bias")
    if w is None or (b is None and shift is not None):
        return None
    return type(op)(op.x, w, b, **op.attributes).output


def _along_weights(op: Conv | ConvTranspose, scale: Channels) -> np.ndarray:
    """The scale of each weight: Conv has w [o, c/group, k...], ConvTranspose w [c, o/group, k...], the channels of one group a block."""
    spatial = [1] * (op.w.type.rank - 2)
    if isinstance(op, Conv):
        return scale.reshape(-1, 1, *spatial)
    by_group = scale.reshape(op.group, 1, -1)
    return np.broadcast_to(by_group, (op.group, op.w.shape[0] // op.group, by_group.shape[2])).reshape(op.w.shape[0], -1, *spatial)


def _gemm(op: Gemm, scale: Channels | None, shift: Channels | None) -> Value | None:
    if not op.b.is_constant or not (op.c is None or op.c.is_constant) or not op.a.dtype.is_float:
        return None
    bias = np.zeros(()) if op.c is None else op.beta * _f64(op.c)
    b: Value | None = op.b
    if scale is not None:
        b, bias = _rounded(_f64(op.b) * (scale[:, None] if op.transB else scale), op.b, f"{op.b.name}.scaled"), bias * scale
    bias = bias if shift is None else bias + shift
    c = None if op.c is None and shift is None else _rounded(bias, op.b, f"{op.output.name}.bias")
    if b is None or (c is None and not (op.c is None and shift is None)):
        return None
    return Gemm(op.a, b, c, **{**op.attributes, "beta": 1.0}).output


def _matmul(op: MatMul, scale: Channels | None, shift: Channels | None) -> Value | None:
    """A scale alone: a shift is an Add already."""
    if scale is None or shift is not None or not op.b.is_constant or op.b.type.rank < 2 or not op.a.dtype.is_float:
        return None
    b = _rounded(_f64(op.b) * scale, op.b, f"{op.b.name}.scaled")
    return None if b is None else MatMul(op.a, b).output


def per_channel(value: Value, product: Op) -> Channels | None:
    """The elements of a constant that broadcasts over everything but the channel axis of a product; None for any other operand."""
    shape = product.output.shape
    axis = 1 if isinstance(product, (Conv, ConvTranspose)) else len(shape) - 1
    if not value.is_constant or value.type.rank > len(shape):
        return None
    aligned = (1,) * (len(shape) - value.type.rank) + value.shape
    if any(size != 1 for n, size in enumerate(aligned) if n != axis) or aligned[axis] not in (1, shape[axis]):
        return None
    return np.broadcast_to(_f64(value).reshape(-1), (shape[axis],))


def product_of(value: Value, context: Context) -> Op | None:
    """The convolution or matrix product a value is the result of, where nothing else reads that result."""
    op = value.op
    return op if isinstance(op, (Conv, ConvTranspose, Gemm, MatMul)) and op.output.dtype.is_float and context.uses(value) == 1 else None


def operand_pair(op: Any, context: Context) -> tuple[Op, Channels, Value] | None:
    """(product, constant per channel, the constant) of a binary op, the product first or second."""
    for x, other in ((op.a, op.b), (op.b, op.a)):
        product = product_of(x, context)
        found = None if product is None or op.output.type != x.type else per_channel(other, product)
        if found is not None:
            return product, found, x
    return None


@rule
def multiply_after_product(op: Mul, context: Context):
    """conv(x, w, b) * c  ->  conv(x, w * c, b * c)"""
    found = operand_pair(op, context)
    return None if found is None else transformed(found[0], found[1], None)


@rule
def divide_after_product(op: Div, context: Context):
    """conv(x, w, b) / c  ->  conv(x, w * (1/c), b * (1/c))"""
    found = operand_pair(op, context)
    if found is None or found[2] is not op.a or not np.all(found[1]):
        return None
    return transformed(found[0], 1.0 / found[1], None)


@rule
def add_after_product(op: Add, context: Context):
    """conv(x, w, b) + c  ->  conv(x, w, b + c)"""
    found = operand_pair(op, context)
    return None if found is None else transformed(found[0], None, found[1])


@rule
def subtract_after_product(op: Sub, context: Context):
    """conv(x, w, b) - c, c - conv(x, w, b)  ->  conv(x, w, b - c), conv(x, -w, c - b)"""
    found = operand_pair(op, context)
    if found is None:
        return None
    product, channels, x = found
    return transformed(product, None, -channels) if x is op.a else transformed(product, np.full_like(channels, -1.0), channels)


@rule
def batch_norm_after_product(op: BatchNormalization, context: Context):
    """batchnorm(conv(x, w, b), s, c, m, v)  ->  conv(x, w * k, (b - m) * k + c) with k = s / sqrt(v + epsilon)"""
    found = batch_norm_affine(op)
    product = product_of(op.x, context)
    if found is None or product is None or (isinstance(product, (Gemm, MatMul)) and product.output.type.rank != 2):
        return None
    scale, shift = found
    if isinstance(product, MatMul):
        scaled = transformed(product, scale, None)
        added = _rounded(shift, op.b, f"{op.b.name}.shift")
        return None if scaled is None or added is None else Add(scaled, added).output
    return transformed(product, scale, shift)


@rule
def batch_norm_alone(op: BatchNormalization):
    """batchnorm(x, s, c, m, v)  ->  x * k + (c - m * k) with k = s / sqrt(v + epsilon)"""
    found = batch_norm_affine(op)
    if found is None or any(v.dtype is not op.x.dtype for v in op.operands):
        return None
    spatial = [1] * (op.x.type.rank - 2)
    scale, shift = (_rounded(a.reshape(-1, *spatial), op.x, f"{op.scale.name}.{n}") for a, n in zip(found, ("scale", "shift")))
    return None if scale is None or shift is None else Add(Mul(op.x, scale).output, shift).output


def batch_norm_affine(op: BatchNormalization) -> tuple[Channels, Channels] | None:
    """(scale, shift) of a normalisation with constant statistics."""
    if op.training_mode or not all(v.is_constant for v in op.operands[1:]):
        return None
    scale, b, mean, variance = (_f64(v) for v in op.operands[1:])
    with np.errstate(all="ignore"):
        factor = scale / np.sqrt(variance + op.epsilon)
    return (factor, b - mean * factor) if np.all(np.isfinite(factor)) else None


RULES = (multiply_after_product, divide_after_product, add_after_product, subtract_after_product, batch_norm_after_product,
         batch_norm_alone)
