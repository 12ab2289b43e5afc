"""Drawings of standard operators that compute with or move whole numbers of any width: sums that wrap around, choices, views, gathers.

They join those of quantized arithmetic (edgec.testing.integers), whose `integer_operators` makes graphs of both.

    graph = integer_operators(seed=3, names=sorted(ANY))
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from edgec.graph import Value, constant
from edgec.onnx.tensor import CODE_OF_DTYPE
from edgec.ops import (
    activation,
    argmax,
    arithmetic,
    bit_cast,
    cast,
    comparison,
    cumulative,
    depth_space,
    einsum,
    gather,
    generate,
    grid,
    joining,
    matmul,
    pooling,
    reduction,
    regions,
    reshape,
    resize,
    scatter,
    selection,
    slicing,
)
from edgec.types import DType, f32, i8, i16, i32, i64, u8, u16, u32

SIZES, LONG = (1, 2, 3, 5, 7, 8, 9), (1, 2, 3, 4, 5, 8, 15, 16, 17, 24, 32, 33)
SIGNED, UNSIGNED, BYTES = (i8, i16, i32, i64), (u8, u16, u32), (u8, i8)
WHOLE = (*SIGNED, *UNSIGNED)
Make = Callable[[Any], Any]


def numbers(*values: int) -> Value:
    return constant(np.array(values, np.int64))


def matrix(d: Any, types: Sequence[DType] = WHOLE) -> Value:
    """An input [rows, columns]."""
    return d.input(d.pick(types), d.pick(SIZES), d.pick(LONG))


def unary(cls: type, types: Sequence[DType] = WHOLE, **attributes: Any) -> Make:
    return lambda d: cls(matrix(d, types), **attributes).output


def binary(cls: type, types: Sequence[DType] = WHOLE, **attributes: Any) -> Make:
    """Two tensors, a tensor and a row, or a tensor and a constant number."""
    def make(d: Any) -> Value:
        x = matrix(d, types)
        shape = d.pick((x.shape, (x.shape[1],), ()))
        y = d.input(x.dtype, *shape) if shape else d.whole(x.dtype)
        return cls(x, y, **attributes).output
    return make


def divided(cls: type, **attributes: Any) -> Make:
    """By constants: neither 0, nor -1, which the least number has no quotient by."""
    def make(d: Any) -> Value:
        x = matrix(d)
        by = d.whole(x.dtype, *d.pick(((), (x.shape[1],)))).array
        small = (by % np.array(11, by.dtype)).astype(by.dtype)
        return cls(x, constant(np.where((small == 0) | (small.astype(np.int64) == -1), 3, small).astype(by.dtype)), **attributes).output
    return make


def power(d: Any) -> Value:
    """Squares and cubes that stay in their range: of bytes in 32 bits."""
    return arithmetic.Pow(cast.Cast(matrix(d, BYTES), to=CODE_OF_DTYPE[i32]).output, constant(np.int32(d.pick((1, 2, 3))))).output


def several(cls: type) -> Make:
    def make(d: Any) -> Value:
        x = matrix(d)
        return cls((x, d.input(x.dtype, *x.shape), d.whole(x.dtype, x.shape[1]))).output
    return make


def clip(d: Any) -> Value:
    x = matrix(d)
    low, high = sorted(int(d.whole(x.dtype).array) for _ in range(2))
    return arithmetic.Clip(x, *(constant(np.array(n, x.dtype.numpy)) for n in (low, high))).output


def shifted(d: Any) -> Value:
    x = matrix(d, UNSIGNED)
    by = constant(d.numbers.integers(0, x.dtype.bits, x.shape[1]).astype(x.dtype.numpy))
    return comparison.BitShift(x, by, direction=d.pick(("LEFT", "RIGHT"))).output


def casts(d: Any) -> tuple[Value, ...]:
    """To other widths, to f32 and back."""
    x, to = matrix(d), d.pick(WHOLE)
    real = cast.Cast(matrix(d, BYTES), to=CODE_OF_DTYPE[f32]).output
    return tuple(cast.Cast(v, to=CODE_OF_DTYPE[t]).output for v, t in ((x, to), (x, f32), (real, i16)))


def bit_pattern(d: Any) -> Value:
    pair = d.pick(((u8, i8), (i16, u16), (u32, i32), (i32, u32)))
    return bit_cast.BitCast(matrix(d, pair[:1]), to=CODE_OF_DTYPE[pair[1]]).output


def chosen(d: Any) -> Value:
    x = matrix(d)
    y = d.input(x.dtype, *x.shape)
    return comparison.Where(comparison.Less(x, y).output, x, d.input(x.dtype, x.shape[1])).output


def image(d: Any, types: Sequence[DType] = BYTES, times: int = 1) -> Value:
    return d.image(d.pick(types), times * d.pick((1, 3, 4, 16)), d.pick((2, 4, 6)), d.pick((2, 4, 8)))


def einsum_of(d: Any) -> Value:
    dtype, k = d.pick((i32, i64)), d.pick(LONG)
    return einsum.Einsum((d.input(dtype, 3, k), d.input(dtype, k, d.pick(LONG))), equation="ij,jk->ik").output


def at(d: Any, size: int, *shape: int) -> Value:
    """Constant indices, of both signs."""
    return constant(d.numbers.integers(-size, size, shape).astype(d.pick((np.int32, np.int64))))


def gathered(d: Any) -> Value:
    x, axis = matrix(d), d.pick((0, 1))
    return gather.Gather(x, at(d, x.shape[axis], 2, 3), axis=axis).output


def gathered_elements(d: Any) -> Value:
    x = matrix(d)
    return gather.GatherElements(x, at(d, x.shape[1], x.shape[0], 3), axis=1).output


def gathered_slices(d: Any) -> Value:
    x = matrix(d)
    return gather.GatherND(x, at(d, x.shape[0], 4, 1)).output


def compressed(d: Any) -> Value:
    x = matrix(d)
    kept = constant(np.arange(x.shape[1]) % 2 == 0)
    return gather.Compress(x, kept, axis=1).output


def reversed_rows(d: Any) -> Value:
    x = matrix(d)
    return gather.ReverseSequence(x, constant(d.numbers.integers(1, x.shape[1] + 1, x.shape[0])), batch_axis=0, time_axis=1).output


def one_hot(d: Any) -> Value:
    dtype, depth = d.pick(WHOLE), d.pick(SIZES)
    return generate.OneHot(at(d, depth, d.pick(LONG)), numbers(depth), d.whole(dtype, 2)).output


def counted(d: Any) -> Value:
    dtype = d.pick((i16, i32, i64))
    return generate.Range(*(constant(np.array(n, dtype.numpy)) for n in (d.random.randint(-9, 9), 40, d.pick((1, 3, 7))))).output


def sampled(d: Any) -> Value:
    """The nearest element; places are far from the middle between two."""
    x = d.input(d.pick(BYTES), 1, d.pick((1, 3)), 4, 4)
    centres = (2 * d.numbers.integers(-1, 5, (1, 3, 5, 2)) + 1) / 4 - 1 + 0.05
    return grid.GridSample(x, constant(centres.astype(np.float32)), mode="nearest", padding_mode=d.pick(("zeros", "border"))).output


def joined(d: Any) -> Value:
    x, axis = matrix(d), d.pick((0, 1))
    other = tuple(d.pick(LONG) if n == axis else size for n, size in enumerate(x.shape))
    return joining.Concat((x, d.input(x.dtype, *other), x), axis=axis).output


def split(d: Any) -> tuple[Value, ...]:
    return joining.Split(d.input(d.pick(WHOLE), d.pick(SIZES), 9), numbers(2, 4, 3), axis=1).results


def product(d: Any) -> Value:
    dtype, k = d.pick((i32, i64, u32)), d.pick(LONG)
    return matmul.MatMul(d.input(dtype, d.pick(SIZES), k), d.input(dtype, k, d.pick(LONG))).output


def pooled(d: Any) -> Value:
    x = image(d)
    return pooling.MaxPool(x, **d.window(*x.shape[2:], (1, 2, 3))).output


def reduced(cls: type, types: Sequence[DType]) -> Make:
    def make(d: Any) -> Value:
        x = d.input(d.pick(types), d.pick(SIZES), d.pick(LONG), d.pick(SIZES))
        return cls(x, numbers(*d.pick(((0,), (1,), (2,), (1, 2), (0, 1, 2)))), keepdims=d.pick((0, 1))).output
    return make


def extreme(cls: type) -> Make:
    """Of few different bytes, so that the greatest stands more than once."""
    def make(d: Any) -> Value:
        x = arithmetic.Clip(matrix(d, BYTES), constant(np.array(50, d.inputs[-1].dtype.numpy)), None).output
        return cls(x, axis=d.pick((0, 1)), keepdims=d.pick((0, 1)), select_last_index=d.pick((0, 1))).output
    return make


def columns_to_image(d: Any) -> Value:
    return regions.Col2Im(d.input(d.pick((i32, i64)), 1, 2 * 4, 9), numbers(4, 4), numbers(2, 2)).output


def resized(d: Any) -> Value:
    x = image(d)
    return resize.Resize(x, None, constant(np.array([1, 1, d.pick((0.5, 2, 3)), d.pick((0.5, 1, 2))], np.float32)), None,
                         coordinate_transformation_mode="asymmetric", nearest_mode="floor").output


def scattered_elements(d: Any) -> Value:
    x = matrix(d, (i32, u8, i64))
    where = constant(np.stack([d.numbers.permutation(x.shape[1]) for _ in range(x.shape[0])]))
    return scatter.ScatterElements(x, where, d.input(x.dtype, *x.shape), axis=1, reduction=d.pick(("none", "add", "max"))).output


def scattered_rows(d: Any) -> Value:
    x = matrix(d, (i32, u8, i64))
    where = constant(d.numbers.permutation(x.shape[0])[:2, None])
    return scatter.ScatterND(x, where, d.input(x.dtype, where.shape[0], x.shape[1]), reduction=d.pick(("none", "add", "max"))).output


def cache(d: Any) -> Value:
    x = d.input(d.pick(BYTES), 2, 8, d.pick(LONG))
    return scatter.TensorScatter(x, d.input(x.dtype, 2, 3, x.shape[2]), numbers(1, 4)).output


def greatest(d: Any) -> tuple[Value, ...]:
    x = matrix(d, (u8, i8, i32))
    return selection.TopK(x, numbers(d.random.randint(1, x.shape[1])), axis=1, largest=d.pick((0, 1))).results


def views(cls: type) -> Make:
    def make(d: Any) -> Value:
        x = d.input(d.pick(WHOLE), 2, 1, d.pick(LONG))
        operands = {reshape.Reshape: (numbers(-1, 2),), reshape.Squeeze: (numbers(1),), reshape.Unsqueeze: (numbers(0),)}.get(cls, ())
        return cls(x, *operands).output
    return make


def sliced(d: Any) -> Value:
    x = matrix(d)
    return slicing.Slice(x, numbers(-1, 1), numbers(-100, 100), numbers(1, 0), numbers(d.pick((-1, -2)), 1)).output


def padded(d: Any) -> Value:
    x = d.input(d.pick(WHOLE), d.pick((3, 5)), d.pick((3, 8, 17)))
    mode = d.pick(("constant", "edge", "reflect"))
    return slicing.Pad(x, numbers(1, 0, 2, 1), d.whole(x.dtype) if mode == "constant" else None, mode=mode).output


def tiled(d: Any) -> Value:
    return joining.Tile(matrix(d), numbers(2, 3)).output


def expanded(d: Any) -> Value:
    return joining.Expand(d.input(d.pick(WHOLE), 1, d.pick(LONG)), numbers(3, 1)).output


def gemm(d: Any) -> Value:
    k, n = d.pick(LONG), d.pick(LONG)
    return matmul.Gemm(d.input(i32, d.pick(SIZES), k), d.input(i32, k, n), d.input(i32, n)).output


def running(cls: type) -> Make:
    return lambda d: cls(matrix(d, (i32, i64)), constant(np.int64(1)), exclusive=d.pick((0, 1)), reverse=d.pick((0, 1))).output


ANY: dict[str, Make] = {
    **{cls.__name__: binary(cls) for cls in (arithmetic.Add, arithmetic.Sub, arithmetic.Mul, comparison.Equal, comparison.Less,
                                             comparison.Greater, comparison.LessOrEqual, comparison.GreaterOrEqual, comparison.BitwiseAnd,
                                             comparison.BitwiseOr, comparison.BitwiseXor)},
    "Div": divided(arithmetic.Div), "Mod": divided(arithmetic.Mod), "FMod": divided(arithmetic.Mod, fmod=1), "Pow": power,
    "Neg": unary(arithmetic.Neg, SIGNED), "Abs": unary(arithmetic.Abs), "Sign": unary(arithmetic.Sign),
    "BitwiseNot": unary(comparison.BitwiseNot), "BitShift": shifted, "BitCast": bit_pattern, "Cast": casts,
    "CastLike": lambda d: cast.CastLike(matrix(d), d.whole(d.pick(WHOLE))).output, "Min": several(arithmetic.Min),
    "Max": several(arithmetic.Max), "Clip": clip, "Relu": unary(activation.Relu, SIGNED), "PRelu": binary(activation.PRelu, (i32, i64)),
    "Shrink": unary(activation.Shrink, (i8, i16, i32), lambd=20.0, bias=3.0), "Where": chosen,
    "Identity": unary(comparison.Identity), "ArgMax": extreme(argmax.ArgMax), "ArgMin": extreme(argmax.ArgMin),
    "CumSum": running(cumulative.CumSum), "CumProd": running(cumulative.CumProd),
    "DepthToSpace": lambda d: depth_space.DepthToSpace(image(d, times=4), blocksize=2, mode=d.pick(("DCR", "CRD"))).output,
    "SpaceToDepth": lambda d: depth_space.SpaceToDepth(image(d), blocksize=2).output, "Einsum": einsum_of, "Gather": gathered,
    "GatherElements": gathered_elements, "GatherND": gathered_slices, "Compress": compressed, "ReverseSequence": reversed_rows,
    "Range": counted, "EyeLike": unary(generate.EyeLike, k=1), "OneHot": one_hot,
    "Trilu": lambda d: generate.Trilu(matrix(d), None, upper=d.pick((0, 1))).output, "GridSample": sampled, "Concat": joined,
    "Split": split, "Tile": tiled, "Expand": expanded, "MatMul": product, "Gemm": gemm, "MaxPool": pooled,
    **{cls.__name__: reduced(cls, (i32, i64, u32)) for cls in (reduction.ReduceSum, reduction.ReduceProd, reduction.ReduceSumSquare)},
    "ReduceL1": reduced(reduction.ReduceL1, (i32, i64)), "ReduceMean": reduced(reduction.ReduceMean, (i32, i64)),
    "ReduceMax": reduced(reduction.ReduceMax, WHOLE), "ReduceMin": reduced(reduction.ReduceMin, WHOLE), "Col2Im": columns_to_image,
    **{cls.__name__: views(cls) for cls in (reshape.Reshape, reshape.Flatten, reshape.Squeeze, reshape.Unsqueeze, reshape.Transpose,
                                            reshape.Shape, reshape.Size)},
    "Resize": resized, "ScatterElements": scattered_elements, "ScatterND": scattered_rows, "TensorScatter": cache, "TopK": greatest,
    "Slice": sliced, "Pad": padded,
}
