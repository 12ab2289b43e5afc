"""Hypothesis strategies for graphs full of what graph passes rewrite: identities, views of views, padding, per-channel arithmetic, joins.

    @given(patterns())
    def test_my_pass(graph):
        arrays = random_arrays(graph)
        assert_close(run(my_pass(graph), arrays), run(graph, arrays))

The element type is f64 unless asked otherwise, so that rounding is far below any mistake of a pass. (`edgec.testing.graphs` draws networks
for the compiler, with extents around tile sizes.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgec.expr import var
from edgec.graph import Graph, Value, constant, graph_input
from edgec.ops.activation import Relu, Sigmoid
from edgec.ops.arithmetic import Abs, Add, Div, Mul, Neg, Pow, Sub
from edgec.ops.cast import Cast
from edgec.ops.comparison import Identity
from edgec.ops.convolution import Conv
from edgec.ops.joining import Concat, Split
from edgec.ops.matmul import Gemm, MatMul
from edgec.ops.normalization import BatchNormalization
from edgec.ops.pooling import AveragePool, MaxPool
from edgec.ops.reshape import Flatten, Reshape, Squeeze, Transpose, Unsqueeze
from edgec.ops.slicing import Pad, Slice
from edgec.ops.transcendental import Tanh
from edgec.types import DType, TensorType, f64

Step = Callable[[Any, list[Value], Value], "Value | Sequence[Value] | None"]


def random_arrays(graph: Graph, seed: int = 0, size: int = 3) -> list[np.ndarray]:
    """Inputs in order, normally distributed; every symbol has the given size, within its bounds."""
    generator = np.random.default_rng(seed)
    shapes = [[d if isinstance(d, int) else min(max(size, d.lo), d.hi) for d in v.shape] for v in graph.inputs]
    return [generator.standard_normal(s).astype(v.dtype.numpy) for v, s in zip(graph.inputs, shapes)]


def assert_close(left: Sequence[np.ndarray], right: Sequence[np.ndarray], relative: float = 1e-9) -> None:
    """Equal types, and values equal up to rounding relative to the largest element."""
    assert [(a.dtype, a.shape) for a in left] == [(a.dtype, a.shape) for a in right]
    for a, b in zip(left, right):
        scale = np.max(np.abs(b[np.isfinite(b)]), initial=1.0)
        np.testing.assert_allclose(a, b, rtol=relative, atol=relative * scale)


@st.composite
def patterns(draw: Any, steps: int = 10, dtype: DType = f64, symbolic: bool = False) -> Graph:
    """A graph of one image input [n,c,y,x], with up to `steps` operations and one or two outputs."""
    first = var("n", 1, 4) if symbolic else draw(st.integers(1, 2))
    shape = (first, draw(st.integers(1, 4)), draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    x = graph_input("x", TensorType(dtype, shape))
    values = [x]
    for _ in range(draw(st.integers(1, steps))):
        source = draw(st.sampled_from(values[-3:]))
        made = draw(st.sampled_from(STEPS))(draw, values, source)
        made = [made] if isinstance(made, Value) else list(made or ())
        values.extend(v for v in made if v.type.max_size <= 4096)
    outputs = dict.fromkeys([values[-1], draw(st.sampled_from(values))])
    return Graph((x,), tuple(outputs), tuple(f"y{n}" for n in range(len(outputs))), "drawn")


def numbers(draw: Any, shape: Sequence[int], dtype: DType, positive: bool = False) -> Value:
    """A constant between -1 and 1 (or 0.5 and 1.5), or of ones or zeros."""
    generator = np.random.default_rng(draw(st.integers(0, 99)))
    kind = draw(st.sampled_from(["random", "random", "ones", "zeros"]))
    array = generator.uniform(0.5, 1.5, shape) if positive else generator.uniform(-1, 1, shape)
    array = np.ones(shape) if kind == "ones" else np.zeros(shape) if kind == "zeros" and not positive else array
    return constant(array.astype(dtype.numpy))


def _channels(x: Value) -> int | None:
    return x.shape[1] if x.type.rank == 4 and isinstance(x.shape[1], int) else None


def unary(draw: Any, values: list[Value], x: Value) -> Value:
    """Something elementwise, or nothing at all."""
    return draw(st.sampled_from([Relu, Sigmoid, Abs, Neg, Tanh, Identity]))(x).output


def with_constant(draw: Any, values: list[Value], x: Value) -> Value:
    """Arithmetic with a scalar or one number per channel, often 0 or 1."""
    shapes: list[tuple[int, ...]] = [(), (1,)] + ([(_channels(x), 1, 1), (1, _channels(x), 1, 1)] if _channels(x) else [])
    op = draw(st.sampled_from([Add, Sub, Mul, Div, Pow]))
    if op is Pow:
        return Pow(x, constant(np.array(float(draw(st.integers(1, 2))), x.dtype.numpy))).output
    other = numbers(draw, draw(st.sampled_from(shapes)), x.dtype, positive=op is Div)
    return op(x, other).output if op is Div or draw(st.booleans()) else op(other, x).output


def with_value(draw: Any, values: list[Value], x: Value) -> Value:
    """Arithmetic with another value of the same type."""
    same = [v for v in values if v.type == x.type]
    return draw(st.sampled_from([Add, Sub, Mul]))(x, draw(st.sampled_from(same))).output


def reshape(draw: Any, values: list[Value], x: Value) -> Value | None:
    """One of the operators that keep every element in its place."""
    choice = draw(st.sampled_from(["flatten", "merge", "unsqueeze", "squeeze", "same"]))
    if choice == "flatten":
        return Flatten(x, axis=1).output if x.type.rank > 1 else None
    if choice == "unsqueeze" and x.type.rank < 5:
        return Unsqueeze(x, constant(np.array([draw(st.integers(0, x.type.rank))]))).output
    if choice == "squeeze":
        return Squeeze(x).output
    if choice == "merge" and x.type.rank >= 2:
        return Reshape(x, constant(np.array([0] * (x.type.rank - 2) + [-1]))).output
    return Reshape(x, constant(np.array([0] * x.type.rank, np.int64))).output


def transpose(draw: Any, values: list[Value], x: Value) -> Value:
    """Axes in any order."""
    return Transpose(x, perm=tuple(draw(st.permutations(range(x.type.rank))))).output


def cast(draw: Any, values: list[Value], x: Value) -> Value:
    """To f64 (ONNX type 11) and back."""
    return Cast(Cast(x, 11).output, {"f64": 11, "f32": 1}[x.dtype.name]).output


def join(draw: Any, values: list[Value], x: Value) -> Value | None:
    """A concatenation of values of one type."""
    same = [v for v in values if v.type == x.type]
    picked = [x, *draw(st.lists(st.sampled_from(same), min_size=1, max_size=3))]
    return Concat(tuple(picked), axis=draw(st.integers(-x.type.rank, x.type.rank - 1))).output if x.type.rank else None


def cut(draw: Any, values: list[Value], x: Value) -> Value | None:
    """A slice of one axis, often along the seam of a concatenation."""
    axes = [n for n, d in enumerate(x.shape) if isinstance(d, int) and d > 1]
    if not axes:
        return None
    axis = draw(st.sampled_from(axes))
    start = draw(st.integers(0, x.shape[axis] - 1))
    end = draw(st.integers(start + 1, x.shape[axis]))
    return Slice(x, *(constant(np.array([n])) for n in (start, end, axis))).output


def split(draw: Any, values: list[Value], x: Value) -> Sequence[Value] | None:
    """Two halves."""
    axes = [n for n, d in enumerate(x.shape) if isinstance(d, int) and d > 1 and d % 2 == 0]
    return Split(x, axis=draw(st.sampled_from(axes)), num_outputs=2).results if axes else None


def padded_window(draw: Any, values: list[Value], x: Value) -> Value | None:
    """A Pad and a convolution or pooling over it."""
    if not _channels(x) or not all(isinstance(d, int) and d >= 2 for d in x.shape[2:]):
        return None
    border = draw(st.tuples(*[st.integers(0, 1)] * 4))
    kind = draw(st.sampled_from(["conv", "max", "average"]))
    fill = draw(st.sampled_from([None, 0.0, -np.inf] if kind == "max" else [None, 0.0, 1.0]))
    value = None if fill is None else constant(np.array(fill, x.dtype.numpy))
    padded = Pad(x, constant(np.array([0, 0, *border[:2], 0, 0, *border[2:]])), value).output
    pads = draw(st.sampled_from([(), (1, 0, 0, 1)]))
    if kind == "max":
        return MaxPool(padded, kernel_shape=(2, 2), pads=pads).output
    if kind == "average":
        return AveragePool(padded, kernel_shape=(2, 2), pads=pads, count_include_pad=draw(st.integers(0, 1))).output
    return _convolution(draw, padded, pads)


def _convolution(draw: Any, x: Value, pads: tuple[int, ...]) -> Value:
    group = draw(st.sampled_from([g for g in (1, 2, x.shape[1]) if x.shape[1] % g == 0]))
    channels = group * draw(st.integers(1, 2))
    w = numbers(draw, (channels, x.shape[1] // group, 2, 2), x.dtype)
    return Conv(x, w, draw(st.sampled_from([None, numbers(draw, (channels,), x.dtype)])), group=group, pads=pads).output


def norm(draw: Any, values: list[Value], x: Value) -> Value | None:
    """A normalisation with constant statistics."""
    channels = x.shape[1] if x.type.rank >= 2 and isinstance(x.shape[1], int) else None
    if channels is None:
        return None
    scale, b, mean = (numbers(draw, (channels,), x.dtype) for _ in range(3))
    return BatchNormalization(x, scale, b, mean, numbers(draw, (channels,), x.dtype, positive=True)).output


def product(draw: Any, values: list[Value], x: Value) -> Value | None:
    """A product with a constant matrix."""
    if x.type.rank < 2 or not isinstance(x.shape[-1], int):
        return None
    made = draw(st.integers(1, 4))
    if x.type.rank == 2 and draw(st.booleans()):
        return Gemm(x, numbers(draw, (made, x.shape[-1]), x.dtype), numbers(draw, (made,), x.dtype), transB=1, alpha=0.5, beta=2.0).output
    return MatMul(x, numbers(draw, (x.shape[-1], made), x.dtype)).output


STEPS: tuple[Step, ...] = (unary, with_constant, with_constant, with_value, reshape, transpose, cast, join, cut, split, padded_window,
                           padded_window, norm, product)
